"""Whether a dataset that somebody handed on is whole: every file as listed, no other, and values that can be."""

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from facevid import storage
from facevid.dataset import Dataset
from facevid.description import DESCRIPTION_FILE, FACE_MODEL_FILE, DatasetDescription, DatasetError
from facevid.release.card import CARD_FILE
from facevid.release.croissant import CROISSANT_FILE
from facevid.release.documents import is_own_card
from facevid.release.values import Pictures, value_faults
from facevid.schema import SCHEMA_VERSION, TABLES
from facevid.shards import ShardInfo

_OURS = frozenset({DESCRIPTION_FILE, FACE_MODEL_FILE, CARD_FILE, CROISSANT_FILE})
_OF_OTHERS = frozenset({".git", ".gitattributes", ".gitignore", ".cache", ".huggingface", "LICENSE", "LICENSE.txt"})
"""What a hub or its client puts beside a dataset, and the text of a licence."""


def read_described(root: str) -> Dataset:
    """A dataset as it describes itself, whatever became of its files.

    Raises:
        DatasetError: There is no description, or it cannot be read.
    """
    where = storage.join(root, DESCRIPTION_FILE)
    try:
        if not _is_file(where):
            raise DatasetError(f"{where} is no file")
        text = storage.read_bytes(where).decode()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError) as error:
        raise DatasetError(f"{root} is no FaceVid dataset: its {DESCRIPTION_FILE} is missing or no text") from error
    return Dataset(root=root, description=DatasetDescription.from_json(text, where=where))


def faults(
    dataset: Dataset, pictures: Pictures, *,
    on_bytes: Callable[[int], None] = lambda _: None, on_rows: Callable[[int], None] = lambda _: None,
) -> Iterator[str]:  # fmt: skip
    """Everything that is wrong, one sentence each, as it is found; nothing where the dataset is whole.

    Values are looked at where every file is the one that is listed. The card is not compared: whoever publishes a
    dataset may edit it.

    Args:
        dataset: See `read_described`.
        pictures: Which of the crops are decoded.
        on_bytes: Called with the bytes of each file that was read.
        on_rows: Called with the rows of frames and crops of which the values were looked at.
    """
    about = dataset.description
    sound = []
    for shard in about.shards:
        if (fault := _file_fault(dataset, shard)) is not None:
            yield fault
        else:
            sound.append(shard)
        on_bytes(shard.bytes)
    yield from _model_faults(dataset)
    yield from _strays(dataset)
    yield from _metadata_faults(dataset)
    if len(sound) == len(about.shards):
        try:
            yield from value_faults(dataset, pictures, on_rows=on_rows)
        except DatasetError as error:
            yield str(error)


def not_ours(release: Dataset) -> list[str]:
    """What stands in the folder of a release, on a local disk, that no release wrote, and the card if it was edited.

    Args:
        release: See `read_described`.

    Returns:
        Sorted paths within the folder; folders that are none of ours stand for all that is in them.
    """
    root, listed = Path(release.root), {shard.path for shard in release.description.shards}
    found = [] if is_own_card(release.root) else [CARD_FILE]
    for entry in root.iterdir():
        if entry.name in TABLES and entry.is_dir() and not entry.is_symlink():
            found += [path for each in entry.iterdir() if (path := f"{entry.name}/{each.name}") not in listed]
        elif entry.name not in _OURS or (
            entry.name == FACE_MODEL_FILE and not release.description.with_face_model  # somebody had to get it
        ):
            found.append(entry.name)
    return sorted(found)


