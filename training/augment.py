"""Random changes of a training crop that leave its expression alone, or mirror it.

Every draw is keyed by (seed, epoch, example), so a crop changes the same way whoever decodes it and in
whatever order. Jitter stands for what registration gets wrong from frame to frame; blur and JPEG for small
and badly compressed faces, which the network meets outside of the dataset.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

_ROTATION_DEG = 4.0
_SCALE = 0.06
_SHIFT_PX = 6.0
_CONTRAST = 0.25
_BRIGHTNESS = 25.0
_CHANNEL = 0.06
_MID_GREY = 127.5
_BLUR_SHARE = 0.15
_JPEG_SHARE = 0.15
_CENTRE_PX = 112.0
"""The template's line of symmetry, so that a flipped crop is registered as well as the crop was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How to change the crops of one epoch.

    Attributes:
        seed: The training's seed.
        epoch: Index of the epoch.
        mirror: Operator on the coefficients that goes with a flip (`training.mirror`), or None: never flip.
    """

    seed: int
    epoch: int
    mirror: Float32[np.ndarray, "n_expression n_expression"] | None

    def __call__(
        self, crop: UInt8[np.ndarray, "224 224 3"], expression: Float32[np.ndarray, " n_expression"], example: int
    ) -> tuple[UInt8[np.ndarray, "224 224 3"], Float32[np.ndarray, " n_expression"]]:
        """One crop and its label, changed.

        Args:
            crop: Registered RGB crop.
            expression: Its coefficients, standard deviations.
            example: Index of the example in its split, in stored order.
        """
        # One call for all numbers: Python's share is what keeps threads from each other.
        flipped, *place = np.random.default_rng([self.seed, self.epoch, example, 0xA06]).random(14).tolist()
        jitter, colour, (blurred, blur, compressed, quality) = place[:4], place[4:9], place[9:]
        flip = self.mirror is not None and flipped < 0.5
        out = _moved(crop, _jitter(jitter, flip=flip))
        out = cv2.transform(out, _colour(colour))
        if blurred < _BLUR_SHARE:
            out = _blurred(out, _between(0.5, 2.0, blur))
        if compressed < _JPEG_SHARE:
            _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(_between(25.0, 80.0, quality))])
            # Encoder and decoder both take it for BGR: the order of channels stays.
            out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        if self.mirror is not None and flip:
            return np.asarray(out, np.uint8), np.asarray(self.mirror @ expression, np.float32)
        return np.asarray(out, np.uint8), expression


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _moved(
    crop: UInt8[np.ndarray, "224 224 3"], affine: Float32[np.ndarray, "2 3"]
) -> UInt8[np.ndarray, "224 224 3"]:
    """OpenCV moves four channels in half the time of three."""
    four = cv2.cvtColor(crop, cv2.COLOR_RGB2RGBA)
    moved = cv2.warpAffine(four, affine, four.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB), np.uint8)


def _jitter(shares: Sequence[float], *, flip: bool) -> Float32[np.ndarray, "2 3"]:
    """Rotation, scale and shift about the centre, of four numbers in [0, 1)."""
    turn = math.radians(_between(-_ROTATION_DEG, _ROTATION_DEG, shares[0]))
    scale = math.exp(_between(-_SCALE, _SCALE, shares[1]))
    cosine, sine = scale * math.cos(turn), scale * math.sin(turn)
    side = -1.0 if flip else 1.0
    shift_x, shift_y = (_between(-_SHIFT_PX, _SHIFT_PX, share) for share in shares[2:])
    return np.array([
        [side * cosine, -sine, _CENTRE_PX + shift_x - (side * cosine - sine) * _CENTRE_PX],
        [side * sine, cosine, _CENTRE_PX + shift_y - (side * sine + cosine) * _CENTRE_PX],
    ], np.float32)


def _colour(shares: Sequence[float]) -> Float32[np.ndarray, "3 4"]:
    """Gain about mid-grey and offset of each channel, of five numbers in [0, 1)."""
    contrast = math.exp(_between(-_CONTRAST, _CONTRAST, shares[0]))
    brightness = _between(-_BRIGHTNESS, _BRIGHTNESS, shares[1])
    operator = np.zeros((3, 4), np.float32)
    for channel, share in enumerate(shares[2:]):
        gain = contrast * math.exp(_between(-_CHANNEL, _CHANNEL, share))
        operator[channel, channel], operator[channel, 3] = gain, _MID_GREY * (1.0 - gain) + brightness
    return operator


def _blurred(crop: UInt8[np.ndarray, "224 224 3"], sigma_px: float) -> UInt8[np.ndarray, "224 224 3"]:
    """A Gaussian as far as two standard deviations: a quarter of the time of OpenCV's own choice."""
    kernel = cv2.getGaussianKernel(2 * math.ceil(2.0 * sigma_px) + 1, sigma_px)
    return np.asarray(cv2.sepFilter2D(crop, -1, kernel, kernel), np.uint8)
