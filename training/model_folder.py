"""The folder that a model is written to: it appears whole or not at all, and nothing is ever overwritten."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facevid import storage


def refuse_existing(out: Path) -> None:
    """Raise ValueError if something is there already: a model is never overwritten."""
    if out.exists():
        raise ValueError(f"out={str(out)!r} exists already; choose another folder, or remove it")


@contextmanager
def model_folder(out: Path) -> Iterator[Path]:
    """A folder to write a model into; it appears under its name when the block ends well, and never if it raises.

    Enter it before the work: what cannot be written is then told before, not after hours.

    Args:
        out: The folder, which must not exist yet; folders on the way are made.

    Raises:
        ValueError: `out` exists, or has come to exist meanwhile.
        OSError: It cannot be written.
    """
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".partial-{secrets.token_hex(8)}"
    partial.mkdir()
    try:
        yield partial
        refuse_existing(out)
        partial.rename(out)
        storage.sync_folder(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
