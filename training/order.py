"""Which crops an epoch shows, and in which order: functions of (seed, epoch), so that a training can be resumed.

A video's frames are near-duplicates of each other, and lie together in row groups. An epoch of all of them shows
little that is new for what it costs, and batches of a few row groups show a few people. So an epoch draws some crops of
each track, and a window, out of which batches are shuffled, is filled from as many row groups as it takes.
"""

import numpy as np
from jaxtyping import Float64, Int64

from training.examples import Examples

WINDOW_CROPS = 8192
"""Crops mixed with each other: about 130 MB of JPEG. Two windows are in memory at a time."""
_READ_PER_DRAWN = 8
"""Most crops read for each one drawn of a long track, roughly: a row group is read as a whole."""


def epoch_size(examples: Examples, crops_per_track: int) -> int:
    """How many examples an epoch shows; the same number in every epoch.

    Args:
        examples: Which.
        crops_per_track: Most of one track; 0 for all.
    """
    if not crops_per_track:
        return len(examples)
    return int(np.minimum(np.diff(_track_bounds(examples)), crops_per_track).sum())


def drawn(examples: Examples, *, crops_per_track: int, seed: int, epoch: int) -> Int64[np.ndarray, " drawn"]:
    """The examples of one epoch, ascending: all of a short track, `crops_per_track` of a longer one.

    Each example of a track is as likely as any other: row groups are drawn with a probability in proportion to what
    they hold of the track, and from each as many examples (systematic sampling with unequal probabilities: Madow, "On
    the theory of systematic sampling, II", 1949; then with equal ones). So they come from some row groups only, spread
    over the track, and from each of these several, spread over it: one from each would mean to read nearly everything.

    Args:
        examples: Which.
        crops_per_track: Most of one track; 0 for all.
        seed: Decides the draw, with `epoch`.
        epoch: Index of the epoch.
    """
    every = np.arange(len(examples), dtype=np.int64)
    bounds = _track_bounds(examples)
    counts = np.diff(bounds)
    if not crops_per_track or not (counts > crops_per_track).any():
        return every
    long = np.flatnonzero(counts > crops_per_track)
    begins, counts_long = bounds[:-1][long], counts[long]

    # Clusters are wanted, of about equal size. A track of which all may be read needs one.
    group_bounds = _group_bounds(examples)
    groups = np.searchsorted(group_bounds, begins + counts_long) - np.searchsorted(group_bounds, begins, "right") + 1
    may_read = crops_per_track * _READ_PER_DRAWN
    whole = counts_long <= may_read
    clusters = np.where(whole, 1, np.clip(may_read * groups // counts_long, 1, crops_per_track))
    # No more than (1 / 4 + 1 / 3) of a block are drawn, as clusters * largest < 2 * crops_per_track <= track / 4.
    largest = -(-crops_per_track // clusters)
    block_begins, block_ends = _blocks(begins, begins + counts_long, np.where(whole, counts_long, 3 * largest),
                                       group_bounds)  # fmt: skip

    # Points at equal distances from a random start on say from which blocks; the few clusters that are larger by one
    # example than others are any of them.
    random = np.random.default_rng([seed, epoch, 0xD4A])
    owner = np.repeat(np.arange(len(long)), clusters)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(clusters) - clusters, clusters)
    offset = _fractions(random, len(long))[owner]
    point = begins[owner] + ((place + offset) * (counts_long / clusters)[owner]).astype(np.int64)
    spare = random.integers(0, clusters)[owner]
    first, past = ((k * crops_per_track + spare) // clusters[owner] for k in (place, place + 1))
    block, cluster_block = np.unique(np.searchsorted(block_begins, point, "right") - 1, return_inverse=True)
    quota = np.bincount(cluster_block, past - first).astype(np.int64)

    # Of such a block, examples at equal distances from a random start on.
    start = _fractions(random, len(block))
    which = np.repeat(np.arange(len(block)), quota)
    number = np.arange(len(which)) - np.repeat(np.cumsum(quota) - quota, quota)
    step = (block_ends - block_begins)[block][which] / quota[which]
    chosen = block_begins[block][which] + ((number + start[which]) * step).astype(np.int64)
    short = every[np.repeat(counts <= crops_per_track, counts)]
    return np.sort(np.concatenate([short, chosen]))


def epoch_order(examples: Examples, *, crops_per_track: int, seed: int, epoch: int) -> list[Int64[np.ndarray, " _"]]:
    """The order of one epoch, window by window: permuted row groups, then permuted examples in each window.

    Args:
        examples: Which.
        crops_per_track: See `drawn`.
        seed: Decides the order, with `epoch`.
        epoch: Index of the epoch.
    """
    chosen = drawn(examples, crops_per_track=crops_per_track, seed=seed, epoch=epoch)
    if not len(chosen):
        return []
    random = np.random.default_rng([seed, epoch, 0x0D3])
    group = np.searchsorted(_group_bounds(examples), chosen, side="right") - 1
    _, group, sizes = np.unique(group, return_inverse=True, return_counts=True)
    order = random.permutation(len(sizes))
    before = np.empty(len(sizes), np.int64)
    before[order] = np.cumsum(sizes[order]) - sizes[order]
    # Windows of equal size, so that the last one mixes as well as the others.
    count = -(-len(chosen) // WINDOW_CROPS)
    window = (before * count // len(chosen))[group]
    shuffled = random.permutation(len(chosen))
    sorted_by_window = shuffled[np.argsort(window[shuffled], kind="stable")]
    ends = np.cumsum(np.bincount(window, minlength=count))
    return [part for part in np.split(chosen[sorted_by_window], ends[:-1]) if len(part)]


def _blocks(
    begins: Int64[np.ndarray, " tracks"], ends: Int64[np.ndarray, " tracks"], least: Int64[np.ndarray, " tracks"],
    group_bounds: Int64[np.ndarray, " groups_and_1"],
) -> tuple[Int64[np.ndarray, " blocks"], Int64[np.ndarray, " blocks"]]:  # fmt: skip
    """Begins and ends, ascending, of the row groups' parts of tracks; parts smaller than `least` are joined to more."""
    found = []
    while len(begins):
        cut = group_bounds[np.minimum(np.searchsorted(group_bounds, begins + least), len(group_bounds) - 1)]
        cut = np.where(ends - cut < least, ends, cut)
        found.append(np.stack([begins, cut]))
        left = cut < ends
        begins, ends, least = cut[left], ends[left], least[left]
    block_begins, block_ends = np.sort(np.concatenate(found, axis=1), axis=1)  # they do not overlap
    return block_begins, block_ends


def _fractions(random: np.random.Generator, count: int) -> Float64[np.ndarray, " count"]:
    """From 0 until 1, and such that adding a whole number is exact."""
    return random.integers(0, 1 << 20, count) / (1 << 20)


def _track_bounds(examples: Examples) -> Int64[np.ndarray, " tracks_and_1"]:
    return _bounds(np.diff(examples.track) != 0, len(examples))


def _group_bounds(examples: Examples) -> Int64[np.ndarray, " groups_and_1"]:
    return _bounds((np.diff(examples.shard) != 0) | (np.diff(examples.row_group) != 0), len(examples))


def _bounds(changes: np.ndarray, count: int) -> Int64[np.ndarray, " bounds"]:
    """Where stretches begin, given which examples differ from those before, and where the last one ends."""
    if not count:
        return np.zeros(1, np.int64)
    return np.concatenate([[0], np.flatnonzero(changes) + 1, [count]]).astype(np.int64)
