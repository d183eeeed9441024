"""What was predicted, drawn into the frame: landmarks, and the mean identity with the predicted expression."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from fitting.face_model import FaceModel
from pipeline.faces.draw import draw_landmarks
from pipeline.faces.landmarks import FaceLandmarks
from training.head_pose import HeadPose
from training.overlay import MeshPainter, draw_caption

_MESH_OPACITY = 0.35
_INSET_SHARE = 3
_INSET_MM = 300.0
_INSET_GREY = 32


class PredictionPainter:
    """Draws predictions of one face model.

    Args:
        model: The face model.
    """

    def __init__(self, model: FaceModel) -> None:
        self._painter = MeshPainter(model)
        self._identity = np.zeros(model.n_identity, dtype=np.float32)

    def draw(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        face: FaceLandmarks | None,
        expression: Float32[np.ndarray, " n_expression"] | None,
        pose: HeadPose | None,
        lines: Sequence[str],
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The frame with landmarks and mesh over the face, the mesh once more in a corner, and a caption.

        Args:
            rgb: The frame.
            face: Its face; without one the frame has a caption alone.
            expression: Coefficients, standard deviations.
            pose: How the head is held; without it there is no mesh.
            lines: The caption.
        """
        if face is None or expression is None:
            return draw_caption(rgb, lines)
        if pose is None:
            return draw_caption(draw_landmarks(rgb, face.points_px), lines)
        over = self._painter.draw(
            rgb,
            identity=self._identity,
            expression=expression,
            scale_px_per_mm=pose.scale_px_per_mm,
            rotation=pose.rotation,
            translation_px=pose.translation_px,
            opacity=_MESH_OPACITY,
        )
        out = draw_landmarks(over, face.points_px)
        # The same mesh once more, alone, in the lower right corner: over a face its shape is hard to see.
        side = max(1, min(rgb.shape[:2]) // _INSET_SHARE)
        out[-side:, -side:] = self._painter.draw(
            np.full((side, side, 3), _INSET_GREY, dtype=np.uint8),
            identity=self._identity,
            expression=expression,
            scale_px_per_mm=side / _INSET_MM,
            rotation=pose.rotation,
            translation_px=np.array([side / 2, side / 2]),
            opacity=1.0,
        )
        return draw_caption(out, lines)
