"""Each importer on a small file of the true format, written here from FaceVid-CC0, and on broken ones."""

import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from scipy import sparse

from fitting.face_model import FaceModel, load_face_model
from fitting.importers.ibug68 import BASEL_53215, BASEL_53490, FLAME_5023, ICT_FACEKIT
from fitting.importers.read import import_face_model
from fitting.importers.transfer import POINTS, positions

N_IDENTITY, N_EXPRESSION = 4, 3


@dataclass(frozen=True)
class Head:
    """FaceVid-CC0 with few components, on a mesh where given vertices are the 68 points."""

    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    triangles: np.ndarray
    points: np.ndarray
    named: dict[str, int]


@cache
def _shipped() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="module")
def cc0() -> FaceModel:
    return _shipped()


@pytest.fixture(autouse=True)
def shipped_model_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fitting.importers.plausible.load_face_model", _shipped)


@pytest.fixture(scope="module")
def head_with(cc0: FaceModel) -> Callable[..., Head]:
    def build(vertices: int | None = None, ids: tuple[int, ...] = ()) -> Head:
        corners = cc0.embedding("ibug68")
        at = corners.vertex_ids[np.arange(68), corners.weights.argmax(axis=1)]
        count = len(cc0.mean_mm)
        free = np.setdiff1d(np.arange(vertices or count), ids)
        # Every vertex of the larger mesh is a copy of one of the face's; the landmarks' own come last.
        copy_of = np.zeros(vertices or count, dtype=np.int64)
        copy_of[free] = np.arange(len(free)) % count
        copy_of[list(ids)] = at if ids else []
        return Head(
            mean=cc0.mean_mm[copy_of].astype(np.float64),
            identity=cc0.identity_basis_mm[:N_IDENTITY, copy_of].astype(np.float64),
            expression=cc0.expression_basis_mm[:N_EXPRESSION, copy_of].astype(np.float64),
            triangles=free[cc0.triangles],
            points=cc0.mean_mm[at].astype(np.float64),
            named={name: int(free[at[number]]) for name, number in POINTS.items()},
        )

    return build


@pytest.fixture(scope="module")
def small(head_with: Callable[..., Head]) -> Head:
    return head_with()


def _check(model: FaceModel, head: Head, *, n_identity: int = N_IDENTITY, tolerance_mm: float = 1e-2) -> None:
    shift = model.mean_mm[0] - head.mean[0]
    assert np.abs(model.mean_mm - shift - head.mean).max() < tolerance_mm
    assert model.identity_basis_mm.shape[0] == n_identity
    assert np.abs(model.identity_basis_mm[:N_IDENTITY] - head.identity).max() < tolerance_mm
    landmarks = positions(model.mean_mm, model.embedding("ibug68")) - shift
    # By name where the ids are known, by transfer of named points (and what lies nearest) where they are not.
    off = np.linalg.norm(landmarks - head.points, axis=1)
    assert off.mean() < 1.0
    assert model.triangles.shape == head.triangles.shape
    assert model.mirror_vertex is None
    known = _shipped()
    assert set(model.landmarks) == set(known.landmarks)
    for scheme in model.landmarks:
        wanted = positions(known.mean_mm, known.embedding(scheme))
        off = np.linalg.norm(positions(model.mean_mm, model.embedding(scheme)) - shift - wanted, axis=1)
        assert off.mean() < 1.5, scheme


