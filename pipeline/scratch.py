"""Folders for what is being written, and what dead processes have left of them.

Whoever has such a folder holds its name (see `pipeline.hold`) from before it is there until it is gone; the kernel ends
the hold with the process. Names of hosts and processes would not do: containers have the names of others, and each its
own.
"""

import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.hold import held, is_held

_FOLDER = "tmp"
_HOLDS = "holds"


@contextmanager
def scratch_folder(store: Path) -> Iterator[Path]:
    """A new empty folder on the store's disk, removed at the end of the block."""
    # Whose it is, for people.
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(6)}"
    (store / _FOLDER).mkdir(parents=True, exist_ok=True)
    with held(store / _HOLDS, _hold_of(name)):
        folder = store / _FOLDER / name
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def scratch_leftovers(store: Path) -> Iterator[Path]:
    """Scratch folders whose processes are no more, of whatever machine or container."""
    try:
        found = sorted((store / _FOLDER).iterdir())
    except FileNotFoundError:
        return
    for folder in found:
        if not is_held(store / _HOLDS, _hold_of(folder.name)):
            yield folder


def sweep_scratch(store: Path) -> None:
    """Remove such leftovers."""
    for folder in scratch_leftovers(store):
        shutil.rmtree(folder, ignore_errors=True)


def _hold_of(name: str) -> str:
    return f"{_FOLDER}/{name}"
