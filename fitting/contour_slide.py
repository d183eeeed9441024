"""Which candidate of each contour point makes the outline of the face in a picture, and across what direction.

A point of the outline says where the outline is, not which point of the skin makes it: only the residual across the
outline counts, the one along it is projected out. The chosen candidate enters the fit as a displacement of the landmark
that holds for one step; its position is exact, its derivative is the landmark's own.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fitting.contour import CANDIDATES, CONTOUR_POINTS, SLIDING_SCHEMES, contour_curves
from fitting.face_model import FaceModel
from fitting.landmark_basis import displacements

_JAW = CONTOUR_POINTS.stop


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingContour:
    """The face model at the candidates of all contour points, millimetres, head frame.

    Attributes:
        count: Contour points; they are the first of the scheme's landmarks.
        mean: Candidates of the mean face, those of one contour point side by side.
        identity: Displacement per standard deviation of each identity component.
        expression: Displacement per standard deviation of each expression component.
    """

    count: int
    mean: Float[Tensor, "3 spots"]
    identity: Float[Tensor, "3 spots n_identity"]
    expression: Float[Tensor, "3 spots n_expression"]

    def points(self, selection: Int64[np.ndarray, " chosen"]) -> "SlidingContour":
        """The same at some of the scheme's landmarks, in increasing order."""
        kept = selection[selection < self.count]
        each = len(self.mean[0]) // self.count
        spots = (kept[:, None] * each + np.arange(each)).ravel()
        return SlidingContour(
            count=len(kept),
            mean=self.mean[:, spots].contiguous(),
            identity=self.identity[:, spots].contiguous(),
            expression=self.expression[:, spots].contiguous(),
        )

    def identities(self, identity: Float[Tensor, "tracks n_identity"]) -> Float[Tensor, "tracks 3 spots"]:
        """Candidates of identities with the mean expression."""
        return self.mean + displacements(identity, self.identity)

    def expressions(self, expression: Float[Tensor, "frames n_expression"]) -> Float[Tensor, "frames 3 spots"]:
        """Displacements of the candidates by expressions."""
        return displacements(expression, self.expression)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """Where the outline is made, per frame.

    Attributes:
        head: The chosen candidates, head frame, mm.
        across: Unit vector across the outline in the picture, pointing away from the face.
    """

    head: Float[Tensor, "frames 3 contour"]
    across: Float[Tensor, "frames 2 contour"]


def sliding_contour(
    model: FaceModel, scheme: str, *, device: str, candidates: int = CANDIDATES
) -> SlidingContour | None:
    """The candidates of a scheme's contour as tensors; None where the contour is fixed on the head."""
    if scheme not in SLIDING_SCHEMES:
        return None
    curves = contour_curves(model, scheme, candidates=candidates)
    ids, weights = curves.vertex_ids.reshape(-1, 2), curves.weights.reshape(-1, 2).astype(np.float64)

    def tensor(field: np.ndarray) -> Tensor:
        at_spots = np.einsum("...skc,sk->...sc", field[..., ids, :].astype(np.float64), weights)
        # Coordinates first, components last.
        return torch.tensor(np.ascontiguousarray(at_spots.T), dtype=torch.float32, device=device)

    return SlidingContour(
        count=_JAW,
        mean=tensor(model.mean_mm),
        identity=tensor(model.identity_basis_mm),
        expression=tensor(model.expression_basis_mm),
    )


def outline(
    spots: Float[Tensor, "frames 3 spots"],
    head: Float[Tensor, "frames 3 points"],
    rotation: Float[Tensor, "frames 3 3"],
    *,
    count: int,
) -> Outline:
    """The candidate of each contour point that lies furthest out, seen under a rotation.

    Args:
        spots: Candidates, head frame, mm.
        head: Landmarks of the scheme, head frame, mm.
        rotation: Head frame to camera frame.
        count: Contour points, the first of the landmarks.
    """
    frames = len(spots)
    rows = rotation[:, :2]
    jaw = torch.bmm(rows, head[:, :, :count])
    seen = torch.bmm(rows, spots).reshape(frames, 2, count, -1)
    across = _across(jaw)
    best = (seen * across[..., None]).sum(1).argmax(-1)
    # The chosen candidates are the outline; the landmarks were only a first idea of its direction.
    across = _across(_taken(seen, best))
    best = (seen * across[..., None]).sum(1).argmax(-1)
    return Outline(head=_taken(spots.reshape(frames, 3, count, -1), best), across=across)


def _across(line: Float[Tensor, "frames 2 contour"]) -> Float[Tensor, "frames 2 contour"]:
    # The points run from the subject's right ear around the chin, so the face is always on the same side of the line.
    ahead = torch.cat([line[..., 1:], line[..., -1:]], dim=-1)
    behind = torch.cat([line[..., :1], line[..., :-1]], dim=-1)
    x, y = (ahead - behind).unbind(1)
    normal = torch.stack([-y, x], dim=1)
    return normal / normal.square().sum(1, keepdim=True).clamp_min(1e-12).sqrt()


def _taken(
    values: Float[Tensor, "frames axes contour candidates"], best: Tensor
) -> Float[Tensor, "frames axes contour"]:
    index = best[:, None, :, None].expand(-1, values.shape[1], -1, 1)
    return values.gather(-1, index)[..., 0]