def _columns(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = basis.reshape(len(basis), -1).T
    sd = np.linalg.norm(flat, axis=0)
    return flat / sd, sd


# --- ICT-FaceKit -----------------------------------------------------------------------------------------------------


def _write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    lines = ["# ICT-FaceKit", *(f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in vertices)]
    lines += ["f " + " ".join(f"{v + 1}/{v + 1}/{v + 1}" for v in face) for face in faces.tolist()]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def ict_folder(tmp_path_factory: pytest.TempPathFactory, head_with: Callable[..., Head], cc0: FaceModel) -> Path:
    """One OBJ per mode on a mesh of 6,471 vertices."""
    folder = tmp_path_factory.mktemp("FaceXModel")
    head = head_with(6471, ICT_FACEKIT)
    assert cc0.arkit is not None
    rng = np.random.default_rng(0)
    names: list[str] = []
    for name in cc0.arkit.names:
        sided = name.replace("Left", "_L") if name.endswith("Left") else name
        sided = sided.replace("Right", "_R") if sided.endswith("Right") else sided
        sided = name if name in {"jawLeft", "jawRight", "mouthLeft", "mouthRight"} else sided
        names += [f"{name}_L", f"{name}_R"] if name in {"browInnerUp", "cheekPuff"} else [sided]
    _write_obj(folder / "generic_neutral_mesh.obj", head.mean / 10, head.triangles)
    for k, component in enumerate(head.identity):
        _write_obj(folder / f"identity{k:03d}.obj", (head.mean + component) / 10, head.triangles)
    for name in [*names, "eyeLookUp_L", "PupilDilate_L", "cheekRaiser_R"]:
        bump = 3.0 * np.exp(-((head.mean - head.mean[rng.integers(4000)]) ** 2).sum(axis=1, keepdims=True) / 800)
        _write_obj(folder / f"{name}.obj", (head.mean + bump * rng.normal(size=3)) / 10, head.triangles[:2])
    return folder


def test_ict_facekit_comes_with_arkit_weights_and_its_own_landmarks(
    ict_folder: Path, head_with: Callable[..., Head], cc0: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitting.cc0.expression.DRAWS", 1000)
    head = head_with(6471, ICT_FACEKIT)
    model = import_face_model(ict_folder, kind="ict-facekit", n_expression=20)
    assert model.n_expression == 20
    assert model.arkit is not None
    assert cc0.arkit is not None
    assert sorted(model.arkit.names) == sorted(cc0.arkit.names)
    assert model.arkit.matrix.shape == (len(model.arkit.names), 20)
    assert np.array_equal(model.embedding("ibug68").vertex_ids[:, 0], ICT_FACEKIT)
    assert np.abs(model.identity_basis_mm - head.identity).max() < 1e-2
    neutral = model.vertices_mm(np.zeros(N_IDENTITY, np.float32), model.neutral_expression)
    shift = (neutral - head.mean).mean(axis=0)
    assert np.abs(neutral - shift - head.mean).max() < 2.0
    assert model.licence == "MIT"


def test_a_gap_in_the_identities_of_ict_facekit_is_told(ict_folder: Path, tmp_path: Path) -> None:
    for name in ("generic_neutral_mesh.obj", "identity000.obj", "identity002.obj"):
        (tmp_path / name).symlink_to(ict_folder / ("identity001.obj" if name.endswith("2.obj") else name))
    with pytest.raises(ValueError, match=r"identity000.obj to identity001.obj are not all there"):
        import_face_model(tmp_path, kind="ict-facekit")


# --- GNM Head --------------------------------------------------------------------------------------------------------


def _gnm(head: Head) -> dict[str, Any]:
    identity = np.concatenate([head.identity, head.identity[:1]]) / 1000
    expression = np.concatenate([head.expression[::-1], 9 * head.expression[:1]]) / 1000
    return {
        "version": np.array("3.0"),
        "variant": np.array("head"),
        "template_vertex_positions": head.mean / 1000,
        "vertex_identity_basis": identity,
        "expression_basis": expression,
        "identity_names": np.array([*(f"head_{k:03d}" for k in range(N_IDENTITY)), "teeth_000"]),
        "expression_names": np.array([*(f"lower_face_region_{k:03d}" for k in range(N_EXPRESSION)), "tongue_000"]),
        "triangles": head.triangles,
    }


def test_gnm_head_leaves_out_teeth_and_tongue_and_puts_the_jaw_in_order(
    tmp_path: Path, small: Head, cc0: FaceModel
) -> None:
    np.savez(tmp_path / "gnm_head.npz", **_gnm(small))
    corners = cc0.embedding("ibug68")
    at = corners.vertex_ids[np.arange(68), corners.weights.argmax(axis=1)]
    shuffled = [0, 1, 6, 5, 4, 3, 2, *range(7, 68)]
    lines = [f"{at[k]} 0.5 {at[k]} 0.25 {at[k]} 0.25" for k in shuffled]
    (tmp_path / "head_sparse_68.txt").write_text("\n".join(lines))
    model = import_face_model(tmp_path / "gnm_head.npz", kind="gnm-head")
    _check(model, small)
    assert np.array_equal(model.embedding("ibug68").vertex_ids[:, 0], at)
    strength = np.linalg.norm(model.expression_basis_mm, axis=(1, 2))
    assert (np.diff(strength) <= 0).all()
    assert model.n_expression == N_EXPRESSION


def test_gnm_head_without_its_landmark_file_asks_for_named_points(tmp_path: Path, small: Head) -> None:
    np.savez(tmp_path / "gnm_head.npz", **_gnm(small))
    with pytest.raises(ValueError, match=r"name the vertices of at least five of right_eye_outer.* --points nose_tip"):
        import_face_model(tmp_path / "gnm_head.npz", kind="gnm-head")
    _check(import_face_model(tmp_path / "gnm_head.npz", kind="gnm-head", points=small.named), small)
    with pytest.raises(ValueError, match=r"gnm_head\.npz as gnm-head: points names 'nose'; known names are right_eye"):
        import_face_model(tmp_path / "gnm_head.npz", kind="gnm-head", points={"nose": 1, "chin": 2})


# --- FLAME -----------------------------------------------------------------------------------------------------------


def _flame(head: Head) -> dict[str, Any]:
    vertices = len(head.mean)
    filler = np.zeros((300 - N_IDENTITY, vertices, 3), dtype=np.float32)
    shapes = np.concatenate([head.identity, filler, head.expression]).astype(np.float32) / 1000
    weights = np.zeros((vertices, 5))
    weights[:, 1] = 1
    weights[head.mean[:, 1] < -50, :] = [0, 0, 1, 0, 0]
    regressor = np.zeros((5, vertices))
    regressor[2, np.argsort(head.mean[:, 2])[:10]] = 0.1  # the jaw's joint lies behind the face
    return {
        "v_template": head.mean / 1000,
        "shapedirs": np.moveaxis(shapes, 0, 2),
        "f": head.triangles.astype(np.uint32),
        "weights": weights,
        "posedirs": np.zeros((vertices, 3, 36)),
        "J_regressor": sparse.csc_matrix(regressor),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32),
        "bs_style": "lbs",
    }


def test_flame_comes_with_its_jaw_as_three_expressions(tmp_path: Path, head_with: Callable[..., Head]) -> None:
    head = head_with(5023, FLAME_5023)
    entries = _flame(head)
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps(entries, protocol=2))
    model = import_face_model(path, kind="flame", n_identity=N_IDENTITY)
    _check(model, head)
    assert np.array_equal(model.embedding("ibug68").vertex_ids[:, 0], FLAME_5023)
    assert model.n_expression == 3 + N_EXPRESSION
    # The opening jaw: a rotation of 0.15 rad about x through the joint, to first order.
    joint = entries["J_regressor"].toarray()[2] @ head.mean
    chin = head.mean[:, 1] < -50
    turned = np.cross([0.15, 0, 0], head.mean - joint)
    assert np.abs(model.expression_basis_mm[0][chin] - turned[chin]).max() < 1e-2
    assert np.abs(model.expression_basis_mm[0][~chin]).max() == 0
    assert model.expression_basis_mm[0][chin][:, 1].mean() < 0


