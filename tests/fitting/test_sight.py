"""Perspective cameras and sliding contours: restated observations, and fits of faces that were made so."""

import dataclasses

import numpy as np
import pytest
import torch

from fitting.camera import ScaledOrthographic, project, turned_points
from fitting.contour_slide import outline, sliding_contour
from fitting.energy import Observations
from fitting.face_model import FaceModel, load_face_model
from fitting.landmark_basis import landmark_basis
from fitting.lens import through_lens
from fitting.lens_tensors import Lens
from fitting.metrics import accuracy, mean_accuracy
from fitting.options import FitOptions
from fitting.rotation import canonical, compose, quaternion_from_rotation_vector
from fitting.sight import PLAIN, Sight
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, SyntheticTrack, synthetic_track
from fitting.tracks import FittedTrack, no_lens

FRAMES = 5
OPTIONS = FitOptions(landmark_noise=1 / 89, landmark_bias=0.0, expression_smoothness=16.0)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


@pytest.fixture
def cameras() -> ScaledOrthographic:
    rng = torch.Generator().manual_seed(3)
    turn = quaternion_from_rotation_vector(0.3 * torch.randn(FRAMES, 3, generator=rng))
    frontal = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(FRAMES, 4)
    return ScaledOrthographic(
        scale=torch.linspace(0.8, 1.2, FRAMES),
        quaternion=canonical(compose(turn, frontal)),
        translation=10 * torch.randn(FRAMES, 2, generator=rng),
    )


def observations(points: torch.Tensor) -> Observations:
    count = points.shape[-1]
    return Observations(points=points, weight=torch.ones(len(points), count), precision=torch.ones(count))


def test_a_plain_sight_changes_nothing(model: FaceModel, cameras: ScaledOrthographic) -> None:
    head = landmark_basis(model, "ibug68", device="cpu").mean.expand(FRAMES, -1, -1)
    observed = observations(project(cameras, head))
    same, same_head = PLAIN.restated(observed, cameras, head, torch.zeros(FRAMES, 28), PLAIN.spots(torch.zeros(1, 80)))
    assert same is observed
    assert same_head is head


def test_what_a_pinhole_sees_is_restated_as_what_the_plain_camera_sees(
    model: FaceModel, cameras: ScaledOrthographic
) -> None:
    head = landmark_basis(model, "ibug68", device="cpu").mean.expand(FRAMES, -1, -1)
    focal, principal = 400.0, torch.tensor([30.0, -20.0])
    scaled = turned_points(cameras, head)
    lens = np.array([1 / focal, *principal.tolist()])
    seen = through_lens(scaled.mT.numpy(), cameras.translation.numpy(), lens)
    # The pinhole itself: the head's origin at depth f / s.
    depth = focal / cameras.scale.numpy()[:, None]
    rigid = np.einsum("fij,fjp->fpi", cameras.rotation().numpy(), head.numpy())
    origin = (cameras.translation.numpy() - principal.numpy()) / cameras.scale.numpy()[:, None]
    pinhole = principal.numpy() + focal * (rigid[..., :2] + origin[:, None]) / (rigid[..., 2] + depth)[..., None]
    np.testing.assert_allclose(seen, pinhole, atol=1e-3)
    sight = Sight(lens=Lens(inverse_focal=torch.full((FRAMES,), 1 / focal), principal=principal.expand(FRAMES, 2)))
    observed = observations(torch.tensor(seen, dtype=torch.float32).mT)
    plain, _ = sight.restated(observed, cameras, head, torch.zeros(FRAMES, 28), None)
    torch.testing.assert_close(plain.points, project(cameras, head), atol=1e-3, rtol=0)
    # Nearer points (the nose) have a larger picture, and their errors weigh more.
    nearest = scaled[:, 2].argmin(dim=-1)
    assert (plain.weight.argmax(dim=-1) == nearest).all()


def test_without_a_focal_length_a_lens_is_no_lens() -> None:
    points = np.random.default_rng(0).normal(size=(4, 68, 3))
    np.testing.assert_array_equal(through_lens(points, np.ones((4, 2)), no_lens()), points[..., :2] + 1)


