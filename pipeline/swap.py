"""The tables of a new dataset take the place of an old one's, which stand until the new ones are whole.

They are written into a folder of the build's own, on the disk of the dataset. Its `facevid.json`, written last, says
that they are whole; from then on the change is made whatever happens: a build that is killed in the middle of it is
taken up by the next. Files are renamed, so it takes moments, in which the old `facevid.json` stands: `facevid.open`
gives the old dataset or the new one, or says that sizes differ; whoever has a shard open reads on in the old one.
"""

import errno
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from facevid import storage
from facevid.description import DESCRIPTION_FILE, FACE_MODEL_FILE, DatasetDescription, DatasetError
from facevid.release.card import CARD_FILE
from facevid.release.croissant import CROISSANT_FILE
from facevid.release.documents import is_own_card
from facevid.schema import TABLES
from facevid.shards import ShardInfo
from pipeline.job import state_folder

CONTENT_FILE = "assembled.json"
"""In the state folder: from what the tables of the dataset were made; see `assemble.ContentKey`."""

_SHARD_FILE = re.compile(r"part-\d{5}-of-\d{5}\.parquet")


def new_tables(out: Path) -> Path:
    """The folder in which the tables of a dataset are written until they are whole."""
    return state_folder(out) / "tables"


def drop_new_tables(out: Path) -> None:
    """Remove what has come of new tables, whole or not."""
    # Its description first: what is removed in part must not be taken for whole.
    storage.remove(new_tables(out) / DESCRIPTION_FILE)
    shutil.rmtree(new_tables(out), ignore_errors=True)


def settle_tables(out: Path) -> None:
    """What the builds before left: whole tables take the place of the old ones, others are removed.

    Whoever calls it holds the lock of the output.
    """
    for folder in (out, *(out / table for table in TABLES)):
        storage.drop_partial_files(folder)  # a description, or a shard that was copied from another disk
    if not swap_tables(out):
        drop_new_tables(out)


def swap_tables(out: Path) -> bool:
    """Let whole new tables take the place of the old ones; shards whose content is the same stay as they are.

    Whoever calls it holds the lock of the output.

    Args:
        out: The dataset folder.

    Returns:
        Whether there were whole new tables.
    """
    new = new_tables(out)
    if (description := _description(new)) is None:
        return False
    old = _description(out)
    standing = {shard.path: shard for shard in old.shards} if old is not None else {}
    # All are looked at before the first is moved, as it takes a while and nobody can read the dataset afterwards.
    for shard in [each for each in description.shards if not _is_same(out, each, standing)]:
        _keep(out / shard.path, new)
        _move(new / shard.path, out / shard.path)
    listed = {shard.path for shard in description.shards}
    for table in TABLES:
        for name in storage.list_files(out / table):
            if _SHARD_FILE.fullmatch(name) and f"{table}/{name}" not in listed:
                _keep(out / table / name, new)
                storage.remove(out / table / name)
        if (out / table).is_dir():
            # Once for all of them: nobody can read the dataset for as long as this takes.
            storage.sync_folder(out / table)
    for name in (FACE_MODEL_FILE, CROISSANT_FILE, *([CARD_FILE] if is_own_card(str(out)) else [])):
        _move(new / name, out / name)
    # A copy: until all is done, the new tables' own says that there is something to take up.
    storage.write_bytes(out / DESCRIPTION_FILE, storage.read_bytes(new / DESCRIPTION_FILE))
    _move(new / CONTENT_FILE, state_folder(out) / CONTENT_FILE)
    drop_new_tables(out)
    return True


def standing_bytes(out: Path) -> int:
    """What the tables of the dataset in a folder take up; 0 where there is none."""
    description = _description(out)
    return sum(shard.bytes for shard in description.shards) if description is not None else 0


def _description(folder: Path) -> DatasetDescription | None:
    try:
        return DatasetDescription.from_json(storage.read_bytes(folder / DESCRIPTION_FILE).decode())
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, DatasetError):
        return None


def _is_same(out: Path, shard: ShardInfo, standing: Mapping[str, ShardInfo]) -> bool:
    there = out / shard.path
    if standing.get(shard.path) != shard or not there.is_file() or there.stat().st_size != shard.bytes:
        return False
    return storage.sha256(there) == shard.sha256  # the file may have been damaged since it was written


def _keep(old: Path, new: Path) -> None:
    # To give back the room of a large file takes seconds, for which nobody could read the dataset: that comes last.
    kept = new / "old" / old.parent.name / old.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # there is no old one, or it lies on another disk: then its room is given back at once
        os.link(old, kept, follow_symlinks=False)


def _move(source: Path, target: Path) -> None:
    if not source.exists():  # a build before this one has moved it
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Somebody has put this table on another disk.
        with source.open("rb") as begin, storage.atomic_file(target) as end:
            shutil.copyfileobj(begin, end, 1 << 20)
        source.unlink()
