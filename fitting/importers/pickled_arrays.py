"""The arrays in a pickle, made here from the bytes that it holds."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from fitting.importers.pickled import Built, Name, RefusedPickleError, read_pickle

_MOST_DENSE = 10**8
"""Numbers in a matrix that is stored without its zeros, and made whole here; FLAME's has 25,115."""


def read_pickled_arrays(path: Path) -> dict[str, np.ndarray | str | int | float]:
    """The top-level dictionary of a pickle: arrays, sparse matrices (made dense) and plain values.

    Entries of any other kind (parts of a chumpy expression) are left out.

    Args:
        path: A pickle of protocol 1 to 4 (arrays of protocol 5 are stored in another way) whose top level is a
            dictionary.

    Raises:
        ValueError: The file is no such pickle, or names anything but numpy, chumpy and scipy.sparse arrays.
    """
    try:
        tree = read_pickle(path.read_bytes())
    except RefusedPickleError as error:
        raise ValueError(f"{path} is refused: {error}") from error
    out: dict[str, np.ndarray | str | int | float] = {}
    for key, node in (tree if isinstance(tree, dict) else {}).items():
        try:
            value = _value(node)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: cannot read {key!r}: {error}") from error
        if value is not None:
            out[str(key)] = value
    if not out:
        raise ValueError(f"{path} is refused: its top level is no dictionary of arrays")
    return out


def _value(node: Any) -> np.ndarray | str | int | float | None:
    """An array or a plain value; None for what is neither."""
    if isinstance(node, str | int | float):
        return node
    if not isinstance(node, Built):
        return None
    if node.maker.name == "_reconstruct":
        return _array(node)
    made = node.maker.name
    if made == "_reconstructor" and isinstance(node.arguments[0], Name):
        made = node.arguments[0].name
    if made == "Ch":
        return _array(node.state["x"])
    if made == "Select":
        return _selected(node.state)
    return _dense(made, node.state) if made in {"csc_matrix", "csr_matrix"} else None


def _selected(state: Any) -> np.ndarray:
    """Chumpy's part of another array: flat indices into it, and a shape."""
    source = state["a"]
    whole = _array(source.state["x"] if isinstance(source, Built) and source.maker.name != "_reconstruct" else source)
    shape = tuple(int(n) for n in state["preferred_shape"])
    return np.asarray(whole.ravel()[_array(state["idxs"])].reshape(shape))


def _dense(kind: str, state: Any) -> np.ndarray:
    rows, columns = (int(n) for n in (state["_shape"] if "_shape" in state else state["shape"]))
    if rows * columns > _MOST_DENSE:
        raise RefusedPickleError(f"a sparse matrix of {rows} x {columns}; at most {_MOST_DENSE} numbers are read")
    parts = (_array(state["data"]), _array(state["indices"]), _array(state["indptr"]))
    make = sparse.csc_array if kind == "csc_matrix" else sparse.csr_array
    matrix = make(parts, shape=(rows, columns))
    # Indices out of range would be written out of bounds.
    matrix.check_format(full_check=True)
    return np.asarray(matrix.todense())


def _array(node: Any) -> np.ndarray:
    if not isinstance(node, Built) or node.maker.name != "_reconstruct":
        raise RefusedPickleError("an array was expected")
    # numpy's own order: (version, shape, dtype, is_fortran, data), see ndarray.__reduce__.
    _, shape, kind, is_fortran, data = node.state
    if not isinstance(kind, Built) or kind.maker.name != "dtype":
        raise RefusedPickleError("an array without a type")
    # A dtype's state is (version, byte order, ...), see dtype.__reduce__.
    is_big = bool(kind.state) and _text(kind.state[1]) == ">"
    dtype = np.dtype(_text(kind.arguments[0])).newbyteorder(">" if is_big else "<")
    if dtype.kind not in "biuf":
        raise RefusedPickleError(f"an array of type {dtype}; only numbers are read")
    if isinstance(data, Built) and data.maker.name == "encode":
        data = data.arguments[0]
    if not isinstance(data, str | bytes):
        raise RefusedPickleError("an array whose data is no run of bytes")
    raw = data.encode("latin1") if isinstance(data, str) else data
    flat = np.frombuffer(raw, dtype=dtype)
    return flat.reshape(tuple(int(n) for n in shape), order="F" if is_fortran else "C")


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
