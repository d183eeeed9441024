"""What the README says can be typed as it stands."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from facevid import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
LINES = re.findall(r"^    (\.venv/bin/facevid .*)$", README, re.MULTILINE)
COMMANDS = [shlex.split(line, comments=True)[1:] for line in LINES]
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for command in cli.COMMANDS.values():
        monkeypatch.setattr(command, "run", lambda *_: 0)
    assert cli.main(words) == 0


@pytest.mark.parametrize("block", BLOCKS)
def test_every_python_block_runs(
    block: str, write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path
) -> None:
    write_dataset(toy_track(video_id="a"), name="out")
    ran = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_every_make_target_and_every_folder_of_the_tree_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"(?:^    |`)make ([a-z]+)", README, re.MULTILINE)
    folders = re.findall(r"^([a-z][a-z0-9/]*/) {2,}", README, re.MULTILINE)
    assert {"demo", "test", "check", "help"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert len(folders) == 11
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_every_link_into_the_repository_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)
