"""What the store holds of a span of a video after each of its stages: facts as JSON, arrays as npz."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32

from fitting.tracks import FittedTrack
from pipeline.damage import intact, require_kinds
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.store import MAKE_AGAIN, write_json

_FACTS: dict[str, type | tuple[type, ...]] = {
    "width_px": int, "height_px": int, "fps": (int, float), "codec": str, "frames": int, "lead_frames": int,
    "short_tracks": int, "cut_off_tracks": int, "person_changes": int, "lead_shot_ends": list, "schemes": list,
}  # fmt: skip
"""Of a span's record, as JSON has them."""
_NUMBERED = re.compile(r"(\d+)/(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFacts:
    """What is known of one span of a video and the faces in it, without their landmarks.

    Attributes:
        width_px: Displayed picture width.
        height_px: Displayed picture height.
        fps: Mean frame rate, frames per second.
        codec: The video stream's codec.
        frames: Frames of the span.
        lead_frames: Frames of its lead, which were read before them.
        short_tracks: Tracks that were left out because they are shorter than `FacesOptions.min_track_s`.
        cut_off_tracks: Tracks that were so short when the span ended; if another follows, they are found there.
        person_changes: Times that a track ended because another face had taken its place.
        lead_shot_ends: Of each shot that ends in the lead, the first frame that is not of it alone.
        schemes: Of each track, the landmark scheme.
    """

    width_px: int
    height_px: int
    fps: float
    codec: str
    frames: int
    lead_frames: int
    short_tracks: int
    cut_off_tracks: int
    person_changes: int
    lead_shot_ends: tuple[int, ...]
    schemes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackBoxes:
    """Where a face was, frame by frame.

    Attributes:
        frame: Consecutive frame indices.
        pts_s: Their presentation times.
        box_px: Boxes x0, y0, x1, y1.
    """

    frame: Int32[np.ndarray, " frames"]
    pts_s: Float64[np.ndarray, " frames"]
    box_px: Float32[np.ndarray, "frames 4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPart:
    """The part of a face track that was followed in one span.

    Attributes:
        span: Place of the span among the row's.
        track: The track's number in the span.
        begin: First frame of the part, in the span's count (0 is the first of its lead).
        end: The frame after its last.
    """

    span: int
    track: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSummary:
    """What pruning and counting need to know of a fitted track.

    Attributes:
        status: The fit's word.
        frames: Frames of the track.
        observed_frames: Frames in which the face was seen, not bridged.
        identity_norm: Euclidean norm of the identity coefficients.
        reprojection_error: Median over frames, fraction of the outer-eye distance.
    """

    status: str
    frames: int
    observed_frames: int
    identity_norm: float
    reprojection_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedItem:
    """The fitted tracks that begin in one span.

    Attributes:
        parts: Of each track, its parts in this span and those after it.
        tracks: The fits, diverged ones among them.
        face_size_px: Per track and frame, the fitted outer-eye distance as seen from the front.
    """

    parts: tuple[tuple[TrackPart, ...], ...]
    tracks: tuple[FittedTrack, ...]
    face_size_px: tuple[Float32[np.ndarray, "..."], ...]


def write_faces(folder: Path, facts: SpanFacts, tracks: Sequence[LandmarkTrack]) -> None:
    """Write a span's face tracks beside the crops that `stored_crops.CropWriter` has put there."""
    write_json(folder / "faces.json", asdict(facts))
    _write_arrays(folder / "tracks.npz", tracks)


def read_facts(folder: Path) -> SpanFacts:
    """What `write_faces` was told of the span."""
    with intact(folder / "faces.json", MAKE_AGAIN):
        facts = json.loads((folder / "faces.json").read_bytes())
        require_kinds(facts, **_FACTS)
        return SpanFacts(**facts | {name: tuple(facts[name]) for name in ("lead_shot_ends", "schemes")})


def read_track(folder: Path, track: int) -> LandmarkTrack:
    """One of a span's face tracks; no other is read."""
    facts = read_facts(folder)
    with intact(folder / "tracks.npz", MAKE_AGAIN):
        arrays = _read_one(folder / "tracks.npz", track, LandmarkTrack)
        return LandmarkTrack(scheme=facts.schemes[track], **arrays)


def read_boxes(folder: Path) -> tuple[TrackBoxes, ...]:
    """Where the faces of a span were, without their landmarks."""
    count = len(read_facts(folder).schemes)
    with intact(folder / "tracks.npz", MAKE_AGAIN):
        return tuple(TrackBoxes(**_read_one(folder / "tracks.npz", track, TrackBoxes)) for track in range(count))


def write_fitted(folder: Path, item: FittedItem, summaries: Sequence[TrackSummary]) -> None:
    """Write a span's fitted tracks."""
    facts = [
        {"status": track.status, "iterations": track.iterations, "holdout_error": track.holdout_error,
         "energy": track.energy,
         "summary": asdict(summary), "parts": [astuple(part) for part in parts]}
        for track, summary, parts in zip(item.tracks, summaries, item.parts, strict=True)
    ]  # fmt: skip
    write_json(folder / "fit.json", facts)
    _write_arrays(folder / "fitted.npz", item.tracks)
    _write_arrays(folder / "sizes.npz", [{"face_size_px": size} for size in item.face_size_px])


def read_fitted(folder: Path) -> FittedItem:
    """Read what `write_fitted` wrote."""
    with intact(folder / "fit.json", MAKE_AGAIN):
        facts = json.loads((folder / "fit.json").read_bytes())
        words = [
            {"status": own["status"], "iterations": int(own["iterations"]),
             "holdout_error": float(own["holdout_error"]), "energy": float(own.get("energy", "inf"))}
            for own in facts
        ]  # fmt: skip
        parts = tuple(
            tuple(TrackPart(span=span, track=track, begin=begin, end=end) for span, track, begin, end in own["parts"])
            for own in facts
        )
    with intact(folder / "fitted.npz", MAKE_AGAIN):
        arrays = _read_arrays(folder / "fitted.npz", len(words))
        tracks = tuple(FittedTrack(**own, **data) for own, data in zip(words, arrays, strict=True))
    with intact(folder / "sizes.npz", MAKE_AGAIN):
        sizes = _read_arrays(folder / "sizes.npz", len(words))
        return FittedItem(parts=parts, tracks=tracks, face_size_px=tuple(size["face_size_px"] for size in sizes))


def read_summaries(folder: Path) -> tuple[TrackSummary, ...]:
    """What pruning needs of each fitted track, without reading the arrays."""
    with intact(folder / "fit.json", MAKE_AGAIN):
        facts = json.loads((folder / "fit.json").read_bytes())
        for own in facts:
            require_kinds(
                own["summary"], status=str, frames=int, observed_frames=int, identity_norm=(int, float),
                reprojection_error=(int, float),
            )  # fmt: skip
        return tuple(TrackSummary(**own["summary"]) for own in facts)


def _write_arrays(path: Path, records: Sequence[Any]) -> None:
    arrays: dict[str, Any] = {}
    for index, record in enumerate(records):
        values = record if isinstance(record, dict) else {f.name: getattr(record, f.name) for f in fields(record)}
        arrays |= {f"{index}/{name}": value for name, value in values.items() if isinstance(value, np.ndarray)}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _read_one(path: Path, number: int, kind: type) -> dict[str, Any]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:  # read when asked for
        wanted = {f"{number}/{own.name}": own.name for own in fields(kind)}
        return {name: archive[key] for key, name in wanted.items() if key in archive.files}


def _read_arrays(path: Path, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    # Opened here: numpy does not close what it cannot read.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        for name in archive.files:
            if match := _NUMBERED.fullmatch(name):
                found[int(match[1])][match[2]] = archive[name]
    return found
