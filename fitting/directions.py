"""Errors of a track that are the same in all its frames, and how the equations of its frames react to them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fitting.energy import FrameBlocks
from fitting.identity_uncertainty import IdentityUncertainty
from fitting.landmark_basis import LandmarkBasis
from fitting.shared_product import times_shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Directions:
    """Errors of each track that are the same in all its frames.

    Attributes:
        displaced: Displacements of the landmarks: x, y and z in the head frame, mm, then x and y of what was observed,
            in its unit.
    """

    displaced: Float[Tensor, "tracks 5 directions points"]

    @classmethod
    def of(
        cls, uncertainty: IdentityUncertainty, basis: LandmarkBasis, lasting: Float[Tensor, " points"]
    ) -> "Directions":
        """What is left open about identities and errors that last; `lasting` as in `fit_frames`."""
        head = basis.displaced(uncertainty.directions)
        return cls(displaced=torch.cat([head.mT, uncertainty.landmarks.mT * lasting], dim=1))

    def reactions(
        self, blocks: FrameBlocks, track: Int64[Tensor, " frames"], basis: LandmarkBasis
    ) -> tuple[Float[Tensor, "frames 6 directions"], Float[Tensor, "frames n_expression directions"]]:
        """Blocks between camera or expression of frames, and the errors of their tracks."""
        displaced = self.displaced[track]
        frames, _, count, points = displaced.shape
        # What is seen of the head, less what was observed, and that back in the head frame.
        turn = blocks.scaled_rotation
        square = torch.cat([torch.bmm(turn.mT, turn), -turn.mT], dim=-1)
        moved = torch.bmm(square, displaced.flatten(2)).reshape(frames, 3, count, points)
        rows = torch.empty(frames, count, 3, points, dtype=turn.dtype, device=turn.device)
        torch.mul(moved.transpose(1, 2), blocks.weight[:, None, None], out=rows)
        wide = times_shared(rows.reshape(frames * count, 3 * points), basis.expression.flatten(0, 1))
        sums = torch.bmm(blocks.weighted_features, displaced.flatten(1, 2).mT).reshape(frames, -1, 5, count)
        return blocks.camera_of_sums(sums), wide.reshape(frames, count, -1).mT
