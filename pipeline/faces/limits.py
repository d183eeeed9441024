"""How much of a decoder one video may ask for. Standard library only: the command line imports it."""

import math
from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """Bounds on what one file may cost. A video beyond them fails with a code; none of them changes a result."""

    max_duration_s: float = 4 * 3600.0
    """Longer videos are refused as too_large, seconds."""
    max_frames: int = 1_000_000
    """Videos that promise, or have in one span, more frames than this are refused as too_large."""
    max_pixels: int = 7680 * 4320
    """Videos with larger pictures are refused as too_large before one is decoded, pixels per frame."""
    decoder_memory_bytes: int = 4 * GIB
    """Address space of the decoder's process (RLIMIT_AS); what needs more fails as out_of_memory."""
    decoder_stall_s: float = 60.0
    """Longest wait for the decoder's next byte; then it is ended and the video fails as timeout, seconds."""
    decoder_cpu_s: float = 2 * 3600.0
    """CPU time for decoding one span (RLIMIT_CPU); a video that needs more fails as timeout, seconds."""

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: Naming the option and its value.
        """
        for name, low in (
            ("max_duration_s", 0.0), ("max_frames", 1), ("max_pixels", 1), ("decoder_memory_bytes", GIB // 2),
            ("decoder_stall_s", 0.1), ("decoder_cpu_s", 1.0),
        ):  # fmt: skip
            value = getattr(self, name)
            if not value >= low:  # also refuses NaN
                raise ValueError(f"{name}={value!r} must be at least {low}")
        for name in ("decoder_stall_s", "decoder_cpu_s"):
            if not math.isfinite(value := getattr(self, name)):
                raise ValueError(f"{name}={value!r} must be finite")
