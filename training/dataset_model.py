"""The face model that datasets were fitted with, which their coefficients speak of."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from facevid import storage
from facevid.dataset import Dataset
from facevid.description import DatasetError
from fitting.face_model import FaceModel, load_face_model


def face_model_of(datasets: Sequence[Dataset]) -> FaceModel:
    """The copy of it that lies with one of the datasets: releases may come without.

    Args:
        datasets: Fitted with the same face model.

    Raises:
        DatasetError: It cannot be read, or is another one.
    """
    dataset = next((one for one in datasets if storage.exists(one.face_model_path)), datasets[0])
    try:
        with tempfile.TemporaryDirectory() as folder:  # the dataset may be in a bucket
            local = Path(folder) / "face_model.npz"
            local.write_bytes(dataset.face_model_bytes())
            model = load_face_model(local)
    except (OSError, ValueError) as error:
        raise DatasetError(f"the dataset's face model cannot be read: {error}; build the dataset again") from error
    if model.sha256 != dataset.description.face_model_sha256:
        raise DatasetError(
            f"{dataset.face_model_path} is not the face model that the dataset was fitted with; build the dataset again"
        )
    if model.n_expression != dataset.description.n_expression:
        raise DatasetError(
            f"{dataset.face_model_path} has {model.n_expression} expression components, and the dataset "
            f"{dataset.description.n_expression}; build the dataset again"
        )
    return model
