"""Where files live: local folders, buckets (s3, gs) and, for tests, memory; one small layer over fsspec.

A file appears whole or not at all. On a local disk it is written under a temporary name in the same
folder, synced, renamed, and the folder synced; on a bucket the object appears when its upload, from a
temporary local file, ends.
"""

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

PROTOCOLS = ("file", "s3", "gs", "memory")
_PARTIAL = ".partial-"


def join(root: str | Path, *parts: str) -> str:
    """The address of something below `root`, which is a local path or an `s3://`, `gs://` or `memory://` address.

    Raises:
        ValueError: A part would leave the root.
    """
    for part in parts:
        if part.startswith("/") or ".." in part.split("/"):
            raise ValueError(f"part={part!r} would leave root={str(root)!r}")
    return "/".join([str(root).rstrip("/") or "/", *parts])


def read_bytes(path: str | Path) -> bytes:
    """A whole file.

    Raises:
        FileNotFoundError: There is no such file.
    """
    system, inside = _resolve(path)
    data: bytes = system.cat_file(inside)
    return data


def open_read(path: str | Path) -> Any:
    """A binary file (one of fsspec's, which share no type) to read from, with random access; the caller closes it.

    Raises:
        FileNotFoundError: There is no such file.
    """
    system, inside = _resolve(path)
    return system.open(inside, "rb")


def local_file(path: str | Path) -> str | None:
    """The path of a file on this machine's disks, for readers that open it themselves; None for one in a bucket."""
    system, inside = _resolve(path)
    return inside if isinstance(system, LocalFileSystem) else None


def exists(path: str | Path) -> bool:
    """Whether a file or folder is there."""
    system, inside = _resolve(path)
    return bool(system.exists(inside))


def size_bytes(path: str | Path) -> int:
    """Size of a file.

    Raises:
        FileNotFoundError: There is no such file.
    """
    system, inside = _resolve(path)
    return int(system.info(inside)["size"])


def list_files(folder: str | Path) -> tuple[str, ...]:
    """Names of the files directly in a folder, sorted, without those still being written; () if there is no folder."""
    system, inside = _resolve(folder)
    system.invalidate_cache()
    try:
        entries = system.ls(inside, detail=True)
    except FileNotFoundError:
        return ()
    names = (entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file")
    return tuple(sorted(name for name in names if name and not name.startswith(_PARTIAL)))


def sha256(path: str | Path) -> str:
    """Hash of a file, as 64 hexadecimal digits.

    Raises:
        FileNotFoundError: There is no such file.
    """
    with open_read(path) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_bytes(path: str | Path, data: bytes, *, private: bool = False) -> None:
    """Write a whole file, atomically. Folders on the way are made.

    Args:
        path: The file.
        data: Its content.
        private: On a local disk, nobody but this user may read it.
    """
    with atomic_file(path, private=private) as file:
        file.write(data)


def remove(path: str | Path) -> None:
    """Remove a file; one that is not there is no error."""
    system, inside = _resolve(path)
    if system.exists(inside):
        system.rm_file(inside)


def drop_partial_files(folder: Path) -> None:
    """Remove what writers that were killed left directly in a local folder; nobody may be writing there."""
    for left in folder.glob(f"{_PARTIAL}*"):
        if not left.is_dir():
            left.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: str | Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """A file to write to, which appears under its name when the block ends well, and never if it raises.

    Args:
        path: The file.
        private: On a local disk, nobody but this user may read it.
    """
    system, inside = _resolve(path)
    if isinstance(system, LocalFileSystem):
        with _atomic_local(Path(inside), private=private) as local:
            yield local
        return
    # Not every file system of fsspec can take back a half-written object; a local file can be dropped.
    with tempfile.NamedTemporaryFile(prefix="facevid-") as local_copy:
        yield local_copy
        local_copy.flush()
        system.put_file(local_copy.name, inside)


@contextmanager
def _atomic_local(target: Path, *, private: bool) -> Iterator[IO[bytes]]:
    target.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own per writer: two that write the same file do not disturb each other, the last one wins.
    partial = target.parent / f"{_PARTIAL}{secrets.token_hex(8)}"
    try:
        with open(partial, "xb", opener=private_opener if private else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def private_opener(path: str, flags: int) -> int:
    """For `open`: a file that it makes may be read and written by this user alone."""
    return os.open(path, flags, 0o600)


def make_private_folder(folder: Path) -> None:
    """Make a local folder that nobody but this user may look into; one that is there stays as its owner made it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside a local folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _resolve(path: str | Path) -> tuple[Any, str]:
    text = str(path)
    protocol = text.split("://", 1)[0] if "://" in text else "file"
    # fsspec also chains ("zip::") and opens plain web addresses; neither is ever meant here.
    if protocol not in PROTOCOLS or "::" in text.split("://", maxsplit=1)[0]:
        raise ValueError(f"path={text!r} is neither a local path nor one of {', '.join(p + '://' for p in PROTOCOLS)}")
    try:
        system, inside = fsspec.url_to_fs(text)
    except ImportError as error:  # fsspec brings no client for buckets
        raise ValueError(f"path={text!r} needs a package that is not installed: {error}") from error
    return system, inside
