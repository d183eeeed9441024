"""The argument that names the folder of test videos, the same for all benchmarks that read some."""

import argparse
import os
import sys
from pathlib import Path

VARIABLE = "FACEVID_VIDEOS"


def add_videos(parser: argparse.ArgumentParser, *, holds: str = "videos and faces.csv") -> None:
    """Let the command line name the folder; without it, the environment does."""
    parser.add_argument(
        "--videos", type=Path, default=os.environ.get(VARIABLE) or None, help=f"folder with {holds} (or {VARIABLE})"
    )


def videos_or_leave(parser: argparse.ArgumentParser, folder: Path | None, *, truth: bool = True) -> Path:
    """The folder; ends the program where none is named, which is no error, or where it lacks what it needs.

    Args:
        parser: Ends the program.
        folder: As `add_videos` made it.
        truth: Whether `faces.csv` must be there.
    """
    if folder is None:
        print(f"nothing was measured: name a folder of videos with --videos or {VARIABLE}", file=sys.stderr)
        parser.exit(0)
    if not folder.is_dir():
        parser.error(f"there is no folder {folder}")
    if truth and not (folder / "faces.csv").is_file():
        parser.error(f"{folder} holds no faces.csv, which says in which frames a face shows")
    return folder
