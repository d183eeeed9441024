"""The stages over videos that are made up: what a file holds says what is seen in it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from synthetic import MODEL, fitted_track, job_in, landmark_track

from facevid.failures import FailureCode, Stage
from fitting.face_model import FaceModel
from fitting.options import FitOptions
from fitting.tracks import FittedTrack, LandmarkSequence
from pipeline.faces.crops import CropSink
from pipeline.faces.errors import CorruptVideoError, NoFaceError, OutsideVideoError
from pipeline.faces.landmarks import LandmarkDetector
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.options import FacesOptions
from pipeline.faces.probe import VideoInfo
from pipeline.faces.tracks import FacesResult, StageSeconds
from pipeline.fetch import Fetcher
from pipeline.fit_spans import fit_spans
from pipeline.job import Job
from pipeline.label import Desk, SpanOfRow, fetch_row, find_faces
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
    on_frame: Callable[[], None] | None, *, start_s: float | None = None, end_s: float | None = None,
) -> FacesResult:
    content = path.read_bytes()
    if content.startswith(b"long"):
        return part_of(content, crops, on_frame, start_s=start_s or 0.0, end_s=min(end_s or LONG_S, LONG_S))
    if content == b"black":
        raise NoFaceError(f"{path.name} shows no face in any of its 3 frames")
    if content == b"broken":
        raise CorruptVideoError("nothing can be decoded")
    if content == b"huge":
        raise MemoryError
    assert crops is not None
    assert on_frame is not None
    for track in range(2):
        for frame in range(200):
            crops.add(track, frame, b"jpeg %d %d" % (track, frame), np.full((2, 3), frame, np.float32))
            on_frame()
    return FacesResult(
        video=VideoInfo(width_px=64, height_px=48, fps=25.0, duration_s=1.0, codec="h264", rotation_deg=0.0),
        frames_read=400, damaged_frames=0, tracks=(landmark_track(200), landmark_track(200, first=200)),
        short_tracks=1, person_changes=0, transitions=(), seconds=StageSeconds(**dict.fromkeys(STAGES, 0.0)),
    )


def fits(sequences: Sequence[LandmarkSequence], model: FaceModel, options: FitOptions) -> list[FittedTrack]:
    return [fitted_track(len(sequence.pts_s), seed=len(sequences)) for sequence in sequences]


def part_of(
    content: bytes, crops: CropSink | None, on_frame: Callable[[], None] | None, *, start_s: float, end_s: float
) -> FacesResult:
    """Five frames a second and one track of two seconds in the middle of a part, but none in a dark one."""
    assert crops is not None
    assert on_frame is not None
    frames = round(5 * (end_s - start_s))
    for _ in range(frames):
        on_frame()
    if content == b"long dark" or (content == b"long half dark" and start_s == 20):
        raise NoFaceError(f"no face in {frames} frames")
    if content == b"long broken" and start_s >= 20:
        raise CorruptVideoError(f"broken at {start_s:g} s")
    if content == b"long promise" and start_s >= 20:
        raise OutsideVideoError(f"no frame from {start_s:g} s on")
    track = landmark_track(10, first=frames // 2, seed=round(start_s))
    for frame in track.frame:
        crops.add(0, int(frame), b"%d" % (start_s * 1000 + frame), np.full((2, 3), frame, np.float32))
    return FacesResult(
        video=VideoInfo(width_px=64, height_px=48, fps=5.0, duration_s=LONG_S, codec="h264", rotation_deg=0.0),
        frames_read=frames, damaged_frames=0, tracks=(track,), short_tracks=1, person_changes=0, transitions=(),
        seconds=StageSeconds(**dict.fromkeys(STAGES, 0.0)),
    )


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
