"""Draws what was found into a picture: the re-projected mesh, a caption. Landmarks are drawn by `pipeline.faces.draw`.

Pictures are RGB; none is changed in place.
"""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from fitting.face_model import FaceModel
from fitting.paint import SCLERA, eyeballs, paint_of
from fitting.render import project_head, render_mesh

_TEXT_COLOUR = (255, 255, 255)
_MESH_COLOUR = (196.0, 212.0, 228.0)


class MeshPainter:
    """Draws the faces of one model: brows, lips and the inside of the mouth in colours that tell them apart."""

    def __init__(self, model: FaceModel) -> None:
        self.model = model
        self._colour = np.tile(np.asarray(_MESH_COLOUR, dtype=np.float32), (len(model.mean_mm), 1))
        # Without ibug68 landmarks nobody knows where the lips are, and the mesh is of one colour.
        if "ibug68" in model.landmarks:
            self._colour = paint_of(model, skin=_MESH_COLOUR).vertex_colour
            self._colour[eyeballs(len(model.mean_mm), model.triangles) > 0] = SCLERA

    def draw(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        *,
        identity: Float32[np.ndarray, " n_identity"],
        expression: Float32[np.ndarray, " n_expression"],
        scale_px_per_mm: float,
        rotation: Float[np.ndarray, "3 3"],
        translation_px: Float[np.ndarray, " 2"],
        lens: Float32[np.ndarray, " 3"] | None = None,
        opacity: float = 0.9,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The face's mesh, shaded, over the picture.

        Args:
            rgb: The picture.
            identity: Identity coefficients, standard deviations.
            expression: Expression coefficients, standard deviations.
            scale_px_per_mm: Camera scale, in this picture's pixels.
            rotation: Head frame to camera frame.
            translation_px: Where the head frame's origin falls in this picture.
            lens: Lens of the camera in this picture's pixels, as in `fitting.tracks.FittedTrack`; None is none.
            opacity: 1 hides the face beneath.
        """
        shape_mm = self.model.vertices_mm(identity, expression)
        vertices = project_head(shape_mm, scale_px_per_mm, rotation, translation_px, lens)
        # Only the part of the picture that the mesh covers is painted, so that large pictures cost no more.
        height, width = rgb.shape[:2]
        low = np.clip(np.floor(vertices[:, :2].min(axis=0)), 0, (width, height)).astype(int)
        high = np.clip(np.ceil(vertices[:, :2].max(axis=0)) + 1, 0, (width, height)).astype(int)
        out = rgb.copy()
        if (high > low).all():
            window = (slice(low[1], high[1]), slice(low[0], high[0]))
            inside = vertices - np.array([low[0], low[1], 0], dtype=np.float32)
            out[window] = render_mesh(
                inside, self.model.triangles, image=rgb[window], colour=self._colour, opacity=opacity
            )
        return out


def draw_caption(
    rgb: UInt8[np.ndarray, "height width 3"], lines: Sequence[str]
) -> UInt8[np.ndarray, "height width 3"]:
    """Lines of plain ASCII text in the top left corner, on a dark band."""
    out = rgb.copy()
    size = max(0.4, min(rgb.shape[:2]) / 700)
    step = round(26 * size)
    band = out[: step * len(lines) + round(12 * size)]
    band[:] = band // 3
    for index, line in enumerate(lines):
        place = (round(8 * size), round(step * (index + 1)))
        out = cast(
            "np.ndarray",
            cv2.putText(out, line, place, cv2.FONT_HERSHEY_SIMPLEX, size * 0.8, _TEXT_COLOUR, 1, cv2.LINE_AA),
        )
    return out
