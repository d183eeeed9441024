"""The rasteriser against known answers and laws of geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fitting.render
from fitting.arkit import expression_of
from fitting.face_model import load_face_model
from fitting.gallery import landmark_picture, render_gallery
from fitting.paint import eyeballs, paint_of, seen_from_outside
from fitting.render import Raster, blend, brightness, look_from, project_head, rasterise, render_mesh, vertex_normals

# Counter-clockwise seen from outside, so clockwise in a picture whose y runs up, and the other way where it runs down.
FRONT = np.array([[0, 1, 2]], dtype=np.int32)
LIT = fitting.render.AMBIENT + (1 - fitting.render.AMBIENT) / np.linalg.norm(fitting.render.FROM_THE_VIEWER)
"""Brightness of what faces the viewer, under the light from his upper left."""


def _triangle(depth_px: float = 0.0) -> np.ndarray:
    return np.array([[0, 0, depth_px], [0, 8, depth_px], [8, 0, depth_px]], dtype=np.float32)


def test_a_triangle_covers_the_pixels_whose_centres_lie_in_it() -> None:
    raster = rasterise(_triangle(), FRONT, height=10, width=10)
    y, x = np.mgrid[:10, :10]
    np.testing.assert_array_equal(raster.is_hit, x + y <= 8)
    assert (raster.depth_px[raster.is_hit] == 0).all()
    assert np.isneginf(raster.depth_px[~raster.is_hit]).all()


def test_barycentric_weights_bring_back_the_pixel() -> None:
    corners = np.array([[1.2, 0.4, 3], [2.5, 8.8, -1], [8.1, 2.2, 7]], dtype=np.float32)
    raster = rasterise(corners, FRONT, height=10, width=10)
    back = raster.interpolate(corners, FRONT)
    rows, columns = np.nonzero(raster.is_hit)
    assert len(rows) > 15
    np.testing.assert_allclose(back[rows, columns, 0], columns, atol=1e-4)
    np.testing.assert_allclose(back[rows, columns, 1], rows, atol=1e-4)
    np.testing.assert_allclose(back[rows, columns, 2], raster.depth_px[rows, columns], atol=1e-4)


def test_the_nearer_triangle_hides_the_farther_one_in_any_order() -> None:
    vertices = np.concatenate([_triangle(1.0), _triangle(5.0)])
    for triangles, nearer in (([[0, 1, 2], [3, 4, 5]], 1), ([[3, 4, 5], [0, 1, 2]], 0)):
        raster = rasterise(vertices, np.array(triangles, dtype=np.int32), height=10, width=10)
        assert set(np.unique(raster.triangle)) == {-1, nearer}


def test_two_triangles_that_cross_hide_each_other_where_they_are_behind() -> None:
    tilted = np.array([[0, 0, -4], [0, 8, -4], [8, 0, 4]], dtype=np.float32)
    vertices = np.concatenate([_triangle(), tilted])
    raster = rasterise(vertices, np.array([[0, 1, 2], [3, 4, 5]], np.int32), height=10, width=10)
    # The tilted one's depth is x - 4, so it is in front beyond x = 4.
    assert (raster.triangle[0, :4] == 0).all()
    assert (raster.triangle[0, 5:8] == 1).all()


def test_a_triangle_seen_from_inside_is_hidden_unless_asked_for() -> None:
    turned = FRONT[:, ::-1].copy()
    assert not rasterise(_triangle(), turned, height=10, width=10).is_hit.any()
    assert rasterise(_triangle(), turned, height=10, width=10, back_faces=True).is_hit.sum() == 45


def test_triangles_outside_the_picture_or_of_no_size_draw_nothing() -> None:
    far = _triangle() + np.array([100, -50, 0], dtype=np.float32)
    flat = np.zeros((3, 3), dtype=np.float32)
    lost = np.full((3, 3), np.nan, dtype=np.float32)
    for vertices in (far, flat, lost):
        assert not rasterise(vertices, FRONT, height=10, width=10, back_faces=True).is_hit.any()
    assert not rasterise(_triangle(), FRONT[:0], height=4, width=4).is_hit.any()


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="height=0 and width=10 must be at least 1"):
        rasterise(_triangle(), FRONT, height=0, width=10)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_raster_agrees_with_testing_every_pixel_against_every_triangle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-4, 20, size=(12, 3)).astype(np.float32)
    triangles = rng.permuted(np.tile(np.arange(12), (6, 1)), axis=1)[:, :3].astype(np.int32)
    raster = rasterise(vertices, triangles, height=16, width=14, back_faces=True)
    for y in range(16):
        for x in range(14):
            depths = {}
            for k, (a, b, c) in enumerate(vertices[triangles].astype(np.float64)):
                system = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
                if abs(np.linalg.det(system)) < 1e-3:
                    continue
                weights = np.linalg.solve(system, [x, y, 1])
                if weights.min() > 1e-3:
                    depths[k] = weights @ [a[2], b[2], c[2]]
                elif weights.min() > -1e-3:
                    depths = {}
                    break  # on an edge: either answer is right
            else:
                best = max(depths, key=lambda k: depths[k], default=-1)
                seen = raster.triangle[y, x]
                assert seen == best or (
                    seen >= 0 and best >= 0 and (seen not in depths or abs(depths[seen] - depths[best]) < 1e-2)
                )


def test_the_size_of_the_work_pieces_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_face_model()
    at = project_head(model.mean_mm, 0.5, look_from(20.0), (60.0, 70.0))
    whole = rasterise(at, model.triangles, height=128, width=120)
    monkeypatch.setattr(fitting.render, "_PAIRS_AT_ONCE", 500)
    pieces = rasterise(at, model.triangles, height=128, width=120)
    np.testing.assert_array_equal(whole.triangle, pieces.triangle)
    np.testing.assert_array_equal(whole.weights, pieces.weights)


def test_looking_from_the_front_is_the_flip_of_y_and_z() -> None:
    np.testing.assert_array_equal(look_from(0.0), np.diag([1, -1, -1]).astype(np.float32))


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(30.0, 0.0, 0.0), (-70.0, 20.0, 5.0), (0.0, -40.0, 170.0)])
def test_every_look_is_a_rotation(yaw: float, pitch: float, roll: float) -> None:
    rotation = look_from(yaw, pitch, roll).astype(np.float64)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-6)


def test_yaw_moves_the_nose_right_pitch_lifts_it_and_roll_turns_clockwise() -> None:
    nose, crown = np.array([[0, 0, 100.0]]), np.array([[0, 100.0, 0]])
    assert project_head(nose, 1.0, look_from(20.0), (0.0, 0.0))[0, 0] == pytest.approx(34.2, abs=0.1)
    assert project_head(nose, 1.0, look_from(0.0, 20.0), (0.0, 0.0))[0, 1] == pytest.approx(-34.2, abs=0.1)
    assert project_head(crown, 1.0, look_from(0.0, 0.0, 20.0), (0.0, 0.0))[0, 0] == pytest.approx(34.2, abs=0.1)


def test_projection_scales_shifts_and_counts_depth_towards_the_viewer() -> None:
    points = np.array([[10.0, 20, 30]])
    np.testing.assert_allclose(project_head(points, 2.0, look_from(0.0), (100.0, 200.0)), [[120, 160, 60]], atol=1e-4)


def test_normals_of_a_sphere_point_outwards() -> None:
    model = load_face_model()
    part = eyeballs(len(model.mean_mm), model.triangles)
    assert sorted(np.unique(part)) == [0, 1, 2]
    at = project_head(model.mean_mm, 1.0, look_from(15.0, 10.0), (0.0, 0.0))
    eye = part == 1
    triangles = model.triangles[eye[model.triangles[:, 0]]]
    normals = vertex_normals(at, triangles)[eye]
    outwards = at[eye] - (at[eye].max(axis=0) + at[eye].min(axis=0)) / 2
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    assert (normals * outwards).sum(axis=1).min() > 0.9


def test_a_face_turned_to_the_light_is_brighter_than_one_turned_away() -> None:
    image = np.zeros((10, 10, 3), dtype=np.uint8)
    bright = brightness(_triangle(), FRONT, (0.0, 0.0, 1.0))
    np.testing.assert_allclose(bright, 1.0, rtol=1e-6)
    assert (brightness(_triangle(), FRONT, (1.0, 0.0, 0.2)) < bright).all()
    drawn = render_mesh(_triangle(), FRONT, image=image)
    np.testing.assert_array_equal(drawn[1, 1], np.rint(LIT * np.array(fitting.render.SKIN)))
    assert (drawn[9, 9] == 0).all()
    assert (image == 0).all(), "the background given is left as it is"


def test_opacity_blends_with_the_background() -> None:
    image = np.full((10, 10, 3), 100, dtype=np.uint8)
    kept = {"image": image, "colour": (200.0 / LIT, 100.0 / LIT, 0.0)}
    np.testing.assert_array_equal(render_mesh(_triangle(), FRONT, **kept, opacity=0.0), image)
    np.testing.assert_array_equal(render_mesh(_triangle(), FRONT, **kept, opacity=0.5)[1, 1], [150, 100, 50])
    with pytest.raises(ValueError, match=r"opacity=1\.5 must lie between 0 and 1"):
        render_mesh(_triangle(), FRONT, **kept, opacity=1.5)


def test_colours_per_vertex_are_interpolated() -> None:
    colour = np.array([[0, 0, 0], [0, 0, 0], [160, 80, 0]], dtype=np.float32) / LIT
    drawn = render_mesh(_triangle(), FRONT, image=np.zeros((10, 10, 3), np.uint8), colour=colour)
    np.testing.assert_array_equal(drawn[0, 4], [80, 40, 0])


def test_blending_nothing_changes_nothing() -> None:
    nothing = Raster(
        triangle=np.full((4, 4), -1, np.int32),
        weights=np.zeros((4, 4, 3), np.float32),
        depth_px=np.full((4, 4), -np.inf, np.float32),
    )
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(blend(image, nothing, np.full((4, 4, 3), 255.0)), image)


def test_a_symmetric_face_gives_a_symmetric_silhouette() -> None:
    model = load_face_model()
    at = project_head(model.mean_mm, 0.6, look_from(0.0), (79.5, 90.0))
    hit = rasterise(at, model.triangles, height=200, width=160).is_hit
    assert hit.mean() > 0.3
    assert (hit != hit[:, ::-1]).mean() < 0.002


def test_the_eyes_show_when_open_and_not_when_closed() -> None:
    model = load_face_model()
    plain = np.zeros(model.n_identity, np.float32)
    eye_of = eyeballs(len(model.mean_mm), model.triangles)[model.triangles[:, 0]]
    shown = {}
    for name, weights in {"open": {}, "closed": {"eyeBlink": 1.0}}.items():
        at = project_head(
            model.vertices_mm(plain, expression_of(model, weights)), 2.0, look_from(0.0), (200.0, 200.0)
        )
        raster = rasterise(at, model.triangles, height=400, width=400)
        shown[name] = int((eye_of[raster.triangle[raster.is_hit]] > 0).sum())
    assert shown["open"] > 600
    assert shown["closed"] < 20


def test_the_inside_of_the_mouth_is_not_part_of_the_outside() -> None:
    model = load_face_model()
    plain = np.zeros(model.n_identity, np.float32)
    outside = seen_from_outside(model.vertices_mm(plain, model.neutral_expression), model.triangles)
    opened = model.vertices_mm(plain, expression_of(model, {"jawOpen": 1.0}))
    embedding = model.embedding("ibug68")
    lips = np.einsum("pk,pkc->pc", embedding.weights, opened[embedding.vertex_ids])[60:68]
    at = project_head(opened, 1.0, look_from(0.0), (0.0, 0.0))
    at[:, :2] += 200 - lips.mean(axis=0)[:2] * [1, -1]
    raster = rasterise(at, model.triangles, height=400, width=400)
    middle_of_the_mouth = model.triangles[raster.triangle[200, 200]]
    assert not outside[middle_of_the_mouth].any()
    assert outside.mean() > 0.5


def test_painted_eyes_have_a_dark_middle_and_a_light_border() -> None:
    model = load_face_model()
    paint = paint_of(model)
    at = project_head(paint.rest_mm, 3.0, look_from(0.0), (300.0, 300.0))
    raster = rasterise(at, model.triangles, height=600, width=600)
    colours = paint.colours(raster)
    for centre in paint.eye_centres_mm:
        x, y = project_head(centre[None], 3.0, look_from(0.0), (300.0, 300.0))[0, :2].round().astype(int)
        assert colours[y, x].max() < 40, "pupil"
        assert colours[y, x + 24].min() > 180, "white of the eye"


def test_the_gallery_is_written_for_painted_and_for_plain_models(toy_model, tmp_path, capsys) -> None:
    import cv2

    render_gallery(toy_model, tmp_path / "plain" / "gallery.png")
    # Every tile is told: 8 sides, 24 identities, 2 for each of 8 components, 16 random faces, 1 landmark scheme.
    assert "65/65" in capsys.readouterr().err
    picture = cv2.imread(str(tmp_path / "plain" / "gallery.png"))
    assert picture.shape[1] == 1920
    points = landmark_picture(load_face_model(), "mediapipe68", side_px=200)
    assert points.shape == (200, 200, 3)
    assert (points == [0, 0, 220]).all(axis=2).sum() > 300, "68 dots"


def test_a_gallery_that_is_no_png_is_refused_before_it_is_drawn(toy_model, tmp_path, capsys) -> None:
    with pytest.raises(ValueError, match=r"faces' must end in \.png"):
        render_gallery(toy_model, tmp_path / "faces")
    assert not capsys.readouterr().err


def test_a_model_without_ibug_landmarks_cannot_be_painted(toy_model) -> None:
    with pytest.raises(ValueError, match="has no landmarks for scheme='ibug68'"):
        paint_of(toy_model)
