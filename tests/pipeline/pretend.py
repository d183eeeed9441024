"""The stages over videos that are made up: what a file holds says what is seen in it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from synthetic import MODEL, fitted_track, job_in, landmark_track

from facevid.failures import FailureCode, Stage
from fitting.face_model import FaceModel
from fitting.options import FitOptions
from fitting.tracks import FittedTrack, LandmarkSequence
from pipeline.desk import Desk, SpanOfRow
from pipeline.faces.crops import CropSink
from pipeline.faces.dissolves import Transition
from pipeline.faces.errors import CorruptVideoError, DecoderInterruptedError, NoFaceError, OutsideVideoError
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.landmarks import LandmarkDetector
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.options import FacesOptions
from pipeline.faces.probe import VideoInfo
from pipeline.faces.recorder import ShortTrack
from pipeline.faces.tracks import FacesResult, StageSeconds
from pipeline.fetch import Fetcher
from pipeline.fit_spans import fit_spans
from pipeline.job import Job
from pipeline.label import fetch_row, find_faces
from pipeline.manifest import ManifestRow
from pipeline.progress import Counters, total_counts
from pipeline.reading import FileFacts
from pipeline.row_state import row_state
from pipeline.store import Store

LONG_S = 61.0
STAGES = ("decode", "shots", "detect", "landmarks", "crops", "smooth")


class Detector:
    name = "mediapipe"
    scheme = "mediapipe68"
    weights_sha256 = "d" * 64

    def find_faces(self, rgb: object) -> list[object]:
        raise AssertionError("the faces of these tests are made up")

    region_of = landmarks = find_faces


def faces(
    path: Path, detector: LandmarkDetector, options: FacesOptions, crops: CropSink | None,
    on_frame: Callable[[float], None] | None, *, start_s: float | None = None, end_s: float | None = None,
) -> FacesResult:
    content = path.read_bytes()
    if content.startswith(b"long"):
        return part_of(content, crops, on_frame, start_s=start_s or 0.0, end_s=min(end_s or LONG_S, LONG_S))
    if content == b"black":
        raise NoFaceError(f"{path.name} shows no face in any of its 3 frames")
    if content == b"broken":
        raise CorruptVideoError("nothing can be decoded")
    if content == b"interrupted":
        raise DecoderInterruptedError("the decoder was ended from outside")
    if content == b"huge":
        raise MemoryError
    assert crops is not None
    assert on_frame is not None
    for track in range(2):
        for frame in range(200):
            crops.add(track, frame, b"jpeg %d %d" % (track, frame), np.full((2, 3), frame, np.float32))
            on_frame(frame / 25)
    return FacesResult(
        video=VideoInfo(width_px=64, height_px=48, fps=25.0, duration_s=1.0, codec="h264", rotation_deg=0.0),
        frames_read=400, damaged_frames=0, tracks=(landmark_track(200), landmark_track(200, first=200)),
        short_tracks=(ShortTrack(start_s=0.2, end_s=0.4, frames=6, cut_off=False),), person_changes_s=(),
        transitions=(), seconds=StageSeconds(**dict.fromkeys(STAGES, 0.0)),
    )


def fits(sequences: Sequence[LandmarkSequence], model: FaceModel, options: FitOptions) -> list[FittedTrack]:
    return [fitted_track(len(sequence.pts_s), seed=len(sequences)) for sequence in sequences]


def part_of(
    content: bytes, crops: CropSink | None, on_frame: Callable[[float], None] | None, *, start_s: float, end_s: float
) -> FacesResult:
    """Five frames a second; somebody shows for two seconds now and then, or one person most of the time."""
    assert crops is not None
    assert on_frame is not None
    frames = range(math.ceil(5 * start_s), math.ceil(5 * end_s))
    for frame in frames:
        on_frame(frame / 5)
    shown = [(50, 60), (150, 160), (252, 262)]
    if content == b"long dark":
        shown = []
    elif content == b"long half dark":
        shown = [shown[0], shown[2]]
    elif content == b"long talk":
        shown = [(50, 250)]
    cuts = [frame - frames.start for frame in ((95, 120) if content == b"long cut" else ()) if frame in frames]
    if content == b"long broken" and start_s > 0:
        raise CorruptVideoError(f"broken at {start_s:g} s")
    if content == b"long promise" and start_s > 0:
        raise OutsideVideoError(f"no frame from {start_s:g} s on")
    whole = [shown_track(first, last) for first, last in shown]
    tracks = [track for one in whole if (track := within(one, frames)) is not None]
    if not tracks:
        raise NoFaceError(f"no face in {len(frames)} frames")
    for number, track in enumerate(tracks):
        for frame in track.frame:
            crops.add(number, int(frame), b"%d" % (frames.start + frame), np.full((2, 3), frame, np.float32))
    return FacesResult(
        video=VideoInfo(width_px=64, height_px=48, fps=5.0, duration_s=LONG_S, codec="h264", rotation_deg=0.0),
        frames_read=len(frames), damaged_frames=0, tracks=tuple(tracks), person_changes_s=(),
        transitions=tuple(Transition(begin=cut, end=cut) for cut in cuts),
        short_tracks=(ShortTrack(start_s=start_s + 5, end_s=start_s + 5.2, frames=2, cut_off=False),),
        seconds=StageSeconds(**dict.fromkeys(STAGES, 0.0)),
    )  # fmt: skip


def shown_track(first: int, last: int) -> LandmarkTrack:
    track = landmark_track(last - first, first=first, seed=first)
    return replace(track, pts_s=track.frame / 5)


def within(track: LandmarkTrack, frames: range) -> LandmarkTrack | None:
    """What of a track is seen by whoever reads these frames and counts from the first of them."""
    seen = (track.frame >= frames.start) & (track.frame < frames.stop)
    if not seen.any():
        return None
    parts = {own.name: getattr(track, own.name)[seen] for own in fields(track) if own.name != "scheme"}
    parts["frame"] = parts["frame"] - np.int32(frames.start)
    return replace(track, **parts)


def facts_of(path: Path, limits: DecodeLimits) -> FileFacts:
    return FileFacts(duration_s=LONG_S if path.read_bytes().startswith(b"long") else None)


def pieces(row: ManifestRow, job: Job) -> list[SpanOfRow]:
    spans = row_state(row, job, Store(job.store_folder)).spans
    return [SpanOfRow(row=row, number=number) for number in range(len(spans))]


class Line:
    """The stages over one store, each run as the workers run it."""

    def __init__(self, folder: Path, job: Job | None = None) -> None:
        self.folder = folder
        self.job = job or job_in(folder)
        self.store = Store(self.job.store_folder)

    def row(self, name: str, content: bytes | None = b"video") -> ManifestRow:
        if content is not None:
            (self.folder / name).write_bytes(content)
        return ManifestRow(video_id=name, url=name)

    def run(self, *rows: ManifestRow) -> dict[str, float]:
        desk = Desk(job=self.job, store=self.store, counters=Counters(self.job.state))
        before = total_counts(self.job.state)
        for row in rows:
            fetch_row(row, desk, Fetcher(self.job.options.fetch, self.store, self.folder), facts_of)
            for piece in pieces(row, self.job):
                find_faces(piece, desk, Detector(), faces)
        fit_spans([piece for row in rows for piece in pieces(row, self.job)], desk, MODEL, fits)
        desk.counters.flush()
        after = total_counts(self.job.state)
        return {name: after[name] - before[name] for name in after if not name.endswith("_s")}

    def code(self, row: ManifestRow) -> tuple[Stage, FailureCode] | None:
        state = row_state(row, self.job, self.store)
        assert state.next_stage is None
        return (state.failure.stage, state.failure.code) if state.failure else None
