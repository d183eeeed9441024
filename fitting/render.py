"""Draws meshes with numpy alone: a vectorised z-buffer rasteriser with smooth shading.

Made for pictures of one face at a time (previews, reports, the derivation of landmarks), not for speed records:
8,000 triangles over 400 pixels take some tens of milliseconds.

Pixel frame: x right, y down, (0, 0) the centre of the top-left pixel, and depth towards the viewer, in pixels:
larger is nearer. A mesh whose triangles run counter-clockwise seen from outside shows its outside.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Integer, UInt8

from fitting.lens import through_lens
from fitting.tracks import no_lens

SKIN = (224.0, 182.0, 160.0)
"""Default colour, red green blue, 0 to 255."""
FROM_THE_VIEWER = (-0.35, -0.45, 1.0)
"""Default direction towards the light: from the viewer's upper left."""
AMBIENT = 0.42
_PAIRS_AT_ONCE = 4_000_000
_EDGE = -1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """What each pixel shows.

    Attributes:
        triangle: Index of the frontmost triangle, -1 where there is none.
        weights: Its barycentric weights at the pixel's centre, 0 where there is none.
        depth_px: Depth towards the viewer, minus infinity where there is none.
    """

    triangle: Int32[np.ndarray, "height width"]
    weights: Float32[np.ndarray, "height width 3"]
    depth_px: Float32[np.ndarray, "height width"]

    @property
    def is_hit(self) -> Bool[np.ndarray, "height width"]:
        """Where there is a triangle."""
        return self.triangle >= 0

    def interpolate(
        self, values: Float[np.ndarray, "vertices channels"], triangles: Integer[np.ndarray, "triangles 3"]
    ) -> Float32[np.ndarray, "height width channels"]:
        """Values given per vertex, at every pixel; 0 where there is no triangle."""
        channels = values.shape[1]
        hit = np.flatnonzero(self.triangle >= 0)
        corner_ids = np.take(np.asarray(triangles), self.triangle.ravel()[hit], axis=0)
        weights = np.take(self.weights.reshape(-1, 3), hit, axis=0)
        values = values.astype(np.float32)
        out = np.zeros((self.triangle.size, channels), dtype=np.float32)
        out[hit] = sum(weights[:, k, None] * np.take(values, corner_ids[:, k], axis=0) for k in range(3))
        return out.reshape(*self.triangle.shape, channels)


