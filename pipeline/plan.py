"""The plan of a build, as a file: the job and all rows, for workers, for `facevid status`, and for a resume."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from facevid import storage
from pipeline.job import Job, state_folder
from pipeline.manifest import BadRow, Manifest, ManifestRow

_FILE = "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be built.

    Attributes:
        job: The build.
        manifest: All its rows.
    """

    job: Job
    manifest: Manifest


def write_plan(plan: Plan) -> None:
    """Write the plan into the job's state folder."""
    content = {
        "job": plan.job.to_plain(),
        "folder": str(plan.manifest.folder),
        "rows": [asdict(row) for row in plan.manifest.rows],
        "bad_rows": [asdict(row) for row in plan.manifest.bad_rows],
    }
    storage.write_bytes(plan.job.state / _FILE, json.dumps(content, ensure_ascii=False).encode())


def read_plan(out: Path) -> Plan:
    """Read the plan of the build into a dataset folder.

    Raises:
        FileNotFoundError: No build was ever begun there.
    """
    content = json.loads((state_folder(out) / _FILE).read_bytes())
    rows = (row | {"extra": tuple(tuple(pair) for pair in row["extra"])} for row in content["rows"])
    manifest = Manifest(
        rows=tuple(ManifestRow(**row) for row in rows),
        bad_rows=tuple(BadRow(**row) for row in content["bad_rows"]),
        folder=Path(content["folder"]),
    )
    return Plan(job=Job.from_plain(content["job"]), manifest=manifest)
