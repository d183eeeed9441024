"""The search for the focal length, on energies that are known."""

import math
from collections.abc import Callable

import torch

from fitting.focal import TRIALS, USUAL, USUAL_LOG_SD, best_focal

SIDE = torch.tensor([640.0, 1920.0])


def bowl(at: torch.Tensor, *, stiffness: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def energy(focal: torch.Tensor) -> torch.Tensor:
        return 0.5 * stiffness * (focal / at).log() ** 2

    return energy


def test_a_sharp_minimum_between_two_trials_is_found() -> None:
    truth = SIDE * torch.tensor([1.1, 2.4])
    found = best_focal(SIDE, bowl(truth, stiffness=1e6))
    torch.testing.assert_close(found, truth, rtol=1e-3, atol=0)


def test_without_evidence_the_usual_focal_length_is_taken() -> None:
    found = best_focal(SIDE, torch.zeros_like)
    torch.testing.assert_close(found, SIDE * USUAL, rtol=1e-3, atol=0)


def test_evidence_and_expectation_are_weighed() -> None:
    truth = SIDE * 3.0
    found = best_focal(SIDE, bowl(truth, stiffness=USUAL_LOG_SD**-2))
    torch.testing.assert_close(found, SIDE * math.sqrt(USUAL * 3.0), rtol=1e-3, atol=0)


def test_a_minimum_outside_the_trials_ends_at_the_last_of_them() -> None:
    found = best_focal(SIDE, bowl(SIDE * 100.0, stiffness=1e4))
    torch.testing.assert_close(found, SIDE * TRIALS[-1], rtol=1e-6, atol=0)


def test_a_trial_that_failed_is_not_taken() -> None:
    def energy(focal: torch.Tensor) -> torch.Tensor:
        away = (focal / SIDE / TRIALS[2]).log().abs()
        return torch.where(away < 1e-3, torch.nan, away)

    found = best_focal(SIDE, energy)
    assert torch.isfinite(found).all()
    assert ((found / SIDE - TRIALS[1]).abs().amin() < 1e-3) or ((found / SIDE - TRIALS[3]).abs().amin() < 1e-3)
