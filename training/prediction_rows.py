"""From frames with their crops to rows of the table, batch by batch, and to drawings."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from pipeline.faces.register import CROP_SIZE_PX
from training.expression_classifier import ExpressionClassifier
from training.face_reader import FaceReader
from training.overlay import MeshPainter, draw_caption
from training.prediction_drawing import drawn_prediction
from training.seen_frames import SeenFrame
from training.tables import BOX_EDGES, RowWriter


class PredictionRows:
    """Frames in, rows out, batch by batch.

    Args:
        reader: Predicts coefficients.
        classifier: Classifies them, or None.
        rows: Where the rows go.
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
        remark: str,
    ) -> None:
        self._reader = reader
        self._painter = MeshPainter(reader.face_model)
        self.frames = self.faces = 0
        self._classifier, self._rows, self._remark = classifier, rows, remark

    def read(self, batch: list[SeenFrame]) -> Iterator[tuple[SeenFrame, UInt8[np.ndarray, "height width 3"] | None]]:
        """Predict a batch and write its rows; yields each frame with what was drawn into it."""
        crops = [seen.crop for seen in batch if seen.crop is not None]
        no_crops = np.zeros((0, CROP_SIZE_PX, CROP_SIZE_PX, 3), dtype=np.uint8)
        coefficients = self._reader.coefficients(np.stack(crops) if crops else no_crops)
        # All faces at once: the classifier takes about as long for one row as for a hundred.
        probabilities = self._classifier.probabilities(coefficients) if self._classifier else None
        place = 0
        for seen in batch:
            row: dict[str, Any] = {"source": seen.source, "frame": seen.index, "pts_s": seen.pts_s}
            lines = ["no face"]
            expression = None if seen.face is None else coefficients[place]
            if seen.face is not None and expression is not None:
                row |= {"face": seen.face.confidence}
                row |= {
                    f"box_{edge}_px": value for edge, value in zip(BOX_EDGES, seen.face.box_px.tolist(), strict=True)
                }
                row |= {f"e{index}": float(value) for index, value in enumerate(expression)}
                lines = [] if probabilities is None else self._classify(probabilities[place], row)
                lines += [self._remark] if self._remark else []
                place += 1
                self.faces += 1
            self.frames += 1
            self._rows.write(row)
            drawing = None
            if seen.rgb is not None:
                frame = drawn_prediction(self._reader, self._painter, seen.rgb, seen.face, expression)
                drawing = draw_caption(frame, lines)
            yield seen, drawing

    def _classify(self, probabilities: Float32[np.ndarray, " classes"], row: dict[str, Any]) -> list[str]:
        if self._classifier is None:
            return []
        config = self._classifier.config
        best = int(probabilities.argmax())
        row |= {f"p_{name}": float(value) for name, value in zip(config.classes, probabilities, strict=True)}
        row |= {"expression": config.classes[best]}
        source = "classifier trained on synthetic prototypes" if config.trained_on == "prototypes" else ""
        return [f"expression: {config.classes[best]} {probabilities[best]:.2f}", *([source] if source else [])]
