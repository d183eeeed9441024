"""Memory of a worker that fits and assembles one face over a whole hour, which is one track of many spans.

Nothing of it is decoded: the landmarks of each span are those of a synthetic head, and go through the store as real
ones. Searching takes what `memory` measures; this is what comes after it, in a process that has loaded what Beam's
workers load, and that has searched a video before it fits.
"""

import multiprocessing
import resource
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.fit.memory import long_sequence
from benchmarks.tracks.setting import Setting, print_table, say
from benchmarks.tracks.timed import NoCrops
from facevid import assets
from fitting.face_model import DEFAULT_MODEL_PATH, load_face_model
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, synthetic_track
from fitting.tracks import LandmarkSequence
from pipeline.assemble import ShardOrder, references, write_shards
from pipeline.config import BuildOptions, FetchOptions
from pipeline.desk import Desk, SpanOfRow
from pipeline.faces.crops import CropSink
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.probe import VideoInfo
from pipeline.faces.tracks import FacesResult, StageSeconds, track_faces
from pipeline.fetch import Fetcher
from pipeline.fit_spans import fit_spans
from pipeline.job import Job
from pipeline.label import fetch_row, find_faces
from pipeline.manifest import ManifestRow
from pipeline.progress import Counters
from pipeline.reading import FileFacts
from pipeline.row_state import row_state
from pipeline.store import Store
from pipeline.usage import give_back_memory

LENGTHS_S, QUICK_LENGTHS_S = (900.0, 3600.0), (240.0, 480.0)
FPS = 30
_PIECE = 600
_MIB = 1 << 20


def measure(setting: Setting) -> dict[str, float]:
    rows, peaks = [], []
    for length_s in QUICK_LENGTHS_S if setting.quick else LENGTHS_S:
        context = multiprocessing.get_context("spawn")
        with tempfile.TemporaryDirectory(dir=setting.work) as folder:
            steps = []
            # One process each: the size of a process never falls again.
            for step in (_search, _fit, _assemble):
                say(f"{length_s / 60:g} min: {step.__name__[1:]}")
                ours, theirs = context.Pipe(duplex=False)
                worker = context.Process(target=_in_process, args=(step, Path(folder), length_s, theirs))
                worker.start()
                theirs.close()
                try:
                    steps.append(ours.recv())
                except EOFError:
                    worker.join()
                    raise RuntimeError(
                        f"{step.__name__} of {length_s:g} s ended with exitcode={worker.exitcode}"
                    ) from None
                worker.join()
        peaks.append(max(steps[1:]))
        rows.append((f"{length_s / 60:g} min, {length_s * FPS:,.0f} frames", *(f"{peak:.0f}" for peak in steps)))
    print_table(("one face, peak MiB of a process that", "puts it in the store", "fits", "assembles"), rows)
    return {"hour_peak_mib": peaks[-1]}


def _in_process(step: Callable[[Path, float], None], folder: Path, length_s: float, out: Any) -> None:
    step(folder, length_s)
    out.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB)


class _Build:
    """A build of one row, whose video lasts as long as is said."""

    def __init__(self, folder: Path, length_s: float) -> None:
        self.model = load_face_model()
        options = BuildOptions(fetch=FetchOptions(allow_local=True), shards=1)
        self.job = Job(
            out=folder / "out", manifest_folder=folder, networks=folder, options=options, detector_sha256="",
            model_path=DEFAULT_MODEL_PATH, model_sha256=self.model.sha256,
        )  # fmt: skip
        self.desk = Desk(job=self.job, store=Store(self.job.store_folder), counters=Counters(self.job.state))
        video = folder / "hour.mp4"
        if not video.exists():
            video.write_bytes(b"nobody decodes this")
        self.row = ManifestRow(video_id="hour", url=video.name)
        facts = FileFacts(duration_s=length_s)
        fetch_row(self.row, self.desk, Fetcher(options.fetch, self.desk.store, folder), lambda *_: facts)
        spans = row_state(self.row, self.job, self.desk.store).spans
        self.pieces = [SpanOfRow(row=self.row, number=number) for number in range(len(spans))]


