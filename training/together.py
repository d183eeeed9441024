"""Datasets that are trained on together: opened, in an order of their own, and checked to speak of the same thing."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from facevid.dataset import Dataset, open_dataset
from facevid.description import DatasetError
from training.sources import content_sha256


def open_together(folders: Sequence[Path | str]) -> tuple[Dataset, ...]:
    """Open the datasets of a training, in the order of their content: in which order they are named changes nothing.

    Args:
        folders: Dataset folders, or addresses in buckets; at least one.

    Raises:
        ValueError: None is named.
        DatasetError: One is no dataset, has no crops, is another's copy, or has other coefficients or other crops than
            another; the message names both.
    """
    if not folders:
        raise ValueError("datasets: name at least one dataset folder")
    datasets = sorted((open_dataset(folder) for folder in folders), key=content_sha256)
    for dataset in datasets:
        _require_crops(dataset)
    for one, other in pairwise(datasets):
        _require_alike(one, other)
    return tuple(datasets)


def _require_crops(dataset: Dataset) -> None:
    if any(shard.rows for shard in dataset.shards("crops")):
        return
    if dataset.description.is_release:
        raise DatasetError(
            f"{dataset.root} is a release without crops, and training looks at crops: ask for one with them "
            "(facevid release --with-crops), or build from the same videos"
        )
    raise DatasetError(
        f"{dataset.root} has no crops, and training looks at crops. Was it built without them, or did no video give a "
        f"track? `facevid status {dataset.root}` tells"
    )


def _require_alike(one: Dataset, other: Dataset) -> None:
    both = f"{one.root} and {other.root} cannot be trained on together:"
    if content_sha256(one) == content_sha256(other):
        raise DatasetError(f"{both} they are the same dataset; name it once")
    left, right = one.description, other.description
    if left.face_model_sha256 != right.face_model_sha256:
        raise DatasetError(
            f"{both} they were fitted with the face models {left.face_model} ({left.face_model_sha256[:12]}) and "
            f"{right.face_model} ({right.face_model_sha256[:12]}), whose coefficients mean other things. Build one of "
            "them again with the other's (--model)"
        )
    if left.n_expression != right.n_expression:
        raise DatasetError(
            f"{both} they have {left.n_expression} and {right.n_expression} expression coefficients of one face model: "
            "one of them was altered"
        )
    if left.landmark_scheme != right.landmark_scheme:
        raise DatasetError(
            f"{both} their crops were registered by the landmarks {left.landmark_scheme} and {right.landmark_scheme}, "
            "and lie differently in their frames. Build one of them again with the other's (--scheme), or train on one "
            "and go on with the other by --init"
        )
