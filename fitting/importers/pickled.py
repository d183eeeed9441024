"""Reads what a pickle would build without running it.

A pickle is a program: loading one runs whatever its author wrote. Here its instructions are only read
(`pickletools.genops`) and what they would build is noted down as data; nothing is ever called, imported or
instantiated by name, so there is nothing that a malicious file could reach. Only the names that FLAME files use
(numpy, chumpy and scipy.sparse arrays) may occur at all; any other name is an error.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_ALLOWED = frozenset(
    {("__builtin__", "object"), ("builtins", "object"), ("_codecs", "encode"), ("numpy", "ndarray"), ("numpy", "dtype")}
    | {("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor"), ("__builtin__", "set"), ("builtins", "set")}
    | {("chumpy.ch", "Ch"), ("chumpy.reordering", "Select")}
    | {(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")}
    | {(f"scipy.sparse.{module}", f"{kind}_matrix") for kind in ("csc", "csr") for module in (kind, f"_{kind}")}
)
_MARK = object()


class RefusedPickleError(ValueError):
    """A pickle that holds something other than numbers, text and arrays."""


@dataclass(slots=True, eq=False)
class Name:
    """A name in a module, as text."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Built:
    """What a call would have made: the name called, its arguments, and the state that would be set on the result."""

    maker: Name
    arguments: tuple[Any, ...]
    state: Any = None


def read_pickle(data: bytes) -> Any:
    """What a pickle would build: dictionaries, lists (sets too), tuples, numbers, text, `Name` and `Built`.

    Args:
        data: A pickle of protocol 0 to 5; Python 2's text is read as Latin-1.

    Raises:
        RefusedPickleError: It names anything that is not allowed, or is damaged.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, at in pickletools.genops(data):
            if opcode.name == "STOP":
                return stack.pop()
            if opcode.name in _PLAIN:
                stack.append(argument)
            elif opcode.name in _ON_STACK:
                _ON_STACK[opcode.name](stack)
            elif opcode.name in {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}:
                memo[len(memo) if argument is None else int(argument)] = stack[-1]
            elif opcode.name in {"GET", "BINGET", "LONG_BINGET"}:
                stack.append(memo[int(str(argument))])
            elif opcode.name == "GLOBAL":
                stack.append(_named(*str(argument).split(" ", 1)))
            elif opcode.name not in {"PROTO", "FRAME"}:
                raise RefusedPickleError(f"instruction {opcode.name} at byte {at} has no place in a file of arrays")
    except RefusedPickleError:
        raise
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise RefusedPickleError(f"it is no pickle, or a damaged one ({error})") from error
    raise RefusedPickleError("it ends early")


def _named(module: object, name: object = "") -> Name:
    if (module, name) not in _ALLOWED:
        raise RefusedPickleError(f"it names {module}.{name}, which is none of the arrays that may occur")
    return Name(str(module), str(name))


def _since_mark(stack: list[Any]) -> list[Any]:
    at = max(k for k, item in enumerate(stack) if item is _MARK)
    taken = stack[at + 1 :]
    del stack[at:]
    return taken


def _last(stack: list[Any], count: int) -> list[Any]:
    return [stack.pop() for _ in range(count)][::-1]


def _set_items(stack: list[Any], pairs: list[Any]) -> None:
    if not isinstance(stack[-1], dict):
        raise RefusedPickleError("items are set on something that is no dictionary")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, str | bytes | int | float):
            raise RefusedPickleError("a key is neither text nor number")
        stack[-1][key.decode("latin1") if isinstance(key, bytes) else key] = value


def _add_items(stack: list[Any], items: list[Any]) -> None:
    if not isinstance(stack[-1], list):
        raise RefusedPickleError("items are added to something that is no list")
    stack[-1].extend(items)


def _dictionary(stack: list[Any]) -> None:
    pairs = _since_mark(stack)
    stack.append({})
    _set_items(stack, pairs)


def _note_call(stack: list[Any]) -> None:
    maker, arguments = _last(stack, 2)
    if not isinstance(maker, Name) or not isinstance(arguments, tuple):
        raise RefusedPickleError("something is called that is no name, or not with arguments")
    stack.append(Built(maker, arguments))


def _note_state(stack: list[Any]) -> None:
    state = stack.pop()
    if not isinstance(stack[-1], Built):
        raise RefusedPickleError("state is set on something that was not built")
    stack[-1].state = state


_PLAIN = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
        "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
        "BINBYTES8",
    }
)  # fmt: skip
_ON_STACK: dict[str, Callable[[list[Any]], object]] = {
    "MARK": lambda stack: stack.append(_MARK),
    "POP": lambda stack: stack.pop(),
    "NONE": lambda stack: stack.append(None),
    "NEWTRUE": lambda stack: stack.append(True),
    "NEWFALSE": lambda stack: stack.append(False),
    "EMPTY_TUPLE": lambda stack: stack.append(()),
    "EMPTY_LIST": lambda stack: stack.append([]),
    "EMPTY_DICT": lambda stack: stack.append({}),
    "TUPLE": lambda stack: stack.append(tuple(_since_mark(stack))),
    "TUPLE1": lambda stack: stack.append(tuple(_last(stack, 1))),
    "TUPLE2": lambda stack: stack.append(tuple(_last(stack, 2))),
    "TUPLE3": lambda stack: stack.append(tuple(_last(stack, 3))),
    "LIST": lambda stack: stack.append(_since_mark(stack)),
    "EMPTY_SET": lambda stack: stack.append([]),
    "ADDITEMS": lambda stack: _add_items(stack, _since_mark(stack)),
    "FROZENSET": lambda stack: stack.append(_since_mark(stack)),
    "DICT": _dictionary,
    "SETITEM": lambda stack: _set_items(stack, _last(stack, 2)),
    "SETITEMS": lambda stack: _set_items(stack, _since_mark(stack)),
    "APPEND": lambda stack: _add_items(stack, _last(stack, 1)),
    "APPENDS": lambda stack: _add_items(stack, _since_mark(stack)),
    "REDUCE": _note_call,
    "NEWOBJ": _note_call,
    "BUILD": _note_state,
    "STACK_GLOBAL": lambda stack: stack.append(_named(*_last(stack, 2))),
}
