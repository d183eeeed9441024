"""From frames with their crops to rows of the table, batch by batch, and to drawings."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from fitting.arkit import arkit_weights
from pipeline.faces.landmarks import FaceLandmarks
from pipeline.faces.register import CROP_SIZE_PX
from training.expression_classifier import ExpressionClassifier
from training.face_reader import FaceReader
from training.head_pose import HeadPose
from training.seen_frames import SeenFrame
from training.tables import BOX_EDGES, RowWriter, camera_columns

Drawing = UInt8[np.ndarray, "height width 3"]
_Expression = Float32[np.ndarray, " n_expression"]
Draw = Callable[[Drawing, FaceLandmarks | None, _Expression | None, HeadPose | None, Sequence[str]], Drawing]
"""Draws into a frame its face, the expression, how the head is held, and lines of text."""


class PredictionRows:
    """Frames in, rows out, batch by batch.

    Args:
        reader: Predicts coefficients.
        classifier: Classifies them, or None.
        rows: Where the rows go.
        arkit_rows: Where the ARKit weights go, or None.
        draw: Draws into frames, or None.
        remark: A line for every drawing, or nothing.

    Attributes:
        frames: Frames so far.
        faces: How many of them show a face.
    """

    def __init__(
        self,
        reader: FaceReader,
        *,
        classifier: ExpressionClassifier | None,
        rows: RowWriter,
        arkit_rows: RowWriter | None,
        draw: Draw | None,
        remark: str,
    ) -> None:
        self._reader = reader
        self.frames = self.faces = 0
        self._classifier, self._draw, self._remark = classifier, draw, remark
        self._rows, self._arkit_rows = rows, arkit_rows

    def read(self, batch: list[SeenFrame]) -> Iterator[tuple[SeenFrame, Drawing | None]]:
        """Predict a batch and write its rows; yields each frame with what was drawn into it."""
        crops = [seen.crop for seen in batch if seen.crop is not None]
        no_crops = np.zeros((0, CROP_SIZE_PX, CROP_SIZE_PX, 3), dtype=np.uint8)
        coefficients = self._reader.coefficients(np.stack(crops) if crops else no_crops)
        # All faces at once: the classifier takes about as long for one row as for a hundred.
        probabilities = self._classifier.probabilities(coefficients) if self._classifier else None
        weights = None if self._arkit_rows is None else arkit_weights(self._reader.face_model, coefficients)
        place = 0
        for seen in batch:
            at: dict[str, Any] = {"source": seen.source, "frame": seen.index, "pts_s": seen.pts_s}
            row, arkit_row = dict(at), dict(at)
            lines = ["no face"]
            expression = None if seen.face is None else coefficients[place]
            pose = None
            if seen.face is not None and expression is not None:
                pose = self._reader.pose(seen.face, expression)
                row |= {"face": seen.face.confidence}
                row |= {
                    f"box_{edge}_px": value for edge, value in zip(BOX_EDGES, seen.face.box_px.tolist(), strict=True)
                }
                row |= camera_columns(pose)
                row |= {f"e{index}": float(value) for index, value in enumerate(expression)}
                if weights is not None:
                    arkit_row |= self._named(weights[place])
                lines = [] if probabilities is None else self._classify(probabilities[place], row)
                lines += [self._remark] if self._remark else []
                place += 1
                self.faces += 1
            self.frames += 1
            self._rows.write(row)
            if self._arkit_rows is not None:
                self._arkit_rows.write(arkit_row)
            drawing = None
            if self._draw is not None and seen.rgb is not None:
                drawing = self._draw(seen.rgb, seen.face, expression, pose, lines)
            yield seen, drawing

    def _named(self, weights: Float32[np.ndarray, " units"]) -> dict[str, float]:
        arkit = self._reader.face_model.arkit
        names = arkit.names if arkit else ()
        return dict(zip(names, weights.tolist(), strict=True))

    def _classify(self, probabilities: Float32[np.ndarray, " classes"], row: dict[str, Any]) -> list[str]:
        if self._classifier is None:
            return []
        config = self._classifier.config
        best = int(probabilities.argmax())
        row |= {f"p_{name}": float(value) for name, value in zip(config.classes, probabilities, strict=True)}
        row |= {"expression": config.classes[best]}
        source = "classifier trained on synthetic prototypes" if config.trained_on == "prototypes" else ""
        return [f"expression: {config.classes[best]} {probabilities[best]:.2f}", *([source] if source else [])]
