"""A release: a new dataset folder with kept rows only, without pictures, paths, secrets, and what a build goes on with.

Streamed row group by row group, one shard after the other. The same dataset, rules and publication give the same bytes.
What every track says of its frames (`frames`, `first_frame`, `start_s`, ...) is said of those that go out; what the
fit found (`identity`, errors) is of all frames that were fitted.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from facevid import storage
from facevid.dataset import Dataset
from facevid.description import DESCRIPTION_FILE, FACE_MODEL_FILE, RELEASE_STEP, REMOVE, DatasetError, FunnelStep
from facevid.release.choice import (
    DENIED,
    LICENCE,
    OUT,
    Choice,
    Home,
    Key,
    Span,
    Tally,
    crops_out,
    frames_out,
    homes,
)
from facevid.release.contents import count_failures, read_contents
from facevid.release.documents import write_documents
from facevid.release.face_model import model_goes_out
from facevid.release.private import extra_columns, shared_extra, shared_text, shared_url
from facevid.release.publication import Publication
from facevid.release.whole_folder import refuse, whole_folder
from facevid.shards import ShardInfo, write_shard, write_shard_batches

_MOST_SHOWN, _LONGEST_SHOWN = 20, 80
_TEXTS = ("title", "uploader", "licence", "attribution", "format_id")
Progress = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is, and of how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOptions:
    """What goes out.

    Attributes:
        choice: Which tracks.
        with_crops: Pictures of the faces, too.
        with_model: The face model, too, whatever its licence; see `model_goes_out`.
        extra: Which of the manifest's further columns.
        publication: What is said of it.
    """

    choice: Choice = field(default_factory=Choice)
    with_crops: bool = False
    with_model: bool = False
    extra: tuple[str, ...] = ()
    publication: Publication = field(default_factory=Publication)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that go out."""
        return ("frames", "tracks", "crops") if self.with_crops else ("frames", "tracks")


def write_release(
    dataset: Dataset,
    to: Path,
    options: ReleaseOptions,
    *,
    progress: Progress,
    require_replaceable: Callable[[Path], None] = refuse,
) -> Tally:
    """Write a release.

    Args:
        dataset: A whole dataset. Its files are compared with their hashes before anything is written.
        to: The folder to be.
        options: What goes out.
        progress: Is told how far it is.
        require_replaceable: Raises where a folder that stands there must stay, see `whole_folder`.

    Raises:
        DatasetError: A file is missing or altered, the dataset changed meanwhile, or an earlier version wrote it.
        ValueError: Nothing would go out, or no track has a licence, or a further column, that was named.
        OSError: The folder cannot be written, or another process is writing it.
    """
    before = _described(dataset)
    check_files(dataset, options.tables, progress=progress)
    options.choice.require_known(read_contents(dataset).licences)
    total = sum(shard.rows for shard in dataset.description.shards if shard.table in options.tables[::2])
    done, tally = 0, Tally()

    def on_rows(rows: int) -> None:
        nonlocal done
        done += rows
        progress("write", done, total)

    with whole_folder(to, require_replaceable=require_replaceable) as folder:
        written: list[ShardInfo] = []
        for home in homes(dataset, options.tables):
            written += _write_home(dataset, home, str(folder), options, tally, on_rows=on_rows)
        require_some(dataset, tally)
        require_extra(options.extra, tally)
        if options.with_crops and all(shard.table != "crops" for shard in written):
            raise DatasetError(f"{dataset.root} has no crops of what goes out; release it without them")
        if with_model := model_goes_out(dataset.description, with_model=options.with_model):
            storage.write_bytes(folder / FACE_MODEL_FILE, dataset.face_model_bytes())
        description = replace(
            dataset.description,
            funnel=_funnel(dataset.description.funnel, tally),
            failures={"/".join(kind): count for kind, count in sorted(count_failures(dataset).items())},
            publication=options.publication.over(dataset.description.publication).to_plain(),
            with_face_model=with_model,
            shards=tuple(sorted(written, key=lambda shard: (options.tables.index(shard.table), shard.path))),
        )
        write_documents(Dataset(root=str(folder), description=description))
        if _described(dataset) != before:
            raise DatasetError(f"{dataset.root} was built anew meanwhile; release it again")
        storage.write_bytes(folder / DESCRIPTION_FILE, description.to_json().encode())
    return tally


def check_files(dataset: Dataset, tables: Sequence[str], *, progress: Progress) -> None:
    """Compare the files of some tables, and the face model, with their hashes.

    Raises:
        DatasetError: The first that is missing or altered.
    """
    shards = [shard for shard in dataset.description.shards if shard.table in tables]
    total, done = sum(shard.bytes for shard in shards), 0
    for shard in shards:
        path = storage.join(dataset.root, shard.path)
        if storage.sha256(path) != shard.sha256:
            raise DatasetError(f"{path} is not the file that {DESCRIPTION_FILE} lists; {REMOVE}")
        done += shard.bytes
        progress("check", done, total)
    if not dataset.description.with_face_model and not storage.exists(dataset.face_model_path):
        return
    if hashlib.sha256(dataset.face_model_bytes()).hexdigest() != dataset.description.face_model_sha256:
        raise DatasetError(f"{dataset.face_model_path} is not the face model of the dataset; {REMOVE}")


