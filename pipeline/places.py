"""Where a build reads and writes, looked at before it begins: a mistake costs a second, not the night."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from facevid.description import DESCRIPTION_FILE, DatasetDescription, DatasetError
from pipeline.config import BuildOptions, FetchOptions
from pipeline.download.cookies import read_cookies
from pipeline.egress.lists import SourceList
from pipeline.egress.service import egress_rules, find_egress
from pipeline.manifest import ManifestRow, is_remote

# Two letters at least; `Path` makes one slash of the two.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def check_places(out: Path, options: BuildOptions) -> None:
    """Refuse folders that cannot be written or hold a release, and a face model that is not there.

    Args:
        out: The dataset folder, as the user gave it.
        options: All options, likewise.

    Raises:
        ValueError: Naming the option and its value.
    """
    _check_folder("out", out)
    if _holds_release(out):
        raise ValueError(f"out={str(out)!r} holds a release, which a build would replace; name another folder")
    if options.store is not None:
        _check_folder("store", options.store)
    if options.model is not None and not options.model.is_file():
        raise ValueError(f"model={str(options.model)!r} is no file; without it, the model is FaceVid-CC0")


def _holds_release(out: Path) -> bool:
    try:
        return DatasetDescription.from_json((out / DESCRIPTION_FILE).read_text("utf-8")).is_release
    except (FileNotFoundError, UnicodeDecodeError, DatasetError):
        return False  # a damaged description is one that the build replaces


def check_rows(rows: Sequence[ManifestRow], options: FetchOptions) -> None:
    """Refuse a manifest of local files alone where they are not permitted: each row would fail, one after the other.

    Args:
        rows: The good rows.
        options: Options of acquisition.

    Raises:
        ValueError: Saying which option permits them.
    """
    if rows and not options.allow_local and not any(is_remote(row.url) for row in rows):
        raise ValueError(
            f"allow_local=False, but all {len(rows)} rows of the manifest are paths of local files, such as "
            f"{rows[0].url!r}; --allow-local permits them"
        )


def check_ways_out(options: FetchOptions, state: Path) -> None:
    """Refuse cookies, lists and proxies that a build would refuse when it begins; for a dry run, which begins nothing.

    Args:
        options: Options of acquisition.
        state: The build's state folder.

    Raises:
        ValueError: An option that cannot be used.
    """
    if options.cookies is not None:
        read_cookies(options.cookies)
    for path in (options.allow_list, options.deny_list):
        if path is not None:
            SourceList.read(path)
    if options.egress is not None:
        find_egress(options, state)
    else:
        egress_rules(options)


def free_bytes(folder: Path) -> int:
    """How much room there is for a folder that may not exist yet."""
    return shutil.disk_usage(_nearest(folder)).free


def is_there(path: Path) -> bool:
    """Whether a file or folder is there; one whose name no disk could hold is not."""
    try:
        return path.exists()
    except OSError:
        return False


def _check_folder(name: str, folder: Path) -> None:
    if _ADDRESS.match(str(folder)):
        raise ValueError(
            f"{name}={str(folder)!r} is an address, but a build writes to a folder of this machine; "
            "build there and copy the dataset"
        )
    there = _nearest(folder)
    if not there.is_dir():
        raise ValueError(f"{name}={str(folder)!r} cannot be a folder: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{name}={str(folder)!r} cannot be written: {there} is read-only for this user")


def _nearest(folder: Path) -> Path:
    # The folder itself, or the first of those above it that is there.
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists() or each.is_symlink())