def test_flame_adds_the_pose_blend_shapes_of_the_jaw(tmp_path: Path, head_with: Callable[..., Head]) -> None:
    head = head_with(5023, FLAME_5023)
    entries = _flame(head)
    path = tmp_path / "generic_model.pkl"
    # The jaw's nine follow the neck's; element (2, 1) of the rotation minus identity is sin(angle) for a turn about x.
    entries["posedirs"][7, 1, 9 + 7] = 1e-3
    path.write_bytes(pickle.dumps(_flame(head), protocol=2))
    plain = import_face_model(path, kind="flame", n_identity=N_IDENTITY).expression_basis_mm[0]
    path.write_bytes(pickle.dumps(entries, protocol=2))
    posed = import_face_model(path, kind="flame", n_identity=N_IDENTITY).expression_basis_mm[0]
    assert posed[7, 1] - plain[7, 1] == pytest.approx(0.15, rel=1e-3)
    assert np.count_nonzero(posed != plain) == 1


# --- Matlab ----------------------------------------------------------------------------------------------------------


def _write_expression(path: Path, head: Head) -> None:
    columns = head.expression.reshape(N_EXPRESSION, -1).T * 1000
    sd = np.array([[2.0], [0.5], [4.0]])
    content = {"mu_exp": np.zeros((len(columns), 1)), "w_exp": columns / sd.T, "sigma_exp": sd}
    scipy.io.savemat(path, content, do_compression=False)


