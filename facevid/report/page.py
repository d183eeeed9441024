"""One HTML page about a dataset: funnel, failures, strips of frames with landmarks and mesh, curves, trained models.

The page is one file without scripts; pictures are inside it. Every word in it that comes from a video's source
is escaped.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from facevid import storage
from facevid.dataset import Dataset, open_dataset
from facevid.report.choice import Choice, chosen_videos
from facevid.report.curves import error_svg, expression_svg
from facevid.report.facts import Fact, failure_rows, headline, run_facts, video_facts
from facevid.report.models import model_section
from facevid.report.pictures import TILE_PX, Tile, tiles
from facevid.report.track_fit import face_model_of
from facevid.report.video_sources import VideoSources
from facevid.track_arrays import TrackArrays
from fitting.whole_file import require_writable
from pipeline.faces.errors import VideoError
from pipeline.faces.video import open_video
from training.overlay import MeshPainter


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Pictures of one track.

    Attributes:
        track: Index of the track in the video.
        tiles: Frames in order of time; empty where there are none.
        missing: Why there are none.
    """

    track: int
    tiles: tuple[Tile, ...]
    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSection:
    """One video in the report.

    Attributes:
        video_id: The manifest's id.
        title: The source's title, or nothing.
        facts: What is known of it.
        tracks: Rows of the tracks table.
        strips: Pictures.
        expression_svg: Curves of the expression, or nothing.
        error_svg: Curve of the error, or nothing.
    """

    video_id: str
    title: str
    facts: tuple[Fact, ...]
    tracks: tuple[Mapping[str, Any], ...]
    strips: tuple[Strip, ...]
    expression_svg: Markup
    error_svg: Markup


def write_report(
    dataset_dir: Path,
    out_html: Path,
    *,
    store: Path | None,
    models: Sequence[Path] = (),
    choice: Choice | None = None,
    strips_per_video: int = 2,
    report: Callable[[str], None],
) -> Path:
    """Write the page.

    Args:
        dataset_dir: Folder of the dataset.
        out_html: The page; replaced if it is there.
        store: Where the build kept its videos; None is `store` inside the dataset's folder. Pictures of videos that
            are not there any more are left out, and the page says so.
        models: Folders of trained models to show.
        choice: Which videos are shown; None is the first page of them.
        strips_per_video: Tracks of a video that get a strip of frames, the longest first.
        report: Receives progress lines.

    Returns:
        `out_html`.

    Raises:
        DatasetError: The folder holds no dataset, or a damaged one.
        ValueError: `strips_per_video` is negative, or what is chosen is not there.
        OSError: The page cannot be written, which is found out first.
    """
    if strips_per_video < 0:
        raise ValueError(f"strips_per_video={strips_per_video} is negative")
    dataset = open_dataset(dataset_dir)
    require_writable(out_html)
    painter = MeshPainter(face_model_of(dataset))
    rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    tracks = dataset.table("tracks").to_pylist()
    for row in sorted(tracks, key=lambda track: (track["video_id"], track["track"])):
        rows[row["video_id"]].append(row)
    chosen = chosen_videos(rows, choice or Choice())
    shown = chosen.video_ids
    arrays = _arrays(dataset, frozenset(shown))
    sources = VideoSources.of(dataset_dir, store)
    videos = []
    for number, video_id in enumerate(shown, start=1):
        report(f"report: video {number} of {len(shown)}, {video_id}")
        path = sources.find(rows[video_id][0])
        videos.append(_video(rows[video_id], arrays[video_id], painter, path, strips_per_video))
    environment = Environment(
        loader=PackageLoader("facevid.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    page = environment.get_template("report.html").render(
        name=dataset_dir.resolve().name,
        about=dataset.description,
        headline=headline(dataset, tracks),
        run=run_facts(dataset),
        failures=failure_rows(dataset.table("failures").to_pylist()),
        videos=videos,
        choice=chosen.told,
        models=[_with_markup(folder) for folder in models],
        tile_px=TILE_PX,
    )
    storage.write_bytes(out_html, page.encode())
    report(f"report: {out_html}, {len(page) / 1e6:.1f} MB")
    return out_html


def _arrays(dataset: Dataset, shown: frozenset[str]) -> dict[str, list[TrackArrays]]:
    found: dict[str, list[TrackArrays]] = defaultdict(list)
    for track in dataset.tracks(kept_only=False):
        if track.video_id in shown:
            found[track.video_id].append(track)
    return {video_id: sorted(tracks, key=lambda track: track.track) for video_id, tracks in found.items()} | {
        video_id: [] for video_id in shown - found.keys()
    }


def _video(
    rows: Sequence[Mapping[str, Any]],
    arrays: Sequence[TrackArrays],
    painter: MeshPainter,
    path: Path | None,
    strips_per_video: int,
) -> VideoSection:
    longest = sorted(arrays, key=lambda track: (-len(track.frame), track.track))[:strips_per_video]
    return VideoSection(
        video_id=rows[0]["video_id"],
        title=rows[0]["title"] or "",
        facts=video_facts(rows),
        tracks=tuple(rows),
        strips=tuple(_strip(track, painter, path) for track in sorted(longest, key=lambda track: track.track)),
        # Our own drawings, in which no word comes from outside.
        expression_svg=Markup(expression_svg(arrays, painter.model) if arrays else ""),  # noqa: S704
        error_svg=Markup(error_svg(arrays) if arrays else ""),  # noqa: S704
    )


def _strip(track: TrackArrays, painter: MeshPainter, path: Path | None) -> Strip:
    if path is None:
        return Strip(track=track.track, tiles=(), missing="the video is no longer in the store.")
    try:
        with open_video(path, start_s=float(track.pts_s[0])) as video:
            return Strip(track=track.track, tiles=tiles(video, track, painter), missing="no frame of it.")
    except VideoError as error:
        return Strip(track=track.track, tiles=(), missing=f"the video cannot be decoded any more: {error}")


def _with_markup(folder: Path) -> dict[str, Any]:
    section = model_section(folder)
    return {
        "name": section.name,
        "notes": section.notes,
        "facts": section.facts,
        "curves": [{"title": curve.title, "svg": Markup(curve.svg)} for curve in section.curves],  # noqa: S704
        "confusion": section.confusion,
    }
