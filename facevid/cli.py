"""The command line. Each command imports what it needs when it runs, so that help answers at once."""

import difflib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.metadata import version

import tyro

from facevid.commands.assets import AssetsFetch, AssetsList, AssetsVerify
from facevid.commands.build import Build, Purge, Retry, Status
from facevid.commands.calibration import ModelCalibrate
from facevid.commands.dataset import Demo, ManifestSchema, Report, Schema
from facevid.commands.egress import Egress
from facevid.commands.export import Export
from facevid.commands.fit import Fit
from facevid.commands.help_text import description, listed, whole_sentences
from facevid.commands.model import ModelBuild, ModelImport, ModelInfo, ModelRender
from facevid.commands.release import Release, Verify
from facevid.commands.sigterm import sigterm_interrupts
from facevid.commands.train import Predict, TrainDeepExp3D, TrainExpression
from training.stopping import Terminated

TRACEBACK_VARIABLE = "FACEVID_TRACEBACK"
"""Environment variable: set, an error keeps its traceback."""

_Command = type[
    AssetsList | AssetsFetch | AssetsVerify | ModelInfo | ModelBuild | ModelRender | ModelImport | ModelCalibrate | Fit
    | Export | Build | Retry | Status | Purge | Schema | ManifestSchema | Report | Release | Verify | TrainDeepExp3D
    | TrainExpression | Predict | Demo | Egress
]
COMMANDS: dict[str, _Command] = {
    "assets list": AssetsList,
    "assets fetch": AssetsFetch,
    "assets verify": AssetsVerify,
    "model info": ModelInfo,
    "model build": ModelBuild,
    "model render": ModelRender,
    "model import": ModelImport,
    "model calibrate": ModelCalibrate,
    "fit": Fit,
    "export": Export,
    "build": Build,
    "retry": Retry,
    "status": Status,
    "purge": Purge,
    "schema": Schema,
    "schema manifest": ManifestSchema,
    "report": Report,
    "release": Release,
    "verify": Verify,
    "train deepexp3d": TrainDeepExp3D,
    "train expression": TrainExpression,
    "predict": Predict,
    "demo": Demo,
    "egress": Egress,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after `facevid`; the default is the process's own.

    Returns:
        Exit status: 0 done, 1 done but the answer is no, 2 the user's mistake.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Read when torch is loaded. Threads that spin while they wait for one another halve the speed of a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        try:
            return _run(words)
        finally:
            sys.stdout.flush()  # so that a closed pipe shows here, not when the interpreter ends
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        print(version("facevid"))
        return 0
    name = next((n for n in (" ".join(words[:2]), " ".join(words[:1])) if n in COMMANDS), None)
    if name is None:
        return _overview(words)
    rest = words[len(name.split()) :]
    beam_options: list[str] = []
    if name == "build" and "--" in rest:
        cut = rest.index("--")
        rest, beam_options = rest[:cut], rest[cut + 1 :]
    try:
        with whole_sentences():
            command = tyro.cli(
                COMMANDS[name],
                prog=f"facevid {name}",
                args=rest,
                description=description(COMMANDS[name]),
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except ValueError as error:  # an option out of its range
        print(f"facevid: error: {error}", file=sys.stderr)
        return 2
    goes_on = isinstance(command, (Build, Retry, Purge, TrainDeepExp3D))

    def again() -> str:
        if isinstance(command, TrainDeepExp3D) and not command.goes_on():
            return " before anything was saved; run again, the same command begins anew"
        return "; run the same command again to go on" if goes_on else ""

    # A release that is stopped clears away what it wrote.
    with sigterm_interrupts() if goes_on or isinstance(command, Release) else nullcontext():
        if isinstance(command, Build):
            return _guarded(lambda: command.run(beam_options), interrupted=again)
        return _guarded(command.run, interrupted=again)


def _overview(words: list[str]) -> int:
    asked = not words or words[0] in {"-h", "--help", "help"}
    group = [n for n in COMMANDS if words and n.split()[0] == words[0]]
    width = max(map(len, COMMANDS))
    listing = [listed(n, COMMANDS[n], name_width=width) for n in group or COMMANDS]
    if asked or (group and words[1:] in ([], ["-h"], ["--help"])):
        print("\n".join(["usage: facevid COMMAND [--help]", "", *listing, ""]))
        return 0
    typed = " ".join(word for word in words[:2] if not word.startswith("-"))
    near = difflib.get_close_matches(typed, COMMANDS, n=1) or difflib.get_close_matches(words[0], COMMANDS, n=1)
    if group:
        print("\n".join([*listing, ""]), file=sys.stderr)
    meant = f" (did you mean `facevid {near[0]}`?)" if near else ""
    print(f"facevid: error: no command {typed!r}{meant}; `facevid --help` lists them all", file=sys.stderr)
    return 2


def _guarded(run: Callable[[], int], *, interrupted: Callable[[], str]) -> int:
    try:
        return run()
    except KeyboardInterrupt as stopped:
        print(f"facevid: stopped{interrupted()}", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT)
    except BrokenPipeError:
        raise
    except _mistakes() as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        print(f"facevid: error: {error}", file=sys.stderr)
        return 2


def _mistakes() -> tuple[type[Exception], ...]:
    # What a user or a file can cause is one line; anything else is a bug and keeps its traceback. Looked up when
    # something was raised, so that help loads none of it.
    from facevid.assets import AssetError
    from facevid.description import DatasetError
    from pipeline.driver import BuildError
    from pipeline.faces.errors import VideoError
    from pipeline.output_lock import StoreBusyError
    from training.video_writer import VideoWriteError

    return (
        AssetError, BuildError, DatasetError, StoreBusyError, VideoError, VideoWriteError,
        OSError, ValueError,
        FloatingPointError,  # a training that diverged; its message says what to change
    )
