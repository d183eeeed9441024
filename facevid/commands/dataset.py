"""Commands on a dataset: columns, report, and the demo of them all."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from facevid.commands.console import say, use_one_opencv_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Show every column of a dataset's tables: type, unit, meaning; of a dataset also between what its numbers lie.

    Columns that a dataset lacks, as an earlier version wrote it, are marked.

    Example: facevid schema out --table frames
    """

    dataset: tyro.conf.Positional[Path | None] = None
    """Folder of the dataset; without it, lengths are those of FaceVid-CC0 and the mediapipe68 landmarks."""
    table: Literal["frames", "tracks", "crops", "failures"] | None = None
    """Only this table."""

    def run(self) -> int:
        """Print the columns."""
        from facevid.dataset import open_dataset
        from facevid.schema import column_lines, dataset_schemas
        from facevid.spread import spreads

        if self.dataset is None:
            dataset = None
            schemas = dataset_schemas(points=68, n_identity=80, n_expression=28)
        else:
            dataset = open_dataset(self.dataset)
            about = dataset.description
            schemas = dataset_schemas(
                points=about.points, n_identity=about.n_identity, n_expression=about.n_expression
            )
        for name, schema in schemas.items():
            if self.table not in (None, name):
                continue
            known = spreads(dataset, name) if dataset is not None else {}
            lacking = dataset.lacking(name) if dataset is not None else ()
            none_there = len(lacking) == len(schema.names)
            print(f"{name} (not in this dataset)" if none_there else name)
            for column, line in zip(schema.names, column_lines(schema), strict=True):
                note = f"; {known[column].words()}" if column in known else ""
                if column in lacking and not none_there:
                    note = "; NOT IN THIS DATASET, which an earlier version wrote: build again"
                print(f"  {line}{note}")
            print()
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

    Example: facevid report out --worst 20 --html worst.html
    """

    dataset: tyro.conf.Positional[Path]
    """Folder of the dataset."""
    html: Path | None = None
    """The page to write; the default is report.html in the dataset's folder, unless that is a release."""
    models: tuple[Path, ...] = ()
    """Model folders whose training is to be shown as well."""
    videos: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ID[,ID ...]")] = ()
    """Show these videos; without it, 40 of them by id."""
    worst: int | None = None
    """Show so many videos whose kept tracks have the largest hold-out errors, the worst first: what to look at before a
    dataset is used."""
    page: int | None = None
    """Show the next 40 videos by id (2), or those after them (3, ...)."""
    store: Path | None = None
    """Where the build kept its videos, if not in `store` inside the dataset's folder."""

    def run(self) -> int:
        """Write the page, print its path."""
        from facevid.dataset import open_dataset
        from facevid.report.choice import Choice
        from facevid.report.page import write_report

        names = tuple(name for words in self.videos for name in words.split(",") if name)
        choice = Choice(videos=names, worst=self.worst, page=self.page)

        if self.html is None and open_dataset(self.dataset).description.is_release:
            raise ValueError(
                f"html: {self.dataset} is a release, in which a page with pictures of persons has no place; name one "
                "elsewhere: --html report.html"
            )
        html = self.html or self.dataset / "report.html"
        page = write_report(self.dataset, html, store=self.store, models=self.models, choice=choice, report=say)
        print(page)
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
