"""`facevid retry`: failures of an earlier build are tried again, by kind, with its own manifest and options."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from facevid import assets
from facevid.counted import counted
from facevid.description import DatasetError
from facevid.failures import FailureCode
from pipeline.plan import Plan, read_plan
from pipeline.prepare import make_job, run_job
from pipeline.row_state import failures_to_forget, row_state
from pipeline.store import Store
from pipeline.tell import LookTeller
from pipeline.waves import BuildSummary

_NEVER_OTHERWISE = frozenset({FailureCode.BAD_ROW, FailureCode.FIT_DIVERGED})


def retry_build(
    out: Path,
    *,
    only: Collection[FailureCode] = (),
    workers: int | None = None,
    report: Callable[[str], None],
) -> BuildSummary:
    """Try failures of a build again, and bring its tables up to date. Rows that are not done yet are done as well.

    Args:
        out: The dataset folder of an earlier build; its manifest and options are taken as they were.
        only: Codes to try again; all that may pass later where none are given.
        workers: Worker processes, where other than before.
        report: Receives progress lines.

    Raises:
        DatasetError: No build was ever begun there.
        ValueError: Codes that cannot be tried again; or the face model or the networks are not those of the build.
        BuildError, AssetError, StoreBusyError: As in `pipeline.build.run_build`.
    """
    codes = retry_codes(only)
    plan = _begun_plan(out)
    options = plan.job.options if workers is None else replace(plan.job.options, workers=workers)
    job, model = make_job(plan.manifest, out, options, assets.fetch_landmark_networks())
    for name in ("model_sha256", "detector_sha256"):
        if getattr(job, name) != getattr(plan.job, name):
            raise ValueError(f"{name} is {getattr(job, name)} but was {getattr(plan.job, name)} in the build of {out}; "
                             "`facevid build` with the manifest brings all of it up to date")
    return run_job(job, model, plan.manifest, retry=codes, report=report)


def retry_text(
    out: Path, only: Collection[FailureCode] = (), *, report: Callable[[str], None] = lambda _: None
) -> str:
    """Say what `retry_build` would try again, without doing anything.

    Args:
        out: The dataset folder of an earlier build.
        only: As in `retry_build`.
        report: Receives progress lines where there are very many rows.

    Raises:
        DatasetError: No build was ever begun there.
        ValueError: Codes that cannot be tried again.
    """
    codes = retry_codes(only)
    plan = _begun_plan(out)
    store = Store(plan.job.store_folder)
    counts: Counter[tuple[FailureCode, str]] = Counter()
    left: Counter[FailureCode] = Counter()
    rows = LookTeller("looking for failures", len(plan.manifest.rows), report)
    for row in plan.manifest.rows:
        state = row_state(row, plan.job, store)
        rows.seen()
        if state.failure is None:
            continue
        if failures_to_forget(state, codes):
            counts[state.failure.code, urlsplit(row.url).netloc.lower() or "local files"] += 1
        else:
            left[state.failure.code] += 1
    listed = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    lines = [f"{counted(sum(counts.values()), 'video')} would be tried again"]
    lines += [f"{count:>8}  {code:<20}{host}" for (code, host), count in listed]
    if left:
        ordered = sorted(left.items(), key=lambda pair: (-pair[1], pair[0]))
        others = ", ".join(f"{count} {code}" for code, count in ordered)
        lines.append(f"{left.total()} would be left alone: {others}")
        if not only:
            lines.append("these fail again as they are; where you have changed that, name them: --only CODE[,CODE ...]")
    return "\n".join(lines)


def retry_codes(only: Collection[FailureCode]) -> frozenset[FailureCode]:
    """The codes to try again: those given, else all that may pass later.

    Raises:
        ValueError: Some of those given cannot pass, whenever they are tried.
    """
    if vain := sorted(_NEVER_OTHERWISE.intersection(only)):
        raise ValueError(f"only={', '.join(vain)}: only another manifest or other options change that")
    return frozenset(only) or frozenset(code for code in FailureCode if code.retryable)


def _begun_plan(out: Path) -> Plan:
    try:
        return read_plan(out, whole=True)
    except FileNotFoundError as error:
        raise DatasetError(f"no build was begun in {out}, so there is nothing to try again") from error
