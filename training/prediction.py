"""Prediction on an image or a video: a row per frame, and a picture or video with everything drawn in."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2

from facevid import storage
from fitting.face_model import DEFAULT_MODEL_PATH, FaceModel, load_face_model
from pipeline.faces.errors import VideoError
from pipeline.faces.probe import VideoInfo
from pipeline.faces.video import open_video
from training.export import learned_nothing
from training.expression_classifier import ExpressionClassifier, load_expression
from training.face_reader import FaceReader
from training.predict_options import PredictOptions
from training.prediction_rows import PredictionRows
from training.seen_frames import seen_batches, seen_image
from training.tables import check_table_path, prediction_schema, table_writer
from training.video_writer import VideoWriter, video_writer

_REPORT_EVERY_S = 5.0
_UNTRAINED = "DeepExp3D no better than the mean expression"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionResult:
    """What a prediction wrote.

    Attributes:
        table: The table.
        drawn: The picture or video with everything drawn in, or None where it was not asked for.
        frames: Frames looked at.
        faces: Frames in which a face was found.
        damage: Why the video ended early, or nothing.
    """

    table: Path
    drawn: Path | None
    frames: int
    faces: int
    damage: str


def predict(
    path: Path,
    *,
    deepexp3d: Path,
    expression: Path | None,
    networks: Path,
    face_model: Path | None,
    out: Path,
    options: PredictOptions,
    report: Callable[[str], None],
) -> PredictionResult:
    """Predict the expression of the largest face of an image, or of the followed face of each frame of a video.

    A frame without a face has a row too, with nothing but its time. The drawing lies beside the table, as
    `<table>-drawn.png` or `.mp4`: landmarks, the mean identity's mesh with the predicted expression, and the class.

    Args:
        path: Image or video.
        deepexp3d: DeepExp3D model folder.
        expression: Expression classifier folder, or None for coefficients alone.
        networks: Folder with the landmark networks.
        face_model: Face model file; None is FaceVid-CC0.
        out: Table to write, .csv or .parquet.
        options: Batch, device, drawing.
        report: Receives progress lines.

    Raises:
        FileNotFoundError: There is no such source or classifier.
        ValueError: The source is neither an image nor a video that can be decoded, the table's suffix is unknown,
            or the models do not belong to one face model.
    """
    check_table_path(out)
    if not path.is_file():
        raise FileNotFoundError(f"there is no image or video {path}")
    model = load_face_model(face_model or DEFAULT_MODEL_PATH)
    reader = FaceReader(networks=networks, deepexp3d=deepexp3d, face_model=model, device=options.device)
    classifier = None if expression is None else _classifier(expression, model)
    is_image = cv2.haveImageReader(str(path))
    drawn = out.with_name(f"{out.stem}-drawn{'.png' if is_image else '.mp4'}") if options.draw else None
    if path.absolute() in {out.absolute(), drawn.absolute() if drawn else None}:
        raise ValueError(f"out={str(out)!r} would overwrite the source; choose another name")
    remark = _UNTRAINED if learned_nothing(deepexp3d) else ""
    if remark:
        report(f"predict: {deepexp3d}: {remark} on held-out videos")
    schema = prediction_schema(model.n_expression, classifier.config.classes if classifier else ())
    with ExitStack() as files:
        rows = files.enter_context(table_writer(out, schema))
        run = PredictionRows(path.name, reader, classifier=classifier, rows=rows, remark=remark)
        if is_image:
            damage = ""
            _image(run, reader, path, drawn)
        else:
            damage = _video(run, reader, path, drawn=drawn, files=files, options=options, report=report)
    report(f"predict: {run.frames} frames, a face in {run.faces}; {out}" + (f", {drawn}" if drawn else ""))
    return PredictionResult(table=out, drawn=drawn, frames=run.frames, faces=run.faces, damage=damage)


def _image(run: PredictionRows, reader: FaceReader, path: Path, drawn: Path | None) -> None:
    for _, drawing in run.read([seen_image(reader, path, keep=drawn is not None)]):
        if drawing is not None and drawn is not None:
            _, png = cv2.imencode(".png", cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))
            storage.write_bytes(drawn, png.tobytes())


def _video(
    run: PredictionRows,
    reader: FaceReader,
    path: Path,
    *,
    drawn: Path | None,
    files: ExitStack,
    options: PredictOptions,
    report: Callable[[str], None],
) -> str:
    damage = ""
    writer: VideoWriter | None = None
    progress: _Progress | None = None
    try:
        with open_video(path) as video:
            info = video.info
            progress = _Progress(info, options, report)
            if drawn is not None:
                writer = files.enter_context(
                    video_writer(drawn, width=info.width_px, height=info.height_px, fps=info.fps)
                )
            for batch in seen_batches(reader, video, options, keep=drawn is not None):
                for seen, drawing in run.read(batch):
                    if writer is not None and drawing is not None:
                        writer.add(drawing, seen.pts_s)
                progress.say(run.frames)
    except VideoError as error:
        # What could be decoded is kept, and the caller is told.
        if not run.frames:
            raise ValueError(f"{path} cannot be read: {error}") from error
        damage = str(error)
        report(f"predict: {path.name} ended early: {damage}")
    return damage


def _classifier(folder: Path, model: FaceModel) -> ExpressionClassifier:
    classifier = load_expression(folder)
    config = classifier.config
    if config.face_model_sha256 != model.sha256:
        raise ValueError(
            f"{folder} classifies coefficients of the face model {config.face_model} with sha256 "
            f"{config.face_model_sha256[:16]}, not of {model.name} with {model.sha256[:16]}; train it for this one "
            "(facevid train expression --model)"
        )
    return classifier


class _Progress:
    def __init__(self, info: VideoInfo, options: PredictOptions, report: Callable[[str], None]) -> None:
        expected = round(info.duration_s * info.fps) if info.duration_s and info.fps else None
        limits = [limit for limit in (expected, options.max_frames) if limit is not None]
        self._expected = min(limits) if limits else None
        self._report = report
        self._began_s = self._said_s = time.monotonic()

    def say(self, frames: int) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s < _REPORT_EVERY_S:
            return
        self._said_s = now_s
        rate = frames / (now_s - self._began_s)
        left = f", about {max(0, self._expected - frames) / rate:.0f} s left" if self._expected else ""
        of = f" of about {self._expected}" if self._expected else ""
        self._report(f"predict: {frames}{of} frames, {rate:.1f} frames/s{left}")
