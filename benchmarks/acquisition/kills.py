"""A build that is killed at any moment, and resumed: the same bytes, and nothing finished is done again."""

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.acquisition.builds import data, kill_all, kill_parent, results, run_build, start_build
from benchmarks.acquisition.notes import Notes

_LIMIT_S = 900.0
_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kills:
    """What came of it.

    Attributes:
        kills: How often a build was killed in mid-run.
        identical: How often its resume gave the bytes of an undisturbed build.
        repeated: Videos that were fetched or read again although the result had been committed.
    """

    kills: int
    identical: int
    repeated: int


def measure_kills(
    manifest: Path, folder: Path, options: Sequence[str], *, times: int, notes: Notes, say: Callable[[str], None]
) -> Kills:
    """Kill a build again and again, at moments drawn evenly over its duration, and resume it each time.

    Every second time only the process group of the build itself is killed, and its children must notice. What an
    earlier run of the benchmark has measured is not measured again.

    Args:
        manifest: A few rows.
        folder: For the datasets.
        options: Of the builds; results must not depend on when they run.
        times: How often.
        notes: What was measured before, and where to write down what is.
        say: Receives a line for each kill.
    """
    if (duration_s := notes.get("undisturbed_s")) is None:
        shutil.rmtree(folder / "undisturbed", ignore_errors=True)
        began_s = time.monotonic()
        status, _ = run_build(manifest, folder / "undisturbed", options, limit_s=_LIMIT_S)
        duration_s = time.monotonic() - began_s
        if status:
            raise RuntimeError(f"the undisturbed build exits {status}; see {folder / 'undisturbed.log'}")
        notes.note("undisturbed_s", duration_s)
    kills = identical = repeated = 0
    for number in range(2 * times):
        if kills == times:
            break
        name = f"kill {number}"
        if notes.get(name) is None:
            notes.note(name, _measure_kill(manifest, folder, options, number=number, duration_s=duration_s))
        seen = notes.get(name)
        if not seen["killed"]:  # it was faster than the undisturbed one, on a machine that was busier then
            duration_s = min(duration_s, seen["lasted_s"])
            continue
        kills += 1
        identical += seen["same"]
        repeated += seen["again"]
        say(f"kill {kills} of {times} after {seen['moment_s']:.1f} s of {duration_s:.1f} s, {seen['read']} videos "
            f"read: {'the same bytes' if seen['same'] else 'DIFFERENT'}, {seen['again']} finished videos done again")
    if kills < times:
        raise RuntimeError(f"only {kills} of {times} builds could be killed before their end; is the machine busy?")
    return Kills(kills=kills, identical=identical, repeated=repeated)


def _measure_kill(
    manifest: Path, folder: Path, options: Sequence[str], *, number: int, duration_s: float
) -> dict[str, bool | int | float]:
    out = folder / f"killed-{number:02d}"
    shutil.rmtree(out, ignore_errors=True)  # of a run of the benchmark that was stopped in mid-kill
    moment_s = random.Random(f"{_SEED}/{number}").uniform(0, duration_s)
    began_s = time.monotonic()
    process = start_build(manifest, out, options)
    try:
        process.wait(moment_s)
    except subprocess.TimeoutExpired:
        (kill_parent if number % 2 else kill_all)(process)
    except BaseException:  # the benchmark is stopped
        kill_all(process)
        raise
    if process.returncode >= 0:
        return {"killed": False, "lasted_s": time.monotonic() - began_s}
    done, counts = _done(out), _counts(folder / "undisturbed")
    status, _ = run_build(manifest, out, options, limit_s=_LIMIT_S)
    same = status == 0 and data(out) == data(folder / "undisturbed")
    again = sum(_counts(out)[name] - (counts[name] - done[name]) for name in counts)
    if same:
        shutil.rmtree(out)  # what is as it must be need not be looked at
    return {"killed": True, "moment_s": moment_s, "read": done["read"], "same": same, "again": again}


def _counts(out: Path) -> dict[str, int]:
    """What a build says that it really did: downloads and videos searched for faces (or not to be had)."""
    counts = json.loads((out / "run.json").read_bytes())["counts"]
    return {name: counts.get(name, 0) for name in ("fetched", "read")}


def _done(out: Path) -> dict[str, int]:
    """The same, of the results that a killed build had committed."""
    fetched = sum(1 for _ in (out / "store" / "fetch").glob("*/*/video.json"))
    failed = sum(1 for _ in (out / "store" / "fetch").glob("*/*/failure.json"))
    return {"fetched": fetched, "read": failed + results(out, "faces")}