def look_from(yaw_deg: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> Float32[np.ndarray, "3 3"]:
    """Rotation from the head frame to the camera frame (x right, y down, z forward).

    Args:
        yaw_deg: Turn of the head about its vertical axis; positive shows the nose further right in the picture.
        pitch_deg: Nod; positive lifts the chin.
        roll_deg: Tilt in the picture plane, positive clockwise as seen.
    """
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    in_picture = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    frontal = np.diag([1.0, -1.0, -1.0])
    return np.asarray(in_picture @ frontal @ about_x @ about_y, dtype=np.float32)


def project_head(
    vertices_mm: Float[np.ndarray, "vertices 3"],
    scale_px_per_mm: float,
    rotation: Float[np.ndarray, "3 3"],
    translation_px: Float[np.ndarray, " 2"] | tuple[float, float],
    lens: Float[np.ndarray, " 3"] | None = None,
) -> Float32[np.ndarray, "vertices 3"]:
    """Projection, with depth: scaled orthographic, or through a lens.

    Args:
        vertices_mm: Points in the head frame.
        scale_px_per_mm: Scale of the camera.
        rotation: Rotation from the head frame to the camera frame.
        translation_px: Where the head frame's origin falls.
        lens: As in `fitting.tracks.FittedTrack`; None is none.

    Returns:
        x and y in pixels, and depth towards the viewer (minus the camera's z) in pixels.
    """
    seen = scale_px_per_mm * (vertices_mm @ np.asarray(rotation).T)
    in_picture = through_lens(seen, np.asarray(translation_px), no_lens() if lens is None else lens)
    return np.concatenate([in_picture, -seen[:, 2:]], axis=1).astype(np.float32)


def rasterise(
    vertices_px: Float[np.ndarray, "vertices 3"],
    triangles: Integer[np.ndarray, "triangles 3"],
    *,
    height: int,
    width: int,
    back_faces: bool = False,
) -> Raster:
    """Find the frontmost triangle at each pixel.

    Args:
        vertices_px: x, y and depth (larger is nearer) in pixels.
        triangles: Vertex ids, counter-clockwise seen from outside.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        back_faces: Whether triangles seen from inside count too.

    Raises:
        ValueError: The picture has no pixels.
    """
    if height < 1 or width < 1:
        raise ValueError(f"height={height} and width={width} must be at least 1")
    corners = np.asarray(vertices_px, dtype=np.float32)[triangles]
    edge_b = corners[:, 1] - corners[:, 0]
    edge_c = corners[:, 2] - corners[:, 0]
    doubled = edge_b[:, 0] * edge_c[:, 1] - edge_b[:, 1] * edge_c[:, 0]
    # y runs down, so a triangle that shows its outside has negative area.
    faces_us = (np.abs(doubled) > 1e-12) if back_faces else (doubled < -1e-12)
    shown = np.flatnonzero(faces_us & np.isfinite(corners).all(axis=(1, 2)))
    corners, edge_b, edge_c, doubled = corners[shown], edge_b[shown], edge_c[shown], doubled[shown]
    limit = np.array([width - 1, height - 1], dtype=np.float32)
    first = np.ceil(corners[:, :, :2].min(axis=1) - 1e-3).clip(0, limit + 1).astype(np.int32)
    last = np.floor(corners[:, :, :2].max(axis=1) + 1e-3).clip(-1, limit).astype(np.int32)
    size = (last - first + 1).clip(0)
    pairs = size.prod(axis=1, dtype=np.int64)
    triangle = np.full(height * width, -1, dtype=np.int32)
    weights = np.zeros((height * width, 3), dtype=np.float32)
    depth = np.full(height * width, -np.inf)
    # Whole triangles at a time, cut so that the table of (triangle, pixel) pairs stays small.
    batch = np.cumsum(pairs) // _PAIRS_AT_ONCE
    # Barycentric weights are affine in x and y: one gradient per triangle, evaluated at each of its pixels.
    by_x = np.stack([edge_c[:, 1], -edge_b[:, 1]], axis=1) / doubled[:, None]
    by_y = np.stack([-edge_c[:, 0], edge_b[:, 0]], axis=1) / doubled[:, None]
    for part in np.split(np.arange(len(shown)), np.flatnonzero(np.diff(batch)) + 1):
        # A run is one triangle's pixels in one row, so that the work per pixel stays small.
        rows = np.repeat(part, size[part, 1])
        y_of_row = first[rows, 1] + _ramp(size[part, 1])
        length = size[rows, 0]
        at_start = (
            by_x[rows] * (first[rows, 0] - corners[rows, 0, 0])[:, None]
            + by_y[rows] * (y_of_row - corners[rows, 0, 1])[:, None]
        )
        begin, count = _span(at_start, by_x[rows], length)
        row = np.repeat(np.arange(len(rows)), count)
        step = begin[row] + _ramp(count)
        of_b = at_start[row, 0] + by_x[rows, 0][row] * step
        of_c = at_start[row, 1] + by_x[rows, 1][row] * step
        inside = np.flatnonzero((of_b >= _EDGE) & (of_c >= _EDGE) & (of_b + of_c <= 1 - _EDGE))
        of_b, of_c, row = of_b[inside], of_c[inside], row[inside]
        owner = rows[row]
        pixel = (y_of_row * width + first[rows, 0])[row] + step[inside]
        z = corners[owner, 0, 2] + of_b * edge_b[owner, 2] + of_c * edge_c[owner, 2]
        # Of the triangles over a pixel all are written, then again those that are nearer than what stayed. Few pixels
        # have more than one, so this is faster than to sort.
        nearest = np.full(height * width, -1)
        nearer = np.flatnonzero(z > depth[pixel])
        while len(nearer):
            nearest[pixel[nearer]], depth[pixel[nearer]] = nearer, z[nearer]
            nearer = nearer[z[nearer] > depth[pixel[nearer]]]
        at = np.flatnonzero(nearest >= 0)
        of_b, of_c, owner = of_b[nearest[at]], of_c[nearest[at]], owner[nearest[at]]
        triangle[at] = shown[owner]
        weights[at] = np.stack([1 - of_b - of_c, of_b, of_c], axis=1)
    return Raster(
        triangle=triangle.reshape(height, width),
        weights=weights.reshape(height, width, 3),
        depth_px=depth.astype(np.float32).reshape(height, width),
    )


def _span(
    at_start: Float[np.ndarray, "runs 2"], by_x: Float[np.ndarray, "runs 2"], length: Int32[np.ndarray, " runs"]
) -> tuple[Int32[np.ndarray, " runs"], Int32[np.ndarray, " runs"]]:
    """Where in each run the triangle begins, and over how many pixels it goes, with a pixel to spare on both sides.

    Args:
        at_start: Weights of the second and third corner at the run's first pixel.
        by_x: Their change from a pixel to the next.
        length: Pixels of the run.
    """
    weight = np.stack([at_start[:, 0], at_start[:, 1], 1 - at_start.sum(axis=1)]) - np.float32(_EDGE)
    slope = np.stack([by_x[:, 0], by_x[:, 1], -by_x.sum(axis=1)])
    # Each weight is positive on one side of where it is zero. One that does not change says nothing.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        zero = -weight / slope
    left = np.where(slope > 0, zero, -np.inf).max(axis=0)
    right = np.where(slope < 0, zero, np.inf).min(axis=0)
    begin = np.clip(np.floor(left), 0, length).astype(np.int32)
    end = np.clip(np.floor(right) + 2, begin, np.maximum(length, begin)).astype(np.int32)
    return begin, end - begin


def _ramp(counts: Int32[np.ndarray, " runs"]) -> Int32[np.ndarray, " total"]:
    """0, 1, ..., count - 1 for each count, one after the other."""
    ends = np.cumsum(counts, dtype=np.int32)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total, dtype=np.int32) - np.repeat(ends - counts, counts), dtype=np.int32)


