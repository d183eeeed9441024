"""The networks: their cost, their shapes, and that a seed decides their weights."""

import pytest
import torch
from torch import nn

from training.config import TrainOptions
from training.networks import build_network


@pytest.fixture(scope="module")
def crops() -> torch.Tensor:
    return torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def multiply_accumulates(network: nn.Module) -> int:
    """Multiply-accumulate operations of convolutions and linear layers for one crop."""
    total = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output[0].numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            total += output[0].numel() * layer.in_features

    for layer in network.modules():
        layer.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 224, 224, 3, dtype=torch.uint8))
    return total


def test_resnet50_is_as_large_as_published() -> None:
    network = build_network("resnet50", 1000)
    # He et al. 2016, with the stride in the 3x3 convolution: 25.557 million parameters, 4.09 GMAC.
    assert sum(parameter.numel() for parameter in network.parameters()) == 25_557_032
    assert multiply_accumulates(network) == pytest.approx(4.09e9, rel=0.002)


def test_the_fast_network_costs_less_than_half_a_gmac() -> None:
    assert multiply_accumulates(build_network("fast", 28)) < 0.5e9


@pytest.mark.parametrize("preset", ["fast", "resnet50"])
def test_one_step_changes_the_answer(preset: str, crops: torch.Tensor) -> None:
    network = build_network(preset, 28)
    before = network(crops)
    assert before.shape == (2, 28)
    assert torch.isfinite(before).all()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    (before - 1.0).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    optimiser.step()
    assert (network(crops) - 1.0).square().sum() < (before - 1.0).square().sum()


def test_training_starts_near_the_bias(crops: torch.Tensor) -> None:
    network = build_network("fast", 28).eval()
    with torch.no_grad():
        network.head.bias.fill_(0.7)
        assert (network(crops) - 0.7).abs().max() < 0.5


def test_a_seed_decides_the_weights_and_leaves_the_caller_s_random_state_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (build_network("fast", 4, seed=seed) for seed in (1, 1, 2))
    assert torch.rand(1) == wanted
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate=nan must be at least"),
        ({"max_steps": 0}, "max_steps=0 must be at least 1"),
        ({"device": "tpu"}, "device='tpu' is none of auto, cpu, cuda, cuda:N"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        TrainOptions(**options)
