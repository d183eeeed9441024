"""Crops from the shards in batches: in an order that is a function of (seed, epoch), decoded by threads.

Threads are enough, since decoding and augmentation work without Python's lock; how many there are does not change the
batches. `training.order` says which crops come when, `training.crop_reader` reads them.
"""

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from facevid.description import DatasetError
from training.augment import Augmentation
from training.crop_reader import CropReader, Window
from training.decoding import decoded_crop
from training.examples import Examples
from training.order import epoch_order, epoch_size

_BATCHES_AHEAD = 2
_CROPS_PER_TASK = 4
_CROPS_PER_READ = 1024
"""Of crops in stored order: 16 MB of JPEG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Examples as the network takes them.

    Attributes:
        crops: Registered RGB crops.
        expression: Labels, standard deviations; mirrored where the crop is.
        examples: Which examples these are.
    """

    crops: UInt8[np.ndarray, "batch 224 224 3"]
    expression: Float32[np.ndarray, "batch n_expression"]
    examples: Int64[np.ndarray, " batch"]


def training_batches(
    examples: Examples, *, seed: int, epoch: int, batch_size: int, crops_per_track: int,
    augmentation: Augmentation | None, workers: int, first: int = 0,
) -> Generator[Batch]:
    """One epoch of shuffled batches of `batch_size`, or of all that it shows where these are fewer.

    The remainder, fewer than `batch_size`, is left out: another one each epoch.

    Args:
        examples: Which.
        seed: Decides the order, with `epoch`.
        epoch: Index of the epoch.
        batch_size: Crops per batch.
        crops_per_track: Most crops of one track; 0 for all.
        augmentation: How crops are changed, or None.
        workers: Threads that decode and augment, and as many, at most 8, that read.
        first: Begin with the batch of this index; those before are not read.

    Raises:
        DatasetError: A crop cannot be decoded.
    """
    size = min(batch_size, epoch_size(examples, crops_per_track))
    windows = epoch_order(examples, crops_per_track=crops_per_track, seed=seed, epoch=epoch)
    yield from _batches(examples, _without_first(windows, first * size), size, augmentation, workers)


def _without_first(windows: list[Window], count: int) -> list[Window]:
    left = []
    for window in windows:
        if len(window) > count:
            left.append(window[count:])
        count = max(0, count - len(window))
    return left


def ordered_batches(
    examples: Examples, chosen: Int64[np.ndarray, " chosen"], *, batch_size: int, workers: int
) -> Generator[Batch]:
    """Chosen examples (ascending) in stored order, unchanged, the last batch as long as it is.

    Raises:
        DatasetError: A crop cannot be decoded.
    """
    windows = [chosen[start : start + _CROPS_PER_READ] for start in range(0, len(chosen), _CROPS_PER_READ)]
    yield from _batches(examples, windows, batch_size, None, workers, remainder=True)


_Encoded = list[tuple[int, bytes]]


def _batches(
    examples: Examples, windows: Iterable[Window], size: int, augmentation: Augmentation | None, workers: int, *,
    remainder: bool = False,
) -> Generator[Batch]:
    with CropReader(examples) as reader:
        encoded = _of_size(reader.windows(windows, readers=workers), size, remainder=remainder)
        yield from _decoded(examples, encoded, augmentation, workers)


def _of_size(
    windows: Generator[tuple[Window, dict[int, bytes]]], size: int, *, remainder: bool
) -> Generator[_Encoded]:
    waiting: _Encoded = []
    try:
        for window, jpegs in windows:
            for example in window.tolist():
                waiting.append((example, jpegs.pop(example)))
                if len(waiting) == size:
                    yield waiting
                    waiting = []
        if remainder and waiting:
            yield waiting
    finally:
        windows.close()


def _decoded(
    examples: Examples, batches: Generator[_Encoded], augmentation: Augmentation | None, workers: int
) -> Iterator[Batch]:
    if not workers:
        for items in batches:
            batch = _empty(examples, items)
            _fill(examples, augmentation, batch, items, 0)
            yield batch
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        ahead: deque[tuple[Batch, list[Future[None]]]] = deque()
        try:
            for items in batches:
                batch = _empty(examples, items)
                tasks = [
                    pool.submit(_fill, examples, augmentation, batch, items[start : start + _CROPS_PER_TASK], start)
                    for start in range(0, len(items), _CROPS_PER_TASK)
                ]
                ahead.append((batch, tasks))
                # Batches may be small: each worker has something to do, and something to do next.
                if len(ahead) > max(_BATCHES_AHEAD, math.ceil(2 * workers / len(tasks))):
                    yield _done(ahead.popleft())
            while ahead:
                yield _done(ahead.popleft())
        finally:
            batches.close()
            pool.shutdown(wait=True, cancel_futures=True)


def _empty(examples: Examples, items: _Encoded) -> Batch:
    return Batch(
        crops=np.empty((len(items), 224, 224, 3), np.uint8),
        expression=np.empty((len(items), examples.expression.shape[1]), np.float32),
        examples=np.array([example for example, _ in items], np.int64),
    )


def _done(pending: tuple[Batch, list[Future[None]]]) -> Batch:
    batch, tasks = pending
    for task in tasks:
        task.result()
    return batch


def _fill(examples: Examples, augmentation: Augmentation | None, batch: Batch, items: _Encoded, start: int) -> None:
    """Put crops into their places in a batch, from `start` on."""
    for place, (example, jpeg) in enumerate(items, start):
        crop, label = decoded_crop(jpeg), examples.expression[example]
        if isinstance(crop, str):
            path = examples.shards[int(examples.shard[example])].path
            raise DatasetError(
                f"{path}: crop {int(examples.row[example])} of row group {int(examples.row_group[example])} {crop}; "
                "fetch this file again, or build the dataset again"
            )
        if augmentation is not None:
            crop, label = augmentation(crop, label, example)
        batch.crops[place], batch.expression[place] = crop, label