def vertex_normals(
    vertices_px: Float[np.ndarray, "vertices 3"], triangles: Integer[np.ndarray, "triangles 3"]
) -> Float32[np.ndarray, "vertices 3"]:
    """Outward unit normals in the pixel frame (x right, y down, third towards the viewer), area-weighted."""
    a, b, c = (np.asarray(vertices_px, dtype=np.float32)[triangles[:, k]] for k in range(3))
    # The pixel frame is left-handed, so the outside is where the cross product does not point.
    facing = np.cross(c - a, b - a)
    normals = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(facing[:, k], 3), minlength=len(vertices_px)) for k in range(3)],
        axis=1,
    )
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def brightness(
    vertices_px: Float[np.ndarray, "vertices 3"],
    triangles: Integer[np.ndarray, "triangles 3"],
    light: tuple[float, float, float] = FROM_THE_VIEWER,
) -> Float32[np.ndarray, " vertices"]:
    """Ambient light and Lambert's cosine law per vertex, 0 to 1; interpolated over triangles it is Gouraud shading.

    Args:
        vertices_px: Vertices in the pixel frame.
        triangles: Vertex ids.
        light: Direction towards the light in the pixel frame, any length.
    """
    direction = np.asarray(light, dtype=np.float32) / np.float32(np.linalg.norm(light))
    facing = vertex_normals(vertices_px, triangles) @ direction
    return np.asarray(AMBIENT + (1 - AMBIENT) * np.maximum(facing, 0), dtype=np.float32)


def blend(
    image: UInt8[np.ndarray, "height width 3"],
    raster: Raster,
    colour: Float[np.ndarray, "height width 3"],
    *,
    opacity: float = 1.0,
) -> UInt8[np.ndarray, "height width 3"]:
    """A picture with what a raster shows painted over it.

    Args:
        image: The background; it is left as it is.
        raster: Which pixels to paint.
        colour: Colour per pixel, 0 to 255.
        opacity: 1 hides the background, 0 shows it alone.

    Raises:
        ValueError: `opacity` is outside [0, 1].
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity={opacity} must lie between 0 and 1")
    out = image.copy()
    hit = np.flatnonzero(raster.is_hit)
    under = np.take(image.reshape(-1, 3), hit, axis=0).astype(np.float32)
    over = np.clip(np.take(colour.reshape(-1, 3), hit, axis=0), 0, 255)
    out.reshape(-1, 3)[hit] = np.rint(under + np.float32(opacity) * (over - under)).astype(np.uint8)
    return out


def render_mesh(
    vertices_px: Float[np.ndarray, "vertices 3"],
    triangles: Integer[np.ndarray, "triangles 3"],
    *,
    image: UInt8[np.ndarray, "height width 3"],
    colour: tuple[float, float, float] | Float[np.ndarray, "vertices 3"] = SKIN,
    opacity: float = 1.0,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a mesh over a picture; the picture given is left as it is.

    Args:
        vertices_px: x, y and depth (larger is nearer) in pixels, as `project_head` gives them.
        triangles: Vertex ids, counter-clockwise seen from outside.
        image: The background, RGB.
        colour: Red, green and blue, 0 to 255, for all of it or per vertex.
        opacity: 1 hides the background, 0 shows it alone.

    Raises:
        ValueError: `opacity` is outside [0, 1].
    """
    raster = rasterise(vertices_px, triangles, height=image.shape[0], width=image.shape[1])
    lit = brightness(vertices_px, triangles)[:, None] * np.asarray(colour, dtype=np.float32)
    return blend(image, raster, raster.interpolate(lit, triangles), opacity=opacity)
