"""From the chain's solution to that of the smoother prior: against dense systems, and what it is good for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fitting import closing_step as closing
from fitting.closing_step import ChainSolved, closing_step
from fitting.face_model import FaceModel
from fitting.matern_prior import matern_prior, matern_rate
from fitting.metrics import accuracy, mean_accuracy
from fitting.options import FitOptions
from fitting.ragged import TimeMajor
from fitting.smooth_prior import smooth_prior
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, synthetic_track
from fitting.time_recursion import solve_over_time

LENGTHS, SIZE = [30, 1, 45], 4
SMOOTHNESS = 16.0


def information(rng: np.random.Generator, frames: int) -> np.ndarray:
    """What landmarks say while a head turns: each frame sees other mixtures, some nothing."""
    turns = np.cumsum(rng.normal(size=(frames, SIZE + 2, SIZE)), axis=0)
    jacobian = rng.normal(size=(SIZE + 2, SIZE)) + 0.1 * turns
    jacobian[rng.random(frames) < 0.1] = 0.0
    return jacobian.transpose(0, 2, 1) @ jacobian


def solved(tracks: list[tuple[np.ndarray, np.ndarray]], smoothness: float) -> tuple[ChainSolved, closing.Closing]:
    layout = TimeMajor([len(said) for _, said in tracks], device="cpu")
    spacing_s = torch.full((len(layout.track),), 1 / 30, dtype=torch.float64)
    of_tracks = torch.full((len(tracks),), smoothness, dtype=torch.float64)
    chain = smooth_prior(spacing_s, layout, of_tracks)
    known = torch.from_numpy(layout.pack([own for own, _ in tracks])).float()
    said = torch.from_numpy(layout.pack([own for _, own in tracks])).float()
    blocks = known + chain.precision[:, None, None].float() * torch.eye(SIZE)
    right = torch.stack([said, torch.zeros_like(said)], dim=-1)
    solution = solve_over_time(blocks, right, chain.coupling[:, None].float(), layout)[..., 0]
    before = ChainSolved(information=known, inverse_pivots=blocks, expression=solution.contiguous(), prior=chain)
    return before, closing_step(before, matern_prior(spacing_s, layout, of_tracks))


def dense(known: np.ndarray, said: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    system = np.kron(np.linalg.inv(covariance), np.eye(SIZE))
    for frame, own in enumerate(known):
        part = slice(frame * SIZE, (frame + 1) * SIZE)
        system[part, part] += own
    inverse = np.linalg.inv(system)
    return (inverse @ said.ravel()).reshape(said.shape), inverse.diagonal().reshape(said.shape)


def tracks() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    known = [information(rng, length) for length in LENGTHS]
    return [(own, np.einsum("fij,fj->fi", own, rng.normal(size=(len(own), SIZE)))) for own in known]


def covariances(length: int) -> tuple[np.ndarray, np.ndarray]:
    apart = np.abs(np.arange(length)[:, None] - np.arange(length))
    rate = float(matern_rate(torch.tensor([SMOOTHNESS], dtype=torch.float64)))
    return (1 - 0.5 / SMOOTHNESS) ** apart, (1 + rate * apart) * np.exp(-rate * apart)


def test_the_solution_is_the_dense_systems_and_goes_nearer_with_every_direction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = tracks()
    remaining = []
    for count in (0, 2, 4, 12):
        monkeypatch.setattr(closing, "DIRECTIONS", count)
        before, after = solved(given, SMOOTHNESS)
        layout = before.prior.layout
        far, whole = 0.0, 0.0
        for track, (known, said) in enumerate(given):
            rows = layout.positions(track)
            chain, smooth = (dense(known, said, own)[0] for own in covariances(len(said)))
            far += float(np.sum((after.expression[rows].numpy() - smooth) ** 2))
            whole += float(np.sum((chain - smooth) ** 2))
        remaining.append((far / whole) ** 0.5)
    np.testing.assert_allclose(remaining[0], 1.0, rtol=1e-4, err_msg="without directions it is the chain's")
    assert remaining[1] < 0.3
    assert remaining[2] < 0.1
    assert remaining[3] < 1e-4


def test_variances_fall_as_those_of_the_dense_systems_do() -> None:
    given = tracks()
    before, after = solved(given, SMOOTHNESS)
    for track, (known, said) in enumerate(given):
        chain, smooth = (dense(known, said, own)[1] for own in covariances(len(said)))
        ratio = after.variance_ratio[before.prior.layout.positions(track)].numpy()
        # It is worked out as if components were independent.
        np.testing.assert_allclose(ratio, smooth / chain, rtol=0.25)
        np.testing.assert_allclose(np.median(ratio / (smooth / chain)), 1.0, rtol=0.05)


def test_a_track_closes_alone_as_among_others_bit_by_bit() -> None:
    given = tracks()
    before, together = solved(given, SMOOTHNESS)
    for track, own in enumerate(given):
        _, alone = solved([own], SMOOTHNESS)
        rows = before.prior.layout.positions(track)
        assert torch.equal(alone.expression, together.expression[rows])
        assert torch.equal(alone.variance_ratio, together.variance_ratio[rows])


def test_frames_without_smoothness_stay_where_they_are() -> None:
    before, after = solved(tracks(), 0.0)
    torch.testing.assert_close(after.expression, before.expression, rtol=0, atol=1e-6)
    torch.testing.assert_close(after.variance_ratio, torch.ones_like(after.variance_ratio), rtol=1e-6, atol=0)


def test_fits_jitter_less_are_nearer_to_the_truth_and_know_how_near(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    truths = [synthetic_track(toy_model, "toy68", SyntheticOptions(frames=150), seed=seed) for seed in range(3)]
    options = FitOptions(
        landmark_noise=1 / 89, landmark_bias=0.0, expression_smoothness=16.0, learn_smoothness=False,
        keyframe_spacing_s=0.12,
    )  # fmt: skip

    def errors(options: FitOptions) -> dict[str, float]:
        fits = fit_tracks([truth.sequence for truth in truths], toy_model, options)
        return mean_accuracy([accuracy(toy_model, truth, fit) for truth, fit in zip(truths, fits, strict=True)])

    ours = errors(options)
    boxed = errors(replace(options, box_sd=2.0))
    monkeypatch.setattr(closing, "DIRECTIONS", 0)
    chain = errors(options)
    assert ours["jitter_mm"] < 0.7 * chain["jitter_mm"]
    assert ours["expression_mm"] < chain["expression_mm"]
    assert 0.8 < ours["sigma_z"] < 1.25
    assert boxed["jitter_mm"] > ours["jitter_mm"], "in a box that matters, the chain's fit stays"
