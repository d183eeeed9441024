"""A fit beside the video that its landmarks came from: left the fitted landmarks, right the fitted mesh."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fitting.face_model import FaceModel
from fitting.rotation import matrix_from_quaternion
from fitting.saved_fit import SavedFit
from pipeline.faces.draw import draw_landmarks
from pipeline.faces.video import open_video
from training.overlay import MeshPainter
from training.video_writer import video_writer

_REPORT_EVERY_S = 5.0
_SAME_TIME_S = 1e-4


def write_fit_video(
    video: Path,
    fit: SavedFit,
    model: FaceModel,
    out: Path,
    *,
    first_frame: int | None = None,
    by_time: bool = False,
    report: Callable[[str], None],
) -> None:
    """Draw a fit over its video.

    Frames of the video that the fit does not know show the picture alone. The numbers in `SavedFit.frame` are taken
    for frames of the video, in presentation order from `first_frame`; that some of them are beyond its end is reported.
    A dataset may count the frames of a part of the video, or not all of them: its frames are told by their times, and
    the drawing has no others.

    Args:
        video: The video that the landmarks were found in.
        fit: The fit.
        model: The face model that was fitted.
        out: MP4 file to write, twice as wide as the video.
        first_frame: What `SavedFit.frame` calls the first frame of the video; None is `SavedFit.first_frame`.
        by_time: Tell frames by their times on the file's clock, and draw from the fit's first to its last only.
        report: Receives progress lines.

    Raises:
        ValueError: The model is not the fit's, the fit diverged, the file would overwrite the video, or no frame of
            the fit is in the video.
        FileNotFoundError: There is no such video.
        VideoError: The video cannot be read.
        VideoWriteError: The drawing cannot be written.
    """
    fit.check_model(model)
    if out.absolute() == video.absolute():
        raise ValueError(f"out={str(out)!r} would overwrite the video; choose another name")
    first_frame = fit.first_frame if first_frame is None else first_frame
    place = {
        _time_key(fit.pts_s[index]) if by_time else int(frame) - first_frame: index
        for index, frame in enumerate(fit.frame)
    }
    start_s, end_s = (float(fit.pts_s[0]), float(fit.pts_s[-1]) + _SAME_TIME_S) if by_time else (None, None)
    rotation = matrix_from_quaternion(torch.tensor(fit.track.rotation_wxyz)).numpy()
    painter = MeshPainter(model)
    begun_s = told_s = time.monotonic()
    drawn = shown = 0
    with open_video(video, start_s=start_s, end_s=end_s) as opened:
        info = opened.info
        with video_writer(out, width=2 * info.width_px, height=info.height_px, fps=info.fps) as writer:
            for frame in opened:
                index = place.get(_time_key(frame.pts_s) if by_time else frame.index)
                if index is None and by_time:
                    continue
                left = right = frame.rgb
                if index is not None:
                    left = draw_landmarks(left, fit.track.fitted_px[index])
                    right = painter.draw(
                        right,
                        identity=fit.track.identity,
                        expression=fit.track.expression[index],
                        scale_px_per_mm=float(fit.track.scale_px_per_mm[index]),
                        rotation=rotation[index],
                        translation_px=fit.track.translation_px[index],
                        lens=fit.track.lens,
                    )
                    drawn += 1
                shown += 1
                writer.add(np.concatenate([left, right], axis=1), frame.pts_s - (start_s or 0.0))
                now_s = time.monotonic()
                if now_s - told_s > _REPORT_EVERY_S:
                    told_s = now_s
                    # The fit may begin late in the video: until then nothing says how long drawing takes.
                    rate = drawn / (now_s - begun_s)
                    time_left = f", {rate:.0f}/s, about {(len(place) - drawn) / rate:.0f} s left" if drawn else ""
                    report(f"drawing: {drawn} of {len(place)} frames{time_left}; {shown} frames of the video")
            if not drawn:
                first, last = int(fit.frame.min()), int(fit.frame.max())
                if by_time:
                    raise ValueError(f"video={video.name!r} has no frame at any time of the fit's: it is another one")
                raise ValueError(
                    f"video={video.name!r} has none of the fit's frames {first} to {last}: it has the frames "
                    f"{first_frame} to {first_frame + shown - 1}"
                )
    if drawn < len(place) and not by_time:
        report(
            f"{len(place) - drawn} of the fit's {len(place)} frames are not among the video's, which are {first_frame} "
            f"to {first_frame + shown - 1}; if the landmarks call the first of them otherwise, say so: "
            "--first-frame (from Python, first_frame=)"
        )


def _time_key(pts_s: float) -> int:
    return round(float(pts_s) / _SAME_TIME_S)
