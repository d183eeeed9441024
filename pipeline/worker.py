"""A worker process of the local runner: Beam's own, which also ends with its driver, and quickly when it is done.

Started by Beam as `python -m pipeline.worker`, which tells it by environment variables whom to call, and its number.
"""

import os
import shlex
import sys

from pipeline.gpus import VISIBLE_VARIABLE, gpu_for
from pipeline.processes import DRIVER_VARIABLE, end_with, leave

# `exec`: Beam runs it in a shell, which need not wait for it.
WORKER_COMMAND = f"exec {shlex.quote(sys.executable)} -m pipeline.worker"
_NUMBER_VARIABLE = "WORKER_ID"  # Beam's: worker_0, worker_1 and so on


def main() -> None:
    """Entry point; an error ends it as any program, with a traceback and a status that the driver sees."""
    end_with(int(os.environ[DRIVER_VARIABLE]))
    if (gpu := gpu_for(int(os.environ[_NUMBER_VARIABLE].rpartition("_")[2]), os.environ)) is not None:
        os.environ[VISIBLE_VARIABLE] = gpu
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
    leave()
