"""What is left open about an identity, as far as the expressions of its track feel it.

Two things leave it open: noise, which key frames average out as far as they go, and errors of the landmarks that last
through a track (where a detector puts the brows of this face), which they do not. Those move the identity, and every
frame's expression beside, towards explaining what the identity does not.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.identity_precision import Precision
from fitting.landmark_basis import LandmarkBasis

UNCERTAIN_DIRECTIONS = 4
"""Directions of the errors' covariance that each frame's expression is asked about. With 4 of 28, and the mean frame
for the rest, posterior standard deviations are within 5% of those with all."""
LASTING_PRIOR = 0.05
"""What an expression that lasts costs per frame beside one that comes and goes: `(1 - rho) / (1 + rho)` for the
correlation of neighbouring frames under `smooth_prior` at a smoothness of 4 to 16 is 0.07 to 0.02 (under
`matern_prior`, which only closes the fit, 0.15 to 0.07)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityUncertainty:
    """The part of the joint covariance of identity and lasting errors that expressions feel.

    It is `U U^T`, where U has as rows first the identity's coefficients, then the landmarks' coordinates.

    Attributes:
        directions: The identity's rows of U.
        landmarks: The lasting errors' rows of U: picture coordinates, as multiples of each landmark's own `lasting`.
        remainder: Variance of the expression of a mean frame by the rest of the covariance.
        noise_share: How much of the variance of the expression of a mean frame comes from noise, not lasting errors.
    """

    directions: Float[Tensor, "tracks n_identity directions"]
    landmarks: Float[Tensor, "tracks 2 points directions"]
    remainder: Float[Tensor, "tracks n_expression"]
    noise_share: Float[Tensor, " tracks"]

    @classmethod
    def none(cls, basis: LandmarkBasis, *, tracks: int) -> "IdentityUncertainty":
        """Identities of which all is known, to be filled in."""
        (_, points, n_identity), n_expression = basis.identity.shape, basis.expression.shape[-1]
        directions = min(UNCERTAIN_DIRECTIONS, n_expression)
        return cls(
            directions=basis.mean.new_zeros(tracks, n_identity, directions),
            landmarks=basis.mean.new_zeros(tracks, 2, points, directions),
            remainder=basis.mean.new_zeros(tracks, n_expression),
            noise_share=basis.mean.new_ones(tracks),
        )

    def put(self, rows: list[int], found: "IdentityUncertainty") -> None:
        """Fill in some tracks."""
        for item in fields(self):
            getattr(self, item.name)[rows] = getattr(found, item.name)

    def at(self, rows: Tensor) -> "IdentityUncertainty":
        """Those of some tracks."""
        return IdentityUncertainty(
            directions=self.directions[rows],
            landmarks=self.landmarks[rows],
            remainder=self.remainder[rows],
            noise_share=self.noise_share[rows],
        )


def identity_uncertainty(precision: Precision, lasting: Float[Tensor, " points"]) -> IdentityUncertainty:
    """The directions in which errors move expressions most, as long as errors are likely along them.

    With the identity's covariance by noise `(L L^T)^(-1)`, noise n moves the expression of a mean frame by
    `A L^(-T) n`. Lasting errors `S b`, b white, move the identity by `K S b`, and the expression by `(A K - D) S b`.
    U is made of the leading right singular vectors of both side by side.

    Args:
        precision: What the key frames say.
        lasting: Standard deviation of the error that each landmark keeps through a track.
    """
    dtype, sd = lasting.dtype, torch.cat([lasting, lasting]).to(precision.identity.dtype)
    factor = torch.linalg.cholesky_ex(precision.identity).L
    unit = torch.eye(precision.expression.shape[-1], dtype=factor.dtype, device=factor.device)
    expression = torch.linalg.cholesky_ex(precision.expression + LASTING_PRIOR * unit).L
    moved = torch.cholesky_solve(precision.coupling, expression)
    by_noise = torch.linalg.solve_triangular(factor, moved.mT, upper=False)
    identity_by_lasting = torch.cholesky_solve(precision.identity_lasting * sd, factor)
    direct = torch.cholesky_solve(precision.expression_lasting * sd, expression)
    half = torch.cat([by_noise, (torch.bmm(moved, identity_by_lasting) - direct).mT], dim=1)
    gram = torch.bmm(half.mT, half)
    # Where a track's numbers broke down, no step of it was accepted, and it comes out as diverged or not moved at all.
    values, vectors = torch.linalg.eigh(torch.where(torch.isfinite(gram), gram, torch.zeros_like(gram)))
    kept = slice(-min(UNCERTAIN_DIRECTIONS, gram.shape[-1]), None)
    leading = torch.bmm(half, vectors[..., kept] / values[:, kept].clamp_min(1e-12).sqrt()[:, None])
    noise, errors = leading[:, : len(factor[0])], leading[:, len(factor[0]) :]
    directions = torch.linalg.solve_triangular(factor.mT, noise, upper=True) + torch.bmm(identity_by_lasting, errors)
    explained = (vectors[..., kept] ** 2 * values[:, None, kept]).sum(-1)
    whole = gram.diagonal(dim1=-2, dim2=-1)

    def clean(values: Tensor) -> Tensor:
        return values.to(dtype).nan_to_num(0.0, 0.0, 0.0)

    return IdentityUncertainty(
        directions=clean(directions),
        landmarks=clean(errors.reshape(len(errors), 2, len(lasting), -1)),
        remainder=clean((whole - explained).clamp_min(0)),
        noise_share=clean((by_noise**2).sum((1, 2)) / whole.sum(-1)),
    )
