"""Fixtures for several packages: a small dataset on disk, written through the real shard writer."""

import hashlib
import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings

from facevid import storage
from facevid.description import DESCRIPTION_FILE, FACE_MODEL_FILE, DatasetDescription, FunnelStep
from facevid.schema import crops_schema, failures_schema, frames_schema, tracks_schema
from facevid.shards import shard_of, write_shard
from fitting import paint
from fitting.face_model import FaceModel, load_face_model
from pipeline.faces import networks
from pipeline.faces.graphs import Wanted

POINTS, N_IDENTITY, N_EXPRESSION = 5, 3, 4

# How long an example takes says more of the machine than of the code.
settings.register_profile("facevid", deadline=None)
settings.load_profile("facevid")

# nohup and shells in the background leave these ignored, and all that tests start and signal would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyTrack:
    """One track of a toy dataset; its crops show where the coefficients are."""

    video_id: str
    track: int = 0
    split: str = "train"
    subject_id: str | None = None
    frames: int = 8
    kept: bool = True
    dropped_frames: Sequence[int] = field(default=())
    crops_from: int = 0
    sigma: float = 0.1
    licence: str | None = None
    url: str = "x.mp4"
    source: str = ""
    """What the video's file holds; the default is one of its own."""


def toy_face_model() -> FaceModel:
    """A symmetric grid of vertices; components 0 and 1 are mirror images, 2 and 3 symmetric."""
    x, y = np.meshgrid(np.linspace(-60, 60, 7), np.linspace(-80, 80, 9))
    mean = np.stack([x.ravel(), y.ravel(), 20 - (x.ravel() / 30) ** 2], axis=1).astype(np.float32)
    mirror = np.arange(63, dtype=np.int32).reshape(9, 7)[:, ::-1].reshape(-1).copy()
    draw = np.random.default_rng(3)
    basis = draw.normal(0, 2, (N_EXPRESSION, 63, 3))
    flip = np.array([-1.0, 1.0, 1.0])
    basis[1] = basis[0][mirror] * flip
    basis[2:] = (basis[2:] + basis[2:][:, mirror] * flip) / 2
    return FaceModel(
        name="toy",
        mean_mm=mean,
        identity_basis_mm=draw.normal(0, 2, (N_IDENTITY, 63, 3)).astype(np.float32),
        expression_basis_mm=basis.astype(np.float32),
        triangles=np.array([[0, 1, 7]], np.int32),
        landmarks={},
        mirror_vertex=mirror,
        neutral_expression=np.zeros(N_EXPRESSION, np.float32),
        arkit=None,
        licence="CC0-1.0",
        source="a test",
    )


def toy_expression(track: ToyTrack) -> np.ndarray:
    key = hashlib.sha256(f"{track.video_id}/{track.track}".encode()).digest()[0]
    return np.random.default_rng(key).normal(0, 1, (track.frames, N_EXPRESSION)).astype(np.float32)


def toy_crop(expression: np.ndarray) -> np.ndarray:
    """Four discs whose positions are the coefficients: what a network can read off a picture."""
    crop = np.full((224, 224, 3), 90, np.uint8)
    colours = ((255, 60, 60), (60, 255, 60), (60, 60, 255), (255, 255, 60))
    for k, colour in enumerate(colours):
        y = round(112 + 25 * float(np.clip(expression[k], -3, 3)))
        cv2.circle(crop, (28 + 56 * k, y), 18, colour, -1)
    return crop


def _rows(track: ToyTrack, face_model_sha256: str) -> tuple[dict, list[dict], list[dict]]:
    labels = toy_expression(track)
    key = {"video_id": track.video_id, "track": track.track}
    frames, crops = [], []
    for index, expression in enumerate(labels):
        kept = track.kept and index not in track.dropped_frames
        frames.append(key | {
            "frame": index, "pts_s": index / 25, "box_px": [0, 0, 9, 9], "landmarks_px": [float(index)] * 2 * POINTS,
            "smoothed_px": [1.0] * 2 * POINTS, "landmark_confidence": 0.9, "scale_px_per_mm": 1.0,
            "rotation_wxyz": [1, 0, 0, 0], "translation_px": [50, 50], "expression": expression.tolist(),
            "expression_sigma": [track.sigma] * N_EXPRESSION, "reprojection_error": 0.01, "face_size_px": 90.0,
            "sharpness": 1.0, "brightness": 0.5, "yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0, "in_frame": 1.0,
            "occlusion": 0.1, "motion_per_s": 0.1, "jitter": 0.001, "kept": kept,
            "filtered_reason": None if kept else "not_seen",
        })
        if index < track.crops_from:
            continue
        picture = cv2.imencode(".png", toy_crop(expression)[..., ::-1])[1].tobytes()
        crops.append(key | {"frame": index, "jpeg": picture, "crop_from_frame": [1, 0, 0, 0, 1, 0]})
    row = key | {
        "split": track.split, "subject_id": track.subject_id, "frames": track.frames, "first_frame": 0,
        "last_frame": track.frames - 1, "start_s": 0.0, "end_s": (track.frames - 1) / 25,
        "identity": [0.5] * N_IDENTITY, "identity_norm": 0.75**0.5,
        "fit_status": "converged", "fit_iterations": 5, "reprojection_error": 0.01,
        "holdout_error": 0.02, "jitter": 0.001, "appearance_similarity": 0.9, "appearance_jump": 0.1,
        "kept": track.kept,
        "filtered_reason": None if track.kept else "identity_norm", "url": track.url, "title": None, "uploader": None,
        "licence": track.licence, "attribution": None, "upload_date": None, "format_id": None,
        "fetched_at": None, "source_sha256": hashlib.sha256((track.source or track.video_id).encode()).hexdigest(),
        "width_px": 640, "height_px": 360, "fps": 25.0, "codec": "h264", "landmark_scheme": "toy5", "detector": "toy",
        "detector_sha256": "0" * 64, "face_model": "toy", "face_model_sha256": face_model_sha256,
    }
    return row, frames, crops


