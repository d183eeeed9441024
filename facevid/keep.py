"""Which frames to keep, as an expression over the columns of the frames table: `abs(yaw_deg) < 60 and sharpness > 0.1`.

Comparisons of columns and numbers, `and`, `or`, `not`, `abs(column)` and parentheses; nothing else, and nothing is ever
evaluated as code: the text is parsed, each node is checked, and what comes out is an expression of Arrow.
"""

import ast
import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

EXAMPLE = "abs(yaw_deg) < 60 and sharpness > 0.1"
_LONGEST = 1000
_SIGNS = "< <= > >= == !="
_OTHERWISE = (
    ("=>", ">="), ("=<", "<="), ("<>", "!="), ("&", "and"), ("|", "or"), (" AND ", "and"), (" OR ", "or"), ("!", "not"),
    ("=", "=="),
)
"""How other languages write it, and how it is written here; a sign stands before its parts."""


class KeepError(ValueError):
    """An expression that says nothing about frames. The message names the part and what could stand there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One of the conditions that an expression joins by `and`.

    Attributes:
        text: The condition as written, spaces apart.
        expression: The same for Arrow.
    """

    text: str
    expression: pc.Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What frames must fulfil to be kept.

    Attributes:
        rules: All of these. A comparison with a number that is not there (NaN) is not fulfilled.
        columns: The columns that they look at.
    """

    rules: tuple[Rule, ...]
    columns: tuple[str, ...]

    @property
    def expression(self) -> pc.Expression:
        """All rules as one expression for Arrow."""
        whole = pc.scalar(True)  # noqa: FBT003
        for rule in self.rules:
            whole &= rule.expression
        return whole

    def first_failed(self, frames: pa.Table) -> Int64[np.ndarray, " rows"]:
        """For each row the index of the first rule that it does not fulfil; the number of rules where it fulfils all.

        Args:
            frames: A table with the columns.
        """
        failed = np.full(frames.num_rows, len(self.rules), np.int64)
        row = "row of this table"
        left = frames.select(list(self.columns)).append_column(row, pa.array(np.arange(frames.num_rows)))
        for index, rule in enumerate(self.rules):
            passed = left.filter(rule.expression)
            lost = np.setdiff1d(left[row].to_numpy(), passed[row].to_numpy(), assume_unique=True)
            failed[lost] = index
            left = passed
        return failed


def parse_keep(text: str, schema: pa.Schema) -> Keep:
    """Read an expression.

    Args:
        text: See the module; at most 1000 characters.
        schema: The frames table's; columns of numbers and truth values may be named.

    Raises:
        KeepError: It is no such expression, or names a column that the table lacks.
    """
    if len(text) > _LONGEST:
        raise KeepError(f"keep has {len(text)} characters; the most is {_LONGEST}")
    try:
        # Only the syntax: nothing is compiled or run.
        tree = ast.parse(text.strip(), mode="eval").body
        reader = _Reader(text.strip(), schema)
        rules = tuple(
            Rule(text=ast.unparse(node), expression=reader.truth(node)) for node in _joined_by_and(tree)
        )
    except KeepError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else str(error)
        raise KeepError(f"keep={text!r} cannot be read: {why}{_other_language(text)}. Example: {EXAMPLE}") from None
    return Keep(rules=rules, columns=tuple(sorted(reader.named)))


def _other_language(text: str) -> str:
    plain = text
    for sign in ("<=", ">=", "==", "!="):
        plain = plain.replace(sign, " ")
    hints = []
    for theirs, ours in _OTHERWISE:
        if theirs in plain:
            hints.append(f"; instead of {theirs.strip()!r} write {ours!r}")
            plain = plain.replace(theirs, " ")
    return "".join(hints)


def _joined_by_and(node: ast.expr) -> Sequence[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [rule for part in node.values for rule in _joined_by_and(part)]
    return [node]


class _Reader:
    """Turns checked nodes into Arrow's expressions, and notes which columns they name."""

    def __init__(self, text: str, schema: pa.Schema) -> None:
        self._text = text
        self._columns = [field.name for field in schema if _is_number(field.type) or pa.types.is_boolean(field.type)]
        self._others = {field.name for field in schema} - set(self._columns)
        self._truths = {field.name for field in schema if pa.types.is_boolean(field.type)}
        self.named: set[str] = set()

    def truth(self, node: ast.expr) -> pc.Expression:
        """A condition."""
        match node:
            case ast.BoolOp(op=op, values=values):
                whole = self.truth(values[0])
                for value in values[1:]:
                    whole = whole & self.truth(value) if isinstance(op, ast.And) else whole | self.truth(value)
                return whole
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.truth(operand)
            case ast.Compare(left=left, ops=signs, comparators=rights):
                values = [self.number(value) for value in (left, *rights)]
                whole = pc.scalar(True)  # noqa: FBT003
                for sign, low, high in zip(signs, values, values[1:], strict=False):
                    whole &= self._compared(sign, low, high, node)
                return whole
            case ast.Name(id=name) if name in self._truths:
                return self._column(name)
        raise self._refused(node, "is no condition; compare a column with a number")

    def number(self, node: ast.expr) -> pc.Expression:
        """A value to be compared."""
        match node:
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float() as value):
                if value > sys.float_info.max:  # Python reads 1e400 as infinite
                    raise self._refused(node, "is too large a number")
                return pc.scalar(float(value))
            case ast.Name(id=name) if name not in self._truths:
                return self._column(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return pc.negate(self.number(operand))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.number(operand)
            case ast.Call(func=ast.Name(id="abs"), args=[value], keywords=[]):
                return pc.abs(self.number(value))
        raise self._refused(node, "is neither a number nor a column nor abs(column)")

    def _column(self, name: str) -> pc.Expression:
        if name in self._others:
            raise KeepError(f"keep={self._text!r}: the column {name!r} holds no single numbers. Example: {EXAMPLE}")
        if name not in self._columns:
            near = difflib.get_close_matches(name, self._columns, n=1)
            meant = f"did you mean {near[0]!r}? There" if near else "there"
            known = ", ".join(self._columns)
            raise KeepError(f"keep={self._text!r}: there is no column {name!r}; {meant} are {known}")
        self.named.add(name)
        return pc.field(name)

    def _compared(
        self, sign: ast.cmpop, low: pc.Expression, high: pc.Expression, node: ast.expr
    ) -> pc.Expression:
        match sign:
            case ast.Lt():
                return low < high
            case ast.LtE():
                return low <= high
            case ast.Gt():
                return low > high
            case ast.GtE():
                return low >= high
            case ast.Eq():
                return low == high
            case ast.NotEq():
                return low != high
        raise self._refused(node, f"compares otherwise than by {_SIGNS}")

    def _refused(self, node: ast.expr, why: str) -> KeepError:
        part = ast.get_source_segment(self._text, node) or self._text
        return KeepError(f"keep={self._text!r}: {part!r} {why}{_other_language(part)}. Example: {EXAMPLE}")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
