"""The process that drives one Beam run, `python -m pipeline.drive --wave FILE`; see `pipeline.driver`.

Beam's local runner is pinned to FnApiRunner: the default one may download another engine at run time.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.job import state_folder
from pipeline.marks import set_apart_the_dead
from pipeline.processes import DRIVER_VARIABLE, end_with, leave, leave_when_a_worker_dies
from pipeline.wave import Wave
from pipeline.worker import WORKER_COMMAND


def drive(wave_file: Path) -> None:
    """Run one wave in this process, which a parent made for it; it ends with that parent."""
    wave = Wave.read(wave_file)
    end_with(wave.parent_pid)
    leave_when_a_worker_dies(lambda: set_apart_the_dead(state_folder(wave.out)))
    os.environ[DRIVER_VARIABLE] = str(os.getpid())
    _bind_to_loopback()

    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    worker = SubprocessSDKEnvironment.from_command_string(WORKER_COMMAND) if wave.workers > 1 else None
    options = PipelineOptions([*wave.beam_options, f"--direct_num_workers={wave.workers}"])
    pipeline = beam.Pipeline(runner=FnApiRunner(default_environment=worker), options=options)
    elements = pipeline | "Elements" >> beam.Create(list(wave.elements))
    # Each job brings its own imports, for which all workers wait.
    if wave.kind == "label":
        from pipeline.label_job import LabelRows

        _ = elements | "Label" >> LabelRows(wave.out, wave_file)
    else:
        from pipeline.assemble_job import AssembleShards

        _ = elements | "Assemble" >> AssembleShards(wave.out)
    pipeline.run().wait_until_finish()


def _bind_to_loopback() -> None:
    # Beam's local runner opens its unauthenticated ports on all interfaces and has no option for it.
    import grpc

    make = grpc.server

    def server(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        add = made.add_insecure_port
        made.add_insecure_port = lambda address: add(address.replace("[::]", "localhost"))
        return made

    grpc.server = server


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the child process: `python -m pipeline.drive --wave FILE`."""
    parser = argparse.ArgumentParser(description="one Beam run of a build; started by `facevid build`")
    parser.add_argument("--wave", type=Path, required=True, help="the file that says what to run")
    drive(parser.parse_args(arguments).wave)


if __name__ == "__main__":
    main()
    leave()
