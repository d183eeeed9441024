"""Manifests of people who have no table: a text file with an address or path on each line, or a folder of videos.

Rows get their ids from what they name, so that they keep them when the list grows, is sorted, or is written anew.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from facevid.description import DESCRIPTION_FILE
from facevid.public_urls import public_url
from facevid.video_address import video_address
from pipeline.manifest import ManifestError
from pipeline.manifest_columns import REQUIRED_COLUMNS

VIDEO_SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts",
    ".webm", ".wmv",
})  # fmt: skip
"""What a video file in a folder is known by; a list may name files with any suffix."""

_LONGEST_LINE_BYTES = 1 << 20
_LONGEST_WORDS = 64
_HASH_DIGITS = 8


def listed_addresses(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file, one address or path on each.

    Blank lines, and those that begin with `#`, are left out, and so is what stood on a line before.

    Args:
        path: The file, UTF-8.

    Yields:
        The line's number, from 1, and what it says; bytes that are no UTF-8 as surrogates.

    Raises:
        ManifestError: A line has no end, or the file is a table.
    """
    seen: set[str] = set()
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        number = 0
        while line := file.readline(_LONGEST_LINE_BYTES + 1):
            number += 1
            if len(line) > _LONGEST_LINE_BYTES:
                raise ManifestError(f"{path}: line {number} has more than {_LONGEST_LINE_BYTES} characters")
            url = line.strip()
            if not seen and _begins_a_table(url):
                suffix = ".jsonl" if url.startswith("{") else ".csv"
                raise ManifestError(f"{path} begins as a table does: rename it to {suffix}")
            if url and not url.startswith("#") and url not in seen:
                seen.add(url)
                yield number, url


def _begins_a_table(line: str) -> bool:
    # An address may have parameters of the columns' names.
    names = set(re.split(r"[^A-Za-z0-9_]+", line))
    return names.issuperset(REQUIRED_COLUMNS) and ("://" not in line or line.startswith("{"))


def videos_in(folder: Path) -> Iterator[str]:
    """The video files in a folder and those below it, but for hidden ones and datasets of ours.

    Links to files are taken, links to folders are not followed: they may lead in a circle, or to the same videos twice.

    Args:
        folder: The folder.

    Yields:
        The path in the folder, in the order of the names; bytes that are no UTF-8 as surrogates.

    Raises:
        ManifestError: There are none.
        OSError: It cannot be read.
    """
    found: list[str] = []

    def trouble(error: OSError) -> None:
        raise error

    for at, folders, files in os.walk(folder, onerror=trouble):
        here = Path(at)
        folders[:] = [name for name in folders if name[0] != "." and not (here / name / DESCRIPTION_FILE).exists()]
        found += [
            (here / name).relative_to(folder).as_posix()
            for name in files
            if name[0] != "." and Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
    if not found:
        known = ", ".join(sorted(VIDEO_SUFFIXES))
        raise ManifestError(
            f"{folder} is a folder without videos; they are known by their suffix: {known}; "
            "links to other folders are not followed"
        )
    for name in sorted(found):
        yield f"./{name}" if ":" in name else name  # else it might be taken for an address


def id_of(url: str) -> str:
    """An id for a video that has none: words of its address or path, for people, and a hash, to tell it from others.

    Secrets of an address are not looked at, nor how it is spelled: a link that is signed anew keeps its id.

    Args:
        url: The address or path.
    """
    public = public_url(video_address(url))
    words = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*", "", public)
    if "?" not in words:
        words = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", words)  # of the file
    plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9]+", "-", plain)[-_LONGEST_WORDS:].strip("-") or "video"
    return f"{slug}-{hashlib.sha256(public.encode('utf-8', 'surrogateescape')).hexdigest()[:_HASH_DIGITS]}"
