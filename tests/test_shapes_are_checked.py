"""The option that checks array shapes in tests really checks them, and conftest.py leaves nothing of it out."""

from collections.abc import Iterator
from dataclasses import dataclass

import jaxtyping
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import Float, TypeCheckError

from fitting.face_model import LandmarkEmbedding

checked = jaxtyping.jaxtyped(typechecker=beartype)


def test_a_wrong_shape_in_one_of_our_types_fails() -> None:
    good = LandmarkEmbedding(vertex_ids=np.zeros((5, 3), np.int32), weights=np.zeros((5, 3), np.float32))
    assert good.weights.shape == (5, 3)
    with pytest.raises(TypeCheckError):
        LandmarkEmbedding(vertex_ids=np.zeros((5, 3), np.int32), weights=np.zeros((4, 3), np.float32))


def test_arguments_are_checked_before_the_function_sees_them_and_what_it_returns_after_it() -> None:
    seen: list[int] = []

    @checked
    def last(values: Float[np.ndarray, "rows columns"], count: int) -> Float[np.ndarray, "rows 2"]:
        seen.append(count)
        return values[:, -count:]

    values = np.zeros((3, 5))
    assert last(values, 2).shape == (3, 2)
    for wrong in ((values[0], 2), (values, "2"), (values.astype(np.int64), 2)):
        with pytest.raises(TypeCheckError):
            last(*wrong)
    assert seen == [2]
    with pytest.raises(TypeCheckError):
        last(values, 3)
    assert seen == [2, 3]


def test_the_name_of_an_axis_is_one_length_within_a_call_and_another_in_the_next_or_in_one_inside_of_it() -> None:
    @checked
    def doubled(
        values: Float[np.ndarray, " count"], other: Float[np.ndarray, " count"] | None = None
    ) -> Float[np.ndarray, " count"]:
        longer = np.zeros(2 * len(values))
        return longer if other is None and len(doubled(longer, longer)) == len(values) else values

    for length in (2, 3):
        assert len(doubled(np.zeros(length))) == length
    with pytest.raises(TypeCheckError):
        doubled(np.zeros(2), np.zeros(3))

    @checked
    def with_one_more(values: Float[np.ndarray, " count"]) -> Float[np.ndarray, " count"]:
        return np.append(values, 0.0)

    with pytest.raises(TypeCheckError):
        with_one_more(np.zeros(2))


def test_generators_dataclasses_and_hints_that_are_text_are_checked_too() -> None:
    @checked
    def rows(values: Float[np.ndarray, "rows 3"]) -> Iterator[Float[np.ndarray, "3"]]:
        yield from values

    assert len(list(rows(np.zeros((2, 3))))) == 2
    with pytest.raises(TypeCheckError):
        rows(np.zeros((2, 2)))  # at once, not when the first row is asked for

    @checked
    @dataclass
    class Pair:
        first: Float[np.ndarray, " count"]
        second: Float[np.ndarray, " count"]

    Pair(np.zeros(2), np.zeros(2))
    with pytest.raises(TypeCheckError):
        Pair(np.zeros(2), np.zeros(3))

    @checked
    def count(embedding: "LandmarkEmbedding | None") -> "int":
        return len(embedding.weights) if embedding else 0

    assert count(None) == 0
    with pytest.raises(TypeCheckError):
        count(3)  # type: ignore[arg-type]
