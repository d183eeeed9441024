"""A track of a dataset as the fit that it is, and as the landmarks that were fitted."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from facevid.dataset import Dataset
from facevid.track_arrays import TrackArrays
from fitting.face_model import FaceModel, load_face_model
from fitting.landmark_file import write_landmarks
from fitting.lens import through_lens
from fitting.rotation import matrix_from_quaternion
from fitting.saved_fit import SavedFit
from fitting.tracks import FittedTrack, LandmarkSequence


def face_model_of(dataset: Dataset) -> FaceModel:
    """The face model that a dataset was fitted with."""
    with tempfile.TemporaryDirectory() as folder:  # the dataset may lie in a bucket
        local = Path(folder) / "face_model.npz"
        local.write_bytes(dataset.face_model_bytes())
        return load_face_model(local)


def saved_fit(track: TrackArrays, dataset: Dataset, model: FaceModel) -> SavedFit:
    """A track as `facevid fit` would have saved it; what the tables do not hold (the energy) is not known.

    Args:
        track: All its frames.
        dataset: Where it is from.
        model: The dataset's face model.
    """
    about, row = dataset.description, track.row
    head_mm = model.landmarks_mm(about.landmark_scheme, track.identity, track.expression)
    rotation = matrix_from_quaternion(torch.from_numpy(track.rotation_wxyz.copy())).numpy()
    turned = track.scale_px_per_mm[:, None, None] * np.einsum("fij,fpj->fpi", rotation, head_mm)
    options = about.config.get("fit")
    return SavedFit(
        track=FittedTrack(
            status=row["fit_status"],
            iterations=row["fit_iterations"],
            identity=track.identity,
            expression=track.expression,
            expression_sigma=track.expression_sigma,
            scale_px_per_mm=track.scale_px_per_mm,
            rotation_wxyz=track.rotation_wxyz,
            translation_px=track.translation_px,
            fitted_px=through_lens(turned, track.translation_px, track.lens).astype(np.float32),
            reprojection_error=track.reprojection_error,
            holdout_error=row["holdout_error"],
            lens=track.lens,
        ),
        scheme=about.landmark_scheme,
        frame=track.frame.astype(np.int64),
        pts_s=track.pts_s,
        face_model=about.face_model,
        face_model_sha256=about.face_model_sha256,
        face_model_licence=about.face_model_licence,
        options=dict(options) if options else None,
        versions={"facevid": about.program_version},
    )


def landmarks_of(track: TrackArrays, dataset: Dataset) -> LandmarkSequence:
    """The landmarks of a track as the build fitted them."""
    points = track.landmarks_px.shape[1]
    return LandmarkSequence(
        scheme=dataset.description.landmark_scheme,
        observed_px=track.landmarks_px,
        smoothed_px=track.smoothed_px,
        weight=np.repeat(track.landmark_confidence[:, None], points, axis=1),
        pts_s=track.pts_s,
        picture_px=(track.row["width_px"], track.row["height_px"]),
    )


def write_track_landmarks(path: Path, track: TrackArrays, dataset: Dataset) -> None:
    """Write the landmarks of a track as `facevid fit` reads them: fitted again, they give the same fit."""
    write_landmarks(path, landmarks_of(track, dataset), frame=track.frame.astype(np.int64))
