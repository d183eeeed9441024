"""What the key frames of a track say together, which is what `identity_uncertainty` goes by.

Errors that last are eliminated as the gradient is in `identity_system`, but for each landmark coordinate by itself.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from fitting.camera import PARAMETERS
from fitting.energy import FrameBlocks
from fitting.identity_blocks import expression_against, expression_against_together
from fitting.identity_state import KeyFrames
from fitting.inverse_root import inverse_root
from fitting.landmark_basis import LandmarkBasis

LASTING_EVERY = 4
"""Of how many key frames one says what errors that last do to all of them. It takes as long as a step would with all.
Standard deviations under a lasting bias of 1 px change by 0.2% on average, single ones by up to 5% in videos of 300
frames, and by up to 10% in 30."""


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
        identity: Inverse posterior covariance of the identity.
    """

    seen: KeyFrames
    camera_hessian: Float[Tensor, "frames 6 6"]
    narrow_identity: Float[Tensor, "frames 7 n"]
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
        together = expression_against_together(blocks, basis, tracks).double() / count
        return Precision(
            identity=self.identity,
            expression=mean(blocks.expression_expression) - torch.bmm(half.mT, half),
            coupling=together - torch.bmm(half.mT, half_identity),
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
        size = self.identity.shape[-1]
        columns = torch.cat([few.camera_expression.mT, expression_against(few, basis), weighted], dim=-1)
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
