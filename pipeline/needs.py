"""What the rows of builds need of a store, and what was kept there for rows that are denied."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pipeline.earlier_rows import denied_earlier_rows
from pipeline.fetched_video import address_hash, read_fetched
from pipeline.job import Job, fetch_keys, index_key, limited_key, partial_key
from pipeline.manifest import ManifestRow, is_remote, local_path
from pipeline.plan import Plan
from pipeline.row_state import row_state
from pipeline.source_lists import kept_lists
from pipeline.store import Store


@dataclass(slots=True)
class Share:
    """Some of what a store holds, by name.

    Attributes:
        results: Stage and key of results, of failures too.
        videos: sha256 of videos; their copies with an index belong to them.
        partial: Keys of downloads that are not whole.
    """

    results: set[tuple[str, bytes]] = field(default_factory=set)
    videos: set[str] = field(default_factory=set)
    partial: set[str] = field(default_factory=set)

    def has(self, kind: str, name: str) -> bool:
        """Whether something belongs to it.

        Args:
            kind: The folder of the store.
            name: What it is called there.
        """
        if kind == "videos":
            return name in self.videos
        if kind == "partial":
            return name in self.partial
        key, _, stage = name.partition("-") if kind == "forgotten" else (name, "", kind)
        return (stage, key_bytes(key)) in self.results


@dataclass(slots=True)
class Needs:
    """What rows need, and what is of denied ones.

    Attributes:
        needed: All that belongs to rows that are not denied.
        to_read: sha256 of the videos that a row has yet to be searched in, or may be when it is tried again.
        denied: What was kept for denied rows, under the build's options.
        denied_rows: How many they are.
        unused_entries: Which entries of the deny list name no row, as `ListUse` says it.
        earlier: Denied rows as earlier manifests had them.
        addresses: `address_hash` of theirs.
        local_paths: Their local files.
        needers: Of a sha256 that a denied row has, the first other row that needs it, and its output.
    """

    needed: Share = field(default_factory=Share)
    to_read: set[str] = field(default_factory=set)
    denied: Share = field(default_factory=Share)
    denied_rows: int = 0
    unused_entries: str = ""
    earlier: list[ManifestRow] = field(default_factory=list)
    addresses: set[str] = field(default_factory=set)
    local_paths: set[str] = field(default_factory=set)
    needers: dict[str, str] = field(default_factory=dict)


def take_needs(mine: Plan, others: Iterable[Plan], store: Store, *, on_row: Callable[[], None]) -> Needs:
    """Look at every row.

    Args:
        mine: The build whose denied rows are asked for.
        others: Further builds that use the store.
        store: The store.
        on_row: Called after each row.
    """
    needs = Needs()

    lists = kept_lists(mine.job.options.fetch, mine.job.state)
    use = lists.deny_use()
    denied = []
    for row in mine.manifest.rows:
        use.see(row.url, row.video_id, row.subject_id)
        if lists.denial(row) is not None:
            denied.append(row)
    names = {row.video_id for row in denied}
    needs.earlier = list(denied_earlier_rows(mine.job, mine.job.out, names))
    needs.denied_rows = len(names.union(row.video_id for row in needs.earlier))
    own = mine.job.without_lists
    for row in (*denied, *needs.earlier):
        use.see(row.url, row.video_id, row.subject_id)
        _add(row, own, store, needs.denied)
        if is_remote(row.url):
            needs.addresses.add(address_hash(row.url))
        else:
            needs.local_paths.add(str(local_path(row.url, mine.job.manifest_folder)))
    needs.unused_entries = use.unused_text("row of the manifest")
    for plan in (mine, *others):
        lists, own = kept_lists(plan.job.options.fetch, plan.job.state), plan.job.without_lists
        for row in plan.manifest.rows:
            if lists.denial(row) is None:
                sha256 = _add(row, own, store, needs.needed, needs.to_read)
                if sha256 in needs.denied.videos:
                    needs.needers.setdefault(sha256, f"{row.video_id} of {plan.job.out}")
            on_row()
    return needs


def key_bytes(key: str) -> bytes:
    """A key in half the room; there may be millions. One that is none of ours stays what it is."""
    try:
        return bytes.fromhex(key)
    except ValueError:
        return key.encode("utf-8", "surrogateescape")


def _add(row: ManifestRow, job: Job, store: Store, share: Share, to_read: set[str] | None = None) -> str:
    """Add what belongs to a row; gives the sha256 of its video, empty where it has none.

    The job is one without lists: what is denied has results all the same.
    """
    _, failed = fetch_keys(row, job)
    state = row_state(row, job, store)
    keys = [("fetch", state.fetch_key), ("fetch", failed), ("fetch", limited_key(failed, job))]
    for span in state.spans:
        keys += [("faces", span.faces_key), ("faces", limited_key(span.faces_key, job)),
                 ("fit", span.fit_key), ("fit", limited_key(span.fit_key, job))]  # fmt: skip
    if is_remote(row.url):
        share.partial.add(partial_key(row.url, job.options.fetch))
    sha256 = ""
    # One that has become too large is refused, and there all the same.
    fetched = state.fetched
    if fetched is None and store.find("fetch", state.fetch_key) is not None:
        fetched = read_fetched(store, state.fetch_key, url=row.url)
    if fetched is not None:
        sha256 = fetched.sha256
        share.videos.add(sha256)
        keys.append(("index", index_key(sha256)))
        again = state.failure is not None and state.failure.code.retryable
        if to_read is not None and (state.next_stage is not None or again):
            to_read.add(sha256)
    share.results.update((stage, key_bytes(key)) for stage, key in keys)
    return sha256
