"""`facevid purge`: removes from the store what was kept for denied rows, and what may go to make room.

Everything in the store is named by hashes, so nobody could find it by hand. What a row needs is known from the plans of
all outputs that use the store; what came of a video that no row names under the options of now is known from its own
record. Each thing goes whole, by one rename; what tells whose things are goes last. Stopped anywhere, run it again.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from facevid.description import DatasetError
from pipeline.earlier_rows import forget_earlier_rows
from pipeline.fetched_video import Origin, failed_address, read_origin
from pipeline.job import index_key, state_folder
from pipeline.manifest import ManifestRow
from pipeline.needs import Needs, key_bytes, take_needs
from pipeline.output_lock import build_lock
from pipeline.plan import Plan, read_plan
from pipeline.scratch import scratch_leftovers
from pipeline.source_lists import changed_lists
from pipeline.store import Store, source_in
from pipeline.store_users import alone_in_store, forget_output, outputs_of, require_there
from pipeline.tell import LookTeller

Group = Literal["denied", "done_videos", "unreferenced"]
GROUPS: tuple[Group, ...] = ("denied", "done_videos", "unreferenced")

# What tells whose the others are comes last.
_KINDS = ("fit", "faces", "index", "videos", "partial", "forgotten", "fetch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing in the store.

    Attributes:
        kind: The folder of the store.
        path: Where it lies.
        bytes: What it takes up.
    """

    kind: str
    path: Path
    bytes: int


