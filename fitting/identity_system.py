"""One Gauss-Newton step of the identity stage: key frames are eliminated first, so the identity's system is small.

Per frame the expression goes first (its block is the one whose inverse EM needs anyway), then the camera. With inverse
Cholesky factors instead of triangular solves everything is a batched product.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from fitting.camera import PARAMETERS, ScaledOrthographic
from fitting.energy import FrameBlocks, Observations, frame_blocks
from fitting.identity_blocks import (
    CAMERA_RIDGE,
    expression_against,
    identity_hessian_of,
    identity_pull,
    weighted_square,
)
from fitting.inverse_root import inverse_root
from fitting.landmark_basis import LandmarkBasis, displacements
from fitting.shared_product import times_column, times_shared, two_columns
from fitting.sight import PLAIN, Sight

LASTING_EVERY = 4
"""Of how many key frames one says what errors that last do to all of them. It takes as long as a step would with all.
Standard deviations under a lasting bias of 1 px change by 0.2% on average, single ones by up to 5% in videos of 300
frames, and by up to 10% in 30."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityState:
    """Where the iteration stands; each track has the same number of frames, one track after the other."""

    identity: Float[Tensor, "tracks n_identity"]
    expression: Float[Tensor, "frames n_expression"]
    camera: ScaledOrthographic

    def head(self, basis: LandmarkBasis) -> Float[Tensor, "frames 3 points"]:
        """Landmarks in the head frame, mm."""
        frames = len(self.expression) // len(self.identity)
        return basis.identities(self.identity).repeat_interleave(frames, dim=0) + basis.expressions(self.expression)

    def sighted(
        self, observed: Observations, basis: LandmarkBasis, sight: Sight
    ) -> tuple[Observations, Float[Tensor, "frames 3 points"]]:
        """Observations and head points for the plain camera, see `Sight.restated`."""
        spots = sight.spots(self.identity)
        if spots is not None:
            spots = spots.repeat_interleave(len(self.expression) // len(self.identity), dim=0)
        return sight.restated(observed, self.camera, self.head(basis), self.expression, spots)

    def where(self, chosen: Bool[Tensor, " tracks"], other: "IdentityState") -> "IdentityState":
        """This state where `chosen`, `other` elsewhere."""
        per_frame = chosen.repeat_interleave(len(self.expression) // len(chosen))
        return IdentityState(
            identity=torch.where(chosen[:, None], self.identity, other.identity),
            expression=torch.where(per_frame[:, None], self.expression, other.expression),
            camera=self.camera.where(per_frame, other.camera),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFrames:
    """The key frames linearised at a state.

    Attributes:
        blocks: The landmark term.
        expression_root: Inverse Cholesky factor of each frame's expression block, prior included.
        spread: `sum_l w_l E_l Cov(e) E_l^T`: where the unknown expression scatters the landmarks, head frame, mm^2.
            Cov is the expression's covariance given camera and identity.
    """

    blocks: FrameBlocks
    expression_root: Float[Tensor, "frames n_expression n_expression"]
    spread: Float[Tensor, "frames 3 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What the key frames say together, at one linearisation.

    Attributes:
        identity: Inverse posterior covariance of the identity, cameras and expressions integrated out.
        expression: Mean over frames of the expression's block without its prior, the camera eliminated.
        coupling: Mean over frames of the block between expression and identity, the camera eliminated.
        identity_lasting: How an error of each landmark coordinate (x of all points, then y) that is the same in all
            frames pulls the identity, cameras and expressions eliminated.
        expression_lasting: How it pulls the expression of a mean frame, the camera eliminated.
    """

    identity: Float64[Tensor, "tracks n n"]
    expression: Float64[Tensor, "tracks n_expression n_expression"]
    coupling: Float64[Tensor, "tracks n_expression n"]
    identity_lasting: Float64[Tensor, "tracks n rows"]
    expression_lasting: Float64[Tensor, "tracks n_expression rows"]

    def where(self, chosen: Bool[Tensor, " tracks"], other: "Precision") -> "Precision":
        """This where `chosen`, `other` elsewhere."""
        pick = chosen[:, None, None]
        return Precision(
            identity=torch.where(pick, self.identity, other.identity),
            expression=torch.where(pick, self.expression, other.expression),
            coupling=torch.where(pick, self.coupling, other.coupling),
            identity_lasting=torch.where(pick, self.identity_lasting, other.identity_lasting),
            expression_lasting=torch.where(pick, self.expression_lasting, other.expression_lasting),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Elimination:
    """What a step leaves behind for `precision`.

    Attributes:
        seen: The linearisation.
        camera_hessian: The camera's block with EM's trace term.
        narrow_identity: Block between camera (last row: residual) and identity.
        wide_identity: Block between expression and identity.
        identity: Inverse posterior covariance of the identity.
    """

    seen: KeyFrames
    camera_hessian: Float[Tensor, "frames 6 6"]
    narrow_identity: Float[Tensor, "frames 7 n"]
    wide_identity: Float[Tensor, "frames n_expression n"]
    identity: Float64[Tensor, "tracks n n"]

    def precision(self, basis: LandmarkBasis) -> Precision:
        """What the key frames say together; of errors that last, every fourth says it for all."""
        tracks, blocks = len(self.identity), self.seen.blocks
        # Frames that only fill up say nothing, and are none beside the prior of a mean frame's expression.
        says = (blocks.weight > 0).any(dim=1).reshape(tracks, -1)
        count = says.sum(dim=1).clamp_min(1)[:, None, None].double()

        def mean(values: Float[Tensor, "some a b"]) -> Float64[Tensor, "tracks a b"]:
            return values.reshape(tracks, -1, *values.shape[1:]).sum(1).double() / count

        # Counted from the heaviest, and round: where few frames say anything, it is one of them.
        heaviest = blocks.weight.sum(1).reshape(tracks, -1).argmax(dim=1, keepdim=True)
        size = len(blocks.weight) // tracks
        along = torch.arange(0, size, LASTING_EVERY, device=heaviest.device)
        first = size * torch.arange(tracks, device=heaviest.device)[:, None]
        some = first + (heaviest + along) % size
        few = blocks.at(some.flatten())
        # Frames that only fill up weigh nothing, so there may be more or fewer of them among the few.
        share = few.weight.reshape(tracks, -1).sum(1) / blocks.weight.reshape(tracks, -1).sum(1)
        share = torch.where(share > 0, share, torch.ones_like(share))
        per_frame = (1.0 / share)[:, None, None].double()
        root = inverse_root(mean(self.camera_hessian))
        half = torch.bmm(root, mean(blocks.camera_expression))
        half_identity = torch.bmm(root, mean(self.narrow_identity[:, :PARAMETERS]))
        half_lasting = torch.bmm(root, per_frame * mean(few.weighted_camera()))
        weighted = few.weighted_expression(basis)
        return Precision(
            identity=self.identity,
            expression=mean(blocks.expression_expression) - torch.bmm(half.mT, half),
            coupling=mean(self.wide_identity) - torch.bmm(half.mT, half_identity),
            identity_lasting=self._identity_lasting(some.flatten(), few, weighted, basis) / share[:, None, None],
            expression_lasting=per_frame * mean(weighted) - torch.bmm(half.mT, half_lasting),
        )

    def _identity_lasting(
        self,
        some: Int64[Tensor, " some"],
        few: FrameBlocks,
        weighted: Float[Tensor, "some n_expression rows"],
        basis: LandmarkBasis,
    ) -> Float64[Tensor, "tracks n rows"]:
        tracks, root = len(self.identity), self.seen.expression_root[some]
        # As `gauss_newton` eliminates the gradient, but for each landmark coordinate by itself.
        size = self.wide_identity.shape[-1]
        columns = torch.cat([few.camera_expression.mT, self.wide_identity[some], weighted], dim=-1)
        half = torch.bmm(root, columns)
        left = torch.bmm(half[..., :PARAMETERS].mT, half)
        camera_root = inverse_root(self.camera_hessian[some] - left[..., :PARAMETERS])
        columns = torch.cat([self.narrow_identity[some, :PARAMETERS], few.weighted_camera()], dim=-1)
        camera_half = torch.bmm(camera_root, columns - left[..., PARAMETERS:])
        stacked = torch.cat([half[..., PARAMETERS:], camera_half], dim=1)
        stacked = stacked.reshape(tracks, -1, stacked.shape[-1])
        eliminated = torch.bmm(stacked[..., :size].mT, stacked[..., size:])
        weight = few.weight.reshape(tracks, -1, few.weight.shape[-1])
        turned = torch.bmm(weight.mT, few.scaled_rotation.reshape(tracks, -1, 6)).reshape(-1, 2, 3)
        by_landmark = basis.identity.permute(1, 0, 2).repeat(tracks, 1, 1)
        own = torch.bmm(turned, by_landmark).reshape(tracks, -1, 2, size).permute(0, 3, 2, 1).flatten(2)
        return own.double() - eliminated.double()


def linearise(
    observed: Observations, state: IdentityState, basis: LandmarkBasis, scale: float, sight: Sight = PLAIN
) -> KeyFrames:
    """The landmark term at a state, and the expression's covariance there."""
    plain, head = state.sighted(observed, basis, sight)
    blocks = frame_blocks(plain, state.camera, head, basis, scale)
    root = inverse_root(blocks.expression_expression + _unit(blocks.expression_expression))
    spread = basis.squares.spread(blocks.weight, torch.bmm(root.mT, root))
    return KeyFrames(blocks=blocks, expression_root=root, spread=spread)


def turned_spread(camera: ScaledOrthographic, spread: Float[Tensor, "frames 3 3"]) -> Float[Tensor, "frames 3 3"]:
    """The spread in camera axes and picture units."""
    turn = camera.scale[:, None, None] * camera.rotation()
    return torch.bmm(torch.bmm(turn, spread), turn.mT)


def gauss_newton(
    state: IdentityState, seen: KeyFrames, basis: LandmarkBasis, damping: Float[Tensor, " tracks"]
) -> tuple[IdentityState, Elimination]:
    """The state after one damped step, and the eliminated system at the state before it."""
    tracks, blocks = len(damping), seen.blocks
    size = len(state.expression) // tracks
    hessian, gradient = camera_system(state.camera, seen)
    narrow_identity = blocks.camera_against(basis.identity_by_point)
    wide_identity = expression_against(blocks, basis)
    # Eliminate the expression, then the camera. The gradient is one more column, beside the camera's.
    root = seen.expression_root
    downhill = (blocks.expression_gradient - state.expression)[..., None]
    half_identity = torch.bmm(root, wide_identity)
    half_camera = torch.bmm(root, torch.cat([blocks.camera_expression.mT, downhill], dim=-1))
    half = half_camera[..., :PARAMETERS].mT
    left = torch.bmm(half, half_camera)
    camera_root = inverse_root(_damped(hessian, damping.repeat_interleave(size)) - left[..., :PARAMETERS])
    by_identity = narrow_identity[:, :PARAMETERS] - torch.bmm(half, half_identity)
    camera_half = torch.bmm(camera_root, torch.cat([by_identity, gradient[..., None] - left[..., PARAMETERS:]], dim=-1))
    # Float64: this difference is where digits are lost. The last row and column belong to the gradient.
    by_expression = half_identity.reshape(tracks, -1, half_identity.shape[-1])
    by_camera = camera_half.reshape(tracks, -1, camera_half.shape[-1])
    eliminated = torch.bmm(by_camera.mT, by_camera).double()
    eliminated[:, :-1, :-1] += torch.bmm(by_expression.mT, by_expression)
    # What the expressions' own steps would do to the landmarks, and with that to the identity.
    settled = basis.expressions(times_column(root.mT, half_camera[..., PARAMETERS]))
    eliminated[:, :-1, -1] += identity_pull(weighted_square(blocks, settled), basis, tracks)
    own = identity_hessian_of(blocks, basis, tracks).double()
    schur = own - eliminated[:, :-1, :-1] + _unit(own)
    schur = 0.5 * (schur + schur.mT)
    downhill = narrow_identity[:, PARAMETERS].reshape(tracks, size, -1).double().sum(1)
    downhill = downhill - state.identity - eliminated[:, :-1, -1]
    step = _identity_step(schur, own, downhill, damping).to(state.identity.dtype)
    # Back: the camera's step from the identity's, the expression's from both.
    known = torch.cat([-step, torch.ones_like(step[:, :1])], dim=-1)
    camera_step = times_column(camera_root.mT, times_column(by_camera, known).reshape(-1, PARAMETERS))
    remaining = times_column(half_camera, torch.cat([-camera_step, torch.ones_like(camera_step[:, :1])], dim=-1))
    shifted = weighted_square(blocks, displacements(step, basis.identity).repeat_interleave(size, dim=0))
    remaining -= times_column(root, times_shared(shifted.flatten(1), basis.expression.flatten(0, 1)))
    moved = IdentityState(
        identity=state.identity + step,
        expression=state.expression + times_column(root.mT, remaining),
        camera=state.camera.updated(camera_step),
    )
    return moved, Elimination(
        seen=seen,
        camera_hessian=hessian,
        narrow_identity=narrow_identity,
        wide_identity=wide_identity,
        identity=schur,
    )


def camera_system(
    camera: ScaledOrthographic, seen: KeyFrames
) -> tuple[Float[Tensor, "frames 6 6"], Float[Tensor, "frames 6"]]:
    """The camera's block and gradient with EM's trace term, `1/2 s^2 tr(R_2 spread R_2^T)`."""
    hessian, gradient = seen.blocks.camera_camera.clone(), seen.blocks.camera_gradient.clone()
    turned = turned_spread(camera, seen.spread)
    trace = turned[:, 0, 0] + turned[:, 1, 1]
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    diagonal += CAMERA_RIDGE
    diagonal[:, 0] += 2.0 * trace
    # By log scale and by the turns about x and y.
    gradient[:, 0] -= trace
    gradient[:, 1] += turned[:, 1, 2]
    gradient[:, 2] -= turned[:, 0, 2]
    return hessian, gradient


def _identity_step(
    schur: Float64[Tensor, "tracks n n"],
    own: Float64[Tensor, "tracks n n"],
    downhill: Float64[Tensor, "tracks n"],
    damping: Float[Tensor, " tracks"],
) -> Float64[Tensor, "tracks n"]:
    damped = schur.clone()
    diagonal = damped.diagonal(dim1=-2, dim2=-1)
    diagonal += damping[:, None].double() * (1.0 + own.diagonal(dim1=-2, dim2=-1))
    factor = torch.linalg.cholesky_ex(damped).L
    half = torch.linalg.solve_triangular(factor, two_columns(downhill), upper=False)
    step: Tensor = torch.linalg.solve_triangular(factor.mT, half, upper=True)[..., 0]
    return step


def _damped(hessian: Float[Tensor, "frames d d"], damping: Float[Tensor, " frames"]) -> Float[Tensor, "frames d d"]:
    damped = hessian.clone()
    diagonal = damped.diagonal(dim1=-2, dim2=-1)
    diagonal *= 1.0 + damping[:, None]
    return damped


def _unit(like: Float[Tensor, "batch n n"]) -> Float[Tensor, "n n"]:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
