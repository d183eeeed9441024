"""What a prediction costs, stage by stage, in processor time of one core."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.tracks.timed import cpu_time_s
from facevid import assets
from fitting.face_model import FaceModel, load_face_model
from pipeline.faces.landmarks import MediapipeDetector
from pipeline.faces.picture import Picture
from pipeline.faces.video import open_video
from training.config import PRESETS, Preset, TrainOptions
from training.export import load_deepexp3d, software_versions, write_model
from training.face_reader import FaceReader
from training.image_files import read_image
from training.model_config import ModelConfig
from training.networks import build_network
from training.onnx_network import load_onnx
from training.predict_options import PredictOptions
from training.prediction import predict

ROUNDS = 15
_STAGES: tuple[tuple[str, type, str], ...] = (
    ("find", MediapipeDetector, "find_faces"),
    ("landmarks", MediapipeDetector, "landmarks"),
    ("landmarks", MediapipeDetector, "with_lids"),
    ("crop", FaceReader, "crop"),
    ("network", FaceReader, "coefficients"),
    ("pose", FaceReader, "pose"),
)


def untrained(folder: Path, preset: Preset, model: FaceModel) -> Path:
    """A model folder with random weights: what a network says does not change how long it takes."""
    config = ModelConfig(
        preset=preset, n_expression=model.n_expression, face_model=model.name, face_model_sha256=model.sha256,
        face_model_licence=model.licence, landmark_scheme="mediapipe68", datasets=(),
        training=asdict(TrainOptions(preset=preset)), versions=software_versions(),
    )  # fmt: skip
    metrics = {
        "final": {"train": None, "val": None, "test": None}, "steps": 0, "shipped_steps": 0,
        "sources": {"videos": 0, "licences": {}},
    }  # fmt: skip
    probes = np.zeros((1, 224, 224, 3), np.uint8)
    write_model(folder, build_network(preset, model.n_expression), config, metrics, probes=probes)
    return folder


@contextlib.contextmanager
def spent_ms() -> Iterator[Counter[str]]:
    """Processor time that each stage takes meanwhile; what one stage calls of another is that other's."""
    spent: Counter[str] = Counter()
    inside: list[float] = []

    def timed(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            began_s = time.process_time()
            inside.append(0.0)
            try:
                return method(*arguments, **named)
            finally:
                took_s = time.process_time() - began_s
                spent[name] += 1e3 * (took_s - inside.pop())
                if inside:
                    inside[-1] += took_s

        return call

    originals = [(owner, name, owner.__dict__[name]) for _, owner, name in _STAGES]
    for stage, owner, name in _STAGES:
        setattr(owner, name, timed(stage, owner.__dict__[name]))
    try:
        yield spent
    finally:
        for owner, name, method in originals:
            setattr(owner, name, method)


def photo_ms(folder: Path, photo: Path, model: FaceModel) -> dict[str, float]:
    """Medians for one photo, networks loaded."""
    reader = FaceReader(
        networks=assets.fetch_landmark_networks(), deepexp3d=folder, face_model=model, device="cpu"
    )
    rows: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        began_s = time.process_time()
        with spent_ms() as spent:
            picture = Picture(read_image(photo))
            face = reader.find(picture)
            if face is None:
                raise ValueError(f"no face in {photo}")
            (expression,) = reader.coefficients(reader.crop(picture, face)[None])
            reader.pose(face, expression)
        rows.append(_with_rest(spent, 1e3 * (time.process_time() - began_s)))
    return _medians(rows)


def video_ms(folder: Path, video: Path, out: Path, *, frames: int) -> dict[str, float]:
    """Per frame of a video as `facevid predict --no-draw` goes through it, decoder included.

    What more frames cost than few: what a run begins with is measured by itself (`start_s`).
    """
    few = frames // 4

    def run(count: int) -> dict[str, float]:
        began_s = cpu_time_s()
        with spent_ms() as spent:
            result = predict(
                video, deepexp3d=folder, expression=None, networks=assets.fetch_landmark_networks(), face_model=None,
                out=out / "video.csv", arkit=None, options=PredictOptions(draw=False, max_frames=count),
                report=lambda _: None,
            )
        if result.faces < count:
            raise ValueError(f"{video} has {result.faces} faces in {result.frames} frames, and not {count}")
        return _with_rest(spent, 1e3 * (cpu_time_s() - began_s))

    run(few)  # to warm up
    rows = []
    for _ in range(3):
        less, more = run(few), run(frames)
        rows.append({stage: (more[stage] - less.get(stage, 0.0)) / (frames - few) for stage in more})
    # Whole pictures are searched at the beginning only: what is left of that is noise about nothing.
    return {stage: max(0.0, value) for stage, value in _medians(rows).items()}


def network_ms(folder: Path) -> dict[str, float]:
    """Per face, ONNX Runtime beside torch, one face at a time and sixteen, turn about."""
    forms = {"onnx": load_onnx(folder), "torch": load_deepexp3d(folder, "cpu")}
    crops = np.random.default_rng(0).integers(0, 256, (16, 224, 224, 3), np.uint8)
    rows: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        row = {}
        for batch in (1, 16):
            for name, form in forms.items():
                began_s = time.process_time()
                form.predict(crops[:batch])
                row[f"{name}_{batch}"] = 1e3 * (time.process_time() - began_s) / batch
        rows.append(row)
    return _medians(rows[1:])


def start_s(folder: Path, photo: Path, out: Path) -> float:
    """Processor time of `facevid predict` for one photo from the command to its end; the least of three."""
    command = [sys.executable, "-m", "facevid", "predict", str(photo), "--deepexp3d", str(folder), "--no-draw",
               "--out", str(out / "photo.csv")]
    times = []
    for _ in range(3):
        began_s = cpu_time_s()
        subprocess.run(command, check=True, capture_output=True)
        times.append(cpu_time_s() - began_s)
    return min(times)


def measure(video: Path, *, frames: int) -> dict[str, Any]:
    """All of it, for both presets."""
    model = load_face_model()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        photo = out / "photo.png"
        with open_video(video) as opened:
            cv2.imwrite(str(photo), cv2.cvtColor(next(iter(opened)).rgb, cv2.COLOR_RGB2BGR))
        for preset in PRESETS:
            folder = untrained(out / preset, preset, model)
            results[preset] = {
                "start_s": start_s(folder, photo, out),
                "photo_ms": photo_ms(folder, photo, model),
                "video_ms": video_ms(folder, video, out, frames=frames),
                "network_ms": network_ms(folder),
            }
    return json.loads(json.dumps(results), parse_float=lambda text: float(f"{float(text):.4g}"))


def _with_rest(spent: Counter[str], total_ms: float) -> dict[str, float]:
    return {**spent, "rest": total_ms - sum(spent.values()), "total": total_ms}


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.median([row.get(name, 0.0) for row in rows])) for name in rows[-1]}
