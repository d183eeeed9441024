"""Fits on disk: nothing lost, the same bytes every time, and what is no fit is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from fitting.face_model import FaceModel
from fitting.npz import header_of, npz_bytes, read_npz
from fitting.saved_fit import SavedFit, read_fit, write_fit
from fitting.tracks import FittedTrack


def some_fit(**changed: object) -> SavedFit:
    rng = np.random.default_rng(2)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    track = FittedTrack(
        status="converged", iterations=7, identity=draw(12), expression=draw(5, 8), expression_sigma=draw(5, 8),
        scale_px_per_mm=draw(5), rotation_wxyz=draw(5, 4), translation_px=draw(5, 2), fitted_px=draw(5, 68, 2),
        reprojection_error=np.array([0.01, np.inf, 0.02, 0.03, 0.04], np.float32), holdout_error=float("inf"),
        energy=12.5,
    )  # fmt: skip
    fit = SavedFit(
        track=track, scheme="toy68", frame=np.array([3, 4, 5, 8, 9]), pts_s=np.linspace(0, 1, 5), face_model="toy",
        face_model_sha256="ab" * 32, face_model_licence="Apache-2.0",
        options={"method": "two_stage", "box_sd": None, "keyframes": 64}, versions={"facevid": "1.2"}, first_frame=3,
    )  # fmt: skip
    return dataclasses.replace(fit, **changed)  # type: ignore[arg-type]


def test_a_fit_survives_its_file(tmp_path: Path) -> None:
    fit = some_fit()
    write_fit(tmp_path / "deep" / "fit.npz", fit)
    read = read_fit(tmp_path / "deep" / "fit.npz")
    for item in dataclasses.fields(FittedTrack):
        seen, wanted = getattr(read.track, item.name), getattr(fit.track, item.name)
        np.testing.assert_array_equal(seen, wanted, err_msg=item.name)
        assert np.asarray(seen).dtype == np.asarray(wanted).dtype
    for item in dataclasses.fields(SavedFit)[1:]:
        np.testing.assert_array_equal(getattr(read, item.name), getattr(fit, item.name), err_msg=item.name)


def test_a_file_from_before_options_and_energy_were_recorded_says_that_it_does_not_know(tmp_path: Path) -> None:
    write_fit(tmp_path / "new.npz", some_fit())
    arrays = read_npz(tmp_path / "new.npz")
    header = header_of(arrays, where=tmp_path)
    for name in ("options", "versions", "energy", "first_frame"):
        del header[name]
    del arrays["header"]
    (tmp_path / "old.npz").write_bytes(npz_bytes(header, arrays))
    old = read_fit(tmp_path / "old.npz")
    assert (old.options, old.versions, old.track.energy, old.first_frame) == (None, {}, float("inf"), 0)
    np.testing.assert_array_equal(old.track.identity, some_fit().track.identity)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"options": [1]}, "options are"), ({"options": {"a": {}}}, "options are"),
     ({"versions": {"a": 1}}, "versions are"), ({"energy": "low"}, "energy is"),
     ({"energy": float("nan")}, "energy is"), ({"first_frame": 1.5}, "first_frame is 1.5, expected a whole number")],
)  # fmt: skip
def test_records_that_are_none_are_refused(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    write_fit(tmp_path / "fit.npz", some_fit())
    arrays = read_npz(tmp_path / "fit.npz")
    header = header_of(arrays, where=tmp_path)
    del arrays["header"]
    (tmp_path / "fit.npz").write_bytes(npz_bytes(header | changed, arrays))
    with pytest.raises(ValueError, match=message):
        read_fit(tmp_path / "fit.npz")


def test_the_same_fit_gives_the_same_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "b.npz").write_bytes(b"an older file")
    write_fit(tmp_path / "a.npz", some_fit())
    write_fit(tmp_path / "b.npz", some_fit())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_the_header_tells_units_and_licence_to_those_without_our_code(tmp_path: Path) -> None:
    write_fit(tmp_path / "fit.npz", some_fit())
    arrays = read_npz(tmp_path / "fit.npz")
    header = header_of(arrays, where=tmp_path)
    assert set(header["units"]) == set(arrays) - {"header"}
    assert (header["face_model_licence"], header["status"]) == ("Apache-2.0", "converged")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"expression": np.zeros((4, 8), np.float32)}, r"expression is float32 of shape \(4, 8\), expected float32 of"),
        ({"expression": np.zeros((5, 8))}, r"expression is float64 of shape \(5, 8\), expected float32 of shape"),
        ({"identity": np.full(12, np.nan, np.float32)}, r"identity holds values that are not finite"),
        ({"scale_px_per_mm": np.full(5, np.inf, np.float32)}, r"scale_px_per_mm holds values that are not finite"),
        ({"rotation_wxyz": None}, r"bad.npz lacks 'rotation_wxyz'"),
        ({"pts_s": np.zeros((5, 1))}, r"pts_s is float64 of shape \(5, 1\)"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, arrays: dict[str, np.ndarray | None], message: str) -> None:
    write_fit(tmp_path / "good.npz", some_fit())
    good = read_npz(tmp_path / "good.npz")
    header = header_of(good, where=tmp_path)
    changed = {name: array for name, array in {**good, **arrays}.items() if array is not None}
    (tmp_path / "bad.npz").write_bytes(npz_bytes(header, changed))
    with pytest.raises(ValueError, match=message):
        read_fit(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "a poem"}, r"bad.npz is no fit: its header says kind 'a poem'"),
        ({"format_version": 2}, r"bad.npz has format_version 2; this program reads 1"),
        ({"status": "fine"}, r"the header says status 'fine', iterations 7"),
    ],
)
def test_headers_of_others_are_refused(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    write_fit(tmp_path / "good.npz", some_fit())
    good = read_npz(tmp_path / "good.npz")
    header = header_of(good, where=tmp_path) | changed
    (tmp_path / "bad.npz").write_bytes(npz_bytes(header, good))
    with pytest.raises(ValueError, match=message):
        read_fit(tmp_path / "bad.npz")


def test_a_file_without_or_with_a_broken_header_is_no_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", landmarks=np.zeros(3))
    with pytest.raises(ValueError, match=r"plain\.npz has no header; it holds: landmarks"):
        read_fit(tmp_path / "plain.npz")
    np.savez(tmp_path / "broken.npz", header=np.frombuffer(b"{not json", np.uint8))
    with pytest.raises(ValueError, match=r"broken\.npz: the header is no JSON"):
        read_fit(tmp_path / "broken.npz")
    np.savez(tmp_path / "list.npz", header=np.frombuffer(b"[]", np.uint8))
    with pytest.raises(ValueError, match=r"list\.npz: the header is list, expected an object"):
        read_fit(tmp_path / "list.npz")


def test_a_fit_knows_its_model(toy_model: FaceModel) -> None:
    with pytest.raises(
        ValueError, match=r"the fit is of face model 'toy' \(sha256 abababababab\.\.\.\), not of model="
    ):
        some_fit().check_model(toy_model)
    same = some_fit(face_model_sha256=toy_model.sha256)
    same.check_model(toy_model)
    diverged = dataclasses.replace(same, track=dataclasses.replace(same.track, status="diverged"))
    with pytest.raises(ValueError, match="the fit diverged: it holds no face"):
        diverged.check_model(toy_model)