def _write_bfm2009(path: Path, head: Head, **changes: Any) -> None:
    columns, sd = _columns(head.identity * 1000)
    # Basel's triangles are clockwise: the importer turns them.
    content = {
        "shapeMU": head.mean.reshape(-1, 1) * 1000,
        "shapePC": columns.astype(np.float32),
        "shapeEV": sd[:, None],
        "tl": head.triangles[:, [1, 0, 2]] + 1,
    }
    scipy.io.savemat(path, content | changes)


def test_bfm2009_is_read_in_micrometres_with_triangles_from_one_and_turned(tmp_path: Path, small: Head) -> None:
    _write_bfm2009(tmp_path / "01_MorphableModel.mat", small)
    _write_expression(tmp_path / "Model_Exp.mat", small)
    model = import_face_model(
        tmp_path / "01_MorphableModel.mat",
        kind="bfm2009",
        expression=tmp_path / "Model_Exp.mat",
        points=small.named,
    )
    _check(model, small)
    assert np.abs(model.expression_basis_mm - small.expression).max() < 1e-2
    wanted = {tuple(np.roll(t, -int(np.argmin(t)))) for t in small.triangles}
    assert {tuple(np.roll(t, -int(np.argmin(t)))) for t in model.triangles} == wanted


def test_a_matlab_file_that_promises_more_than_any_face_is_refused(tmp_path: Path) -> None:
    # Version 4: type, rows, columns, imaginary part, bytes of the name; the numbers that should follow are not there.
    header = (0, 2**31 - 1, 4, 0, len("shapeMU") + 1)
    (tmp_path / "model.mat").write_bytes(np.array(header, dtype="<i4").tobytes() + b"shapeMU\0")
    with pytest.raises(ValueError, match=r"model\.mat promises arrays of 68719476704 bytes, more than 4294967296"):
        import_face_model(tmp_path / "model.mat", kind="bfm2009", expression=tmp_path / "model.mat")


@pytest.mark.parametrize("compressed", [False, True])
def test_what_a_matlab_file_unpacks_to_is_told_before_it_is_unpacked(
    compressed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitting.importers.matlab.MOST_ARRAY_BYTES", 10_000)
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: pytest.fail("it was unpacked"))
    path = tmp_path / "model.mat"
    large = {"shapeMU": np.zeros((900, 1)), "shapePC": np.zeros((500, 7), np.float32)}
    scipy.io.savemat(path, large, do_compression=compressed)
    with pytest.raises(ValueError, match=r"model\.mat promises arrays of 21200 bytes, more than 10000"):
        import_face_model(path, kind="bfm2009", expression=path)
    nested = {"tl": np.array([[np.zeros(9000)]], object), "other": np.zeros(9000)}
    scipy.io.savemat(path, nested, do_compression=compressed)
    with pytest.raises(ValueError, match=r"model\.mat: tl is no array of numbers"):
        import_face_model(path, kind="bfm2009", expression=path)


