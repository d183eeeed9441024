"""Crops from the shards in batches: in an order that is a function of (seed, epoch), decoded by threads.

Row groups are permuted, a window of several is open at a time, and its examples are permuted: adjacent
frames of a video, which share a row group, come far apart, and still every row group is read once. Threads
are enough, since OpenCV decodes without Python's lock; how many there are does not change the batches.
"""

import struct
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Float32, Int64, UInt8

from facevid.description import DatasetError
from training.augment import Augmentation
from training.examples import Examples

WINDOW_ROW_GROUPS = 16
"""Row groups mixed with each other: 16 of 512 crops hold about 130 MB of JPEG."""
_BATCHES_AHEAD = 2
_CROP_SHAPE = (224, 224, 3)
_LARGEST_CROP_BYTES = 256 << 10
"""More than its pixels take without any compression."""
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_HEADER = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_PNG_SIZE = struct.Struct(">II")  # width, height


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


def epoch_order(examples: Examples, *, seed: int, epoch: int) -> list[Int64[np.ndarray, " _"]]:
    """The order of one epoch, window by window: permuted row groups, then permuted examples in each window."""
    draw = np.random.default_rng([seed, epoch, 0x0D3])
    groups = np.split(np.arange(len(examples), dtype=np.int64), _group_starts(examples)[1:])
    order = draw.permutation(len(groups))
    windows = []
    for start in range(0, len(order), WINDOW_ROW_GROUPS):
        window = np.concatenate([groups[group] for group in order[start : start + WINDOW_ROW_GROUPS]])
        windows.append(draw.permutation(window))
    return windows


def training_batches(
    examples: Examples, *, seed: int, epoch: int, batch_size: int, augmentation: Augmentation | None, workers: int,
    first: int = 0,
) -> Generator[Batch]:
    """One epoch of shuffled batches of `batch_size`, or of all examples where there are fewer.

    The remainder, fewer than `batch_size`, is left out: another one each epoch.

    Args:
        examples: Which.
        seed: Decides the order, with `epoch`.
        epoch: Index of the epoch.
        batch_size: Crops per batch.
        augmentation: How crops are changed, or None.
        workers: Threads that decode and augment.
        first: Begin with the batch of this index; those before are not read.

    Raises:
        DatasetError: A crop cannot be decoded.
    """
    size = min(batch_size, len(examples))
    windows = _without_first(epoch_order(examples, seed=seed, epoch=epoch), first * size)
    yield from _decoded(examples, _batched(examples, windows, size), augmentation, workers)


def _without_first(windows: list[Int64[np.ndarray, " _"]], count: int) -> list[Int64[np.ndarray, " _"]]:
    left = []
    for window in windows:
        if len(window) > count:
            left.append(window[count:])
        count = max(0, count - len(window))
    return left


def ordered_batches(
    examples: Examples, chosen: Int64[np.ndarray, " chosen"], *, batch_size: int, workers: int
) -> Iterator[Batch]:
    """Chosen examples (ascending) in stored order, unchanged, the last batch as long as it is.

    Raises:
        DatasetError: A crop cannot be decoded.
    """
    starts = _group_starts(examples)
    windows = [window for window in np.split(chosen, np.searchsorted(chosen, starts[1:])) if len(window)]
    yield from _decoded(examples, _batched(examples, windows, batch_size, remainder=True), None, workers)


def _group_starts(examples: Examples) -> Int64[np.ndarray, " groups"]:
    changes = (np.diff(examples.shard) != 0) | (np.diff(examples.row_group) != 0)
    return np.concatenate([np.zeros(1, np.int64), np.flatnonzero(changes) + 1])


_Encoded = list[tuple[int, bytes]]


def _batched(
    examples: Examples, windows: list[Int64[np.ndarray, " _"]], size: int, *, remainder: bool = False
) -> Iterator[_Encoded]:
    waiting: _Encoded = []
    for window in windows:
        jpegs = _read(examples, window)
        for example in window.tolist():
            waiting.append((example, jpegs.pop(example)))
            if len(waiting) == size:
                yield waiting
                waiting = []
    if remainder and waiting:
        yield waiting


def _read(examples: Examples, window: Int64[np.ndarray, " window"]) -> dict[int, bytes]:
    """The JPEG files of a window's examples; each row group is read once."""
    places: dict[tuple[int, int], list[int]] = {}
    for example in np.sort(window).tolist():
        places.setdefault((int(examples.shard[example]), int(examples.row_group[example])), []).append(example)
    jpegs = {}
    for (shard, group), members in places.items():
        with examples.dataset.open_shard(examples.shards[shard]) as file:
            column = file.read(["jpeg"], row_group=group)["jpeg"]
        for example in members:
            jpegs[example] = column[int(examples.row[example])].as_py()
    return jpegs


def _decoded(
    examples: Examples, batches: Iterator[_Encoded], augmentation: Augmentation | None, workers: int
) -> Iterator[Batch]:
    work = partial(_decode, examples, augmentation)
    if not workers:
        yield from (_stack([work(item) for item in batch]) for batch in batches)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        ahead: deque[list[Future[_Decoded]]] = deque()
        try:
            for batch in batches:
                ahead.append([pool.submit(work, item) for item in batch])
                if len(ahead) > _BATCHES_AHEAD:
                    yield _stack([future.result() for future in ahead.popleft()])
            while ahead:
                yield _stack([future.result() for future in ahead.popleft()])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_Decoded = tuple[int, np.ndarray, np.ndarray]


def _decode(examples: Examples, augmentation: Augmentation | None, item: tuple[int, bytes]) -> _Decoded:
    example, jpeg = item
    picture = _picture(jpeg)
    if isinstance(picture, str):
        path = examples.shards[int(examples.shard[example])].path
        raise DatasetError(
            f"{path}: crop {int(examples.row[example])} of row group {int(examples.row_group[example])} {picture}; "
            "fetch this file again, or build the dataset again"
        )
    crop = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    label = examples.expression[example]
    if augmentation is not None:
        crop, label = augmentation(crop, label, example)
    return example, crop, label


def _picture(data: bytes) -> UInt8[np.ndarray, "224 224 3"] | str:
    """The pixels, BGR, or what is wrong with the file: a shard may come from a stranger.

    OpenCV reads a score of other formats, and a file of a kilobyte that says so becomes a picture of gigabytes.
    """
    size_px = _declared_size_px(data) if len(data) <= _LARGEST_CROP_BYTES else None
    if size_px is None:
        return "is no picture"
    if size_px != _CROP_SHAPE[:2]:
        return f"is {size_px[1]} x {size_px[0]} pixels, not {_CROP_SHAPE[1]} x {_CROP_SHAPE[0]}"
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return "is no picture" if picture is None or picture.shape != _CROP_SHAPE else picture


def _declared_size_px(data: bytes) -> tuple[int, int] | None:
    """Height and width of which a JPEG or PNG file's header says that it is; None where it is neither."""
    if data.startswith(_PNG_HEADER) and len(data) >= len(_PNG_HEADER) + _PNG_SIZE.size:
        width, height = _PNG_SIZE.unpack_from(data, len(_PNG_HEADER))
        return height, width
    if not data.startswith(_JPEG_SIGNATURE):
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return height, width


def _stack(items: list[_Decoded]) -> Batch:
    return Batch(
        crops=np.stack([crop for _, crop, _ in items]),
        expression=np.stack([label for _, _, label in items]).astype(np.float32),
        examples=np.array([example for example, _, _ in items], np.int64),
    )
