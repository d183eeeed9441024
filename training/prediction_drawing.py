"""What was predicted, drawn into the frame: landmarks, and the mean identity with the predicted expression."""

import numpy as np
from jaxtyping import Float32, UInt8

from pipeline.faces.draw import draw_landmarks
from pipeline.faces.landmarks import FaceLandmarks
from training.face_reader import FaceReader
from training.overlay import MeshPainter

_MESH_OPACITY = 0.35
_INSET_SHARE = 3
_INSET_MM = 300.0
_INSET_GREY = 32


def drawn_prediction(
    reader: FaceReader,
    painter: MeshPainter,
    rgb: UInt8[np.ndarray, "height width 3"],
    face: FaceLandmarks | None,
    expression: Float32[np.ndarray, " n_expression"] | None,
) -> UInt8[np.ndarray, "height width 3"]:
    """The frame with landmarks and mesh over the face, and the mesh once more in a corner.

    Args:
        reader: Knows the face model, and finds the head's pose.
        painter: Draws its mesh.
        rgb: The frame.
        face: Its face; without one the frame stays as it is.
        expression: Coefficients, standard deviations.
    """
    if face is None or expression is None:
        return rgb
    pose = reader.pose(face, expression)
    if pose is None:
        return draw_landmarks(rgb, face.points_px)
    identity = np.zeros(reader.face_model.n_identity, dtype=np.float32)
    out = draw_landmarks(
        painter.draw(
            rgb,
            identity=identity,
            expression=expression,
            scale_px_per_mm=pose.scale_px_per_mm,
            rotation=pose.rotation,
            translation_px=pose.translation_px,
            opacity=_MESH_OPACITY,
        ),
        face.points_px,
    )
    # The same mesh once more, alone, in the lower right corner: over a face its shape is hard to see.
    side = max(1, min(rgb.shape[:2]) // _INSET_SHARE)
    scale = side / _INSET_MM
    out[-side:, -side:] = painter.draw(
        np.full((side, side, 3), _INSET_GREY, dtype=np.uint8),
        identity=identity,
        expression=expression,
        scale_px_per_mm=scale,
        rotation=pose.rotation,
        translation_px=np.array([side / 2, side / 2]),
        opacity=1.0,
    )
    return out