def test_bfm2009_is_cut_to_the_vertices_of_the_expressions(tmp_path: Path, head_with: Callable[..., Head]) -> None:
    full = head_with(53490, BASEL_53490)
    kept = np.arange(53490)[275:]
    place = np.full(53490, -1)
    place[kept] = np.arange(len(kept))
    # The cut mesh must have the landmarks that its topology is known by.
    cut = head_with(53215, BASEL_53215)
    mean, identity = full.mean.copy(), full.identity.copy()
    mean[kept], identity[:, kept] = cut.mean, cut.identity
    whole = Head(mean, identity, full.expression, kept[cut.triangles], cut.points, {})
    path = tmp_path / "01_MorphableModel.mat"
    _write_bfm2009(path, whole, tl=np.concatenate([kept[cut.triangles], [[0, 1, 2]]]) + 1)
    _write_expression(tmp_path / "Model_Exp.mat", cut)
    with pytest.raises(
        ValueError, match=r"the expressions have 53215 vertices, the model 53490: the trimIndex of .* is miss"
    ):
        import_face_model(path, kind="bfm2009", expression=tmp_path / "Model_Exp.mat")
    scipy.io.savemat(tmp_path / "model_info.mat", {"trimIndex": kept[:, None] + 1})
    model = import_face_model(path, kind="bfm2009", expression=tmp_path / "Model_Exp.mat")
    _check(model, cut)
    assert np.array_equal(model.embedding("ibug68").vertex_ids[:, 0], BASEL_53215)


def _write_lsfm(path: Path, head: Head, **changes: Any) -> None:
    columns, sd = _columns(head.identity / 100)
    content = {
        "mean": head.mean.reshape(1, -1) / 100,
        "components": columns,
        "eigenvalues": (sd**2)[None],
        "trilist": head.triangles,
        "cumulative_explained_variance": 0.997 * np.cumsum(sd**2)[None] / (sd**2).sum(),
        "n_training_samples": 8402,
    }
    scipy.io.savemat(path, content | changes)


def test_lsfm_takes_variances_and_knows_the_landmarks_of_53215_vertices(
    tmp_path: Path, head_with: Callable[..., Head]
) -> None:
    head = head_with(53215, BASEL_53215)
    _write_lsfm(tmp_path / "all_all_all.mat", head)
    _write_expression(tmp_path / "Model_Exp.mat", head)
    model = import_face_model(
        tmp_path / "all_all_all.mat", kind="lsfm", expression=tmp_path / "Model_Exp.mat", n_expression=2
    )
    _check(model, head)
    assert np.abs(model.expression_basis_mm - head.expression[:2]).max() < 1e-2
    assert np.array_equal(model.embedding("ibug68").vertex_ids[:, 0], BASEL_53215)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda h: {"eigenvalues": _columns(h.identity / 100)[1][None]}, "do not add up to cumulative_explained_varia"),
        (lambda h: {"components": h.identity.reshape(4, -1)[::-1].T}, "column . has length"),
        (lambda h: {"eigenvalues": _columns(h.identity * 10)[1][None] ** 2}, "variances taken for standard deviations"),
        (lambda h: {"eigenvalues": _columns(h.identity / 9999)[1][None] ** 2}, "standard deviations for variances"),
        (lambda h: {"components": h.identity.reshape(4, -1).T}, "column . has length .* multiplied by their standard"),
        (lambda h: {"mean": h.mean.reshape(1, -1)}, r"corners are 89\d\d mm apart .* it looks like millimetres"),
        (lambda h: {"mean": (h.mean * [-1, 1, 1]).reshape(1, -1) / 100}, "mirror"),
        (lambda h: {"mean": (h.mean * [1, -1, -1]).reshape(1, -1) / 100}, "y must point up|backwards"),
        (lambda h: {"mean": (h.mean * [-1, 1, -1]).reshape(1, -1) / 100}, "backwards|subject's left"),
        (lambda h: {"trilist": h.triangles + 1}, "triangles name vertices . to .*, which looks counted from 1"),
        (lambda h: {"mean": np.where(np.arange(h.mean.size) == 7, np.nan, h.mean.ravel())[None] / 100}, "not finite"),
        (lambda h: {"mean": h.mean.reshape(1, -1)[:, 3:] / 100}, "vertices"),
        (lambda h: {"eigenvalues": np.array([["a"]])}, "eigenvalues is no array of numbers"),
    ],
)
def test_what_is_no_plausible_face_is_told_by_what_was_seen(
    changes: Callable[[Head], dict[str, Any]], message: str, tmp_path: Path, small: Head
) -> None:
    _write_lsfm(tmp_path / "all_all_all.mat", small, **changes(small))
    _write_expression(tmp_path / "Model_Exp.mat", small)
    with pytest.raises(ValueError, match=message):
        import_face_model(
            tmp_path / "all_all_all.mat",
            kind="lsfm",
            expression=tmp_path / "Model_Exp.mat",
            points=small.named,
        )


