"""Prediction on an image or a video: a row per frame, and a picture or video with everything drawn in."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from facevid import storage
from fitting.face_model import DEFAULT_MODEL_PATH, FaceModel, load_face_model
from pipeline.faces.draw import draw_landmarks
from pipeline.faces.errors import VideoError
from pipeline.faces.landmarks import FaceLandmarks
from pipeline.faces.picture import Picture
from pipeline.faces.probe import VideoInfo
from pipeline.faces.register import CROP_SIZE_PX
from pipeline.faces.shots import ShotDetector
from pipeline.faces.video import open_video
from training.export import learned_nothing
from training.expression_classifier import ExpressionClassifier, load_expression
from training.face_reader import FaceReader, read_image
from training.overlay import MeshPainter, draw_caption
from training.predict_options import PredictOptions
from training.tables import BOX_EDGES, RowWriter, check_table_path, prediction_schema, table_writer
from training.video_writer import VideoWriter, video_writer

_REPORT_EVERY_S = 5.0
_MOST_HELD_BYTES = 256_000_000
_UNTRAINED = "DeepExp3D no better than the mean expression"
_MESH_OPACITY = 0.35
_INSET_SHARE = 3
_INSET_MM = 300.0
_INSET_GREY = 32


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One frame on its way through: kept until its batch is full.

    Attributes:
        index: Index of the frame.
        pts_s: Its time.
        face: The face, or None.
        crop: Its registered crop, or None.
        rgb: A copy of the frame where it is to be drawn on, or None.
    """

    index: int
    pts_s: float
    face: FaceLandmarks | None
    crop: UInt8[np.ndarray, "224 224 3"] | None
    rgb: UInt8[np.ndarray, "height width 3"] | None


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
        run = _Run(path.name, reader, classifier=classifier, rows=rows, options=options, remark=remark)
        damage = _image(run, path, drawn) if is_image else _video(run, path, drawn, files, report)
    report(f"predict: {run.frames} frames, a face in {run.faces}; {out}" + (f", {drawn}" if drawn else ""))
    return PredictionResult(table=out, drawn=drawn, frames=run.frames, faces=run.faces, damage=damage)


class _Run:
    """Frames in, rows out, batch by batch."""

    def __init__(
        self,
        source: str,
        reader: FaceReader,
        *,
        classifier: ExpressionClassifier | None,
        rows: RowWriter,
        options: PredictOptions,
        remark: str,
    ) -> None:
        self.reader = reader
        self.painter = MeshPainter(reader.face_model)
        self.options = options
        self.frames = self.faces = 0
        self._source, self._classifier, self._rows, self._remark = source, classifier, rows, remark

    def read(self, batch: list[_Seen]) -> Iterator[tuple[_Seen, UInt8[np.ndarray, "height width 3"] | None]]:
        """Predict a batch and write its rows; yields each frame with what was drawn into it."""
        crops = [seen.crop for seen in batch if seen.crop is not None]
        no_crops = np.zeros((0, CROP_SIZE_PX, CROP_SIZE_PX, 3), dtype=np.uint8)
        coefficients = self.reader.coefficients(np.stack(crops) if crops else no_crops)
        # All faces at once: the classifier takes about as long for one row as for a hundred.
        probabilities = self._classifier.probabilities(coefficients) if self._classifier else None
        place = 0
        for seen in batch:
            row: dict[str, Any] = {"source": self._source, "frame": seen.index, "pts_s": seen.pts_s}
            lines = ["no face"]
            expression = None if seen.face is None else coefficients[place]
            if seen.face is not None and expression is not None:
                row |= {"face": seen.face.confidence}
                row |= {
                    f"box_{edge}_px": value for edge, value in zip(BOX_EDGES, seen.face.box_px.tolist(), strict=True)
                }
                row |= {f"e{index}": float(value) for index, value in enumerate(expression)}
                lines = [] if probabilities is None else self._classify(probabilities[place], row)
                lines += [self._remark] if self._remark else []
                place += 1
                self.faces += 1
            self.frames += 1
            self._rows.write(row)
            drawing = None
            if seen.rgb is not None:
                drawing = draw_caption(_drawn(self.reader, self.painter, seen.rgb, seen.face, expression), lines)
            yield seen, drawing

    def _classify(self, probabilities: Float32[np.ndarray, " classes"], row: dict[str, Any]) -> list[str]:
        if self._classifier is None:
            return []
        config = self._classifier.config
        best = int(probabilities.argmax())
        row |= {f"p_{name}": float(value) for name, value in zip(config.classes, probabilities, strict=True)}
        row |= {"expression": config.classes[best]}
        source = "classifier trained on synthetic prototypes" if config.trained_on == "prototypes" else ""
        return [f"expression: {config.classes[best]} {probabilities[best]:.2f}", *([source] if source else [])]


