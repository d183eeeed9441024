"""Frames of tracks of different lengths on one axis, without padding, in time-major order.

First the first frame of every track, then every second frame, and so on, tracks in order of falling length.
A step in time over all tracks is then a slice, and so is every sum over time: tracks go forward together, yet
no track's numbers touch another's, and the order of summation within a track never changes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_Track = TypeVar("_Track")

_NARROW = 8
"""Of up to so many numbers per frame, gathering them track by track is cheaper than a call per time step."""


def batches(tracks: Iterable[_Track], length: Callable[[_Track], int], *, frames: int) -> Iterator[list[_Track]]:
    """Tracks in their order, together until one more would make it more than so many frames; one track at least."""
    batch: list[_Track] = []
    held = 0
    for track in tracks:
        size = length(track)
        if batch and held + size > frames:
            yield batch
            batch, held = [], 0
        batch.append(track)
        held += size
    if batch:
        yield batch


class TimeMajor:
    """The layout of the frame axis for tracks of given lengths.

    Attributes:
        tracks: How many there are.
        steps: For each time step, the slice of the frame axis that it takes; none is longer than the one before.
        track: For each frame, its track (index into the given lengths).
        previous: For each frame, the same track's frame before it, or -1 at its first.
        previous_or_self: The same, but at its first frame that frame itself, so that no track ever reads another's.
    """

    def __init__(self, lengths: Sequence[int], *, device: str) -> None:
        sizes = np.asarray(lengths, dtype=np.int64)
        by_length = np.argsort(-sizes, kind="stable")
        counts = [int((sizes > step).sum()) for step in range(int(sizes.max(initial=0)))]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.steps = [slice(int(start), int(start) + count) for start, count in zip(starts[:-1], counts, strict=True)]
        self.tracks = len(sizes)
        self._slot = np.empty_like(by_length)
        self._slot[by_length] = np.arange(len(sizes))
        self._starts = starts
        self._lengths = sizes
        track = np.concatenate([by_length[:count] for count in counts] or [by_length[:0]])
        previous = np.concatenate(
            [np.arange(count) + (starts[step - 1] if step else 0) for step, count in enumerate(counts)]
            or [np.empty(0, np.int64)]
        )
        previous[: counts[0] if counts else 0] = -1
        self.track = torch.tensor(track, device=device)
        self.previous = torch.tensor(previous, device=device)
        self.previous_or_self = torch.where(
            self.previous < 0, torch.arange(len(previous), device=device), self.previous
        )
        self._by_length = torch.tensor(by_length, device=device)
        self._by_track = torch.tensor(
            np.concatenate([self.positions(track) for track in range(self.tracks)] or [by_length]), device=device
        )
        self._counts = torch.tensor(sizes, device=device)

    def positions(self, track: int) -> np.ndarray:
        """Where a track's frames lie on the frame axis, in order of time."""
        return np.asarray(self._starts[: self._lengths[track]] + self._slot[track])

    def pack(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Arrays of one track each (frames first) on one frame axis."""
        packed = np.empty((int(self._lengths.sum()), *values[0].shape[1:]), dtype=values[0].dtype)
        for track, array in enumerate(values):
            packed[self.positions(track)] = array
        return packed

    def pack_tensors(self, values: Sequence[Tensor]) -> Tensor:
        """As `pack`, of tensors."""
        joined = torch.cat(list(values))
        packed = torch.empty_like(joined)
        packed[self._by_track] = joined
        return packed

    def sum_over_time(self, values: Float[Tensor, "frames ..."]) -> Float[Tensor, "tracks ..."]:
        """The sum over each track, first frame to last, in float64."""
        if values[:1].numel() <= _NARROW:
            # One call instead of one per time step. On a CPU both add up in order of time.
            rows = values.double()[self._by_track]
            return torch.segment_reduce(rows, "sum", lengths=self._counts, axis=0)
        by_slot = torch.zeros(self.tracks, *values.shape[1:], dtype=torch.float64, device=values.device)
        for step in self.steps:
            by_slot[: step.stop - step.start] += values[step]
        return self.to_tracks(by_slot)

    def runs(self, frames: int) -> Iterator[list[slice]]:
        """Steps one after the other, together until they have this many frames."""
        run: list[slice] = []
        for step in self.steps:
            run.append(step)
            if step.stop - run[0].start >= frames:
                yield run
                run = []
        if run:
            yield run

    def max_over_time(self, values: Float[Tensor, " frames"]) -> Float[Tensor, " tracks"]:
        """The largest value of each track."""
        largest = torch.full((self.tracks,), -torch.inf, dtype=values.dtype, device=values.device)
        return largest.scatter_reduce(0, self.track, values, reduce="amax")

    def to_tracks(self, by_slot: Tensor) -> Tensor:
        """Rows in the order of the given lengths, from rows in the order in which a step has its tracks."""
        out = torch.empty_like(by_slot)
        out[self._by_length] = by_slot
        return out