def require_some(dataset: Dataset, tally: Tally) -> None:
    """Refuse a release of nothing.

    Raises:
        ValueError: Saying what keeps all of it back.
    """
    if not tally.frames[OUT]:
        raise ValueError(f"nothing of {dataset.root} would go out: {tally.kept_back() or 'no frame was kept'}")


def require_extra(names: Sequence[str], tally: Tally) -> None:
    """Refuse a further column of the manifest that no track has: whoever named it wants it in the release.

    Raises:
        ValueError: Naming it, and what there is.
    """
    for name in names:
        if name not in tally.extra:
            there = sorted(tally.extra)[:_MOST_SHOWN]
            known = ", ".join(repr(each[:_LONGEST_SHOWN]) for each in there) or "none at all"
            raise ValueError(f"extra={name!r}: no track has this column of the manifest; there are: {known}")


def track_fates(dataset: Dataset, home: Home, choice: Choice, tally: Tally) -> tuple[pa.Table, dict[Key, str]]:
    """The rows of the tracks of one shard, and what becomes of each.

    Raises:
        DatasetError: The shard is damaged, or fitted with another face model than the dataset's.
    """
    schema = dataset.schema("tracks")
    shard = home.shards.get("tracks")
    if shard is None:
        return schema.empty_table(), {}
    with dataset.open_shard(shard) as file:
        rows = file.read(schema.names)
    fates = {}
    for row in rows.select(["video_id", "track", "kept", "url", "subject_id", "licence", "extra"]).to_pylist():
        tally.extra.update(extra_columns(row["extra"]))
        fates[row["video_id"], row["track"]] = fate = choice.fate(row)
        tally.tracks[fate] += 1
    return rows, fates


def _write_home(
    dataset: Dataset, home: Home, root: str, options: ReleaseOptions, tally: Tally, *, on_rows: Callable[[int], None]
) -> Iterator[ShardInfo]:
    rows, fates = track_fates(dataset, home, options.choice, tally)
    spans: dict[Key, Span] = {}
    if (shard := home.shards.get("frames")) is not None:
        names = dataset.schema("frames").names
        found = frames_out(dataset, shard, fates, spans, tally, columns=names, on_rows=on_rows)
        yield from _write(dataset, root, "frames", home, found)
    if spans:
        tally.videos.update(video_id for video_id, _ in spans)
        table = _tracks_out(rows, spans, options.extra)
        yield write_shard(root, "tracks", home.number, home.count, table.cast(dataset.schema("tracks")))
    if options.with_crops and (shard := home.shards.get("crops")) is not None:
        yield from _write(dataset, root, "crops", home, crops_out(dataset, shard, spans, on_rows=on_rows))


def _write(dataset: Dataset, root: str, name: str, home: Home, tables: Iterator[pa.Table]) -> Iterable[ShardInfo]:
    first = next(tables, None)
    if first is None:  # shards without rows are not written
        return ()
    batches = (batch for table in itertools.chain([first], tables) for batch in table.to_batches())
    return (write_shard_batches(root, name, home.number, home.count, schema=dataset.schema(name), batches=batches),)


def _tracks_out(rows: pa.Table, spans: Mapping[Key, Span], extra: Sequence[str]) -> pa.Table:
    keys = list(zip(rows["video_id"].to_pylist(), rows["track"].to_pylist(), strict=True))
    chosen = rows.filter(pa.array([key in spans for key in keys], pa.bool_()))
    own = [spans[key] for key in keys if key in spans]
    new = {
        "frames": [span.count for span in own],
        "first_frame": [span.first[0] for span in own],
        "last_frame": [span.last[0] for span in own],
        "start_s": [span.first[1] for span in own],
        "end_s": [span.last[1] for span in own],
        "url": [shared_url(url) for url in chosen["url"].to_pylist()],
        "extra": [shared_extra(text, extra) for text in chosen["extra"].to_pylist()],
        **{name: [shared_text(text) for text in chosen[name].to_pylist()] for name in _TEXTS},
    }
    for name, values in new.items():
        place = chosen.schema.get_field_index(name)
        chosen = chosen.set_column(place, chosen.schema.field(place), pa.array(values, chosen.schema.field(place).type))
    return chosen


def _funnel(steps: tuple[FunnelStep, ...], tally: Tally) -> tuple[FunnelStep, ...]:
    """The build's steps, and what of the kept frames went out; a release of a release adds up with the one before."""
    left = {name: tally.frames[name] for name in (DENIED, LICENCE) if tally.frames[name]}
    reasons = Counter(left)
    for step in steps:
        if step.step == RELEASE_STEP:
            reasons.update(step.reasons)
    gone = reasons.total()
    step = FunnelStep(
        step=RELEASE_STEP, unit="frames", entered=tally.frames[OUT] + gone, ok=tally.frames[OUT], failed=0,
        filtered=gone, reasons=dict(sorted(reasons.items())),
    )  # fmt: skip
    return (*(each for each in steps if each.step != RELEASE_STEP), step)


def _described(dataset: Dataset) -> bytes:
    return storage.read_bytes(storage.join(dataset.root, DESCRIPTION_FILE))
