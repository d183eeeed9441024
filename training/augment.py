"""Random changes of a training crop that leave its expression alone, or mirror it.

Every draw is keyed by (seed, epoch, example), so a crop changes the same way whoever decodes it and in
whatever order. Jitter stands for what registration gets wrong from frame to frame; blur and JPEG for small
and badly compressed faces, which the network meets outside of the dataset.
"""

import math
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
        draw = np.random.default_rng([self.seed, self.epoch, example, 0xA06])
        flip = self.mirror is not None and draw.random() < 0.5
        out = cv2.warpAffine(crop, _jitter(draw, flip=flip), (crop.shape[1], crop.shape[0]), flags=cv2.INTER_LINEAR,
                             borderMode=cv2.BORDER_REFLECT_101)
        out = _photometric(out, draw)
        if draw.random() < _BLUR_SHARE:
            out = cv2.GaussianBlur(out, (0, 0), draw.uniform(0.5, 2.0))
        if draw.random() < _JPEG_SHARE:
            _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(draw.integers(25, 80))])
            # Encoder and decoder both take it for BGR: the order of channels stays.
            out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        if self.mirror is not None and flip:
            return np.asarray(out, np.uint8), np.asarray(self.mirror @ expression, np.float32)
        return np.asarray(out, np.uint8), expression


def _jitter(draw: np.random.Generator, *, flip: bool) -> Float32[np.ndarray, "2 3"]:
    turn = math.radians(draw.uniform(-_ROTATION_DEG, _ROTATION_DEG))
    scale = math.exp(draw.uniform(-_SCALE, _SCALE))
    shift = draw.uniform(-_SHIFT_PX, _SHIFT_PX, 2)
    linear = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    if flip:
        linear[:, 0] *= -1.0
    centre = np.full(2, _CENTRE_PX)
    return np.column_stack([linear, centre + shift - linear @ centre]).astype(np.float32)


def _photometric(crop: UInt8[np.ndarray, "224 224 3"], draw: np.random.Generator) -> UInt8[np.ndarray, "224 224 3"]:
    gain = math.exp(draw.uniform(-_CONTRAST, _CONTRAST)) * np.exp(draw.uniform(-_CHANNEL, _CHANNEL, 3))
    offset = draw.uniform(-_BRIGHTNESS, _BRIGHTNESS)
    levels = np.arange(256)[:, None]
    table = np.clip(np.rint((levels - 127.5) * gain + 127.5 + offset), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(crop, table[None]), np.uint8)
