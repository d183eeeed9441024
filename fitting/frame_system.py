"""One Gauss-Newton step of the frame stage: cameras are eliminated frame by frame, expressions solved over time.

Frames are worked through in chunks, small enough for what is made on the way to stay in the cache.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fitting.box_constraint import StepSystem, boxed_step, outside
from fitting.camera import PARAMETERS
from fitting.directions import Directions
from fitting.energy import FrameBlocks, Observations, frame_blocks, landmark_energy
from fitting.frame_state import FrameState
from fitting.identity_blocks import CAMERA_RIDGE
from fitting.inverse_root import inverse_root
from fitting.landmark_basis import LandmarkBasis
from fitting.ragged import TimeMajor
from fitting.shared_product import BLOCK_ROWS, times_column
from fitting.sight import PLAIN, Sight
from fitting.smooth_prior import SmoothPrior, smooth_prior
from fitting.temporal_prior import learnt_smoothness
from fitting.time_recursion import solve_over_time

FRAME_CHUNK_ENTRIES = 1 << 18
"""Largest number of entries at once of what the expressions' normal matrices are made of: 1 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSystem:
    """All frames linearised at a state, their cameras eliminated.

    Attributes:
        blocks: Diagonal blocks of the expressions' system, the prior included; `step` leaves its inverse pivots there.
        right: Right-hand side, then the reaction of the system to each uncertain direction of the identity.
        camera_root: Inverse Cholesky factor of the camera's block.
        camera_half: That, times the camera's block with the expression, and the camera's gradient.
        energy: Landmark term of each frame.
    """

    blocks: Float[Tensor, "frames n n"]
    right: Float[Tensor, "frames n columns"]
    camera_root: Float[Tensor, "frames 6 6"]
    camera_half: Float[Tensor, "frames 6 n_plus_1"]
    energy: Float[Tensor, " frames"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameProblem:
    """What stays the same over the iterations.

    Attributes:
        observed: Landmarks of all frames, in the layout's order.
        identity_points: Landmarks of each track's identity with the mean expression, head frame, mm.
        basis: The face model at the observed landmarks.
        prior: Smoothness over time.
        layout: Order of the frame axis.
        sight: Lens of each frame and sliding contour, if any.
        identity_spots: What `Sight.spots` says of each track's identity.
    """

    observed: Observations
    identity_points: Float[Tensor, "tracks 3 points"]
    basis: LandmarkBasis
    prior: SmoothPrior
    layout: TimeMajor
    sight: Sight = PLAIN
    identity_spots: Float[Tensor, "tracks 3 spots"] | None = None

    def energy(self, state: FrameState, scale: float) -> Float64[Tensor, " tracks"]:
        """Landmark term and prior of each track."""
        return self.total(self.landmark_energy(state, scale), state)

    def landmark_energy(self, state: FrameState, scale: float) -> Float[Tensor, " frames"]:
        """Landmark term of each frame."""
        landmarks = []
        for part in self.chunks():
            observed, head = self.sighted(state, part)
            landmarks.append(landmark_energy(observed, state.camera.at(part), head, scale))
        return torch.cat(landmarks)

    def total(self, landmarks: Float[Tensor, " frames"], state: FrameState) -> Float64[Tensor, " tracks"]:
        """Energy of each track, from its frames' landmark terms."""
        return self.layout.sum_over_time(landmarks.double() + self.prior.energy(state.expression))

    def local_blocks(
        self, state: FrameState, scale: float, parts: Iterable[slice] | None = None
    ) -> Iterator[tuple[slice, FrameBlocks]]:
        """The landmark term linearised at a state, chunk by chunk, or in the given parts of the frame axis."""
        for part in self.chunks() if parts is None else parts:
            observed, head = self.sighted(state, part)
            yield part, frame_blocks(observed, state.camera.at(part), head, self.basis, scale)

    def linearised(
        self,
        state: FrameState,
        damping: Float[Tensor, " tracks"],
        scale: float,
        directions: Directions | None = None,
    ) -> FrameSystem:
        """The system at a state.

        Args:
            state: Where.
            damping: Levenberg-Marquardt damping of the cameras; the prior holds the expressions.
            scale: Width of the robust weights.
            directions: Errors to which the reaction is wanted.
        """
        frames, size = state.expression.shape
        like = self.observed.points
        columns = 2 if directions is None else 1 + directions.displaced.shape[2]
        blocks, right = like.new_empty(frames, size, size), like.new_zeros(frames, size, columns)
        system = FrameSystem(
            blocks=blocks,
            right=right,
            camera_root=like.new_empty(frames, PARAMETERS, PARAMETERS),
            camera_half=like.new_empty(frames, PARAMETERS, size + 1),
            energy=like.new_empty(frames),
        )
        for part, local in self.local_blocks(state, scale):
            track = self.layout.track[part]
            camera_block = local.camera_camera.clone()
            diagonal = camera_block.diagonal(dim1=-2, dim2=-1)
            diagonal *= 1.0 + damping[track][:, None]
            diagonal += CAMERA_RIDGE
            root = inverse_root(camera_block)
            sides = [local.camera_expression, local.camera_gradient[..., None]]
            right[part, :, 0] = local.expression_gradient
            if directions is None:
                sides.append(torch.zeros_like(sides[1]))
            else:
                narrow, wide = directions.reactions(local, track, self.basis)
                sides.append(narrow)
                right[part, :, 1:] = wide
            half = torch.bmm(root, torch.cat(sides, dim=-1))
            across = half[..., :size]
            torch.baddbmm(local.expression_expression, across.mT, across, alpha=-1, out=blocks[part])
            right[part] -= torch.bmm(across.mT, half[..., size:])
            system.camera_root[part] = root
            system.camera_half[part] = half[..., : size + 1]
            system.energy[part] = local.energy
        diagonal = blocks.diagonal(dim1=-2, dim2=-1)
        diagonal += self.prior.precision[:, None].to(like.dtype)
        right[..., 0] += self.prior.pull(state.expression).to(like.dtype)
        return system

    def learnt(
        self,
        system: FrameSystem,
        state: FrameState,
        spacing_s: Float64[Tensor, " frames"],
        most: float,
    ) -> tuple["FrameProblem", Float64[Tensor, " tracks"]]:
        """The problem with the smoothness that a system speaks for, `most` at most, and that without a limit.

        The system is changed to that problem's in place.
        """
        dtype = system.blocks.dtype
        information = self._without_prior(system.blocks)
        pull = self.prior.pull(state.expression).to(dtype)
        said = system.right[..., 0] - pull + times_column(information, state.expression)
        smoothness = learnt_smoothness(information, said, spacing_s, self.layout)
        prior = smooth_prior(spacing_s, self.layout, smoothness.clamp_max(most))
        diagonal = system.blocks.diagonal(dim1=-2, dim2=-1)
        diagonal += prior.precision[:, None].to(dtype)
        system.right[..., 0] += prior.pull(state.expression).to(dtype) - pull
        return replace(self, prior=prior), smoothness

    def stepped(
        self,
        state: FrameState,
        system: FrameSystem,
        damping: Float[Tensor, " tracks"],
        scale: float,
        box: float | None,
    ) -> FrameState:
        """The state after the step, every coefficient of which lies in the box.

        Args:
            state: Where the system was linearised.
            system: Solved here: its `blocks` and `right` hold inverse pivots and solutions afterwards, of the system
                without a box.
            damping: As the system was linearised with.
            scale: As the system was linearised with.
            box: Largest absolute value of an expression coefficient.
        """
        solution = solve_over_time(system.blocks, system.right, self.coupling, self.layout)
        step = solution[..., 0].contiguous()
        if box is not None:
            out = outside(state.expression + step, box).any(dim=-1)
            if bool(out.any()):
                # Rare, so the blocks that are gone now are made again instead of kept each time.
                again = self.linearised(state, damping, scale)
                whole = StepSystem(
                    blocks=again.blocks, right=again.right[..., 0], coupling=self.coupling, layout=self.layout
                )
                boxed = boxed_step(whole, state.expression, step, box)
                concerned = self.layout.max_over_time(out.to(step.dtype)) > 0
                step = torch.where(concerned[self.layout.track][:, None], boxed, step)
        return self.moved(state, system, step)

    def moved(self, state: FrameState, system: FrameSystem, step: Float[Tensor, "frames n"]) -> FrameState:
        """The state after a step of the expressions, cameras following."""
        known = torch.cat([-step, torch.ones_like(step[:, :1])], dim=-1)
        camera_step = times_column(system.camera_root.mT, times_column(system.camera_half, known))
        return FrameState(expression=state.expression + step, camera=state.camera.updated(camera_step))

    def information(self, system: FrameSystem) -> Float[Tensor, "frames n n"]:
        """What the landmarks of a system that is not solved yet say of the expressions, without the prior."""
        return self._without_prior(system.blocks.clone())

    @property
    def coupling(self) -> Float[Tensor, "frames 1"]:
        """The prior's, as the recursion over time wants it."""
        return self.prior.coupling[:, None].to(self.observed.points.dtype)

    def _without_prior(self, blocks: Float[Tensor, "frames n n"]) -> Float[Tensor, "frames n n"]:
        """These blocks, the prior taken off in place."""
        diagonal = blocks.diagonal(dim1=-2, dim2=-1)
        diagonal -= self.prior.precision[:, None].to(blocks.dtype)
        return blocks

    def sighted(self, state: FrameState, part: slice) -> tuple[Observations, Float[Tensor, "chunk 3 points"]]:
        """Observations and head points of some frames for the plain camera, see `Sight.restated`."""
        track, expression = self.layout.track[part], state.expression[part]
        head = self.identity_points[track] + self.basis.expressions(expression)
        spots = None if self.identity_spots is None else self.identity_spots[track]
        return self.sight.at(part).restated(self.observed.at(part), state.camera.at(part), head, expression, spots)

    def chunks(self) -> Iterator[slice]:
        """Parts of the frame axis that are worked through one after the other."""
        frames, points = self.observed.weight.shape
        wide = self.basis.squares.table is None
        entries_per_frame = 2 * points * self.basis.expression.shape[-1] if wide else 6 * points
        size = max(BLOCK_ROWS, FRAME_CHUNK_ENTRIES // entries_per_frame // BLOCK_ROWS * BLOCK_ROWS)
        return (slice(start, min(start + size, frames)) for start in range(0, frames, size))
