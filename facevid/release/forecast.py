"""What a release would hold and what would stay back, in words, before anything is written."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from facevid.counted import counted
from facevid.dataset import Dataset
from facevid.release.choice import FILTERED, OUT, WORDS, Key, Span, Tally, frames_out, homes
from facevid.release.contents import count_failures, read_contents
from facevid.release.face_model import model_goes_out
from facevid.release.private import extra_columns, shared_url
from facevid.release.write import Progress, ReleaseOptions, require_extra, require_some, track_fates

_NEEDED = ("video_id", "track", "frame", "pts_s", "kept")
_MOST_NAMED = 8


@dataclass(slots=True)
class _Seen:
    licences: Counter[str] = field(default_factory=Counter)
    extra: Counter[str] = field(default_factory=Counter)
    paths: set[str] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)


def forecast_text(dataset: Dataset, to: Path, options: ReleaseOptions, *, progress: Progress) -> str:
    """Count as the release would, writing nothing; no file is compared with its hash.

    Args:
        dataset: The dataset.
        to: Where the release would be.
        options: What would go out.
        progress: Is told how far it is.

    Raises:
        DatasetError: A shard is missing or damaged, or an earlier version wrote it.
        ValueError: Nothing would go out, or no track has a licence, or a further column, that was named.
    """
    options.choice.require_known(read_contents(dataset).licences)
    tally, seen = Tally(), _Seen()
    total, done, size = sum(shard.rows for shard in dataset.shards("frames")), 0, 0.0

    def on_rows(rows: int) -> None:
        nonlocal done
        done += rows
        progress("count", done, total)

    for home in homes(dataset, options.tables):
        rows, fates = track_fates(dataset, home, options.choice, tally)
        spans: dict[Key, Span] = {}
        if (shard := home.shards.get("frames")) is not None:
            for _ in frames_out(dataset, shard, fates, spans, tally, columns=_NEEDED, on_rows=on_rows):
                pass
        tally.videos.update(video_id for video_id, _ in spans)
        for row in rows.select(["video_id", "track", "licence", "extra", "url", "subject_id"]).to_pylist():
            if (row["video_id"], row["track"]) in spans:
                _note(row, seen)
        share = {"frames": sum(span.count for span in spans.values()), "tracks": len(spans)}
        for name, each in home.shards.items():
            part = share["frames" if name == "crops" else name]
            size += each.bytes * min(1.0, part / max(each.rows, 1))
    require_some(dataset, tally)
    require_extra(options.extra, tally)
    about = dataset.description
    model = f"face model {_short(about.face_model)}, licence {_short(about.face_model_licence) or 'not stated'}"
    going, staying = [], []
    if model_goes_out(about, with_model=options.with_model):
        size += len(dataset.face_model_bytes())
        going.append(f"  {model}")
    else:
        staying.append(f"           {model}: who needs it gets it from its makers (--with-model where it may go out)")
    return "\n".join(
        [*_going(to, tally, seen, size), *going, "", *_staying(dataset, options, tally, seen), *staying]
    )


def _note(row: dict[str, str | None], seen: _Seen) -> None:
    seen.licences[row["licence"] or "none stated"] += 1
    seen.extra.update(extra_columns(row["extra"]).keys())
    url = row["url"] or ""
    if shared_url(url) != url:
        seen.paths.add(url)
    if row["subject_id"]:
        seen.subjects.add(row["subject_id"])


def _going(to: Path, tally: Tally, seen: _Seen, size_bytes: float) -> list[str]:
    counts = f"{counted(len(tally.videos), 'video')}, {counted(tally.tracks[OUT], 'track')}, "
    counts += f"{counted(tally.frames[OUT], 'frame')}"
    lines = [f"would go out to {to}: {counts}, about {size_bytes / 1e6:,.1f} MB"]
    for licence, tracks in seen.licences.most_common(_MOST_NAMED):
        lines.append(f"  {tracks:>8,} tracks, licence {_short(licence)}")
    if (more := len(seen.licences) - _MOST_NAMED) > 0:
        lines.append(f"  and tracks of {more:,} further licence statements")
    if seen.subjects:
        lines.append(f"  subjects, as the manifest names them: {_some(seen.subjects, _short)}")
    return lines


def _staying(dataset: Dataset, options: ReleaseOptions, tally: Tally, seen: _Seen) -> list[str]:
    lines = ["would stay back:", "           what a build goes on with: store, state, logs, run.json"]
    for fate, words in WORDS.items():
        if tally.tracks[fate]:
            frames = "" if fate == FILTERED else f" with {tally.frames[fate]:,} kept frames"
            lines.append(f"  {tally.tracks[fate]:>8,} tracks {words}{frames}")
    rows = sum(shard.rows for shard in dataset.shards("frames"))
    if filtered := rows - tally.frames.total():
        lines.append(f"  {filtered:>8,} frames {WORDS[FILTERED]}")
    crops = sum(shard.rows for shard in dataset.shards("crops"))
    if crops and not options.with_crops:
        lines.append(f"  {crops:>8,} pictures of faces (--with-crops)")
    if failed := count_failures(dataset).total():
        lines.append(f"  {failed:>8,} rows of failures; how many there were of each kind goes out")
    if seen.paths:
        lines.append(f"  {len(seen.paths):>8,} local paths and addresses within networks; their last names go out")
    if hidden := set(seen.extra) - set(options.extra):
        lines.append(f"  the manifest's further columns: {_some(hidden, _short)} (--extra NAME)")
    return lines


def _some(names: set[str], shown: Callable[[str], str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(shown(name) for name in sorted(names)[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _short(text: str) -> str:
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text[:200]).split())
    return line if len(line) <= 60 else line[:57] + "..."
