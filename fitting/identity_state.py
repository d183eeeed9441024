"""Where the identity stage stands, and its key frames linearised there."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.camera import ScaledOrthographic
from fitting.energy import FrameBlocks, Observations, frame_blocks
from fitting.inverse_root import inverse_root
from fitting.landmark_basis import LandmarkBasis
from fitting.sight import PLAIN, Sight


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


def linearise(
    observed: Observations, state: IdentityState, basis: LandmarkBasis, scale: float, sight: Sight = PLAIN
) -> KeyFrames:
    """The landmark term at a state, and the expression's covariance there."""
    plain, head = state.sighted(observed, basis, sight)
    blocks = frame_blocks(plain, state.camera, head, basis, scale)
    unit = torch.eye(blocks.expression_expression.shape[-1], dtype=head.dtype, device=head.device)
    root = inverse_root(blocks.expression_expression + unit)
    spread = basis.squares.spread(blocks.weight, torch.bmm(root.mT, root))
    return KeyFrames(blocks=blocks, expression_root=root, spread=spread)


def turned_spread(camera: ScaledOrthographic, spread: Float[Tensor, "frames 3 3"]) -> Float[Tensor, "frames 3 3"]:
    """The spread in camera axes and picture units."""
    turn = camera.scale[:, None, None] * camera.rotation()
    return torch.bmm(torch.bmm(turn, spread), turn.mT)