def test_of_the_outline_only_the_residual_across_it_is_left(model: FaceModel, cameras: ScaledOrthographic) -> None:
    contour = sliding_contour(model, "ibug68", device="cpu")
    assert contour is not None
    head = landmark_basis(model, "ibug68", device="cpu").mean.expand(FRAMES, -1, -1)
    spots = contour.mean.expand(FRAMES, -1, -1)
    expression = torch.zeros(FRAMES, model.n_expression)
    seen = outline(spots, head, cameras.rotation(), count=17)
    along = torch.stack([-seen.across[:, 1], seen.across[:, 0]], dim=1)
    fitted = project(cameras, torch.cat([seen.head, head[:, :, 17:]], dim=-1))
    moved = fitted.clone()
    moved[:, :, :17] += 5.0 * along + 2.0 * seen.across
    plain, restated_head = Sight(contour=contour).restated(observations(moved), cameras, head, expression, spots)
    residual = plain.points - project(cameras, restated_head)
    torch.testing.assert_close(residual[:, :, :17], 2.0 * seen.across, atol=1e-3, rtol=0)
    torch.testing.assert_close(residual[:, :, 17:], torch.zeros(FRAMES, 2, 51), atol=1e-3, rtol=0)
    assert (plain.weight[:, :17] < plain.weight[:, 17:18]).all()


def fits(
    model: FaceModel, truths: list[SyntheticTrack], **changes: object
) -> tuple[list[FittedTrack], dict[str, float]]:
    options = dataclasses.replace(OPTIONS, **changes)  # type: ignore[arg-type]
    found = fit_tracks([truth.sequence for truth in truths], model, options)
    return found, mean_accuracy([accuracy(model, truth, fit) for truth, fit in zip(truths, found, strict=True)])


def test_a_face_near_a_pinhole_is_found_with_its_focal_length(model: FaceModel) -> None:
    options = SyntheticOptions(frames=60, distance_mm=400.0)
    truths = [synthetic_track(model, "ibug68", options, seed=s) for s in range(2)]
    _, plain = fits(model, truths)
    found, perspective = fits(model, truths, camera="perspective")
    for truth, fit in zip(truths, found, strict=True):
        assert fit.lens[0] == pytest.approx(truth.lens[0], rel=0.25)
        np.testing.assert_allclose(fit.lens[1:], truth.lens[1:], atol=0.51)
    assert perspective["identity_similarity_mm"] < 0.6 * plain["identity_similarity_mm"]
    assert perspective["expression_mm"] < 0.8 * plain["expression_mm"]
    assert perspective["rotation_deg"] < 0.5 * plain["rotation_deg"]


def test_the_pose_of_a_face_whose_jaw_is_an_outline_is_found_better_by_sliding(model: FaceModel) -> None:
    options = SyntheticOptions(frames=150, sliding_contour=True, yaw_deg=45.0)
    truths = [synthetic_track(model, "ibug68", options, seed=s) for s in range(3)]
    _, fixed = fits(model, truths)
    _, slid = fits(model, truths, contour="slide")
    assert slid["rotation_deg"] < 0.8 * fixed["rotation_deg"]


@pytest.mark.parametrize("changes", [{"camera": "perspective"}, {"contour": "slide"}])
def test_with_lens_and_outline_too_a_track_does_not_depend_on_its_company(
    model: FaceModel, changes: dict[str, object]
) -> None:
    truths = [
        synthetic_track(model, "ibug68", SyntheticOptions(frames=frames, distance_mm=500.0), seed=frames)
        for frames in (9, 30, 17)
    ]
    together, _ = fits(model, truths, **changes)
    for truth, one in zip(truths, together, strict=True):
        alone = fits(model, [truth], **changes)[0][0]
        for field in dataclasses.fields(FittedTrack):
            np.testing.assert_array_equal(getattr(alone, field.name), getattr(one, field.name), err_msg=field.name)


def test_a_perspective_camera_without_the_size_of_the_picture_is_refused(model: FaceModel) -> None:
    sequence = synthetic_track(model, "ibug68", SyntheticOptions(frames=3), seed=0).sequence
    with pytest.raises(ValueError, match=r"camera='perspective' needs the size.*sequences\[0\]"):
        fit_tracks([dataclasses.replace(sequence, picture_px=None)], model, FitOptions(camera="perspective"))


def test_a_contour_that_is_fixed_on_the_head_does_not_slide(model: FaceModel) -> None:
    sequence = synthetic_track(model, "mediapipe68", SyntheticOptions(frames=3), seed=0).sequence
    with pytest.raises(ValueError, match=r"contour='slide'.*'mediapipe68'"):
        fit_tracks([sequence], model, FitOptions(contour="slide"))


def test_baselines_know_neither() -> None:
    with pytest.raises(ValueError, match="'koujan2020' is a baseline that knows camera='scaled_orthographic' only"):
        FitOptions(method="koujan2020", camera="perspective")