def _search(folder: Path, length_s: float) -> None:
    build = _Build(folder, length_s)
    head = synthetic_track(build.model, "mediapipe68", SyntheticOptions(frames=_PIECE), seed=0).sequence
    for piece in build.pieces:
        find_faces(piece, build.desk, _NoDetector(), _Made(head, length_s))


def _fit(folder: Path, length_s: float) -> None:
    import pipeline.label_job  # noqa: F401  # Beam

    _search_a_video()
    build = _Build(folder, length_s)
    fit_spans(build.pieces, build.desk, build.model, fit_tracks)


def _search_a_video() -> None:
    options = FacesOptions()
    detector = open_detector(options, assets.fetch_landmark_networks())
    # A video that an asset is, so that every process of this benchmark knows where it lies.
    track_faces(assets.fetch("noface_face.mov"), detector, options, NoCrops())
    del detector
    give_back_memory()


def _assemble(folder: Path, length_s: float) -> None:
    import pipeline.assemble_job  # noqa: F401  # Beam

    build = _Build(folder, length_s)
    tracks, failures = references(0, build.row, build.job, build.desk.store)
    if tracks != [0] or failures:
        raise RuntimeError(f"one face over {length_s:g} s became tracks={tracks}, failures={failures}")
    order = ShardOrder(shard=0, tracks=((0, 0),), failures=())
    write_shards(order, [build.row], build.job, build.desk.store, build.model)


class _NoDetector:
    name, scheme, weights_sha256 = "mediapipe", "mediapipe68", ""

    def find_faces(self, *_: object) -> list[object]:
        raise AssertionError("nobody looks")

    region_of = landmarks = find_faces


class _Made:
    """Tells of a head that shows in every frame of a part of a video; its crops are all of one grey."""

    def __init__(self, head: LandmarkSequence, length_s: float) -> None:
        self._head, self._length_s = head, length_s
        self._jpeg = cv2.imencode(".jpg", np.full((224, 224, 3), 128, np.uint8))[1].tobytes()

    def __call__(
        self, _path: Path, _detector: object, _options: FacesOptions, crops: CropSink,
        on_frame: Callable[[float], None], *, start_s: float | None, end_s: float | None,
    ) -> FacesResult:
        first, last = (round(FPS * at_s) for at_s in (start_s or 0.0, end_s or self._length_s))
        track = _part(self._head, first, last)
        for frame, pts_s in zip(track.frame.tolist(), track.pts_s.tolist(), strict=True):
            crops.add(0, frame, self._jpeg, np.eye(2, 3, dtype=np.float32))
            on_frame(pts_s)
        return FacesResult(
            video=VideoInfo(width_px=512, height_px=512, fps=float(FPS), duration_s=self._length_s, codec="h264",
                            rotation_deg=0.0),
            frames_read=last - first, damaged_frames=0, tracks=(track,), short_tracks=(), person_changes_s=(),
            transitions=(), seconds=StageSeconds(**{one.name: 0.0 for one in fields(StageSeconds)}),
        )  # fmt: skip


def _part(head: LandmarkSequence, first: int, last: int) -> LandmarkTrack:
    sequence = long_sequence(head, last)
    points = sequence.observed_px[first:]
    ones = np.ones(last - first, np.float32)
    return LandmarkTrack(
        scheme=head.scheme, frame=np.arange(last - first, dtype=np.int32), pts_s=sequence.pts_s[first:],
        box_px=np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1), observed_px=points,
        smoothed_px=points, confidence=ones, sharpness=ones, brightness=ones, in_frame=ones, similarity=ones,
        jump=0 * ones, occlusion=0 * ones,
    )  # fmt: skip
