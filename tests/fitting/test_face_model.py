"""The face model's file format and its arithmetic, and what FaceVid-CC0 as shipped must be."""

import dataclasses
import functools
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fitting.arkit import arkit_weights, expression_of
from fitting.face_model import (
    DEFAULT_MODEL_PATH,
    ArkitMap,
    FaceModel,
    LandmarkEmbedding,
    load_face_model,
)
from fitting.paint import eyeballs

UPPER_AND_LOWER_LID = ((37, 41), (38, 40), (43, 47), (44, 46))
UPPER_AND_LOWER_LIP = ((61, 67), (62, 66), (63, 65))


@pytest.fixture(scope="module")
def shipped() -> FaceModel:
    return load_face_model()


@pytest.fixture
def tiny() -> FaceModel:
    rng = np.random.default_rng(0)
    return FaceModel(
        name="tiny",
        mean_mm=rng.normal(size=(4, 3)).astype(np.float32),
        # Values that half precision holds exactly, so that a round trip can ask for equality.
        identity_basis_mm=rng.integers(-8, 8, size=(2, 4, 3)).astype(np.float32),
        expression_basis_mm=rng.integers(-8, 8, size=(3, 4, 3)).astype(np.float32),
        triangles=np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32),
        landmarks={
            "one": LandmarkEmbedding(
                vertex_ids=np.array([[0, 1, 2]], dtype=np.int32), weights=np.array([[0.5, 0.25, 0.25]], np.float32)
            )
        },
        mirror_vertex=np.array([0, 3, 2, 1], dtype=np.int32),
        neutral_expression=np.array([0.0, -0.5, 1.0], dtype=np.float32),
        arkit=ArkitMap(
            names=("jawOpen",), offset=np.array([0.25], np.float32), matrix=np.array([[0.5, 0.0, 0.0]], np.float32)
        ),
        licence="CC0-1.0",
        source="made up",
    )


def _points(model: FaceModel, scheme: str, expression: np.ndarray) -> np.ndarray:
    face = model.vertices_mm(np.zeros(model.n_identity, np.float32), expression)
    embedding = model.embedding(scheme)
    return np.einsum("pk,pkc->pc", embedding.weights, face[embedding.vertex_ids])


def test_a_model_survives_its_file(tiny: FaceModel, tmp_path: Path) -> None:
    sha256 = tiny.save(tmp_path / "tiny.npz")
    read = load_face_model(tmp_path / "tiny.npz")
    assert read.sha256 == sha256 == hashlib.sha256((tmp_path / "tiny.npz").read_bytes()).hexdigest()
    for name in ("mean_mm", "identity_basis_mm", "expression_basis_mm", "triangles", "mirror_vertex"):
        np.testing.assert_array_equal(getattr(read, name), getattr(tiny, name))
    np.testing.assert_array_equal(read.embedding("one").weights, tiny.embedding("one").weights)
    assert read.arkit is not None
    assert (read.arkit.names, read.name, read.licence) == (("jawOpen",), "tiny", "CC0-1.0")


def test_the_same_model_gives_the_same_bytes(tiny: FaceModel, tmp_path: Path) -> None:
    assert tiny.save(tmp_path / "a.npz") == tiny.save(tmp_path / "b.npz")
    moved = dataclasses.replace(tiny, mean_mm=tiny.mean_mm + np.float32(1))
    assert moved.save(tmp_path / "c.npz") != tiny.save(tmp_path / "a.npz")


def test_what_was_read_is_written_back_without_loss(shipped: FaceModel, tmp_path: Path) -> None:
    shipped.save(tmp_path / "again.npz")
    with zipfile.ZipFile(DEFAULT_MODEL_PATH) as before, zipfile.ZipFile(tmp_path / "again.npz") as after:
        assert after.namelist() == before.namelist()
        # The members, not the archive: zlib's own versions differ in how well they compress.
        assert all(after.read(name) == before.read(name) for name in before.namelist())


