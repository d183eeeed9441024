"""The words and numbers of the report: headline, failures by code, and what is known of each video."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facevid import storage
from facevid.dataset import Dataset
from facevid.description import RELEASE_STEP
from facevid.failures import FailureExamples


@dataclass(frozen=True, slots=True)
class Fact:
    """A label with a value.

    Attributes:
        label: What it is.
        value: What it says, with its unit.
        wide: Whether it needs a line of its own.
    """

    label: str
    value: str
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRow:
    """Failures of one stage with one code.

    Attributes:
        stage: Where.
        code: Why.
        items: How many.
        examples: The first few of them of which different things were said.
    """

    stage: str
    code: str
    items: int
    examples: tuple[str, ...]


def headline(dataset: Dataset, tracks: Sequence[Mapping[str, Any]]) -> tuple[Fact, ...]:
    """The numbers to see first."""
    steps = {step.step: step for step in dataset.description.funnel}
    kept = [track for track in tracks if track["kept"]]
    cards = []
    if "manifest" in steps:
        cards.append(Fact("videos in the manifest", _count(steps["manifest"].entered)))
    cards += [
        Fact("videos with a kept face track", _count(len({track["video_id"] for track in kept}))),
        Fact("face tracks kept", f"{_count(len(kept))} of {_count(len(tracks))}"),
    ]
    if (last := steps.get(RELEASE_STEP) or steps.get("frames")) is not None:
        cards.append(Fact("frames kept", _count(last.ok)))
    cards.append(Fact("minutes of face", f"{sum(track['end_s'] - track['start_s'] for track in kept) / 60:.1f}"))
    if kept:
        cards += [
            Fact("median re-projection error", _percent(np.median([track["reprojection_error"] for track in kept]))),
            Fact("median hold-out error", _percent(np.median([track["holdout_error"] for track in kept]))),
        ]
    return tuple(cards)


def run_facts(dataset: Dataset) -> tuple[Fact, ...]:
    """How the last build went, as far as `run.json` tells; nothing where it is missing (in a release, say)."""
    path = storage.join(dataset.root, "run.json")
    if not storage.exists(path):
        return ()
    run = json.loads(storage.read_bytes(path))
    cpus = (run.get("machine") or {}).get("cpus")
    steps = ", ".join(f"{step} {ms:.2f}" for step, ms in (run.get("faces_ms_per_frame") or {}).items())
    steps_label = "faces stage, ms per frame"
    facts = (
        ("last build", run.get("wall_s"), "{:.0f} s"),
        ("workers", run.get("workers"), "{}"),
        ("processor cores", cpus, "{}"),
        ("faces stage", run.get("faces_frames_per_s"), "{} frames/s per worker"),
        ("fit stage", run.get("fit_frames_per_s"), "{} frames/s per worker"),
        ("worker processes that died", run.get("worker_deaths"), "{}"),
        (steps_label, steps or None, "{}"),
    )
    return tuple(
        Fact(label, text.format(value), wide=label == steps_label) for label, value, text in facts if value is not None
    )


def failure_rows(failures: Sequence[Mapping[str, Any]]) -> tuple[FailureRow, ...]:
    """Failures by stage and code, the most frequent first, each with the first few of them."""
    counts = Counter((row["stage"], row["code"]) for row in failures)
    examples = FailureExamples()
    for row in failures:
        examples.add((row["stage"], row["code"]), row["message"], row["video_id"])
    return tuple(
        FailureRow(
            stage=stage,
            code=code,
            items=items,
            examples=examples.of((stage, code)),
        )
        for (stage, code), items in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    )


def video_facts(tracks: Sequence[Mapping[str, Any]]) -> tuple[Fact, ...]:
    """Where a video came from and what it is, from any of its tracks."""
    row = tracks[0]
    facts = [Fact("source", row["url"], wide=True)]
    facts += [
        Fact(label, row[key])
        for label, key in (
            ("licence", "licence"),
            ("uploader", "uploader"),
            ("attribution", "attribution"),
            ("published", "upload_date"),
            ("fetched", "fetched_at"),
            ("subject", "subject_id"),
        )
        if row[key]
    ]
    facts += [
        Fact("split", row["split"]),
        Fact("size", f"{row['width_px']} x {row['height_px']} px"),
        Fact("rate", f"{row['fps']:.2f} frames/s"),
        Fact("codec", row["codec"]),
        Fact("sha256", row["source_sha256"][:16]),
    ]
    return tuple(facts)


def _count(number: int) -> str:
    return f"{number:,}"


def _percent(share: Any) -> str:
    return f"{100 * float(share):.2f} %"
