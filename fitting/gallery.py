"""Pictures of a face model, for a human to judge: do faces look like people, expressions like expressions?

`render_gallery` writes one big picture: the neutral face from several sides, random identities, each expression
component at minus and plus two standard deviations, ARKit units where the model has them, and every landmark scheme
as numbered points.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from tqdm import tqdm

from fitting.arkit import expression_of
from fitting.face_model import FaceModel, LandmarkEmbedding
from fitting.paint import FacePaint, paint_of
from fitting.render import blend, brightness, look_from, project_head, rasterise, render_mesh
from fitting.whole_file import require_writable

SEED = 1
COLUMNS = 8
_TILE_PX = 240
_LANDMARK_TILE_PX = 960
_BACKGROUND = 118
_SPREAD_SD = 2.0
_POINT_COLOUR = (0, 0, 220)
_EXTRA_POINT_COLOUR = (0, 110, 0)
_SIDES_DEG = ((0.0, 0.0), (-30.0, 0.0), (30.0, 0.0), (-60.0, 0.0), (60.0, 0.0), (90.0, 0.0), (0.0, 25.0), (0.0, -25.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one tile shows.

    Attributes:
        label: Its caption.
        identity: Identity coefficients.
        expression: Expression coefficients.
        yaw_deg: From which side it is seen.
        pitch_deg: And from how far above.
    """

    label: str
    identity: Float32[np.ndarray, " n_identity"]
    expression: Float32[np.ndarray, " n_expression"]
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0