def test_another_unit_can_be_named(tmp_path: Path, small: Head) -> None:
    _write_lsfm(tmp_path / "all.mat", small)
    _write_expression(tmp_path / "Model_Exp.mat", small)
    with pytest.raises(ValueError, match=r"corners are 8\.\d+ mm apart \(with unit_mm=10\).*it looks like decimetres"):
        import_face_model(
            tmp_path / "all.mat", kind="lsfm", expression=tmp_path / "Model_Exp.mat", points=small.named, unit_mm=10.0
        )


# --- scalismo --------------------------------------------------------------------------------------------------------


def _write_h5(path: Path, head: Head, *, change: Callable[[Any], None] | None = None) -> None:
    h5py = pytest.importorskip("h5py")
    names = {
        "right_eye_outer": "right.eye.corner_outer",
        "right_eye_inner": "right.eye.corner_inner",
        "left_eye_inner": "left.eye.corner_inner",
        "left_eye_outer": "left.eye.corner_outer",
        "nose_tip": "center.nose.tip",
        "mouth_right": "right.lips.corner",
        "mouth_left": "left.lips.corner",
        "chin": "center.chin.tip",
    }
    places = [{"id": names[ours], "coordinates": head.mean[vertex].tolist()} for ours, vertex in head.named.items()]
    with h5py.File(path, "w") as file:
        for part, basis, mean in (
            ("shape", head.identity, head.mean),
            ("expression", head.expression, np.zeros_like(head.mean)),
        ):
            columns, sd = _columns(basis)
            file[f"{part}/model/mean"] = mean.ravel().astype(np.float32)
            file[f"{part}/model/pcaBasis"] = columns.astype(np.float32)
            file[f"{part}/model/pcaVariance"] = (sd**2).astype(np.float32)
            file[f"{part}/representer/cells"] = head.triangles.T.astype(np.int32)
            file[f"{part}/representer/points"] = head.mean.T.astype(np.float32)
        file["metadata/landmarks/json"] = json.dumps(places)
        if change:
            change(file)


def test_basel_2017_finds_its_landmarks_by_the_names_in_the_file(tmp_path: Path, small: Head) -> None:
    _write_h5(tmp_path / "model2017-1_bfm_nomouth.h5", small)
    model = import_face_model(tmp_path / "model2017-1_bfm_nomouth.h5", kind="bfm2017")
    _check(model, small)
    assert np.abs(model.expression_basis_mm - small.expression).max() < 1e-2


