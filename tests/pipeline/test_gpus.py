"""Workers are spread over the GPUs; what there is to choose from is the machine's, or what the user says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.gpus import VISIBLE_VARIABLE, gpu_for
from pipeline.processes import DRIVER_VARIABLE

ROOT = Path(__file__).parents[2]


def test_workers_take_the_gpus_of_the_machine_in_turn() -> None:
    assert [gpu_for(worker, {}, count=lambda: 3) for worker in range(7)] == ["0", "1", "2", "0", "1", "2", "0"]


def test_what_the_user_shows_is_all_there_is() -> None:
    shown = {VISIBLE_VARIABLE: "5, GPU-8f2c"}
    assert [gpu_for(worker, shown, count=lambda: 8) for worker in range(3)] == ["5", "GPU-8f2c", "5"]
    assert [gpu_for(worker, {VISIBLE_VARIABLE: "4,6,-1,7"}, count=lambda: 8) for worker in range(3)] == ["4", "6", "4"]


@pytest.mark.parametrize("shown", ["", "-1", "3", "3,-1,4"])
def test_one_gpu_or_none_leaves_nothing_to_choose(shown: str) -> None:
    assert gpu_for(1, {VISIBLE_VARIABLE: shown}, count=lambda: 8) is None
    assert gpu_for(1, {}, count=lambda: 1) is None
    assert gpu_for(1, {}, count=lambda: 0) is None


def test_a_worker_process_sees_its_own_gpu_before_anything_could_load_cuda() -> None:
    # In the place of Beam's own part of the worker: what that would find.
    code = (
        "import os, sys\n"
        "from apache_beam.runners.worker import sdk_worker_main\n"
        "from pipeline import worker\n"
        "sdk_worker_main.main = lambda _: print(os.environ['CUDA_VISIBLE_DEVICES'], 'torch' in sys.modules)\n"
        "worker.main()\n"
    )
    seen = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True,
            env=os.environ | {VISIBLE_VARIABLE: "2,7", "WORKER_ID": f"worker_{n}", DRIVER_VARIABLE: str(os.getpid())},
        ).stdout.split()
        for n in (0, 3)
    ]  # fmt: skip
    assert seen == [["2", "False"], ["7", "False"]]