def _image(run: _Run, path: Path, drawn: Path | None) -> str:
    rgb = read_image(path)
    picture = Picture(rgb)
    face = run.reader.find(picture)
    crop = None if face is None else run.reader.crop(picture, face)
    seen = _Seen(index=0, pts_s=0.0, face=face, crop=crop, rgb=None if drawn is None else rgb)
    for _, drawing in run.read([seen]):
        if drawing is not None and drawn is not None:
            _, png = cv2.imencode(".png", cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))
            storage.write_bytes(drawn, png.tobytes())
    return ""


def _video(
    run: _Run, path: Path, drawn: Path | None, files: ExitStack, report: Callable[[str], None]
) -> str:
    damage = ""
    writer: VideoWriter | None = None
    progress: _Progress | None = None
    try:
        with open_video(path) as video:
            info = video.info
            progress = _Progress(info, run.options, report)
            if drawn is not None:
                writer = files.enter_context(
                    video_writer(drawn, width=info.width_px, height=info.height_px, fps=info.fps)
                )
            for batch in _batches(run, video, keep=drawn is not None):
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


def _batches(run: _Run, video: Any, *, keep: bool) -> Iterator[list[_Seen]]:
    follower, shots = run.reader.follower(), ShotDetector()
    batch: list[_Seen] = []
    held_bytes = count = 0
    try:
        for frame in video:
            shots(frame.picture, index=frame.index, pts_s=frame.pts_s)
            if shots.looks_new:
                follower.reset()
            face = next(iter(follower(frame.picture, looks_new=shots.looks_new).found.values()), None)
            batch.append(
                _Seen(
                    index=frame.index,
                    pts_s=frame.pts_s,
                    face=face,
                    crop=None if face is None else run.reader.crop(frame.picture, face),
                    rgb=frame.rgb if keep else None,
                )
            )
            count += 1
            held_bytes += frame.rgb.nbytes if keep else 0
            full = len(batch) == run.options.batch_size or held_bytes > _MOST_HELD_BYTES
            last = count == run.options.max_frames
            if full or last:
                yield batch
                batch, held_bytes = [], 0
            if last:
                return
    except VideoError:
        # The frames before the damage come first, then the damage.
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _drawn(
    reader: FaceReader,
    painter: MeshPainter,
    rgb: UInt8[np.ndarray, "height width 3"],
    face: FaceLandmarks | None,
    expression: Float32[np.ndarray, " n_expression"] | None,
) -> UInt8[np.ndarray, "height width 3"]:
    if face is None or expression is None:
        return rgb
    pose = reader.pose(face, expression)
    if pose is None:
        return draw_landmarks(rgb, face.points_px)
    identity = np.zeros(reader.face_model.n_identity, dtype=np.float32)
    out = draw_landmarks(
        painter.draw(
            rgb,
            identity=identity,
            expression=expression,
            scale_px_per_mm=pose.scale_px_per_mm,
            rotation=pose.rotation,
            translation_px=pose.translation_px,
            opacity=_MESH_OPACITY,
        ),
        face.points_px,
    )
    # The same mesh once more, alone, in the lower right corner: over a face its shape is hard to see.
    side = max(1, min(rgb.shape[:2]) // _INSET_SHARE)
    scale = side / _INSET_MM
    out[-side:, -side:] = painter.draw(
        np.full((side, side, 3), _INSET_GREY, dtype=np.uint8),
        identity=identity,
        expression=expression,
        scale_px_per_mm=scale,
        rotation=pose.rotation,
        translation_px=np.array([side / 2, side / 2]),
        opacity=1.0,
    )
    return out


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