def test_vertices_are_the_mean_plus_the_weighted_bases(tiny: FaceModel) -> None:
    identity = np.array([[1, 0], [0, 2]], dtype=np.float32)
    expression = np.array([[0, 0, 1], [0, -1, 0]], dtype=np.float32)
    faces = tiny.vertices_mm(identity, expression)
    np.testing.assert_allclose(
        faces[0], tiny.mean_mm + tiny.identity_basis_mm[0] + tiny.expression_basis_mm[2], atol=1e-5
    )
    np.testing.assert_allclose(
        faces[1], tiny.mean_mm + 2 * tiny.identity_basis_mm[1] - tiny.expression_basis_mm[1], atol=1e-5
    )


def test_an_unknown_scheme_is_named_with_those_there_are(tiny: FaceModel) -> None:
    with pytest.raises(ValueError, match=r"'tiny' has no landmarks for scheme='two'; it has: one"):
        tiny.embedding("two")


def _npz(tmp_path: Path, tiny: FaceModel, **changed: np.ndarray | None) -> Path:
    tiny.save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, value in changed.items():
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value
    np.savez(tmp_path / "bad.npz", **arrays)
    return tmp_path / "bad.npz"


def _header(**changed: object) -> np.ndarray:
    header = {
        "format_version": 1, "name": "tiny", "landmark_schemes": ["one"], "arkit_names": ["jawOpen"], "licence": "",
        "source": "",
    } | changed  # fmt: skip
    return np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mean_mm": None}, "lacks 'mean_mm'"),
        ({"header": None}, "is no face model file"),
        ({"header": _header(format_version=2)}, "has format_version 2; this program reads 1"),
        ({"header": _header(landmark_schemes=["two"])}, "lacks 'landmarks/two/vertex_ids'"),
        ({"triangles": np.array([[0, 1, 9]], np.int32)}, "triangles names vertex 9, but there are 4"),
        ({"landmarks/one/vertex_ids": np.array([[0, 1, -1]], np.int32)}, "vertex_ids names vertex -1, but there are 4"),
        ({"identity_basis_mm": np.zeros((2, 5, 3), np.float16)}, "identity_basis_mm has shape"),
        ({"neutral_expression": np.zeros(2, np.float32)}, "neutral_expression has shape"),
        ({"landmarks/one/weights": np.zeros((2, 3), np.float32)}, "landmarks/one/weights has shape"),
        ({"mirror_vertex": np.zeros(3, np.int32)}, "mirror_vertex has shape"),
        ({"arkit_matrix": np.zeros((1, 2), np.float32)}, "arkit_matrix has shape"),
        ({"triangles": np.array([[0, 1, 2]], np.int64)}, "triangles has type int64, but must be int32"),
        ({"header": np.frombuffer(b"[1, 2]", dtype=np.uint8)}, "has format_version None"),
        ({"mean_mm": np.full((4, 3), np.nan, np.float32)}, "mean_mm holds values that are not finite"),
    ],
)
def test_a_bad_file_is_refused_with_its_fault(
    tiny: FaceModel, tmp_path: Path, changed: dict[str, np.ndarray | None], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_face_model(_npz(tmp_path, tiny, **changed))


@pytest.mark.parametrize("cut", [0, 10, 1000])
def test_a_file_cut_short_is_refused(tiny: FaceModel, tmp_path: Path, cut: int) -> None:
    tiny.save(tmp_path / "whole.npz")
    (tmp_path / "part.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"part\.npz is no face model file"):
        load_face_model(tmp_path / "part.npz")


def test_a_text_file_is_no_model_and_nobody_is_told_to_unpickle_it(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("frame,x0,y0\n", "utf-8")
    with pytest.raises(ValueError, match=r"points\.csv is no face model file: it is no archive of arrays, or was cut"):
        load_face_model(tmp_path / "points.csv")


def test_other_arrays_are_no_face_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "landmarks.npz", landmarks=np.zeros((1, 68, 2)), fps=30)
    with pytest.raises(ValueError, match=r"is no face model file: it has no header; it holds: fps, landmarks"):
        load_face_model(tmp_path / "landmarks.npz")


def test_coefficients_of_another_model_are_named() -> None:
    model = load_face_model(str(DEFAULT_MODEL_PATH))
    nobody, nothing = np.zeros(model.n_identity, np.float32), np.zeros((5, model.n_expression), np.float32)
    assert model.vertices_mm(nobody, nothing).shape == (5, len(model.mean_mm), 3)
    for faces in (model.vertices_mm, functools.partial(model.landmarks_mm, "ibug68")):
        with pytest.raises(ValueError, match=r"identity has shape \(79,\); face model 'facevid-cc0' has 80 components"):
            faces(nobody[1:], nothing)
        with pytest.raises(ValueError, match=r"expression has shape \(5, 27\); face model .* has 28 components"):
            faces(nobody, nothing[:, 1:])
    with pytest.raises(ValueError, match=r"expression has shape \(5, 27\); face model .* has 28 components"):
        arkit_weights(model, nothing[:, 1:])


def test_a_pickle_inside_a_model_file_is_not_loaded(tiny: FaceModel, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model.npz")
    pickled = io.BytesIO()
    np.lib.format.write_array(pickled, np.array([{"harmful": True}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "model.npz", "a") as archive:
        archive.writestr("extra.npy", pickled.getvalue())
    with pytest.raises(ValueError, match=r"is no face model file: .* holds Python objects"):
        load_face_model(tmp_path / "model.npz")


def test_the_shipped_model_is_what_the_project_promises(shipped: FaceModel) -> None:
    assert (shipped.name, shipped.licence) == ("facevid-cc0", "CC0-1.0")
    assert (shipped.n_identity, shipped.n_expression) == (80, 28)
    assert {"ibug68", "mediapipe68", "mediapipe_dense"} <= set(shipped.landmarks)
    assert DEFAULT_MODEL_PATH.stat().st_size < 8_000_000
    corners = _points(shipped, "ibug68", shipped.neutral_expression)[[36, 45]]
    assert np.linalg.norm(corners[0] - corners[1]) == pytest.approx(89, abs=0.5)
    assert corners[0, 0] < 0 < corners[1, 0], "point 36 is the subject's right eye, and x runs to the subject's left"


def test_mirroring_twice_changes_nothing_and_once_mirrors_the_mean(shipped: FaceModel) -> None:
    mirror = shipped.mirror_vertex
    assert mirror is not None
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(mirror)))
    flipped = shipped.mean_mm[mirror] * np.array([-1, 1, 1], dtype=np.float32)
    np.testing.assert_allclose(flipped, shipped.mean_mm, atol=1e-3)


def test_each_component_is_symmetric_or_antisymmetric(shipped: FaceModel) -> None:
    assert shipped.mirror_vertex is not None
    for basis in (shipped.identity_basis_mm, shipped.expression_basis_mm):
        flipped = basis[:, shipped.mirror_vertex] * np.array([-1, 1, 1], dtype=np.float32)
        cosine = (basis * flipped).sum(axis=(1, 2)) / (basis**2).sum(axis=(1, 2))
        np.testing.assert_allclose(np.abs(cosine), 1, atol=1e-3)


def test_triangles_show_their_outside_counter_clockwise(shipped: FaceModel) -> None:
    a, b, c = (shipped.mean_mm[shipped.triangles[:, k]].astype(np.float64) for k in range(3))
    eye = eyeballs(len(shipped.mean_mm), shipped.triangles)[shipped.triangles[:, 0]] == 1
    # The signed volume of a closed piece is positive exactly if its triangles run counter-clockwise seen from outside.
    middle = a[eye].mean(axis=0)
    volume = np.einsum("tc,tc->t", a[eye] - middle, np.cross(b[eye] - middle, c[eye] - middle)).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 15.5**3, rel=0.2), "an eyeball of about 31 mm in diameter"
    facing = np.cross(b - a, c - a)[:, 2]
    nose = np.linalg.norm(a - _points(shipped, "ibug68", shipped.neutral_expression)[30], axis=1) < 6
    assert (facing[nose] > 0).all()


def test_arkit_weights_move_the_face_as_the_basis_does(shipped: FaceModel) -> None:
    arkit = shipped.arkit
    assert arkit is not None
    assert len(arkit.names) == 43
    # The 28 components live in the space of the 43 units: basis = matrix^T units, so the residual of explaining the
    # basis by the matrix is rounding only.
    basis = shipped.expression_basis_mm.reshape(28, -1).astype(np.float64)
    units = np.linalg.lstsq(arkit.matrix.T.astype(np.float64), basis, rcond=None)[0]
    np.testing.assert_allclose(arkit.matrix.T @ units, basis, atol=0.02)
    neutral = arkit.offset + arkit.matrix @ shipped.neutral_expression
    np.testing.assert_allclose(neutral, 0, atol=0.03)
    assert arkit.offset.min() >= 0
    assert arkit.offset.max() <= 1


@pytest.mark.parametrize("scheme", ["ibug68", "mediapipe68"])
def test_lids_meet_when_eyes_close(shipped: FaceModel, scheme: str) -> None:
    open_eyes = _points(shipped, scheme, shipped.neutral_expression)
    closed = _points(shipped, scheme, expression_of(shipped, {"eyeBlink": 1.0}))
    for upper, lower in UPPER_AND_LOWER_LID:
        assert open_eyes[upper, 1] - open_eyes[lower, 1] > 6
        assert abs(closed[upper, 1] - closed[lower, 1]) < 1.5
        assert np.linalg.norm(closed[lower] - open_eyes[lower]) < 1, "the lower lid hardly moves"


@pytest.mark.parametrize("scheme", ["ibug68", "mediapipe68"])
def test_lips_part_when_the_jaw_opens_and_meet_again_when_the_mouth_closes(shipped: FaceModel, scheme: str) -> None:
    gaps = {}
    for name, weights in {
        "neutral": {}, "open": {"jawOpen": 1.0}, "closed": {"jawOpen": 1.0, "mouthClose": 1.0},
    }.items():  # fmt: skip
        points = _points(shipped, scheme, expression_of(shipped, weights))
        gaps[name] = np.array([points[upper, 1] - points[lower, 1] for upper, lower in UPPER_AND_LOWER_LIP])
    assert (gaps["open"] > gaps["neutral"] + 20).all()
    assert (gaps["closed"] < gaps["neutral"] + 2).all()


@pytest.mark.parametrize("scheme", ["ibug68", "mediapipe68", "mediapipe_dense"])
def test_landmarks_lie_on_the_skin_and_never_on_an_eyeball(shipped: FaceModel, scheme: str) -> None:
    embedding = shipped.embedding(scheme)
    assert (eyeballs(len(shipped.mean_mm), shipped.triangles)[embedding.vertex_ids] == 0).all()
    assert (embedding.weights >= 0).all()
    np.testing.assert_allclose(embedding.weights.sum(axis=1), 1, atol=1e-5)
    points = _points(shipped, scheme, shipped.neutral_expression)
    ibug = _points(shipped, "ibug68", shipped.neutral_expression)
    np.testing.assert_allclose(points[17:68], ibug[17:68], atol=11)
    # The schemes differ in what they call a jaw line, but not in where it is.
    np.testing.assert_allclose(points[:17], ibug[:17], atol=30)


def test_the_dense_scheme_begins_with_the_68(shipped: FaceModel) -> None:
    sparse = _points(shipped, "mediapipe68", shipped.neutral_expression)
    dense = _points(shipped, "mediapipe_dense", shipped.neutral_expression)
    np.testing.assert_allclose(dense[:68], sparse, atol=1e-3)
