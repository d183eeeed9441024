"""Commands on a dataset: build, status, columns, report, and the demo of them all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from facevid.commands.console import say, use_one_opencv_thread
from facevid.failures import FailureCode
from pipeline.config import BuildOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Build a dataset from a manifest of videos; run it again to resume.

    Columns of the manifest: see manifests/README.md. Beam options go after `--`. A second run keeps what is done and
    leaves failures alone; `--retry network rate_limited` tries those again.

    Example: facevid build manifest.csv --out out --allow-local --workers 2
    """

    manifest: tyro.conf.Positional[Path]
    """CSV, JSON lines (.jsonl) or Parquet file with one row per video."""
    out: Path
    """Folder of the dataset."""
    skip_bad_rows: bool = False
    """Go on without the manifest's bad rows (they are counted as failed) instead of refusing it."""
    dry_run: bool = False
    """Check the manifest, print what would be done, and do nothing."""
    retry: Annotated[
        tuple[FailureCode, ...], tyro.conf.EnumChoicesFromValues, tyro.conf.arg(metavar="CODE [CODE ...]")
    ] = ()
    """Try failures with these codes again, such as `--retry network rate_limited`; `facevid status` shows the codes."""
    options: Annotated[BuildOptions, tyro.conf.arg(name="")] = field(default_factory=BuildOptions)

    def run(self, beam_options: Sequence[str]) -> int:
        """Build, print the funnel."""
        from pipeline.build import plan_build, run_build
        from pipeline.status import render, status

        if self.dry_run:
            print(plan_build(self.manifest, self.out, self.options, skip_bad_rows=self.skip_bad_rows))
            return 0
        run_build(
            self.manifest,
            self.out,
            self.options,
            beam_options=beam_options,
            skip_bad_rows=self.skip_bad_rows,
            retry=self.retry,
            report=say,
        )
        print(render(status(self.out)))
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Show the funnel, the failures by code, and how far a running build is.

    Example: facevid status out
    """

    out: tyro.conf.Positional[Path]
    """Folder of the dataset."""

    def run(self) -> int:
        """Print the status."""
        from pipeline.status import render, status

        print(render(status(self.out)))
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Show every column of a dataset's tables: type, unit, meaning.

    Example: facevid schema --table frames
    """

    dataset: tyro.conf.Positional[Path | None] = None
    """Folder of the dataset; without it, lengths are those of FaceVid-CC0 and the mediapipe68 landmarks."""
    table: Literal["frames", "tracks", "crops", "failures"] | None = None
    """Only this table."""

    def run(self) -> int:
        """Print the columns."""
        from facevid.dataset import open_dataset
        from facevid.schema import column_lines, dataset_schemas

        if self.dataset is None:
            schemas = dataset_schemas(points=68, n_identity=80, n_expression=28)
        else:
            about = open_dataset(self.dataset).description
            schemas = dataset_schemas(
                points=about.points, n_identity=about.n_identity, n_expression=about.n_expression
            )
        for name, schema in schemas.items():
            if self.table in (None, name):
                print("\n".join([name, *(f"  {line}" for line in column_lines(schema)), ""]))
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestSchema:
    """Print the JSON Schema of a manifest's rows, for editors and validators.

    Example: facevid schema manifest > manifest.schema.json
    """

    def run(self) -> int:
        """Print it."""
        import json

        from pipeline.manifest_columns import manifest_schema

        print(json.dumps(manifest_schema(), indent=2, ensure_ascii=False))
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Write one HTML page with the funnel, strips of frames with landmarks and mesh, and expression curves.

    The page holds pictures of the persons in the videos: keep it as carefully as the videos.

    Example: facevid report out --html out/report.html
    """

    dataset: tyro.conf.Positional[Path]
    """Folder of the dataset."""
    html: Path | None = None
    """The page to write; the default is report.html in the dataset's folder."""
    models: tuple[Path, ...] = ()
    """Model folders whose training is to be shown as well."""
    store: Path | None = None
    """Where the build kept its videos, if not in `store` inside the dataset's folder."""

    def run(self) -> int:
        """Write the page, print its path."""
        from facevid.report.page import write_report

        html = self.html or self.dataset / "report.html"
        print(write_report(self.dataset, html, store=self.store, models=self.models, report=say))
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Run the whole line on five real videos from the package index: dataset, models, prediction, report.

    Example: facevid demo --out demo
    """

    out: Path = Path("demo")
    """Folder for everything that the demo writes."""
    workers: int = 2
    """Worker processes."""

    def run(self) -> int:
        """Run it, print where the report is."""
        from facevid.demo import run_demo

        use_one_opencv_thread()
        run_demo(self.out, workers=self.workers, report=say)
        return 0
