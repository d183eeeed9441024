"""One step of the optimisation."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import facevid
from fitting.face_model import FaceModel
from training.config import TrainOptions
from training.examples import load_splits
from training.loop import TrainingLoop
from training.losses import gram_matrix_mm2
from training.networks import ExpressionNetwork


def test_gradients_are_those_of_the_loss_but_none_is_longer_than_five(
    write_dataset: Callable[..., Path], toy_track: type, toy_model: FaceModel,
    small_network: Callable[..., ExpressionNetwork],
) -> None:  # fmt: skip
    train = load_splits([facevid.open(write_dataset(toy_track(video_id="a")))])["train"]
    gram_mm2 = gram_matrix_mm2(toy_model.expression_basis_mm)

    def gradient(factor: float) -> torch.Tensor:
        network = small_network("", toy_model.n_expression, seed=0)
        loop = TrainingLoop(
            network=network, train=train, model=toy_model, gram_mm2=(factor * gram_mm2).astype("float32"),
            options=TrainOptions(max_steps=1, batch_size=4, workers=0, augment=False), device=torch.device("cpu"),
            report=lambda _: None,
        )  # fmt: skip
        next(loop.epochs())
        return torch.cat([part.grad.flatten() for part in network.parameters() if part.grad is not None])

    gentle = gradient(1e-3)
    assert 0.0 < gentle.norm() < 2.5
    torch.testing.assert_close(gradient(2e-3), 2 * gentle, rtol=1e-3, atol=1e-6)
    steep = gradient(1e3)
    assert steep.norm().item() == pytest.approx(5.0, rel=1e-4)
    torch.testing.assert_close(steep, 5.0 * gentle / gentle.norm(), rtol=1e-3, atol=1e-4)