@dataclass(slots=True)
class Survey:
    """What may go.

    Attributes:
        store: The store's folder.
        items: What belongs to each group; what belongs to several is in the first of them.
        leftovers: What processes that are no more were writing; it goes with any group.
        denied_rows: Rows that are denied by list, those that left the manifest included.
        unused_entries: Which entries of the deny list name no row, as a sentence; empty where all do.
        earlier: Denied rows as earlier manifests had them.
        needers: Other rows that need what denied ones have: why not everything of these may go.
        nameless: Results that no row needs and that do not say from which video they are.
    """

    store: Path
    items: dict[Group, list[Item]] = field(default_factory=lambda: {group: [] for group in GROUPS})
    leftovers: tuple[Item, ...] = ()
    denied_rows: int = 0
    unused_entries: str = ""
    earlier: tuple[ManifestRow, ...] = ()
    needers: tuple[str, ...] = ()
    nameless: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What a purge did, or would do.

    Attributes:
        survey: What may go.
        chosen: The groups that went.
        stayed: Something of a denied row is still in the store, or nobody can tell.
    """

    survey: Survey
    chosen: frozenset[Group]

    @property
    def stayed(self) -> bool:
        """Whether something of a denied row is still there, or may be."""
        unknown = self.survey.nameless > 0 and "unreferenced" not in self.chosen
        return "denied" in self.chosen and (bool(self.survey.needers) or (unknown and self.survey.denied_rows > 0))


def purge(
    out: Path,
    chosen: Collection[Group],
    *,
    also: Sequence[Path] = (),
    gone: Sequence[Path] = (),
    dry_run: bool = False,
    report: Callable[[str], None],
) -> Purged:
    """Remove from the store of a build what may go.

    Args:
        out: The dataset folder.
        chosen: Which groups.
        also: Further outputs that use the store, where it does not know of them.
        gone: Outputs that are gone for good, or are elsewhere now.
        dry_run: Only look.
        report: Receives progress lines.

    Raises:
        DatasetError: No build was begun there, or in another output that uses the store; or a record is damaged; or the
            lists of what is denied have changed since the build.
        StoreBusyError: A build is at work on one of them.
    """
    mine = _plan(out.absolute())
    if "denied" in chosen and (changed := changed_lists(mine.job.options.fetch, mine.job.state)):
        raise DatasetError(
            f"{', '.join(map(str, changed))} has changed since the build of {out}: run the build again, which takes "
            "who is denied out of the tables, and then this"
        )
    store = Store(mine.job.store_folder)
    if not store.root.is_dir():
        return Purged(survey=Survey(store=store.root), chosen=frozenset(chosen))
    lost = {path.absolute() for path in gone}
    others = (outputs_of(store.root) | {path.absolute() for path in also}) - lost - {mine.job.out}
    require_there(store.root, others)
    with ExitStack() as locks:
        locks.enter_context(alone_in_store(store.root))
        for each in sorted({mine.job.out, *others}):
            locks.enter_context(build_lock(state_folder(each)))
        plans = [plan for plan in map(_plan, sorted(others)) if _same_folder(plan.job.store_folder, store.root)]
        leftovers = tuple(Item(kind="tmp", path=path, bytes=_size(path)) for path in scratch_leftovers(store.root))
        if not dry_run:
            store.sweep()
        survey = _survey(mine, plans, store, report)
        survey.leftovers = leftovers
        if not dry_run:
            _remove([item for group in GROUPS if group in chosen for item in survey.items[group]], store, report)
            for path in lost:
                forget_output(store.root, path)
        done = Purged(survey=survey, chosen=frozenset(chosen))
        if "denied" in chosen and not dry_run and not done.stayed:
            forget_earlier_rows(mine.job.out, survey.earlier)
    return done


def _plan(out: Path) -> Plan:
    try:
        plan = read_plan(out, whole=True)
    except FileNotFoundError as error:
        raise DatasetError(f"no build was begun in {out}, so nobody knows what it needs") from error
    # The folder may have been moved since.
    return replace(plan, job=replace(plan.job, out=out))


def _same_folder(one: Path, other: Path) -> bool:
    return one.is_dir() and other.is_dir() and one.samefile(other)


def _survey(mine: Plan, others: Sequence[Plan], store: Store, report: Callable[[str], None]) -> Survey:
    rows = LookTeller("looking at rows", sum(len(plan.manifest.rows) for plan in (mine, *others)), report)
    needs = take_needs(mine, others, store, on_row=rows.seen)
    found = Survey(
        store=store.root, denied_rows=needs.denied_rows, earlier=tuple(needs.earlier),
        unused_entries=needs.unused_entries,
        needers=tuple(sorted(needs.needers.values())),
    )  # fmt: skip
    _find_more_of_denied(needs, store)
    denied_copies = {key_bytes(index_key(sha256)) for sha256 in needs.denied.videos}
    copies_to_read = {key_bytes(index_key(sha256)) for sha256 in needs.to_read}
    folders = [(kind, prefix) for kind in _KINDS for prefix in _entries(store.root / kind)]
    looked = LookTeller("looking through the store", len(folders), report, unit="folders")
    for kind, prefix in folders:
        for path in _entries(prefix):
            if needs.needed.has(kind, path.name):
                done = (kind == "videos" and path.name not in needs.to_read) or (
                    kind == "index" and key_bytes(path.name) not in copies_to_read
                )
                group: Group | None = "done_videos" if done else None
            elif needs.denied.has(kind, path.name) or (kind == "index" and key_bytes(path.name) in denied_copies):
                group = "denied"
            else:
                group = "denied" if _is_of_denied(kind, path, needs) else "unreferenced"
                found.nameless += kind in {"faces", "fit"} and not source_in(path) and not _is_failure(path)
            if group is not None:
                found.items[group].append(Item(kind=kind, path=path, bytes=_size(path)))
        looked.seen()
    return found


def _find_more_of_denied(needs: Needs, store: Store) -> None:
    """Videos of denied rows that other options fetched, or that were other bytes then."""
    for kind in ("fetch", "forgotten"):
        for prefix in _entries(store.root / kind):
            for path in _entries(prefix):
                origin = None if needs.needed.has(kind, path.name) else read_origin(path)
                if origin is not None and _is_theirs(origin, needs):
                    needs.denied.videos.add(origin.sha256)


def _is_theirs(origin: Origin, needs: Needs) -> bool:
    return origin.address in needs.addresses or origin.local_path in needs.local_paths


def _is_of_denied(kind: str, path: Path, needs: Needs) -> bool:
    if kind in {"fetch", "forgotten"}:
        if (origin := read_origin(path)) is not None:
            return origin.sha256 in needs.denied.videos
        if failed_address(path) in needs.addresses:
            return True
    return kind in {"faces", "fit", "forgotten"} and source_in(path) in needs.denied.videos


def _is_failure(path: Path) -> bool:
    return (path / "failure.json").exists()


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum((Path(at) / name).stat().st_size for at, _, files in os.walk(path) for name in files)


def _remove(items: Sequence[Item], store: Store, report: Callable[[str], None]) -> None:
    told = LookTeller("removing", len(items), report, unit="things")
    with store.scratch() as trash:
        for item in sorted(items, key=lambda item: _KINDS.index(item.kind)):
            # Half a result would be taken for a damaged one.
            gone = trash / f"{item.kind}-{item.path.name}"
            item.path.rename(gone)
            if gone.is_dir():
                shutil.rmtree(gone)
            else:
                gone.unlink()
            told.seen()