def _file_fault(dataset: Dataset, shard: ShardInfo) -> str | None:
    path = storage.join(dataset.root, shard.path)
    try:
        if not _is_file(path):
            return f"{shard.path} is no file"
        if (size := storage.size_bytes(path)) != shard.bytes:
            return f"{shard.path} has {size:,} bytes, not {shard.bytes:,}: truncated, or another file"
        if (seen := storage.sha256(path)) != shard.sha256:
            return f"{shard.path} has sha256 {seen}, not {shard.sha256}: altered, or another file"
    except FileNotFoundError:
        return f"{shard.path} is missing"
    try:
        with storage.open_read(path) as file:
            found = pq.read_schema(file)
    except (DatasetError, pa.ArrowException) as error:
        return str(error)
    wanted = dataset.schema(shard.table)
    if odd := [field.name for field in found if field.name not in wanted.names]:
        return f"{shard.path} has columns that the schema does not: {', '.join(odd)}"
    lacking = [name for name in wanted.names if name not in found.names]
    if lacking and dataset.description.schema_version == SCHEMA_VERSION:
        return f"{shard.path} lacks columns: {', '.join(lacking)}"
    wrong = [field for field in found if field.type != wanted.field(field.name).type]
    if wrong:
        return f"{shard.path}: {wrong[0].name} is {wrong[0].type}, not {wanted.field(wrong[0].name).type}"
    try:
        return _null_fault(dataset, shard)
    except DatasetError as error:
        return str(error)


def _null_fault(dataset: Dataset, shard: ShardInfo) -> str | None:
    """The first column that lacks values and may not, mostly by what the file says of itself."""
    schema = dataset.schema(shard.table)
    with dataset.open_shard(shard) as file:
        for group in range(len(file.row_groups)):
            for name, nulls in file.null_counts(group).items():
                if schema.field(name).nullable:
                    continue
                if nulls is None:
                    file.read([name], row_group=group)  # which raises where it should
                elif nulls:
                    return f"{shard.path}: column {name} lacks values in {nulls:,} rows"
    return None


def _is_file(path: str) -> bool:
    """Whether it is a file, or a link to one; a pipe or a device would be read for ever.

    Raises:
        FileNotFoundError: There is nothing.
    """
    local = storage.local_file(path)
    return local is None or stat.S_ISREG(Path(local).stat().st_mode)


def _model_faults(dataset: Dataset) -> Iterator[str]:
    wanted = dataset.description.face_model_sha256
    try:
        if not _is_file(dataset.face_model_path):
            yield f"{FACE_MODEL_FILE} is no file"
            return
        seen = storage.sha256(dataset.face_model_path)
    except FileNotFoundError:
        if dataset.description.with_face_model:
            yield f"{FACE_MODEL_FILE} is missing"
        return
    if seen != wanted:
        yield f"{FACE_MODEL_FILE} has sha256 {seen}, not {wanted}: the coefficients mean nothing on it"


def _strays(dataset: Dataset) -> Iterator[str]:
    """Files that nobody lists: in the tables' folders, where readers take all there is; in a release, anywhere."""
    listed = {shard.path for shard in dataset.description.shards}
    local = storage.local_file(dataset.root)
    if local is None or not dataset.description.is_release:
        found = {f"{name}/{file}" for name in TABLES for file in storage.list_files(storage.join(dataset.root, name))}
        strays = found - listed
    else:
        strays = set()
        for folder, folders, files in os.walk(local):
            at = Path(folder).relative_to(local)
            if at == Path():
                folders[:] = [name for name in folders if name not in _OF_OTHERS]
                strays |= set(files) - _OURS - _OF_OTHERS
            else:
                strays |= {(at / name).as_posix() for name in files} - listed
    for path in sorted(strays):
        yield f"{path} is not listed in {DESCRIPTION_FILE}"


def _metadata_faults(dataset: Dataset) -> Iterator[str]:
    path = storage.join(dataset.root, CROISSANT_FILE)
    if not storage.exists(path):
        if dataset.description.is_release:
            yield f"{CROISSANT_FILE} is missing"
        return
    if not _is_file(path):
        yield f"{CROISSANT_FILE} is no file"
        return
    wanted = {shard.path: shard.sha256 for shard in dataset.description.shards}
    if dataset.description.with_face_model:
        wanted[FACE_MODEL_FILE] = dataset.description.face_model_sha256
    try:
        entries = json.loads(storage.read_bytes(path))["distribution"]
        listed = {entry["contentUrl"]: entry["sha256"] for entry in entries if "contentUrl" in entry}
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        yield f"{CROISSANT_FILE} cannot be read ({type(error).__name__}: {error})"
        return
    if listed != wanted:
        yield f"{CROISSANT_FILE} lists other files, or other hashes, than {DESCRIPTION_FILE}"
