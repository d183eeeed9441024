"""Who may import whom: the contracts name every module, and they bite."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("facevid", "pipeline", "fitting", "training")
FRONT = {"facevid.cli", "facevid.commands", "facevid.report", "facevid.demo", "facevid.__main__"}


def _modules(package: str) -> set[str]:
    packages = {f"{package}.{p.parent.name}" for p in (ROOT / package).glob("*/__init__.py")}
    return {f"{package}.{p.stem}" for p in (ROOT / package).glob("*.py") if p.stem != "__init__"} | packages


def _pipeline() -> set[str]:
    return _modules("pipeline") - {"pipeline.faces"}


def _contracts() -> dict[str, dict[str, list[str]]]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return {c["name"]: c for c in config["tool"]["importlinter"]["contracts"]}


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the packages and the contracts, to plant violations in."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_name_every_module_of_the_dataset() -> None:
    named = set(_contracts()["the dataset (facevid without its front end) imports none of ours"]["source_modules"])
    assert named == _modules("facevid") - FRONT


@pytest.mark.parametrize(
    "contract",
    ["pipeline.faces imports none of ours", "training knows of the pipeline only the faces, and no front end"],
)
def test_the_contracts_name_every_module_of_the_pipeline(contract: str) -> None:
    named = {m for m in _contracts()[contract]["forbidden_modules"] if m.startswith("pipeline.")}
    assert named - {"pipeline.faces"} == _pipeline()


def test_the_beam_contract_names_every_module_but_those_of_its_jobs() -> None:
    contract = "only the two jobs, their steps and their processes import Beam"
    named = set(_contracts()[contract]["source_modules"])
    expected = _pipeline() | (_modules("facevid") - FRONT) | {"fitting", "training", "pipeline.faces"}
    beam = {
        "assemble_job", "build", "drive", "fetch_step", "find_step", "fit_steps", "label_job", "steps", "worker",
    }  # fmt: skip
    assert named == expected - {f"pipeline.{name}" for name in beam}


def test_the_tree_as_it_stands_keeps_every_contract(checkout: Path) -> None:
    ended = _lint(checkout)
    assert ended.returncode == 0, ended.stdout[-3000:]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("fitting/solver.py", "import facevid.schema"),
        ("pipeline/faces/tracks.py", "import facevid.failures"),
        ("facevid/dataset.py", "import fitting.face_model"),
        ("training/losses.py", "import pipeline.store"),
        ("pipeline/label.py", "import training.losses"),
        ("pipeline/label.py", "import apache_beam"),
    ],
)
def test_a_planted_violation_fails(checkout: Path, module: str, line: str) -> None:
    path = checkout / module
    path.write_text(path.read_text("utf-8") + f"\n{line}\n", "utf-8")
    assert _lint(checkout).returncode != 0
