"""The command line: help is complete and light, mistakes are one line, unknown options are refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from facevid import cli


def _loaded_by(*arguments: str) -> set[str]:
    code = (
        "import sys; from facevid.cli import main\n"
        f"try: main({list(arguments)!r})\n"
        "except SystemExit: pass\n"
        "print('\\nLOADED', *sorted({n.split('.')[0] for n in sys.modules}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["build", "--help"], ["predict", "--help"]])
def test_help_loads_neither_numpy_nor_torch_nor_beam(arguments: list[str]) -> None:
    assert not _loaded_by(*arguments) & {"numpy", "torch", "pyarrow", "apache_beam", "cv2", "scipy", "sklearn"}


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_a_help_page_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*name.split(), "--help"])
    assert ended.value.code == 0
    assert f"Example: facevid {name}" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"facevid {name} " in shown for name in cli.COMMANDS)


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["frobnicate"]) == 2
    assert "no command 'frobnicate'" in capsys.readouterr().err


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["build", "m.csv", "--out", str(tmp_path), "--no-such-option"])
    assert ended.value.code == 2


def test_a_value_out_of_range_is_one_line_naming_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", "m.csv", "--out", str(tmp_path), "--workers", "0"]) == 2
    assert "workers=0 must be at least 1" in capsys.readouterr().err


def test_a_missing_manifest_is_one_line_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", str(tmp_path / "none.csv"), "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert "none.csv" in shown
    assert "Traceback" not in shown
