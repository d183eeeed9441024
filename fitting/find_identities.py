"""From prepared tracks to their identities: the first stage in batches, with a focal length where one is asked for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32

from fitting.camera import ScaledOrthographic
from fitting.energy import Observations
from fitting.first_look import first_cameras
from fitting.fit_setup import FitSetup
from fitting.focal import best_focal
from fitting.identity_stage import IdentityFit, fit_identities
from fitting.identity_uncertainty import IdentityUncertainty
from fitting.landmark_basis import LandmarkBasis
from fitting.lens_tensors import Lens
from fitting.preparation import PreparedTrack
from fitting.ragged import TimeMajor
from fitting.sight import Sight

IDENTITY_CHUNK_ENTRIES = 1 << 24
"""Identities are found together until their key frames have this many Jacobian entries."""
_BUCKET_KEYFRAMES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """What the first stage found, track by track.

    Attributes:
        identity: Coefficients, standard deviations.
        uncertainty: What is left open about them.
        inverse_focal_px: One over the focal length, 0 where the camera is scaled orthographic.
        converged: Whether the steps became small in time.
        iterations: Gauss-Newton iterations taken.
    """

    identity: Float[torch.Tensor, "tracks n_identity"]
    uncertainty: IdentityUncertainty
    inverse_focal_px: list[float]
    converged: list[bool]
    iterations: list[int]

    def at(self, numbers: Sequence[int]) -> "Identities":
        """Those of some tracks."""
        rows = torch.as_tensor(numbers, device=self.identity.device)
        return Identities(
            identity=self.identity[rows],
            uncertainty=self.uncertainty.at(rows),
            inverse_focal_px=[self.inverse_focal_px[number] for number in numbers],
            converged=[self.converged[number] for number in numbers],
            iterations=[self.iterations[number] for number in numbers],
        )


def find_identities(tracks: Sequence[PreparedTrack], setup: FitSetup) -> Identities:
    """Run the first stage, tracks of similar numbers of key frames together."""
    seen = setup.seen
    identity = seen.mean.new_zeros(len(tracks), seen.identity.shape[-1])
    uncertainty = IdentityUncertainty.none(seen, tracks=len(tracks))
    inverse_focal_px, converged, iterations = [0.0] * len(tracks), [False] * len(tracks), [0] * len(tracks)
    buckets: dict[int, list[int]] = {}
    for number, track in enumerate(tracks):
        # Filled up to a multiple, so that what it is depends on this track alone.
        size = -(-len(track.keyframes) // _BUCKET_KEYFRAMES) * _BUCKET_KEYFRAMES
        buckets.setdefault(size, []).append(number)
    for size, members in _pieces(buckets, seen):
        piece = _piece([tracks[number] for number in members], size, setup)
        fit, focal_px = piece.solved(setup)
        identity[members] = fit.identity
        uncertainty.put(members, fit.uncertainty)
        for row, number in enumerate(members):
            converged[number], iterations[number] = bool(fit.converged[row]), int(fit.iterations[row])
            inverse_focal_px[number] = 1.0 / focal_px[row]
    return Identities(
        identity=identity,
        uncertainty=uncertainty,
        inverse_focal_px=inverse_focal_px,
        converged=converged,
        iterations=iterations,
    )


def observations(
    points: Float32[np.ndarray, "frames points 2"],
    weight: Float32[np.ndarray, "frames points"],
    noise_ratio: Float[torch.Tensor, " points"],
) -> Observations:
    """Landmarks as tensors, where `noise_ratio` is."""
    device = noise_ratio.device
    picture = torch.tensor(np.ascontiguousarray(points.transpose(0, 2, 1)), device=device)
    confidence = torch.tensor(np.ascontiguousarray(weight), device=device)
    return Observations(points=picture, weight=confidence, precision=noise_ratio**-2)


def identity_observations(
    points: Float32[np.ndarray, "frames points 2"], weight: Float32[np.ndarray, "frames points"], setup: FitSetup
) -> tuple[Observations, float]:
    """All landmarks of frames as the identity is found from them, and their unit beside that of `PreparedTrack`.

    One standard deviation is larger here, by the errors that do not average out over frames.
    """
    options, seen = setup.options, setup.seen
    lasting = options.landmark_bias / options.landmark_noise
    unit = (1.0 + lasting**2) ** -0.5
    noise_ratio = unit * (seen.noise_ratio**2 + setup.lasting**2).sqrt()
    at = setup.points
    return observations(points[:, at] * np.float32(unit), weight[:, at], noise_ratio), unit


def lenses(tracks: Sequence[PreparedTrack], first: Identities, layout: TimeMajor, unit: float = 1.0) -> Lens:
    """The lens of each frame, in a unit beside that of `PreparedTrack`."""
    inverse = [f * track.sigma_px / unit for f, track in zip(first.inverse_focal_px, tracks, strict=True)]
    principal = layout.pack([principal_points(track) for track in tracks]) * np.float32(unit)
    device = first.identity.device
    return Lens(
        inverse_focal=torch.tensor(inverse, dtype=torch.float32, device=device)[layout.track],
        principal=torch.tensor(principal, device=device),
    )


def principal_points(track: PreparedTrack) -> Float32[np.ndarray, "frames 2"]:
    """The principal point in each frame's own coordinates, as `PreparedTrack.landmarks` has them."""
    return np.asarray((track.principal_px - track.centre_px) / track.sigma_px, dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Tracks that are solved together, each with the same number of (filled up) key frames.

    Attributes:
        observed: Key frames, one track after the other.
        camera: Where the cameras start.
        principal: Principal point of each key frame, in its coordinates.
        sigma_px: Unit of each track's coordinates.
        longer_side_px: Of each track's picture.
        lasting: Standard deviation of the error that each landmark keeps, in the same unit.
    """

    observed: Observations
    camera: ScaledOrthographic
    principal: Float[torch.Tensor, "frames 2"]
    sigma_px: Float[torch.Tensor, " tracks"]
    longer_side_px: Float[torch.Tensor, " tracks"]
    lasting: Float[torch.Tensor, " points"]

    def solved(self, setup: FitSetup) -> tuple[IdentityFit, list[float]]:
        """The fit and each track's focal length in pixels, infinite where the camera is scaled orthographic."""
        options = setup.options

        def at(lens: Lens | None) -> IdentityFit:
            return fit_identities(
                self.observed, self.camera, setup.seen, tracks=len(self.sigma_px), robust=options.robust,
                lasting=self.lasting, iterations=options.identity_iterations,
                sight=Sight(lens=lens, contour=setup.contour),
            )  # fmt: skip

        if options.camera == "scaled_orthographic":
            return at(None), [math.inf] * len(self.sigma_px)
        focal_px = best_focal(self.longer_side_px, lambda trial: at(self._lens(trial)).energy)
        return at(self._lens(focal_px)), focal_px.tolist()

    def _lens(self, focal_px: Float[torch.Tensor, " tracks"]) -> Lens:
        frames = len(self.principal) // len(focal_px)
        return Lens(inverse_focal=(self.sigma_px / focal_px).repeat_interleave(frames), principal=self.principal)


def _piece(tracks: Sequence[PreparedTrack], size: int, setup: FitSetup) -> _Piece:
    seen = setup.seen
    shape = (len(tracks), size, tracks[0].raw_px.shape[1])
    picture, weight = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32)
    principal = np.zeros((len(tracks), size, 2), np.float32)
    for row, track in enumerate(tracks):
        filled = slice(len(track.keyframes))
        chosen = track.at(track.keyframes)
        picture[row, filled], weight[row, filled] = chosen.landmarks()
        principal[row, filled] = principal_points(chosen)
    observed, unit = identity_observations(picture.reshape(-1, *shape[2:], 2), weight.reshape(-1, shape[2]), setup)
    camera, found = first_cameras(observed, seen.mean.expand(len(observed.points), -1, -1), seen)

    def tensor(values: object) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=setup.options.device)

    return _Piece(
        observed=replace(observed, weight=observed.weight * found[:, None]),
        camera=camera,
        principal=tensor(principal.reshape(-1, 2) * np.float32(unit)),
        sigma_px=tensor([track.sigma_px / unit for track in tracks]),
        longer_side_px=tensor([float(max(track.picture_px or (1, 1))) for track in tracks]),
        lasting=unit * setup.lasting,
    )


def _pieces(buckets: dict[int, list[int]], seen: LandmarkBasis) -> Iterator[tuple[int, list[int]]]:
    entries_per_frame = 2 * seen.mean.shape[1] * (seen.identity.shape[-1] + seen.expression.shape[-1])
    for size, members in buckets.items():
        count = max(1, IDENTITY_CHUNK_ENTRIES // (size * entries_per_frame))
        for start in range(0, len(members), count):
            yield size, members[start : start + count]