def render_gallery(model: FaceModel, out_png: Path) -> None:
    """Write the gallery of a model as a PNG, which takes some seconds: a bar on standard error says how far it is.

    Args:
        model: The model; with ibug68 landmarks it is shown with brows, lips and irises, without in one colour.
        out_png: The file to write; its folder is made.

    Raises:
        ValueError: The file's name does not end in .png.
        OSError: It cannot be written.
    """
    if out_png.suffix.lower() != ".png":
        raise ValueError(f"out={str(out_png)!r} must end in .png")
    require_writable(out_png)
    paint = paint_of(model) if "ibug68" in model.landmarks else None
    sections = _sections(model)
    rows = []
    with tqdm(
        desc="model render", unit="tile", total=sum(map(len, sections.values())) + len(model.landmarks)
    ) as bar:
        for title, looks in sections.items():
            tiles = []
            for look in looks:
                tiles.append(_labelled(_tile(model, paint, look), look.label))
                bar.update()
            rows.append(_section(title, tiles))
        schemes = []
        for scheme in sorted(model.landmarks):
            drawn = _with_points(model, paint, model.landmarks[scheme], side_px=_LANDMARK_TILE_PX, yaw_deg=0.0)
            schemes.append(_labelled(drawn, f"landmarks {scheme}"))
            bar.update()
    if schemes:
        rows.append(_grid(schemes, max(COLUMNS * _TILE_PX // _LANDMARK_TILE_PX, 1)))
    width = max(row.shape[1] for row in rows)
    picture = np.concatenate(
        [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=_BACKGROUND) for row in rows]
    )
    if not cv2.imwrite(str(out_png), picture[:, :, ::-1]):
        raise OSError(f"cannot write {out_png}")


def _sections(model: FaceModel) -> dict[str, list[_Look]]:
    """What is shown, under its headings."""
    plain = np.zeros(model.n_identity, dtype=np.float32)
    neutral = model.neutral_expression
    rng = np.random.default_rng(SEED)
    sections = {
        "neutral mean face": [
            _Look(label=f"yaw {yaw:.0f} pitch {pitch:.0f}", identity=plain, expression=neutral, yaw_deg=yaw,
                  pitch_deg=pitch)
            for yaw, pitch in _SIDES_DEG
        ],
        "random identities": [
            _Look(label=f"identity {k}", identity=identity, expression=neutral, yaw_deg=20.0 * (k % 3 - 1))
            for k, identity in enumerate(rng.normal(size=(3 * COLUMNS, model.n_identity)).astype(np.float32))
        ],
        "expression components, mean identity": [
            _Look(label=f"expression {k} at {sign * _SPREAD_SD:+.0f} sd", identity=plain,
                  expression=neutral + np.float32(sign * _SPREAD_SD) * component)
            for k, component in enumerate(np.eye(model.n_expression, dtype=np.float32))
            for sign in (-1, 1)
        ],
        "random identities with random expressions, 1 sd": [
            _Look(
                label=f"random {k}",
                identity=rng.normal(size=model.n_identity).astype(np.float32),
                expression=rng.normal(size=model.n_expression).astype(np.float32),
                yaw_deg=15.0 * (k % 3 - 1),
            )
            for k in range(2 * COLUMNS)
        ],
    }  # fmt: skip
    if model.arkit is not None:
        names = [name for name in model.arkit.names if not name.endswith("Right")]
        sections["ARKit units at 1"] = [
            _Look(label=name, identity=plain, expression=expression_of(model, {name: 1.0}), yaw_deg=15.0)
            for name in names
        ]
    return sections


def landmark_picture(
    model: FaceModel, scheme: str, *, side_px: int = _LANDMARK_TILE_PX, yaw_deg: float = 0.0
) -> UInt8[np.ndarray, "side side 3"]:
    """The neutral mean face with the numbered points of one scheme.

    Args:
        model: The model.
        scheme: Landmark scheme; an unknown one raises ValueError.
        side_px: Side of the picture, pixels.
        yaw_deg: From which side.
    """
    embedding = model.embedding(scheme)
    paint = paint_of(model) if "ibug68" in model.landmarks else None
    return _with_points(model, paint, embedding, side_px=side_px, yaw_deg=yaw_deg)


def _with_points(
    model: FaceModel,
    paint: FacePaint | None,
    embedding: LandmarkEmbedding,
    *,
    side_px: int,
    yaw_deg: float,
) -> UInt8[np.ndarray, "side side 3"]:
    vertices = model.vertices_mm(np.zeros(model.n_identity, dtype=np.float32), model.neutral_expression)
    at = _placed(model, vertices, side_px=side_px, yaw_deg=yaw_deg, pitch_deg=0.0)
    picture = _drawn(model, paint, at, side_px)
    points = np.rint((at[embedding.vertex_ids, :2] * embedding.weights[:, :, None]).sum(axis=1)).astype(int).tolist()
    for k, (x, y) in enumerate(points):
        cv2.circle(picture, (x, y), 2, _POINT_COLOUR if k < 68 else _EXTRA_POINT_COLOUR, cv2.FILLED)
        _write(picture, str(k), (x + 3, y - 2), (0, 0, 0))
    return picture


def _section(title: str, tiles: list[UInt8[np.ndarray, "side side 3"]]) -> UInt8[np.ndarray, "height width 3"]:
    heading = np.full((28, COLUMNS * _TILE_PX, 3), 40, dtype=np.uint8)
    _write(heading, title, (6, 19), (255, 255, 255))
    return np.concatenate([heading, _grid(tiles, COLUMNS)])


def _grid(tiles: list[UInt8[np.ndarray, "side side 3"]], columns: int) -> UInt8[np.ndarray, "height width 3"]:
    blank = np.full_like(tiles[0], _BACKGROUND)
    tiles = tiles + [blank] * (-len(tiles) % columns)
    return np.concatenate(
        [np.concatenate(tiles[first : first + columns], axis=1) for first in range(0, len(tiles), columns)]
    )


def _labelled(tile: UInt8[np.ndarray, "side side 3"], label: str) -> UInt8[np.ndarray, "side side 3"]:
    picture = tile.copy()
    _write(picture, label, (4, tile.shape[0] - 6), (255, 255, 255))
    return picture


def _write(
    picture: UInt8[np.ndarray, "height width 3"], text: str, at_px: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    cv2.putText(picture, text, at_px, cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, 1, cv2.LINE_AA)


def _tile(model: FaceModel, paint: FacePaint | None, look: _Look) -> UInt8[np.ndarray, "side side 3"]:
    vertices = model.vertices_mm(look.identity, look.expression)
    at = _placed(model, vertices, side_px=_TILE_PX, yaw_deg=look.yaw_deg, pitch_deg=look.pitch_deg)
    return _drawn(model, paint, at, _TILE_PX)


def _placed(
    model: FaceModel, vertices_mm: Float32[np.ndarray, "vertices 3"], *, side_px: int, yaw_deg: float, pitch_deg: float
) -> Float32[np.ndarray, "vertices 3"]:
    # One scale for all tiles, so that sizes can be compared: the mean face fills the tile's height.
    height_mm = float(np.ptp(model.mean_mm[:, 1]))
    at = project_head(vertices_mm, 0.92 * side_px / height_mm, look_from(yaw_deg, pitch_deg), (0.0, 0.0))
    at[:, :2] += side_px / 2 - (at[:, :2].min(axis=0) + at[:, :2].max(axis=0)) / 2
    return at


def _drawn(
    model: FaceModel, paint: FacePaint | None, at: Float32[np.ndarray, "vertices 3"], side_px: int
) -> UInt8[np.ndarray, "side side 3"]:
    background = np.full((side_px, side_px, 3), _BACKGROUND, dtype=np.uint8)
    if paint is None:
        return render_mesh(at, model.triangles, image=background)
    raster = rasterise(at, model.triangles, height=side_px, width=side_px)
    lit = raster.interpolate(brightness(at, model.triangles)[:, None], model.triangles)
    return blend(background, raster, lit * paint.colours(raster))