def test_a_basel_file_that_points_elsewhere_is_refused(tmp_path: Path, small: Head) -> None:
    h5py = pytest.importorskip("h5py")
    _write_h5(tmp_path / "other.h5", small)

    def elsewhere(file: Any) -> None:
        del file["shape/model/mean"]
        file["shape/model/mean"] = h5py.ExternalLink("other.h5", "shape/model/mean")

    _write_h5(tmp_path / "model.h5", small, change=elsewhere)
    with pytest.raises(ValueError, match="shape/model/mean is a link to somewhere else"):
        import_face_model(tmp_path / "model.h5", kind="bfm2017")


def test_a_basel_file_that_promises_more_than_any_face_is_refused(tmp_path: Path, small: Head) -> None:
    pytest.importorskip("h5py")

    def promise(file: Any) -> None:
        del file["shape/model/mean"]
        file.create_dataset("shape/model/mean", shape=(60 * 10**9,), dtype="f4", chunks=(1000,))  # nothing is stored

    _write_h5(tmp_path / "model.h5", small, change=promise)
    with pytest.raises(ValueError, match=r"model\.h5: shape/model/mean has shape \(60000000000,\): 240000000000 bytes"):
        import_face_model(tmp_path / "model.h5", kind="bfm2017")


def test_without_h5py_the_error_says_what_to_install(
    tmp_path: Path, small: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match="needs h5py: pip install h5py"):
        import_face_model(tmp_path / "model.h5", kind="bfm2019")


def test_a_basis_that_is_scaled_already_is_told_with_its_file(tmp_path: Path, small: Head) -> None:
    pytest.importorskip("h5py")

    def scale(file: Any) -> None:
        file["shape/model/pcaBasis"][...] *= 250

    _write_h5(tmp_path / "model.h5", small, change=scale)
    with pytest.raises(ValueError, match=r"model\.h5 as bfm2017: shape/model/pcaBasis: column 0 has length 250"):
        import_face_model(tmp_path / "model.h5", kind="bfm2017")


# --- the way in ------------------------------------------------------------------------------------------------------


def test_files_and_folders_are_not_taken_for_one_another(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a folder, but flame is one file"):
        import_face_model(tmp_path, kind="flame")
    (tmp_path / "model.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.npz is a file, but ict-facekit is the folder of its OBJ files"):
        import_face_model(tmp_path / "model.npz", kind="ict-facekit")


def test_an_archive_is_no_pickle(tmp_path: Path, small: Head) -> None:
    np.savez(tmp_path / "flame.npz", v_template=small.mean)
    with pytest.raises(ValueError, match=r"flame\.npz is refused: it is no pickle, or a damaged one"):
        import_face_model(tmp_path / "flame.npz", kind="flame")


@pytest.mark.parametrize("kind", ["gnm-head", "flame", "bfm2017", "bfm2009"])
def test_a_file_of_another_kind_is_told(kind: Any, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    path = tmp_path / "model"
    path.write_bytes(b"no model at all")
    expression = path if kind == "bfm2009" else None
    with pytest.raises(ValueError, match=f"{path}"):
        import_face_model(path, kind=kind, expression=expression)


def test_arguments_that_do_not_go_together_are_told(tmp_path: Path, small: Head) -> None:
    path = tmp_path / "gnm_head.npz"
    np.savez(path, **_gnm(small))
    for options, message in (
        ({"kind": "gnm-head", "n_identity": 9}, "n_identity=9, but the model has 4 components"),
        ({"kind": "gnm-head", "n_expression": 0}, "n_expression=0 must be above 0"),
        ({"kind": "gnm-head", "expression": path}, "gnm-head has its own, so leave out expression"),
        ({"kind": "lsfm"}, "lsfm has no expressions of its own: give expression"),
    ):
        with pytest.raises(ValueError, match=message):
            import_face_model(path, **options)
    with pytest.raises(ValueError, match=r"missing\.npz does not exist"):
        import_face_model(tmp_path / "missing.npz", kind="gnm-head")
