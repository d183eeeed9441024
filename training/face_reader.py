"""Reads faces in new pictures: finds the face, registers the crop as training did, and asks DeepExp3D."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from fitting.face_model import FaceModel
from pipeline.faces.follow import FaceFollower, face_in_image
from pipeline.faces.landmarks import FaceLandmarks, MediapipeDetector
from pipeline.faces.options import FacesOptions
from pipeline.faces.picture import Picture
from pipeline.faces.register import register
from training.head_pose import HeadPose, HeadPoser
from training.image_files import read_image
from training.model_config import ModelConfig
from training.onnx_network import load_onnx
from training.prediction_progress import PredictionProgress

_BATCH = 32


@runtime_checkable
class Network(Protocol):
    """DeepExp3D in either form."""

    @property
    def config(self) -> ModelConfig:
        """What it is and which face model it speaks of."""

    def predict(
        self, crops: UInt8[np.ndarray, "batch 224 224 3"]
    ) -> Float32[np.ndarray, "batch n_expression"]:
        """Expression coefficients, standard deviations, of registered RGB crops."""


class FaceReader:
    """Landmark networks and DeepExp3D, loaded once.

    Args:
        networks: Folder with the landmark networks.
        deepexp3d: DeepExp3D model folder.
        face_model: The face model whose coefficients it predicts.
        device: cpu or cuda.

    Raises:
        ValueError: DeepExp3D was trained for another face model, or the face model lacks its landmark scheme.
    """

    def __init__(self, *, networks: Path, deepexp3d: Path, face_model: FaceModel, device: str) -> None:
        self._network = _network(deepexp3d, device)
        config = self._network.config
        if config.face_model_sha256 != face_model.sha256:
            raise ValueError(
                f"{deepexp3d} predicts coefficients of the face model {config.face_model} with sha256 "
                f"{config.face_model_sha256[:16]}, not of {face_model.name} with {face_model.sha256[:16]}; give the "
                "file that it was trained with (face_model.npz in the dataset)"
            )
        self.face_model = face_model
        self._options = FacesOptions()
        self._detector = MediapipeDetector(networks, scheme=config.landmark_scheme)
        self._poser = HeadPoser(face_model, config.landmark_scheme)

    def follower(self) -> FaceFollower:
        """What follows one face through a video."""
        return FaceFollower(self._detector, replace(self._options, faces="first"))

    def find(self, picture: Picture) -> FaceLandmarks | None:
        """The largest face of a single picture."""
        return face_in_image(picture, self._detector, self._options)

    def crop(self, picture: Picture, face: FaceLandmarks) -> UInt8[np.ndarray, "224 224 3"]:
        """The registered crop, by the very code that made the training crops."""
        return register(picture, face.points_px).rgb

    def coefficients(self, crops: UInt8[np.ndarray, "faces 224 224 3"]) -> Float32[np.ndarray, "faces n_expression"]:
        """Expression coefficients of registered crops, standard deviations."""
        return self._network.predict(crops)

    def pose(
        self, face: FaceLandmarks, expression: Float32[np.ndarray, " n_expression"]
    ) -> HeadPose | None:
        """How the head is held, as `training.head_pose.HeadPoser` finds it; None where nobody knows."""
        return self._poser.pose(face.points_px, expression)

    def read_images(
        self, paths: Sequence[Path], report: Callable[[str], None]
    ) -> tuple[Int64[np.ndarray, " faces"], Float32[np.ndarray, "faces n_expression"]]:
        """The coefficients of the largest face of each image.

        Args:
            paths: Image files.
            report: Receives progress lines.

        Returns:
            Indices of the images in which a face was found, and their coefficients.

        Raises:
            ValueError: A file is no image.
        """
        seen: list[int] = []
        rows = [np.zeros((0, self.face_model.n_expression), dtype=np.float32)]
        for batch in _batches(self._crops(paths, report)):
            seen.extend(index for index, _ in batch)
            rows.append(self.coefficients(np.stack([crop for _, crop in batch])))
        return np.array(seen, dtype=np.int64), np.concatenate(rows)

    def _crops(
        self, paths: Sequence[Path], report: Callable[[str], None]
    ) -> Iterator[tuple[int, UInt8[np.ndarray, "224 224 3"]]]:
        progress = PredictionProgress(report, "images", len(paths))
        for index, path in enumerate(paths):
            progress.say(index)
            picture = Picture(read_image(path))
            if (face := self.find(picture)) is not None:
                yield index, self.crop(picture, face)


def _network(folder: Path, device: str) -> Network:
    """The network in the form that is fastest there: ONNX Runtime on the CPU, torch elsewhere; never the other one."""
    if device == "cpu":
        return load_onnx(folder)
    from training.export import load_deepexp3d  # with torch, which takes a second to load

    return load_deepexp3d(folder, device)


def _batches(
    items: Iterator[tuple[int, UInt8[np.ndarray, "224 224 3"]]],
) -> Iterator[list[tuple[int, UInt8[np.ndarray, "224 224 3"]]]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
