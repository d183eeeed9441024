"""What the README and the pages beside it say can be typed as it stands."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from facevid import cli

ROOT = Path(__file__).parents[1]
PAGES = {path: path.read_text("utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README, TEXT = PAGES[ROOT / "README.md"], "\n".join(PAGES.values())
LINES = sorted(set(re.findall(r"^    (?:[A-Z_]+=\S+ )?(\.venv/bin/facevid .*)$", TEXT, re.MULTILINE)))
COMMANDS = [shlex.split(line, comments=True)[1:] for line in LINES]
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


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
    assert len(folders) == 12
    assert all((ROOT / folder).is_dir() for folder in folders)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_into_the_repository_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", PAGES[page])
    assert all((page.parent / link).exists() for link in links), links


def test_every_page_is_linked_from_the_readme() -> None:
    links = {(ROOT / link).resolve() for link in re.findall(r"\]\((?!https?://)([^)#]+)", README)}
    assert set(PAGES) - {ROOT / "README.md"} <= links
