"""Which of a training's weights are shipped."""

from collections.abc import Callable

import pytest
import torch

from training.best import BestWeights
from training.networks import ExpressionNetwork


def filled(network: ExpressionNetwork, value: float) -> ExpressionNetwork:
    with torch.no_grad():
        network.head.bias.fill_(value)
    return network


@pytest.mark.parametrize("later_mm", [2.0, 2.5, float("nan"), float("inf")])
def test_later_weights_that_are_no_better_are_not_shipped(
    small_network: Callable[..., ExpressionNetwork], later_mm: float
) -> None:
    network, best = small_network("", 4, seed=0), BestWeights()
    assert best.offer(filled(network, 1.0), steps=10, vertex_error_mm=2.0)
    assert not best.offer(filled(network, 7.0), steps=20, vertex_error_mm=later_mm)

    best.put_into(network)
    assert (best.steps, best.vertex_error_mm) == (10, 2.0)
    assert network.head.bias.tolist() == [1.0] * 4


def test_better_weights_replace_those_before_and_what_becomes_of_the_network_does_not_touch_them(
    small_network: Callable[..., ExpressionNetwork],
) -> None:
    network, best = small_network("", 4, seed=0), BestWeights()
    best.offer(filled(network, 1.0), steps=10, vertex_error_mm=2.0)
    assert best.offer(filled(network, 3.0), steps=20, vertex_error_mm=1.9)
    best.put_into(filled(network, 9.0))
    assert best.steps == 20
    assert network.head.bias.tolist() == [3.0] * 4
