"""Landmark tracks, fits and jobs that are made up, for tests that need no video."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fitting.face_model import DEFAULT_MODEL_PATH, FaceModel, load_face_model
from fitting.tracks import FitStatus, FittedTrack
from pipeline.config import BuildOptions, FetchOptions
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.job import Job
from pipeline.manifest import Manifest, ManifestRow

POINTS = 68
MODEL: FaceModel = load_face_model()


def landmark_track(frames: int = 5, *, first: int = 0, seed: int = 0) -> LandmarkTrack:
    random = np.random.default_rng(seed)
    points = random.uniform(10, 90, (1, POINTS, 2)) + random.normal(0, 0.5, (frames, POINTS, 2))
    observed = points.astype(np.float32)
    number = np.arange(first, first + frames, dtype=np.int32)
    ones = np.ones(frames, np.float32)
    return LandmarkTrack(
        scheme="mediapipe68", frame=number, pts_s=number / 25.0,
        box_px=np.tile(np.array([10, 10, 90, 90], np.float32), (frames, 1)),
        observed_px=observed, smoothed_px=observed, confidence=ones * np.float32(0.9),
        sharpness=ones, brightness=ones * np.float32(0.5), in_frame=ones,
        similarity=ones * np.float32(0.9), jump=ones * np.float32(0.1),
        occlusion=ones * np.float32(0.2),
    )


def fitted_track(
    frames: int = 5, *, status: FitStatus = "converged", error: float = 0.01, identity: float = 0.1, seed: int = 0
) -> FittedTrack:
    random = np.random.default_rng(seed)
    diverged = status == "diverged"
    return FittedTrack(
        status=status, iterations=7,
        identity=np.full(MODEL.n_identity, 0.0 if diverged else identity, np.float32),
        expression=random.normal(size=(frames, MODEL.n_expression)).astype(np.float32),
        expression_sigma=np.full((frames, MODEL.n_expression), 0.3, np.float32),
        scale_px_per_mm=np.full(frames, 1.5, np.float32),
        rotation_wxyz=np.tile(np.array([0, 1, 0, 0], np.float32), (frames, 1)),
        translation_px=np.zeros((frames, 2), np.float32),
        fitted_px=np.zeros((frames, POINTS, 2), np.float32),
        reprojection_error=np.full(frames, np.inf if diverged else error, np.float32),
        holdout_error=0.02,
    )


def job_in(folder: Path, options: BuildOptions | None = None) -> Job:
    return Job(
        out=folder / "out", manifest_folder=folder, networks=folder,
        options=options or BuildOptions(fetch=FetchOptions(allow_local=True), shards=2),
        detector_sha256="d" * 64, model_path=DEFAULT_MODEL_PATH, model_sha256=MODEL.sha256,
    )


def with_options(job: Job, **parts: object) -> Job:
    return replace(job, options=replace(job.options, **parts))


def manifest_of(*rows: ManifestRow) -> Manifest:
    return Manifest(rows=rows, bad_rows=(), folder=Path("/"))
