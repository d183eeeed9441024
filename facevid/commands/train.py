"""Commands that train and use the networks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from facevid.commands.console import say, use_one_opencv_thread
from training.config import TrainOptions, training_folder
from training.expression_options import ExpressionOptions
from training.predict_options import PredictOptions

_DATASETS = tyro.conf.arg(metavar="DATASET [DATASET ...]", help_behavior_hint="(required)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainDeepExp3D:
    """Train DeepExp3D, one registered face crop in and expression coefficients out, from the shards of datasets.

    Several datasets, of one face model and one scheme of landmarks, are trained on as one, in whatever order they are
    named. A video that is there twice is used once, from where it is held out.

    Run it again to go on with a training that was stopped: its state is saved every few minutes, before evaluations,
    and after Ctrl-C, beside the model to be. The weights that are best on the val split become the model.

    Example: facevid train deepexp3d out --out models/deepexp3d --preset fast --crops-per-track 32

    On two datasets: facevid train deepexp3d out second --out models/both

    On a second one later: facevid train deepexp3d second --out models/2 --init models/deepexp3d --learning-rate 1e-4
    """

    datasets: tyro.conf.Positional[Annotated[tuple[str, ...], _DATASETS]]
    """Folders of datasets, or their addresses in a bucket (s3:// or gs://)."""
    out: Path
    """Folder of the model."""
    init: Path | None = None
    """Model folder whose weights to begin with, of the same --preset and face model, as on a second dataset, which then
    wants a lower --learning-rate. None begins with random weights."""
    options: Annotated[TrainOptions, tyro.conf.arg(name="")] = field(default_factory=TrainOptions)

    def goes_on(self) -> bool:
        """Whether there is anything saved from which the same command would go on."""
        return training_folder(self.out).exists()

    def run(self) -> int:
        """Train, print the metrics."""
        from training.deepexp3d import train_deepexp3d

        use_one_opencv_thread()
        train_deepexp3d(self.datasets, self.out, self.options, report=say, init=self.init)
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
            report=say,
        )
        print(self.out)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Predict:
    """Predict expression coefficients, and with --expression a class, for an image, a folder of images or a video.

    It reads the largest face of an image, and in a video follows one. Writes a tidy table (coefficients, and how the
    head is held), and beside it pictures or a video with landmarks, mesh and class drawn in. Run again with the same
    --out, it replaces what it wrote. The class says which expression a face shows; it does not say what a person feels.

    Example: facevid predict clip.mp4 --deepexp3d models/deepexp3d --out clip.csv --arkit weights.csv
    """

    source: tyro.conf.Positional[Path]
    """Image, folder of images, or video."""
    deepexp3d: Path
    """DeepExp3D model folder."""
    out: Path
    """Table to write: .csv or .parquet."""
    expression: Path | None = None
    """Expression model folder; without it, coefficients alone."""
    arkit: Path | None = None
    """Write ARKit weights in [0, 1] too: .csv or .parquet."""
    model: Path | None = None
    """Face model file; without it, FaceVid-CC0."""
    options: Annotated[PredictOptions, tyro.conf.arg(name="")] = field(default_factory=PredictOptions)

    def run(self) -> int:
        """Predict, print what was written."""
        from facevid import assets
        from training.prediction import predict

        use_one_opencv_thread()
        predict(
            self.source,
            deepexp3d=self.deepexp3d,
            expression=self.expression,
            networks=assets.fetch_landmark_networks(),
            face_model=self.model,
            out=self.out,
            arkit=self.arkit,
            options=self.options,
            report=say,
        )
        return 0
