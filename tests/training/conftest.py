"""Fixtures for trainings that take milliseconds."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from training import deepexp3d
from training.checkpoint import Checkpoints, State
from training.networks import ExpressionNetwork


@pytest.fixture
def small_network() -> Callable[..., ExpressionNetwork]:
    """Stands for `build_network`: of all that a state consists of a little, in milliseconds a step."""

    def build(_: str, n_expression: int, *, seed: int) -> ExpressionNetwork:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            first = torch.nn.Conv2d(3, 8, 16, stride=16)
            backbone = torch.nn.Sequential(first, torch.nn.BatchNorm2d(8), torch.nn.ReLU())
            return ExpressionNetwork(backbone, 8, n_expression)

    return build


@pytest.fixture
def written(
    monkeypatch: pytest.MonkeyPatch, small_network: Callable[..., ExpressionNetwork]
) -> list[tuple[dict[str, torch.Tensor], dict]]:
    """Weights and record of each small network that a training of the test has shipped."""
    shipped: list[tuple[dict[str, torch.Tensor], dict]] = []

    def write_model(out: Path, network: torch.nn.Module, config: object, record: dict, **_: object) -> None:
        out.mkdir()
        shipped.append((network.state_dict(), record))

    monkeypatch.setattr(deepexp3d, "write_model", write_model)
    monkeypatch.setattr(deepexp3d, "build_network", small_network)
    return shipped


@pytest.fixture
def stopped_at_first_save() -> Callable[[], AbstractContextManager[None]]:
    """A block in which a training saves its state after the first step, and is then interrupted."""

    @contextmanager
    def block() -> Iterator[None]:
        save = Checkpoints.save

        def save_and_stop(self: Checkpoints, state: State) -> None:
            save(self, state)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpoints, "due", lambda _: True)
            patch.setattr(Checkpoints, "save", save_and_stop)
            with pytest.raises(KeyboardInterrupt):
                yield

    return block
