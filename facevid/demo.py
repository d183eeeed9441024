"""The demo: the whole line on real videos that packages on the Python package index carry."""

import csv
import functools
import http.server
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from facevid import assets
from pipeline.config import BuildOptions, FetchOptions
from training.config import TrainOptions
from training.expression_options import ExpressionOptions
from training.predict_options import PredictOptions

MARKER_FILE = "facevid-demo.txt"
"""Lies in every folder that a demo made, and allows the next demo to replace what is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clip:
    """One row of the demo's manifest.

    Attributes:
        video_id: Id of the row.
        file: Asset, or a name that does not exist.
        served: Downloaded from the demo's own server on loopback, not read from the disk.
        subject_id: Who is seen, so that one person stays in one split.
        split: The split.
    """

    video_id: str
    file: str
    served: bool = False
    subject_id: str = ""
    split: str = "train"


# The three clips of subject b are one recording, cut and ordered differently: they must share a split.
_CLIPS = (
    _Clip(video_id="carphone", file="carphone_pristine.mp4", subject_id="a"),
    _Clip(video_id="langer", file="WolfgangLanger_Pexels.mp4", subject_id="c"),
    _Clip(video_id="single-face", file="single_face.mp4", served=True, subject_id="b", split="val"),
    _Clip(video_id="face-then-none", file="face_noface.mov", subject_id="b", split="val"),
    _Clip(video_id="none-then-face", file="noface_face.mov", subject_id="b", split="val"),
    _Clip(video_id="no-face", file="no_face.mp4"),
    _Clip(video_id="dead-path", file="this-file-does-not-exist.mp4"),
    _Clip(video_id="dead-link", file="this-page-does-not-exist.mp4", served=True),
)


def run_demo(out: Path, *, workers: int, report: Callable[[str], None]) -> Path:
    """Build a dataset, train both models briefly, predict on one clip, write the report.

    Two rows of the manifest are dead on purpose (a missing file, a page that answers 404), and one video
    has no face: each costs one row of the failures table.

    Args:
        out: Folder for everything that is written; an earlier demo's models and tables are replaced, its
            downloaded videos and finished stages are used again.
        workers: Worker processes of the build.
        report: Receives progress lines.

    Returns:
        Path of the HTML report.

    Raises:
        ValueError: `out` holds something that no demo put there.
    """
    _claim(out)
    began_s = time.monotonic()
    dataset, models = out / "dataset", out / "models"

    report("demo 1/6: landmark networks and six videos from the package index")
    networks = assets.fetch_landmark_networks()
    for clip in _CLIPS:
        if clip.file in assets.known_assets():
            assets.fetch(clip.file)

    report("demo 2/6: dataset from a manifest of eight rows, three of them bad on purpose")
    # Each step loads what it needs: all of it together would be seconds of silence.
    from pipeline.build import run_build
    from pipeline.status import render, status

    with _loopback_server(assets.cache_folder()) as address:
        manifest = _write_manifest(out / "manifest.csv", address)
        options = BuildOptions(
            fetch=FetchOptions(allow_local=True, allow_private=True, pause_s=0.0), workers=workers, shards=2
        )
        run_build(manifest, dataset, options, beam_options=(), skip_bad_rows=False, report=report)
    report(render(status(dataset)))

    report("demo 3/6: DeepExp3D, fast preset, a short training on few videos")
    from training.deepexp3d import train_deepexp3d

    shutil.rmtree(models, ignore_errors=True)
    # A rate for few steps: at the default one the loss hardly falls before they are over.
    brief = TrainOptions(preset="fast", max_steps=120, batch_size=16, learning_rate=4e-3, val_every=2)
    train_deepexp3d([dataset], models / "deepexp3d", brief, report=report)

    report("demo 4/6: classifier of expressions on synthetic coefficients")
    from training.expression import train_expression

    train_expression(
        models / "expression",
        model_path=dataset / "face_model.npz",
        prototypes=True,
        labels=None,
        deepexp3d=None,
        options=ExpressionOptions(),
        report=report,
    )

    report("demo 5/6: prediction on one clip")
    from training.prediction import predict

    predict(
        assets.fetch("single_face.mp4"),
        deepexp3d=models / "deepexp3d",
        expression=models / "expression",
        networks=networks,
        face_model=dataset / "face_model.npz",
        out=out / "prediction.csv",
        arkit=None,
        options=PredictOptions(),
        report=report,
    )

    report("demo 6/6: report")
    from facevid.report.page import write_report

    page = write_report(
        dataset,
        out / "report.html",
        store=None,
        models=(models / "deepexp3d", models / "expression"),
        report=report,
    )
    report(f"demo: done in {time.monotonic() - began_s:.0f} s. Open {page.resolve()}")
    report(
        "      The fits are the real thing. Both networks are toys, trained for seconds on two persons and on made-up "
        "coefficients: they show that the line runs, not what it can do (docs/results.md)."
    )
    report(f"      dataset: {dataset}   models: {models}   prediction: {out / 'prediction.csv'}")
    report(f"      what of the dataset could be handed on: facevid release {dataset} --to {out / 'release'} --dry-run")
    return page


def _claim(out: Path) -> None:
    marker = out / MARKER_FILE
    if out.exists() and not marker.is_file() and any(out.iterdir()):
        raise ValueError(f"out={str(out)!r} is not empty and not an earlier demo's folder; choose another one")
    out.mkdir(parents=True, exist_ok=True)
    marker.write_text("Made by `facevid demo`, which replaces what is in here.\n", "utf-8")


def _write_manifest(path: Path, address: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["video_id", "url", "subject_id", "licence", "split"])
        for clip in _CLIPS:
            known = assets.known_assets().get(clip.file)
            url = f"{address}/{clip.file}" if clip.served else str(assets.cache_folder() / clip.file)
            rows.writerow([clip.video_id, url, clip.subject_id, known.licence if known else "", clip.split])
    return path


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Log nothing: the progress lines are the demo's output."""


@contextmanager
def _loopback_server(folder: Path) -> Iterator[str]:
    # Stands for a web site, so that the demo downloads over HTTP without one.
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
