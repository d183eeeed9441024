"""A pickle from anywhere gives arrays or an error; it never runs."""

import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from fitting.importers.pickled import RefusedPickleError, read_pickle
from fitting.importers.pickled_arrays import read_pickled_arrays


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def to_file(data: bytes) -> Path:
        path = tmp_path / "model.pkl"
        path.write_bytes(data)
        return path

    return to_file


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Chumpy's class as a pickle names it, state and all; the package itself is not needed to write one."""

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            self.__dict__ = {"x": x, "_dirty_vars": set(), "_itr": None, "_depends_on_deps": {"r": {"deps": {"x"}}}}

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    module = types.ModuleType("chumpy.ch")
    module.Ch = Ch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    return Ch


@pytest.mark.parametrize("protocol", [1, 2, 3, 4])
def test_arrays_chumpy_objects_and_sparse_matrices_come_out_as_they_went_in(
    protocol: int, write: Any, chumpy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    regressor = sparse.random(5, 9, density=0.4, format="csc", rng=rng)
    content = {
        "v_template": rng.normal(size=(9, 3)),
        "f": np.asfortranarray(rng.integers(0, 9, (4, 3)).astype(np.uint32)),
        "shapedirs": chumpy(rng.normal(size=(9, 3, 4))),
        "big": np.arange(3, dtype=">i4"),
        "J_regressor": regressor,
        "bs_type": "lrotmin",
    }
    data = pickle.dumps(content, protocol=protocol)
    monkeypatch.delitem(sys.modules, "chumpy.ch")
    seen = read_pickled_arrays(write(data))
    assert set(seen) == set(content)
    assert np.array_equal(seen["v_template"], content["v_template"])
    assert np.array_equal(seen["f"], content["f"])
    assert np.array_equal(seen["shapedirs"], content["shapedirs"].x)
    assert np.array_equal(seen["big"], [0, 1, 2])
    assert np.array_equal(seen["J_regressor"], regressor.toarray())
    assert seen["bs_type"] == "lrotmin"


def test_what_python_2_wrote_is_read(write: Any) -> None:
    # Protocol 2 as Python 2 has it: raw data is a byte string (U), modules have their old names (c).
    raw = np.array([1.5, -2.0]).tobytes()
    data = (
        b"\x80\x02}U\x01vcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
        + raw
        + b"tbs."
    )
    assert np.array_equal(read_pickled_arrays(write(data))["v"], [1.5, -2.0])


class _Runs:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class _Array:
    """Pretends to be an array and sets a state that runs."""

    def __reduce__(self) -> Any:
        return (np.ndarray, ((1,),), _Runs(os.system, "touch PWNED"))


_OPCODES = {
    "os.system": pickle.dumps(_Runs(os.system, "touch PWNED")),
    "eval": pickle.dumps({"x": _Runs(eval, "open('PWNED', 'w')")}),
    "open": pickle.dumps([_Runs(open, "PWNED", "w")]),
    "numpy.load": pickle.dumps(_Runs(np.load, "PWNED", None, True)),
    "numpy.save": b"\x80\x02cnumpy\nsave\nU\x05PWNEDK\x01\x86R.",
    "numpy's runstring": b"\x80\x02cnumpy.testing._private.utils\nrunstring\nU\x12open('PWNED', 'w')}\x86R.",
    "a state that runs": pickle.dumps(_Array()),
    "nested attribute": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93\x8c\x05PWNED\x85R.",
    "getattr": b"\x80\x02c__builtin__\ngetattr\ncnumpy\nndarray\nU\x06tofile\x86R.",
    "INST": b"(S'touch PWNED'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch PWNED'\no.",
    "persistent id": b"Pos.system\n.",
    "extension registry": b"\x80\x02\x82\x01.",
    "NEWOBJ_EX": b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93K\x01\x85}\x92.",
    "calls the result of a call": b"\x80\x02cnumpy\ndtype\nU\x02f8\x85R)R.",
    "state on a name": b"\x80\x02cnumpy\nndarray\n}U\x0c__setstate__K\x01sb.",
    "name out of a list": b"\x80\x04]]\x93.",
    "no end": b"\x80\x02}",
    "empty stack": b"\x80\x02R.",
    "unknown memo": b"\x80\x02h\x07.",
    "text": b"hello",
    "nothing": b"",
}


@pytest.mark.parametrize("name", _OPCODES)
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(
    name: str, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    imported = set(sys.modules)
    with pytest.raises(ValueError, match="refused"):
        read_pickled_arrays(write(_OPCODES[name]))
    assert not Path("PWNED").exists()
    assert set(sys.modules) == imported


def test_the_gadgets_of_these_tests_do_run_in_a_plain_unpickler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(_OPCODES["os.system"])  # noqa: S301  the point of the test
    assert Path("PWNED").exists()


def test_every_name_outside_the_list_is_refused_by_name() -> None:
    for module, name in (("posix", "system"), ("subprocess", "Popen"), ("numpy", "fromfile"), ("scipy.io", "loadmat")):
        with pytest.raises(RefusedPickleError, match=f"names {module}.{name}, which is none"):
            read_pickle(f"c{module}\n{name}\n.".encode())


def test_objects_hidden_in_an_array_are_not_made(write: Any) -> None:
    with pytest.raises(ValueError, match=r"cannot read 'x': an array of type object; only numbers are read"):
        read_pickled_arrays(write(pickle.dumps({"x": np.array([{}, 1], dtype=object)}, protocol=2)))


def test_a_sparse_matrix_with_indices_out_of_bounds_is_an_error(write: Any) -> None:
    matrix = sparse.csc_matrix(np.eye(3))
    matrix.indices = np.array([0, 1, 99], dtype=np.int32)
    with pytest.raises(ValueError, match="cannot read 'J'"):
        read_pickled_arrays(write(pickle.dumps({"J": matrix}, protocol=2)))


def test_a_sparse_matrix_too_large_to_be_made_whole_is_an_error(write: Any) -> None:
    matrix = sparse.csc_matrix(([1.0], ([0], [0])), shape=(10**12, 5))  # a few bytes, without its zeros
    with pytest.raises(ValueError, match="cannot read 'J': a sparse matrix of 1000000000000 x 5; at most"):
        read_pickled_arrays(write(pickle.dumps({"J": matrix}, protocol=2)))


def test_an_object_that_holds_itself_ends() -> None:
    # A dictionary in itself, by way of the memo.
    tree = read_pickle(b"\x80\x02}q\x00U\x01xh\x00s.")
    assert tree["x"] is tree
