"""Reads the arrays out of a pickle without running it.

A pickle is a program: loading one runs whatever its author wrote. Here its instructions are only read
(`pickletools.genops`) and what they would build is noted down as data; nothing is ever called, imported or
instantiated by name, so there is nothing that a malicious file could reach. Only the names that FLAME files use
(numpy, chumpy and scipy.sparse arrays) may occur at all; any other name is an error.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

_ALLOWED = frozenset(
    {("__builtin__", "object"), ("builtins", "object"), ("_codecs", "encode"), ("numpy", "ndarray"), ("numpy", "dtype")}
    | {(module, "_reconstructor") for module in ("copy_reg", "copyreg")}
    | {
        (f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")
    }
    | {("chumpy.ch", "Ch")}
    | {
        (f"scipy.sparse.{module}", f"{kind}_matrix")
        for kind in ("csc", "csr")
        for module in (kind, f"_{kind}")
    }
)  # fmt: skip
_MARK = object()


@dataclass(slots=True, eq=False)
class _Name:
    module: str
    name: str


@dataclass(slots=True, eq=False)
class _Built:
    """What a call would have made: the name called, its arguments, and the state set on it afterwards."""

    maker: Any
    arguments: Any
    state: Any = field(default=None)


def read_pickled_arrays(path: Path) -> dict[str, Any]:
    """The top-level dictionary of a pickle: arrays, sparse matrices and plain values.

    Entries of any other kind (parts of a chumpy expression) are left out.

    Args:
        path: A pickle of protocol 1 to 4 (arrays of protocol 5 are stored differently) whose top level is a dictionary; Python 2's are read as Latin-1.

    Raises:
        ValueError: The file is no such pickle, or names anything but numpy, chumpy and scipy.sparse arrays.
    """
    try:
        tree = _read(path.read_bytes())
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is refused: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} is refused: its top level is no dictionary")
    out: dict[str, Any] = {}
    for key, node in tree.items():
        try:
            value = _value(node)
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: cannot read {key!r}: {error}") from error
        if value is not None:
            out[str(key)] = value
    return out


def _read(data: bytes) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, at in pickletools.genops(data):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name in _PLAIN:
            stack.append(argument)
        elif name in _STACK:
            _STACK[name](stack)
        elif name in {"PUT", "BINPUT", "LONG_BINPUT"}:
            memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in {"GET", "BINGET", "LONG_BINGET"}:
            stack.append(memo[int(argument)])
        elif name == "GLOBAL":
            stack.append(_name(*argument.split(" ", 1)))
        elif name not in {"PROTO", "FRAME"}:
            raise ValueError(f"instruction {name} at byte {at} has no place in a file of arrays")
    raise ValueError("it ends early")


def _name(module: object, name: object) -> _Name:
    if (module, name) not in _ALLOWED:
        raise ValueError(f"it names {module}.{name}, which is none of the arrays that may occur")
    return _Name(str(module), str(name))


def _since_mark(stack: list[Any]) -> list[Any]:
    for at in range(len(stack) - 1, -1, -1):
        if stack[at] is _MARK:
            taken = stack[at + 1 :]
            del stack[at:]
            return taken
    raise ValueError("a mark is missing")


def _tuple(size: int) -> Callable[[list[Any]], None]:
    def build(stack: list[Any]) -> None:
        taken = tuple(stack[len(stack) - size :])
        del stack[len(stack) - size :]
        stack.append(taken)

    return build


def _set(stack: list[Any], pairs: list[Any]) -> None:
    target = stack[-1]
    if not isinstance(target, dict):
        raise ValueError("items are set on something that is no dictionary")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, str | bytes | int | float):
            raise ValueError("a key is neither text nor number")
        target[key.decode("latin1") if isinstance(key, bytes) else key] = value


def _add(stack: list[Any], items: list[Any]) -> None:
    if not isinstance(stack[-1], list):
        raise ValueError("items are appended to something that is no list")
    stack[-1].extend(items)


def _call(stack: list[Any]) -> None:
    arguments = stack.pop()
    maker = stack.pop()
    if not isinstance(maker, _Name) or not isinstance(arguments, tuple):
        raise ValueError("something is called that is no name, or not with arguments")
    stack.append(_Built(maker, arguments))


def _build(stack: list[Any]) -> None:
    state = stack.pop()
    if not isinstance(stack[-1], _Built):
        raise ValueError("state is set on something that was not built")
    stack[-1].state = state


def _stack_name(stack: list[Any]) -> None:
    name = stack.pop()
    stack.append(_name(stack.pop(), name))


_PLAIN = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
        "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
        "BINBYTES8",
    }
)  # fmt: skip
_STACK: dict[str, Callable[[list[Any]], None]] = {
    "MARK": lambda stack: stack.append(_MARK),
    "POP": lambda stack: stack.__delitem__(-1),
    "NONE": lambda stack: stack.append(None),
    "NEWTRUE": lambda stack: stack.append(True),
    "NEWFALSE": lambda stack: stack.append(False),
    "EMPTY_TUPLE": lambda stack: stack.append(()),
    "EMPTY_LIST": lambda stack: stack.append([]),
    "EMPTY_DICT": lambda stack: stack.append({}),
    "TUPLE": lambda stack: stack.append(tuple(_since_mark(stack))),
    "LIST": lambda stack: stack.append(_since_mark(stack)),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "DICT": lambda stack: _dict(stack),
    "SETITEM": lambda stack: _set(stack, [*_tuple_of(stack, 2)]),
    "SETITEMS": lambda stack: _setitems(stack),
    "APPEND": lambda stack: _add(stack, [stack.pop()]),
    "APPENDS": lambda stack: _appends(stack),
    "REDUCE": _call,
    "NEWOBJ": _call,
    "BUILD": _build,
    "STACK_GLOBAL": _stack_name,
}


def _tuple_of(stack: list[Any], size: int) -> tuple[Any, ...]:
    _tuple(size)(stack)
    taken: tuple[Any, ...] = stack.pop()
    return taken


def _dict(stack: list[Any]) -> None:
    pairs = _since_mark(stack)
    stack.append({})
    _set(stack, pairs)


def _setitems(stack: list[Any]) -> None:
    pairs = _since_mark(stack)
    _set(stack, pairs)


def _appends(stack: list[Any]) -> None:
    items = _since_mark(stack)
    _add(stack, items)


def _value(node: Any) -> Any:
    """An array, sparse matrix or plain value; None for what is none of them."""
    if node is None or isinstance(node, str | int | float):
        return node
    if isinstance(node, bytes):
        return node.decode("latin1")
    if not isinstance(node, _Built):
        return None
    made = node.maker.name
    if made == "_reconstruct":
        return _array(node)
    if made == "_reconstructor" and isinstance(node.arguments[0], _Name):
        made = node.arguments[0].name
    state = node.state
    if made == "Ch" and isinstance(state, dict):
        return _array(state.get("x"))
    if made in {"csc_matrix", "csr_matrix"} and isinstance(state, dict):
        shape = state["_shape"] if "_shape" in state else state["shape"]
        parts = tuple(_array(state[key]) for key in ("data", "indices", "indptr"))
        kind = sparse.csc_matrix if made == "csc_matrix" else sparse.csr_matrix
        matrix = kind(parts, shape=(int(shape[0]), int(shape[1])))
        matrix.check_format(full_check=True)
        return matrix
    return None


def _array(node: Any) -> np.ndarray:
    if not isinstance(node, _Built) or node.maker.name != "_reconstruct":
        raise ValueError("an array was expected")
    # numpy's own order: (version, shape, dtype, is_fortran, data), see ndarray.__reduce__.
    _, shape, kind, is_fortran, data = node.state
    if not isinstance(kind, _Built) or kind.maker.name != "dtype":
        raise ValueError("an array without a type")
    code = _text(kind.arguments[0])
    order = _text(kind.state[1]) if kind.state else "|"
    dtype = np.dtype(code)
    if dtype.kind not in "biuf":
        raise ValueError(f"an array of type {code!r}; only numbers are read")
    if order in {"<", ">"}:
        dtype = dtype.newbyteorder(order)
    if isinstance(data, _Built) and data.maker.name == "encode":
        data = data.arguments[0]
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(raw, bytes):
        raise ValueError("an array whose data is no run of bytes")
    return np.frombuffer(raw, dtype=dtype).reshape(tuple(int(n) for n in shape), order="F" if is_fortran else "C")


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
