"""The size of the head within a step: a share of its change is taken, and nothing else of the step is touched."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from fitting.face_model import FaceModel
from fitting.head_size import growth, share_of_size, with_share_of_size
from fitting.landmark_basis import LandmarkBasis, landmark_basis
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, synthetic_track
from fitting.tracks import LandmarkSequence

TRACKS, SIZE = 3, 7


def _steps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """An information matrix per track, a step of it, the step along a growth, and that growth."""
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(TRACKS, SIZE, SIZE, generator=generator, dtype=torch.float64)
    information = root @ root.mT + torch.eye(SIZE, dtype=torch.float64)
    downhill = torch.randn(TRACKS, SIZE, generator=generator, dtype=torch.float64)
    grows = torch.randn(SIZE, generator=generator, dtype=torch.float64)
    return (
        information, torch.linalg.solve(information, downhill),
        torch.linalg.solve(information, grows.expand(TRACKS, -1)), grows,
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, 1.4])
def test_the_change_in_size_is_the_share_that_was_asked_for(share: float) -> None:
    _, step, along, grows = _steps()
    torch.testing.assert_close(with_share_of_size(step, along, grows, share) @ grows, share * (step @ grows))


def test_the_rest_of_the_step_costs_least_among_all_with_that_change_in_size() -> None:
    information, step, along, grows = _steps()
    taken = with_share_of_size(step, along, grows, 0.0)
    # The energy's gradient at a constrained minimum is a multiple of the constraint's.
    gradient = torch.einsum("tij,tj->ti", information, taken - step)
    cosine = torch.nn.functional.cosine_similarity(gradient, grows.expand(TRACKS, -1), dim=-1)
    torch.testing.assert_close(cosine.abs(), torch.ones(TRACKS, dtype=torch.float64))


def test_growth_is_the_share_of_its_size_by_which_a_component_enlarges_the_head(toy_model: FaceModel) -> None:
    basis = landmark_basis(toy_model, "toy68", device="cpu")
    about = basis.mean - basis.mean.mean(dim=-1, keepdim=True)
    shifted = torch.ones_like(about)
    grown = replace(basis, identity=torch.stack([0.25 * about, shifted, about + 3 * shifted], dim=-1))
    torch.testing.assert_close(growth(grown), torch.tensor([0.25, 0.0, 1.0], dtype=torch.float64), atol=1e-6, rtol=0)


def test_a_model_whose_heads_are_all_of_one_size_steps_as_without_shares() -> None:
    _, step, _, grows = _steps()
    nothing = torch.zeros_like(grows)
    torch.testing.assert_close(with_share_of_size(step, torch.zeros_like(step), nothing, 0.0), step)


def test_the_first_iteration_leaves_the_size_and_later_ones_go_beyond_what_they_see() -> None:
    shares = [share_of_size(iteration, of=5) for iteration in range(5)]
    assert shares[0] == 0.0
    assert shares[1] == 1.0
    assert all(share > 1.0 for share in shares[2:])


def test_a_single_iteration_takes_the_size_that_it_sees() -> None:
    assert share_of_size(0, of=1) == 1.0


def test_three_iterations_find_the_size_that_many_find(toy_model: FaceModel) -> None:
    tracks = [
        synthetic_track(toy_model, "toy68", SyntheticOptions(frames=40, noise_px=1.0), seed=seed) for seed in range(4)
    ]
    basis = landmark_basis(toy_model, "toy68", device="cpu")
    few, many = (
        _sizes(toy_model, basis, [track.sequence for track in tracks], iterations) for iterations in (3, 20)
    )
    torch.testing.assert_close(few, many, atol=5e-3, rtol=0)


def _sizes(
    model: FaceModel, basis: LandmarkBasis, sequences: Sequence[LandmarkSequence], iterations: int
) -> torch.Tensor:
    options = FitOptions(identity_iterations=iterations, keyframe_spacing_s=0.0, second_pass=False)
    fits = fit_tracks(sequences, model, options)
    return torch.stack([growth(basis) @ torch.tensor(fit.identity).double() for fit in fits])
