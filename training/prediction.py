"""Prediction on images or a video: a row per frame, and pictures or a video with everything drawn in."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from facevid.counted import counted
from fitting.face_model import DEFAULT_MODEL_PATH, FaceModel, load_face_model
from fitting.whole_file import require_writable
from pipeline.faces.errors import VideoError
from pipeline.faces.video import open_video
from training.drawings import DrawingFolder, write_picture
from training.expression_classifier import ExpressionClassifier, load_expression
from training.face_reader import FaceReader
from training.image_files import images_among, pictures_in, read_image, refuse_heif
from training.model_config import learned_nothing
from training.predict_options import PredictOptions
from training.prediction_progress import PredictionProgress
from training.prediction_rows import Draw, PredictionRows
from training.seen_frames import SeenFrame, batched, seen_frames, seen_image
from training.tables import arkit_schema, check_table_path, prediction_schema, table_writer
from training.video_writer import VideoWriter, video_writer

_UNTRAINED = "DeepExp3D no better than the mean expression"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionResult:
    """What a prediction wrote.

    Attributes:
        table: The table.
        arkit: The table of ARKit weights; None where it was not asked for.
        drawn: The picture or video with everything drawn in, or a folder of such pictures; None where it was not asked
            for.
        frames: Frames or images looked at.
        faces: Those in which a face was found.
        left_out: Files of a folder that are no images, or damaged ones.
        damage: Why the video ended early, or nothing.
    """

    table: Path
    arkit: Path | None
    drawn: Path | None
    frames: int
    faces: int
    left_out: tuple[Path, ...]
    damage: str


def predict(
    path: Path,
    *,
    deepexp3d: Path,
    expression: Path | None,
    networks: Path,
    face_model: Path | None,
    out: Path,
    arkit: Path | None,
    options: PredictOptions,
    report: Callable[[str], None],
) -> PredictionResult:
    """Predict the expression of the largest face of each image, or of the followed face of each frame of a video.

    A frame without a face has a row too, with nothing but its time. The drawing lies beside the table, as
    `<table>-drawn.png` or `.mp4`, or for a folder as `<table>-drawn/IMAGE.png`: landmarks, the mean identity's mesh
    with the predicted expression, and the class. Table and drawings replace those of an earlier prediction.

    Args:
        path: Image, video, or folder of images. Of a folder, what is no image is left out.
        deepexp3d: DeepExp3D model folder.
        expression: Expression classifier folder, or None for coefficients alone.
        networks: Folder with the landmark networks.
        face_model: Face model file; None is FaceVid-CC0.
        out: Table to write, .csv or .parquet.
        arkit: Table of ARKit weights to write, .csv or .parquet, or None.
        options: Batch, device, drawing.
        report: Receives progress lines.

    Raises:
        FileNotFoundError: There is no such source or classifier.
        OSError: A table cannot be written.
        ValueError: The source is neither an image nor a video that can be decoded, or a HEIF image, or a folder of
            whose images none can be decoded, the drawings' folder holds what no prediction drew, a table's suffix is
            unknown or it would replace another file of this prediction, the face model has no ARKit weights, or the
            models do not belong to one face model.
    """
    check_table_path(out)
    if arkit is not None:
        check_table_path(arkit, "arkit")
    if not path.exists():
        raise FileNotFoundError(f"there is no image, video or folder {path}")
    images, others = _images_of(path)
    suffix = "" if path.is_dir() else ".png" if images else ".mp4"
    drawn = out.with_name(f"{out.stem}-drawn{suffix}") if options.draw else None
    if path.absolute() in {out.absolute(), drawn.absolute() if drawn else None}:
        raise ValueError(f"out={str(out)!r} would overwrite the source; choose another name")
    if arkit is not None and arkit.absolute() in {path.absolute(), out.absolute()}:
        raise ValueError(f"arkit={str(arkit)!r} would overwrite the source or the table; choose another name")
    drawings = DrawingFolder(drawn) if drawn is not None and path.is_dir() else None
    if drawings is not None:
        drawings.check()
    for file in (out, arkit):
        if file is not None:
            require_writable(file)
    model = load_face_model(face_model or DEFAULT_MODEL_PATH)
    if arkit is not None and model.arkit is None:
        raise ValueError(f"face model {model.name!r} has no map to ARKit weights: leave --arkit out")
    reader = FaceReader(networks=networks, deepexp3d=deepexp3d, face_model=model, device=options.device)
    classifier = None if expression is None else _classifier(expression, model)
    remark = _UNTRAINED if learned_nothing(deepexp3d) else ""
    if remark:
        report(f"predict: {deepexp3d}: {remark} on held-out videos")
    schema = prediction_schema(model.n_expression, classifier.config.classes if classifier else ())
    left_out: tuple[Path, ...] = ()
    damage = ""
    with ExitStack() as files:
        rows = files.enter_context(table_writer(out, schema))
        arkit_rows = None
        if arkit is not None and model.arkit is not None:
            arkit_rows = files.enter_context(table_writer(arkit, arkit_schema(model.arkit.names)))
        run = PredictionRows(
            reader, classifier=classifier, rows=rows, arkit_rows=arkit_rows,
            draw=_draw(model) if options.draw else None, remark=remark,
        )  # fmt: skip
        if path.is_dir():
            damaged = _folder(run, reader, images, drawings=drawings, options=options, report=report)
            if not run.frames:
                raise ValueError(f"none of the images in the folder {path} can be read, such as {damaged[0].name}")
            left_out = tuple(sorted(others + damaged))
        elif images:
            if (pictures := pictures_in(path)) > 1:
                report(f"predict: {path.name} holds {pictures} pictures; the first is read; for all, convert it to MP4")
            seen = seen_image(reader, read_image(path), source=path.name, keep=drawn is not None)
            for _, drawing in run.read([seen]):
                if drawn is not None and drawing is not None:
                    write_picture(drawn, drawing)
        else:
            damage = _video(run, reader, path, drawn=drawn, files=files, options=options, report=report)
    if left_out:
        count = len(images) + len(others)
        report(
            f"predict: left out {len(left_out)} of {count} files that are no images, or damaged, such as "
            f"{left_out[0].name}"
        )
    written = ", ".join(str(file) for file in (out, arkit, drawn) if file is not None)
    found = f"a face in {run.faces}" if run.faces else "no face found"
    report(f"predict: {counted(run.frames, 'image' if images else 'frame')}, {found}; {written}")
    return PredictionResult(
        table=out, arkit=arkit, drawn=drawn, frames=run.frames, faces=run.faces, left_out=left_out, damage=damage
    )


def _images_of(path: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Of one file, or of a folder's, those that begin as images do, and the others, of which no more is read."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    images, others = images_among(files)
    if path.is_dir() and not images:
        raise ValueError(f"the folder {path} holds no image; of videos, give one at a time")
    if not path.is_dir() and not images:
        refuse_heif(path)
    return images, others


def _folder(
    run: PredictionRows, reader: FaceReader, paths: Sequence[Path], *, drawings: DrawingFolder | None,
    options: PredictOptions, report: Callable[[str], None],
) -> tuple[Path, ...]:
    if drawings is not None:
        drawings.clear()
    damaged: list[Path] = []

    def images() -> Iterator[SeenFrame]:
        for path in paths:
            try:
                rgb = read_image(path)
            except ValueError:  # one file of many, which is counted and named
                damaged.append(path)
                continue
            yield seen_image(reader, rgb, source=path.name, keep=drawings is not None)

    progress = PredictionProgress(report, "images", len(paths))
    for batch in batched(islice(images(), options.max_frames), options.batch_size):
        for seen, drawing in run.read(batch):
            if drawings is not None and drawing is not None:
                drawings.add(seen.source, drawing)
        progress.say(run.frames + len(damaged))
    return tuple(damaged)


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
    try:
        with open_video(path) as video:
            info = video.info
            expected = round(info.duration_s * info.fps) if info.duration_s and info.fps else None
            limits = [limit for limit in (expected, options.max_frames) if limit is not None]
            progress = PredictionProgress(report, "frames", min(limits) if limits else None, about=True)
            if drawn is not None:
                writer = files.enter_context(
                    video_writer(drawn, width=info.width_px, height=info.height_px, fps=info.fps)
                )
            frames = seen_frames(reader, video, source=path.name, keep=drawn is not None)
            for batch in batched(islice(frames, options.max_frames), options.batch_size):
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


def _draw(model: FaceModel) -> Draw:
    from training.prediction_drawing import PredictionPainter  # the colours of a mesh take a second

    return PredictionPainter(model).draw


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
