"""What a caller of the fit can count on: accuracy, independence of company, and no exception for bad landmarks."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch

from fitting import (
    begin_frames,
    find_frames,
    find_identities,
    first_look,
    frame_system,
    frame_windows,
    identity_precision,
    preparation,
    refine_identities,
    solver,
    track_result,
)
from fitting.face_model import FaceModel
from fitting.frame_stage import FirstStep, FramesFit
from fitting.frame_system import FrameProblem
from fitting.identity_stage import IdentityFit
from fitting.landmark_basis import landmark_basis
from fitting.metrics import accuracy, mean_accuracy
from fitting.options import FitOptions
from fitting.pixel_camera import PixelCamera
from fitting.preparation import prepare
from fitting.reprojection import HELD_OUT, fitted_half
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, SyntheticTrack, synthetic_track
from fitting.tracks import FittedTrack, LandmarkSequence

EXACT = FitOptions(landmark_noise=1 / 89, landmark_bias=0.0, keyframe_spacing_s=0.12)
"""For tracks whose landmarks have 1 pixel of independent noise at 89 pixels between the outer eye corners."""
ARRAYS = (
    "identity", "expression", "expression_sigma", "scale_px_per_mm", "rotation_wxyz", "translation_px", "fitted_px",
    "reprojection_error",
)  # fmt: skip


def tracks_of(model: FaceModel, count: int, **options: float) -> list[SyntheticTrack]:
    choice = SyntheticOptions(**options)  # type: ignore[arg-type]
    return [synthetic_track(model, "toy68", choice, seed=seed) for seed in range(count)]


def means(model: FaceModel, truths: list[SyntheticTrack], options: FitOptions) -> dict[str, float]:
    fits = fit_tracks([truth.sequence for truth in truths], model, options)
    assert {fit.status for fit in fits} <= {"converged", "iteration_limit"}
    return mean_accuracy([accuracy(model, truth, fit) for truth, fit in zip(truths, fits, strict=True)])


def same(first: FittedTrack, second: FittedTrack) -> bool:
    numbers = (first.status, first.iterations, first.energy) == (second.status, second.iterations, second.energy)
    held_out = first.holdout_error == second.holdout_error
    return numbers and held_out and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in ARRAYS
    )  # fmt: skip


def test_a_noisy_track_is_recovered(toy_model: FaceModel) -> None:
    seen = means(toy_model, tracks_of(toy_model, 4, frames=200), EXACT)
    assert seen["identity_similarity_mm"] < 0.3
    assert seen["identity_rigid_mm"] < 3.0, "the mean face's size is off by 4 mm"
    assert seen["expression_mm"] < 0.65
    assert seen["nme_percent"] < 0.6
    assert seen["rotation_deg"] < 0.7
    assert 0.97 < seen["size_ratio"] < 1.03
    assert 0.6 < seen["sigma_z"] < 1.4


def test_more_frames_give_a_better_identity_of_the_same_size(toy_model: FaceModel) -> None:
    # Where the head shrinks with every frame, as in the textbook joint fit, this fails.
    options = dataclasses.replace(EXACT, landmark_noise=2 / 89, identity_iterations=6, frame_iterations=2)
    few = means(toy_model, tracks_of(toy_model, 3, frames=60, noise_px=2.0), options)
    many = means(toy_model, tracks_of(toy_model, 3, frames=300, noise_px=2.0), options)
    assert many["identity_similarity_mm"] < few["identity_similarity_mm"]
    assert abs(many["size_ratio"] - 1) < 0.04, "without the expression's covariance it is 0.85"


def test_without_noise_and_with_hardly_any_prior_the_landmarks_are_met(toy_model: FaceModel) -> None:
    truths = tracks_of(toy_model, 2, frames=60, noise_px=0.0)
    options = FitOptions(
        landmark_noise=3e-4, landmark_bias=0.0, identity_iterations=25, frame_iterations=25, robust=False
    )
    fits = fit_tracks([truth.sequence for truth in truths], toy_model, options)
    for truth, fit in zip(truths, fits, strict=True):
        assert np.abs(fit.fitted_px - truth.clean_px).max() < 0.05
        assert fit.holdout_error < 2e-3


def test_outliers_and_missing_points_do_little_harm_with_robust_weights(toy_model: FaceModel) -> None:
    truths = tracks_of(toy_model, 4, frames=200, outlier_share=0.05, missing_share=0.2)
    robust = means(toy_model, truths, EXACT)
    plain = means(toy_model, truths, dataclasses.replace(EXACT, robust=False))
    assert robust["identity_similarity_mm"] < 0.4
    assert robust["expression_mm"] < 0.7
    assert robust["identity_similarity_mm"] < 0.5 * plain["identity_similarity_mm"]
    assert robust["expression_mm"] < 0.7 * plain["expression_mm"]


def test_robust_weights_leave_heads_as_large_as_they_are(toy_model: FaceModel) -> None:
    # Honest noise that is weighted down looks larger than it is, and then so does the head: by 1% here, by 5% on ICT.
    truths = tracks_of(toy_model, 3, frames=120, noise_px=3.0)
    robust = dataclasses.replace(EXACT, landmark_noise=3 / 89, frame_iterations=2)
    plain = means(toy_model, truths, dataclasses.replace(robust, robust=False))
    assert abs(means(toy_model, truths, robust)["size_ratio"] - plain["size_ratio"]) < 0.004


def test_a_tracks_result_is_the_same_bit_for_bit_in_any_company(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [37, 1, 40, 17, 2, 23]
    sequences = [
        synthetic_track(toy_model, "toy68", SyntheticOptions(frames=frames, missing_share=0.05), seed=seed).sequence
        for seed, frames in enumerate(lengths)
    ]
    # A company that breaks down must not rub off either.
    wild = np.where(np.arange(37) == 9, 1e6, 1e-10).astype(np.float32)[:, None, None]
    broken = dataclasses.replace(sequences[0], smoothed_px=sequences[0].smoothed_px * wild)
    options = FitOptions(identity_iterations=4, frame_iterations=4)
    basis = landmark_basis(toy_model, "toy68", device="cpu")
    assert preparation.prepare([broken], basis, options)[0] is not None, "it reaches the solver"
    together = fit_tracks(sequences, toy_model, options)
    alone = [fit_tracks([sequence], toy_model, options)[0] for sequence in sequences]
    pairs = [fit_tracks([sequence, sequences[2]], toy_model, options)[0] for sequence in sequences]
    order = [4, 2, 5, 0, 3, 1]
    permuted = fit_tracks([sequences[i] for i in order] + [broken], toy_model, options)
    monkeypatch.setattr(frame_system, "FRAME_CHUNK_ENTRIES", 40 * 2 * 68 * 8)
    monkeypatch.setattr(solver, "FRAMES_PER_GROUP", 50)
    chunked = fit_tracks(sequences, toy_model, options)
    monkeypatch.undo()
    pieces = _sizes_of_identity_fits(monkeypatch)
    monkeypatch.setattr(find_identities, "IDENTITY_CHUNK_ENTRIES", 1)
    piecewise = fit_tracks(sequences, toy_model, options)
    assert pieces == [1] * (2 * len(sequences)), "memory would grow with the number of tracks"
    for number in range(len(sequences)):
        assert same(together[number], alone[number]), f"track {number} alone"
        assert same(together[number], pairs[number]), f"track {number} in a pair"
        assert same(together[number], permuted[order.index(number)]), f"track {number} permuted"
        assert same(together[number], chunked[number]), f"track {number} in other chunks and groups"
        assert same(together[number], piecewise[number]), f"track {number} with its identity found alone"


def test_a_track_in_windows_is_the_track_in_one_piece(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = synthetic_track(toy_model, "toy68", SyntheticOptions(frames=230), seed=4)
    short = good(toy_model, frames=20)
    # A stretch where nothing is seen fills one window all but for a few frames of its neighbours.
    weight = truth.sequence.weight.copy()
    weight[82:118] = 0
    sequence = dataclasses.replace(truth.sequence, weight=weight)
    (whole,) = fit_tracks([sequence], toy_model, EXACT)
    monkeypatch.setattr(frame_windows, "WINDOW_FRAMES", 40)
    monkeypatch.setattr(frame_windows, "OVERLAP_FRAMES", 30)
    assert [window.keeps for window in frame_windows.windows([230, 59])] == [
        slice(0, 40), slice(40, 80), slice(80, 120), slice(120, 160), slice(160, 200), slice(200, 230), slice(0, 59),
    ]  # fmt: skip
    assert frame_windows.windows([230])[2].sees == slice(50, 150)
    (cut,) = fit_tracks([sequence], toy_model, EXACT)
    assert cut.status == whole.status == "converged"
    np.testing.assert_allclose(cut.identity, whole.identity, atol=0.01)
    np.testing.assert_allclose(cut.expression, whole.expression, atol=0.02)
    np.testing.assert_allclose(cut.energy, whole.energy, rtol=1e-3)
    np.testing.assert_allclose(cut.expression_sigma, whole.expression_sigma, rtol=0.02)
    assert np.abs(cut.fitted_px - whole.fitted_px).max() < 0.1
    # Windows of one track are company too.
    assert same(cut, fit_tracks([short, sequence, short], toy_model, EXACT)[1])
    monkeypatch.setattr(frame_windows, "FRAMES_PER_BATCH", 1)
    assert same(cut, fit_tracks([sequence], toy_model, EXACT)[0]), "one window at a time"


@pytest.mark.parametrize("second_pass", [True, False])
def test_progress_goes_to_the_end_and_changes_nothing(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch, second_pass: bool
) -> None:
    monkeypatch.setattr(frame_windows, "WINDOW_FRAMES", 16)
    monkeypatch.setattr(frame_windows, "OVERLAP_FRAMES", 4)
    monkeypatch.setattr(frame_windows, "FRAMES_PER_BATCH", 40)
    sequences = [truth.sequence for truth in tracks_of(toy_model, 2, frames=50)]
    behind = dataclasses.replace(sequences[0], weight=np.zeros_like(sequences[0].weight))
    options = dataclasses.replace(EXACT, second_pass=second_pass)
    seen: list[float] = []
    after: list[float] = []
    fit = solver._fit

    def noted(*args: Any) -> Any:
        done = fit(*args)
        after.append(seen[-1])
        return done

    with monkeypatch.context() as patch:
        patch.setattr(solver, "_fit", noted)
        fits = fit_tracks([*sequences, behind], toy_model, options, progress=seen.append)
    assert after == pytest.approx([0.5, 1.0], abs=0.05), "the hold-out fit, here of all frames, is half of the work"
    assert len(seen) > 10
    assert 0 < seen[0] < seen[-1] == 1.0
    assert seen == sorted(seen)
    assert all(map(same, fits, fit_tracks([*sequences, behind], toy_model, options)))


def test_each_frame_takes_the_first_step_once_where_the_second_pass_sees_it(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = [good(toy_model, frames=230), good(toy_model, frames=40)]
    counts: list[int] = []
    take = begin_frames.first_step

    def counted(problem: FrameProblem, *args: Any, **kwargs: Any) -> FirstStep:
        counts.append(len(problem.observed.points))
        return take(problem, *args, **kwargs)

    monkeypatch.setattr(begin_frames, "first_step", counted)
    options = dataclasses.replace(EXACT, keyframes=12)
    fit_tracks(sequences, toy_model, options)
    # All frames of the whole fit; then on half the points those of the second pass, and those held out.
    assert counts == [270, 230 // 2 + 40, 192 + 40]


@pytest.mark.parametrize(
    ("frames", "looked_at"),
    [(1, 1), (40, 40), (200, 200), (230, 115), (300, 150), (600, 300), (3000, 300), (30_000, 289)],
)
def test_the_second_pass_looks_at_a_bounded_number_of_evenly_spaced_frames(
    toy_model: FaceModel, frames: int, looked_at: int
) -> None:
    (track,) = prepare([good(toy_model, frames=2)], landmark_basis(toy_model, "toy68", device="cpu"), EXACT)
    chosen = refine_identities.frames_to_look_at(track.at(np.zeros(frames, dtype=np.int64)))
    assert len(chosen) == looked_at
    assert len(set(np.diff(chosen))) <= 1


def test_key_frames_that_only_fill_up_change_nothing_of_what_is_known(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence, options = good(toy_model, frames=20), dataclasses.replace(EXACT, keyframes=5, landmark_bias=0.02)
    monkeypatch.setattr(identity_precision, "LASTING_EVERY", 1)  # else those that are asked about lasting errors differ
    monkeypatch.setattr(find_identities, "_BUCKET_KEYFRAMES", 5)
    (alone,) = fit_tracks([sequence], toy_model, options)
    monkeypatch.setattr(find_identities, "_BUCKET_KEYFRAMES", 20)
    (filled_up,) = fit_tracks([sequence], toy_model, options)
    assert np.allclose(filled_up.identity, alone.identity, atol=1e-3)
    assert np.allclose(filled_up.expression_sigma, alone.expression_sigma, rtol=1e-3)


def test_each_window_of_a_track_has_the_smoothness_that_it_learnt(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence, other = good(toy_model, frames=230), good(toy_model, frames=40)
    monkeypatch.setattr(frame_windows, "WINDOW_FRAMES", 100)
    learnt: list[float] = []
    used: list[tuple[torch.Tensor, torch.Tensor]] = []
    take, fit = begin_frames.first_step, find_frames.fit_frames

    def first(*args: Any, **kwargs: Any) -> FirstStep:
        # As if the track moved faster from window to window.
        step = take(*args, **kwargs)
        smoothness = torch.tensor([3.0, 2.0, 1.0][: len(step.smoothness)], dtype=torch.float64)
        learnt.extend(smoothness.tolist())
        accepted = torch.tensor([True, False, True][: len(smoothness)])
        return dataclasses.replace(step, smoothness=smoothness, accepted=accepted)

    def rest(*args: Any, **kwargs: Any) -> FramesFit:
        used.append((kwargs["smoothness"], kwargs["accepted"]))
        return fit(*args, **kwargs)

    monkeypatch.setattr(begin_frames, "first_step", first)
    monkeypatch.setattr(find_frames, "fit_frames", rest)
    fit_tracks([sequence, other], toy_model, EXACT)
    (smoothness, accepted), _ = used
    assert learnt[:3] == smoothness.tolist() == [3.0, 2.0, 1.0], "two windows of the long track, and the short one"
    assert accepted.tolist() == [True, False, True]


def test_what_is_worked_on_at_once_does_not_grow_with_the_track(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dataclasses.replace(EXACT, identity_iterations=3, frame_iterations=2, keyframes=12)
    sequence = good(toy_model, frames=100)
    monkeypatch.setattr(frame_windows, "WINDOW_FRAMES", 20)
    monkeypatch.setattr(frame_windows, "OVERLAP_FRAMES", 10)
    monkeypatch.setattr(refine_identities, "_AT_LEAST_ABOUT", 20)
    monkeypatch.setattr(refine_identities, "_AT_MOST_ABOUT", 30)
    (together,) = fit_tracks([sequence], toy_model, options)
    monkeypatch.setattr(frame_windows, "FRAMES_PER_BATCH", 1)
    monkeypatch.setattr(first_look, "_CHUNK", 16)
    monkeypatch.setattr(track_result, "_CHUNK", 16)
    sizes: list[int] = []
    cleaned, project = first_look.clean_weight, PixelCamera.project

    def clean(raw_px: np.ndarray, raw_weight: np.ndarray) -> np.ndarray:
        sizes.append(len(raw_px))
        return cleaned(raw_px, raw_weight)

    def draw(self: PixelCamera, head_mm: np.ndarray) -> np.ndarray:
        sizes.append(len(head_mm))
        return project(self, head_mm)

    for module in (first_look, preparation):
        monkeypatch.setattr(module, "clean_weight", clean)
    monkeypatch.setattr(PixelCamera, "project", draw)
    (piecewise,) = fit_tracks([sequence], toy_model, options)
    assert same(piecewise, together)
    assert max(sizes) == 40, "a window and its overlaps"


def test_a_box_holds_in_every_frame_and_a_tracks_result_is_the_same_in_any_company(toy_model: FaceModel) -> None:
    # Three need the box, in other rounds and iterations than each other; the still face does not.
    lively = [
        synthetic_track(toy_model, "toy68", SyntheticOptions(frames=frames), seed=seed).sequence
        for seed, frames in enumerate([30, 12, 21])
    ]
    still = with_points(lively[0], lively[0].observed_px[:1].repeat(30, 0))
    options = dataclasses.replace(EXACT, box_sd=1.2)
    together = fit_tracks([*lively, still], toy_model, options)
    for sequence, fit in zip([*lively, still], together, strict=True):
        assert same(fit, fit_tracks([sequence], toy_model, options)[0])
        assert np.abs(fit.expression).max() <= np.float32(1.2)
    assert all((np.abs(fit.expression) > 1.199).any() for fit in together[:3])
    wide = fit_tracks(lively, toy_model, dataclasses.replace(EXACT, box_sd=None))
    assert all(np.abs(fit.expression).max() > 1.5 for fit in wide)


def _sizes_of_identity_fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    fit_identities = find_identities.fit_identities

    def counted(*args: object, tracks: int, **kwargs: object) -> IdentityFit:
        sizes.append(tracks)
        return fit_identities(*args, tracks=tracks, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(find_identities, "fit_identities", counted)
    return sizes


def good(model: FaceModel, frames: int = 30) -> LandmarkSequence:
    return synthetic_track(model, "toy68", SyntheticOptions(frames=frames), seed=0).sequence


def with_points(sequence: LandmarkSequence, points: np.ndarray) -> LandmarkSequence:
    values = points.astype(np.float32)
    return dataclasses.replace(sequence, observed_px=values, smoothed_px=values)


BAD: dict[str, tuple[Callable[[LandmarkSequence], LandmarkSequence], set[str]]] = {
    "all not a number": (lambda s: with_points(s, s.smoothed_px * np.nan), {"diverged"}),
    "all missing": (lambda s: dataclasses.replace(s, weight=s.weight * 0), {"diverged"}),
    "weights not a number": (lambda s: dataclasses.replace(s, weight=s.weight * np.float32(np.nan)), {"diverged"}),
    "constant points": (lambda s: with_points(s, s.smoothed_px * 0 + 50), {"diverged"}),
    "infinite points": (lambda s: with_points(s, s.smoothed_px * np.inf), {"diverged"}),
    "huge points": (lambda s: with_points(s, s.smoothed_px * 1e9), {"diverged", "converged", "iteration_limit"}),
    "points beyond float32": (lambda s: with_points(s, s.smoothed_px * 1e30), {"diverged"}),
    "times not a number": (lambda s: dataclasses.replace(s, pts_s=s.pts_s * np.nan), {"diverged"}),
    "times going back": (lambda s: dataclasses.replace(s, pts_s=-s.pts_s), {"diverged"}),
    "noise": (
        lambda s: with_points(s, np.random.default_rng(0).normal(size=s.smoothed_px.shape) * 100),
        {"diverged", "iteration_limit", "converged"},
    ),
    "points on a line": (
        lambda s: with_points(s, np.repeat(s.smoothed_px[..., :1], 2, axis=-1)),
        {"diverged", "iteration_limit", "converged"},
    ),
}
FINE: dict[str, Callable[[LandmarkSequence], LandmarkSequence]] = {
    "one frame": lambda s: LandmarkSequence(
        scheme=s.scheme, observed_px=s.observed_px[:1], smoothed_px=s.smoothed_px[:1], weight=s.weight[:1],
        pts_s=s.pts_s[:1],
    ),
    "two frames": lambda s: LandmarkSequence(
        scheme=s.scheme, observed_px=s.observed_px[:2], smoothed_px=s.smoothed_px[:2], weight=s.weight[:2],
        pts_s=s.pts_s[:2],
    ),
    "far off": lambda s: with_points(s, s.smoothed_px + 1e6),
    "a million pixels wide": lambda s: with_points(s, s.smoothed_px * 1e4),
    "a tenth of a pixel wide": lambda s: with_points(s, s.smoothed_px * 1e-3),
    "equal times": lambda s: dataclasses.replace(s, pts_s=s.pts_s * 0),
    "some frames missing": lambda s: dataclasses.replace(
        s, weight=s.weight * (np.arange(len(s.weight)) % 7 != 0)[:, None].astype(np.float32)
    ),
    "one frame of garbage": lambda s: with_points(
        s, np.where((np.arange(len(s.weight)) == 9)[:, None, None], 1e4, s.smoothed_px)
    ),
}  # fmt: skip


def check_whole(fit: FittedTrack) -> None:
    for name in ARRAYS:
        assert not np.isnan(getattr(fit, name)).any(), name
    assert not np.isnan(fit.holdout_error)
    if fit.status == "diverged":
        assert not fit.expression.any()
        assert not fit.identity.any()
        assert np.isinf(fit.reprojection_error).all()
        assert np.isinf(fit.holdout_error)
        assert np.isinf(fit.energy)
    else:
        assert np.isfinite(fit.energy)
        for name in ARRAYS[:-1]:
            assert np.isfinite(getattr(fit, name)).all(), name
        assert (fit.scale_px_per_mm > 0).all()
        assert (fit.rotation_wxyz[:, 0] >= 0).all()
        np.testing.assert_allclose(np.linalg.norm(fit.rotation_wxyz, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", BAD)
def test_bad_landmarks_give_a_status_and_leave_the_neighbour_alone(toy_model: FaceModel, name: str) -> None:
    spoil, statuses = BAD[name]
    sequence = good(toy_model)
    bad, neighbour = fit_tracks([spoil(sequence), sequence], toy_model, FitOptions())
    assert bad.status in statuses
    check_whole(bad)
    assert neighbour.status == "converged"
    assert np.median(neighbour.reprojection_error) < 0.02


@pytest.mark.parametrize(
    "options",
    [
        *(FitOptions(method=method) for method in ("koujan2020", "joint_map", "single_frame")),
        FitOptions(camera="perspective", identity_iterations=3, frame_iterations=2),
    ],
    ids=["koujan2020", "joint_map", "single_frame", "perspective"],
)
def test_bad_landmarks_give_a_status_with_every_method_and_camera(toy_model: FaceModel, options: FitOptions) -> None:
    sequence = good(toy_model, frames=4)
    for name in ("all not a number", "all missing", "constant points", "infinite points", "times going back"):
        (fit,) = fit_tracks([BAD[name][0](sequence)], toy_model, options)
        assert fit.status == "diverged", name
        check_whole(fit)
    short = dataclasses.replace(FINE["one frame"](sequence), picture_px=sequence.picture_px)
    (one,) = fit_tracks([short], toy_model, options)
    assert one.status != "diverged"
    assert np.median(one.reprojection_error) < 0.05


@pytest.mark.parametrize("name", FINE)
def test_odd_but_honest_landmarks_are_fitted(toy_model: FaceModel, name: str) -> None:
    sequence = FINE[name](good(toy_model))
    (fit,) = fit_tracks([sequence], toy_model, FitOptions())
    assert fit.status != "diverged"
    check_whole(fit)
    assert np.median(fit.reprojection_error) < 0.025


@pytest.mark.parametrize("step_s", [0.0, 0.001])
def test_wrong_times_cost_no_more_than_those_of_a_fast_camera(toy_model: FaceModel, step_s: float) -> None:
    truths = tracks_of(toy_model, 4, frames=40)

    def timed(step_s: float) -> dict[str, float]:
        pts_s = step_s * np.arange(40)
        return means(
            toy_model,
            [dataclasses.replace(truth, sequence=dataclasses.replace(truth.sequence, pts_s=pts_s)) for truth in truths],
            EXACT,
        )

    seen, fast = timed(step_s), timed(1 / 240)
    assert seen["expression_mm"] < 1.1 * fast["expression_mm"]
    assert seen["sigma_z"] < 1.3, "no surer than it may be"


def test_landmarks_in_float64_are_fitted_as_in_float32(toy_model: FaceModel) -> None:
    sequence = good(toy_model)
    wide = dataclasses.replace(sequence)
    # In tests alone, types are checked where a sequence is made.
    for name in ("observed_px", "smoothed_px", "weight"):
        object.__setattr__(wide, name, getattr(sequence, name).astype(np.float64))
    fits = [fit_tracks([one], toy_model, FitOptions())[0] for one in (sequence, wide)]
    assert same(*fits)


def test_a_frame_of_next_to_no_confidence_is_a_missing_frame(toy_model: FaceModel) -> None:
    sequence = good(toy_model)
    faint, missing = sequence.weight.copy(), sequence.weight.copy()
    faint[9], missing[9] = 1e-30, 0.0
    fits = [
        fit_tracks([dataclasses.replace(sequence, weight=weight)], toy_model, FitOptions())[0]
        for weight in (faint, missing)
    ]
    assert same(*fits)


@pytest.mark.parametrize("camera", ["scaled_orthographic", "perspective"])
def test_a_huge_number_in_a_frame_that_is_not_usable_costs_that_frame(
    toy_model: FaceModel, camera: Literal["scaled_orthographic", "perspective"]
) -> None:
    sequence = good(toy_model)
    points = sequence.smoothed_px.copy()
    points[9, 30] = 1e37
    options = FitOptions(camera=camera, identity_iterations=4, frame_iterations=3)
    (fit,) = fit_tracks([dataclasses.replace(sequence, smoothed_px=points)], toy_model, options)
    assert fit.status != "diverged"
    check_whole(fit)
    assert fit.reprojection_error.max() < 0.1, "its camera lies between its neighbours'"


def test_a_mirrored_face_diverges(toy_model: FaceModel) -> None:
    sequence = good(toy_model)
    mirrored = with_points(sequence, sequence.smoothed_px * np.array([-1, 1], np.float32))
    (fit,) = fit_tracks([mirrored], toy_model, FitOptions())
    check_whole(fit)
    assert fit.status == "diverged", "it must not pass for a good face, which it nearly is: seen from behind"


def test_cameras_of_missing_frames_lie_between_their_neighbours(toy_model: FaceModel) -> None:
    truth = synthetic_track(toy_model, "toy68", SyntheticOptions(frames=40), seed=1)
    weight = truth.sequence.weight.copy()
    weight[20:23] = 0
    (fit,) = fit_tracks([dataclasses.replace(truth.sequence, weight=weight)], toy_model, FitOptions())
    between = np.sort(fit.scale_px_per_mm[[19, 23]])
    assert (fit.scale_px_per_mm[20:23] >= between[0]).all()
    assert (fit.scale_px_per_mm[20:23] <= between[1]).all()
    assert np.linalg.norm(fit.fitted_px[21] - truth.clean_px[21], axis=-1).mean() < 6
    assert (fit.expression_sigma[21] > fit.expression_sigma[5]).mean() > 0.9, "less is known where nothing is seen"


def test_the_holdout_error_does_not_see_the_points_it_is_measured_on(toy_model: FaceModel) -> None:
    sequence = good(toy_model)
    moved = sequence.observed_px.copy()
    moved[:, 17::2] += 30
    (clean,) = fit_tracks([sequence], toy_model, FitOptions())
    (shifted,) = fit_tracks([with_points(sequence, moved)], toy_model, FitOptions())
    # The second fit saw the same points, so the shift of 30 pixels in x and y is found whole.
    expected = 30 * np.sqrt(2) / 89
    assert abs(shifted.holdout_error - expected) < 0.06
    assert clean.holdout_error < 0.025


def test_the_holdout_fit_sees_both_sides_of_the_face_in_every_scheme() -> None:
    half = fitted_half(200)
    assert half[half < 68].tolist() == list(range(0, 68, 2))
    # Beyond the 68 the right point of a pair is even, the left one odd.
    beyond = half[half >= 68]
    assert (beyond % 2 == 0).sum() == (beyond % 2 == 1).sum() == 33
    assert not set(half.tolist()) & set(range(200)[HELD_OUT])


def test_errors_are_measured_against_the_observed_landmarks(toy_model: FaceModel) -> None:
    sequence = good(toy_model)
    off = dataclasses.replace(sequence, observed_px=sequence.observed_px + np.float32(20))
    (fit,) = fit_tracks([off], toy_model, FitOptions())
    np.testing.assert_allclose(np.median(fit.reprojection_error), 20 * np.sqrt(2) / 89, rtol=0.1)


def test_mistakes_of_the_caller_are_named(toy_model: FaceModel) -> None:
    sequence = good(toy_model, frames=5)
    other = dataclasses.replace(sequence, scheme="other")
    with pytest.raises(ValueError, match="no landmarks for scheme='other'; it has: toy68"):
        fit_tracks([other], toy_model, FitOptions())
    with pytest.raises(ValueError, match=r"sequences\[1\] has scheme='other', but sequences\[0\] 'toy68'"):
        fit_tracks([sequence, other], toy_model, FitOptions())
    short = LandmarkSequence(
        scheme="toy68", observed_px=sequence.observed_px[:, :50], smoothed_px=sequence.smoothed_px[:, :50],
        weight=sequence.weight[:, :50], pts_s=sequence.pts_s,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"sequences\[0\].observed_px has shape \(5, 50, 2\), expected \(5, 68, 2\)"):
        fit_tracks([short], toy_model, FitOptions())
    with pytest.raises(ValueError, match="landmark_noise=0"):
        FitOptions(landmark_noise=0.0)
    with pytest.raises(ValueError, match="landmark_bias=-1"):
        FitOptions(landmark_bias=-1.0)
    with pytest.raises(ValueError, match="expression_smoothness=inf is negative or not finite"):
        FitOptions(expression_smoothness=float("inf"))
    with pytest.raises(ValueError, match=r"expression_smoothness=20000\.0 is above 10000, at which a face stands"):
        FitOptions(expression_smoothness=2e4)
    with pytest.raises(ValueError, match=r"box_sd=0\.0 is not positive and finite; None means no bound"):
        FitOptions(box_sd=0.0)
    with pytest.raises(ValueError, match="keyframes=0 is below 1"):
        FitOptions(keyframes=0)
    assert fit_tracks([], toy_model, FitOptions()) == []


def test_a_gpu_that_is_not_there_is_said_in_one_sentence(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device='cuda': this machine or this build of torch has no CUDA; use cpu"):
        fit_tracks([good(toy_model, frames=5)], toy_model, FitOptions(device="cuda"))


@pytest.mark.gpu
def test_the_same_code_runs_on_a_gpu(toy_model: FaceModel) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    truths = tracks_of(toy_model, 2, frames=60)
    seen = means(toy_model, truths, FitOptions(device="cuda"))
    assert seen["expression_mm"] < 0.6