def _write(root: str, tracks: Sequence[ToyTrack], shards: int = 2, failures: Sequence[Mapping] = ()) -> Path | str:
    schemas = {
        "tracks": tracks_schema(n_identity=N_IDENTITY),
        "frames": frames_schema(points=POINTS, n_expression=N_EXPRESSION),
        "crops": crops_schema(),
        "failures": failures_schema(),
    }
    tables: dict[str, list[list[dict]]] = {name: [[] for _ in range(shards)] for name in schemas}
    sha256 = "0" * 64
    if "://" not in root:
        Path(root).mkdir(parents=True, exist_ok=True)
        sha256 = toy_face_model().save(Path(root) / FACE_MODEL_FILE)
    for track in sorted(tracks, key=lambda track: (track.video_id, track.track)):
        home = shard_of(track.video_id, track.track, shards)
        row, frames, crops = _rows(track, sha256)
        tables["tracks"][home].append(row)
        tables["frames"][home].extend(frames)
        tables["crops"][home].extend(crops)
    for row in failures:
        tables["failures"][shard_of(row["video_id"], row["track"], shards)].append(dict(row))
    infos = [
        write_shard(root, name, shard, shards, pa.Table.from_pylist(rows, schemas[name]))
        for name, parts in tables.items()
        for shard, rows in enumerate(parts)
    ]
    count = len(tracks)
    description = DatasetDescription(
        program_version="0", config={"shards": shards}, config_hash="c0ffee", face_model="toy",
        face_model_sha256=sha256, face_model_licence="CC0-1.0", n_identity=N_IDENTITY, n_expression=N_EXPRESSION,
        detector="toy", detector_sha256="0" * 64, landmark_scheme="toy5", points=POINTS,
        funnel=(FunnelStep(step="fit", unit="tracks", entered=count, ok=count, failed=0, filtered=0),),
        shards=tuple(infos),
    )
    storage.write_bytes(storage.join(root, DESCRIPTION_FILE), description.to_json().encode())
    return root


@pytest.fixture(scope="session", autouse=True)
def made_once() -> Iterator[None]:
    """What networks are rewritten to, and what of a face shows, is the same for all that tests build in one process."""
    rewrite, look = networks.rewritten, paint.seen_from_outside
    rewritten: dict[tuple, bytes] = {}
    seen: dict[tuple[bytes, bytes], np.ndarray] = {}

    def rewritten_once(content: bytes, *, low: float, wanted: Wanted | None) -> bytes:
        parts = None if wanted is None else tuple((name, part and tuple(part)) for name, part in wanted.items())
        key = (content, low, parts)
        if key not in rewritten:
            rewritten[key] = rewrite(content, low=low, wanted=wanted)
        return rewritten[key]

    def seen_once(vertices_mm: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        key = (vertices_mm.tobytes(), triangles.tobytes())
        if key not in seen:
            seen[key] = look(vertices_mm, triangles)
        return seen[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "rewritten", rewritten_once)
        patch.setattr(paint, "seen_from_outside", seen_once)
        yield


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Write a dataset of toy tracks; returns its folder."""

    def write(*tracks: ToyTrack, name: str = "dataset", **options: object) -> Path:
        return Path(_write(str(tmp_path / name), tracks, **options))

    return write


@pytest.fixture
def forge_shard() -> Callable[..., Path]:
    """Replace the first shard of a table that has rows, and describe the new one, as a stranger could."""

    def forge(dataset: Path, table: str, change: Callable[[pa.Table], pa.Table | bytes], **listed: object) -> Path:
        where = dataset / DESCRIPTION_FILE
        plain = json.loads(where.read_text("utf-8"))
        shard = next(shard for shard in plain["shards"] if shard["table"] == table and shard["rows"])
        path = dataset / shard["path"]
        new = change(pq.read_table(path))
        if isinstance(new, bytes):
            path.write_bytes(new)
        else:
            pq.write_table(new, path)
        shard |= {"bytes": path.stat().st_size, "sha256": storage.sha256(path), **listed}
        where.write_text(json.dumps(plain), "utf-8")
        return path

    return forge


@pytest.fixture
def toy_track() -> type[ToyTrack]:
    """The description of one toy track, to be given to `write_dataset`."""
    return ToyTrack


@pytest.fixture
def toy_model(tmp_path: Path) -> FaceModel:
    """The face model of toy datasets."""
    toy_face_model().save(tmp_path / "toy.npz")
    return load_face_model(tmp_path / "toy.npz")
