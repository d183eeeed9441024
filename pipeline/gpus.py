"""Which GPU a worker process uses: of those that the build may use the first, the second and so on, over and over.

A process uses the first GPU that it sees, so each is shown one. Nothing here loads CUDA: what a process may see is
settled when it does.
"""

import ctypes
from collections.abc import Callable, Mapping

VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable: numbers or names of the GPUs that a process sees, with commas between them."""

_MANAGEMENT_LIBRARY = "libnvidia-ml.so.1"


def gpu_for(worker: int, environ: Mapping[str, str], *, count: Callable[[], int] | None = None) -> str | None:
    """What a worker is to be shown, as the value of `CUDA_VISIBLE_DEVICES`; None where there is nothing to choose.

    Args:
        worker: The worker's number, from 0.
        environ: The environment that the build was started in: what it shows is what there is to choose from.
        count: How many GPUs the machine has; tests replace it.
    """
    shown = environ.get(VISIBLE_VARIABLE)
    if shown is None:
        gpus = [str(number) for number in range((count or count_gpus)())]
    else:
        gpus = [name.strip() for name in shown.split(",")]
        # CUDA takes no further notice of what stands behind a name that is none; "-1" is the way to hide the rest.
        gpus = gpus[: next((place for place, name in enumerate(gpus) if name in {"", "-1"}), len(gpus))]
    return gpus[worker % len(gpus)] if len(gpus) > 1 else None


def count_gpus() -> int:
    """How many GPUs NVIDIA's management library knows on this machine or in this container; 0 without it."""
    try:
        library = ctypes.CDLL(_MANAGEMENT_LIBRARY)
    except OSError:
        return 0
    if library.nvmlInit_v2() != 0:
        return 0
    try:
        found = ctypes.c_uint()
        return found.value if library.nvmlDeviceGetCount_v2(ctypes.byref(found)) == 0 else 0
    finally:
        library.nvmlShutdown()
