"""The whole line on real video, with real worker processes, killed in mid-run."""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from loopback import Loopback

from facevid import assets
from facevid.dataset import open_dataset
from facevid.failures import Stage
from facevid.release.values import Pictures
from facevid.release.verify import faults
from fitting.options import FitOptions
from pipeline import assemble_job, driver, waves
from pipeline.build import check_beam_options, run_build
from pipeline.config import BuildOptions, FetchOptions
from pipeline.fetch_step import FetchRows
from pipeline.find_step import FindFaces
from pipeline.fit_steps import FitSpans, SpansToFit
from pipeline.manifest import ManifestError
from pipeline.marks import read_marks
from pipeline.output_lock import StoreBusyError, build_lock
from pipeline.processes import descendants
from pipeline.status import render, status
from pipeline.steps import LabelStep, Step
from pipeline.wave import Wave
from training.decoding import decoded_crop

ROOT = Path(__file__).parents[2]
FETCH = FetchOptions(allow_local=True, allow_private=True, pause_s=0.0, timeout_s=5.0)


def options(workers: int, fit: FitOptions | None = None) -> BuildOptions:
    return BuildOptions(fetch=FETCH, workers=workers, shards=3, fit_batch=2, fit=fit or FitOptions(keyframes=8))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short cuts of one clip with a face, and one without a face."""
    folder = tmp_path_factory.mktemp("clips")
    source = assets.fetch("single_face.mp4")
    make = [get_ffmpeg_exe(), "-nostdin", "-v", "error"]
    end = ["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"]
    for number in range(3):
        cut = ["-ss", f"{0.5 * number}", "-i", str(source), "-an", "-frames:v", "20"]
        subprocess.run([*make, *cut, *end, str(folder / f"face{number}.mp4")], check=True)
    pattern = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=0.4"]
    subprocess.run([*make, *pattern, *end, str(folder / "pattern.mp4")], check=True)
    return folder


def write_manifest(folder: Path, address: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(
        "video_id,url,subject_id\n"
        "face0,face0.mp4,anna\nface1,face1.mp4,anna\nface2,face2.mp4,\nno-face,pattern.mp4,\ndead,gone.mp4,\n"
        f"dead-link,{address}/status/404,\n"
    )
    return path


def data(out: Path) -> dict[str, bytes]:
    names = [*out.glob("*/part-*.parquet"), out / "facevid.json", out / "face_model.npz"]
    return {str(path.relative_to(out)): path.read_bytes() for path in names}


def wait_for_end(pids: list[int]) -> Iterator[bool]:
    for pid in pids:
        try:
            watched = os.pidfd_open(pid)
        except ProcessLookupError:
            yield True
            continue
        try:
            yield bool(select.select([watched], [], [], 20.0)[0])
        finally:
            os.close(watched)


class InThisProcess(driver.Driver):
    """Takes the steps of both jobs one after the other, without Beam and without processes."""

    def run(
        self, kind: Literal["label", "assemble"], rows: Sequence[int], *, hosts: Sequence[str] = (), **_: Any
    ) -> driver.WaveEnd:
        wave = Wave(
            kind=kind, out=self._job.out, rows=tuple(rows), hosts=tuple(hosts), workers=1, beam_options=(),
            parent_pid=os.getpid(),
        )  # fmt: skip
        wave_file = self._folder / "wave.json"
        wave.begin(wave_file)

        def step(made: Step, elements: Iterable[Any]) -> list[Any]:
            made.setup()
            return [output for element in elements for output in made.process(element)]

        def label_step(kind: type[LabelStep], elements: Iterable[Any]) -> list[Any]:
            return step(kind(self._job.out, wave_file), elements)

        if kind == "label":
            spans = label_step(FindFaces, label_step(FetchRows, wave.elements))
            label_step(FitSpans, label_step(SpansToFit, by_key(spans).items()))
        else:
            listed = step(assemble_job._ListReferences(self._job.out), wave.elements)
            step(assemble_job._WriteShards(self._job.out), by_key(listed).items())
        return driver.WaveEnd(died=False)


def by_key(pairs: Iterable[tuple[int, Any]]) -> dict[int, list[Any]]:
    groups: dict[int, list[Any]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups


def test_a_build_resumes_from_any_death_to_the_same_bytes(
    tmp_path: Path, clips: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_manifest(clips, server.address)
    undisturbed, disturbed = tmp_path / "one", tmp_path / "two"
    lines: list[str] = []

    with monkeypatch.context() as patch:
        patch.setattr(waves, "Driver", InThisProcess)
        summary = run_build(manifest, undisturbed, options(1), report=lines.append)

    # Every row has ended as it should, and the counts agree with the tables.
    assert summary.worker_deaths == 0
    steps = {step.step: (step.entered, step.ok, step.failed, step.filtered) for step in summary.funnel}
    assert steps["manifest"] == (6, 6, 0, 0)
    assert steps["fetch"] == (6, 4, 2, 0)
    assert steps["faces"] == (4, 3, 1, 0)
    assert steps["fit"][0] == 3
    dataset = open_dataset(undisturbed)
    assert list(faults(dataset, Pictures(decode=decoded_crop, most=0))) == []
    failures = {row["video_id"]: (row["stage"], row["code"]) for row in dataset.table("failures").to_pylist()}
    assert failures == {
        "no-face": ("faces", "no_face"), "dead": ("fetch", "not_found"), "dead-link": ("fetch", "not_found"),
    }
    assert dataset.table("frames").num_rows == dataset.table("crops").num_rows == 60
    assert max(dataset.table("frames")["reprojection_error"].to_pylist()) < 0.05
    assert summary.counts["decoded_frames"] == 70
    assert "finished" in render(status(undisturbed))

    # The second time through there is nothing to do; other fit options neither fetch nor decode.
    before = data(undisturbed)
    assert not run_build(manifest, undisturbed, options(1), report=lines.append).assembled
    assert data(undisturbed) == before

    # Two worker processes. One is killed while it has a video in hand: it alone is a suspect, and the build goes on.
    code = (
        "import sys; from pathlib import Path; from pipeline.build import run_build\n"
        "from pipeline.config import *; from fitting.options import FitOptions\n"
        f"run_build(Path(sys.argv[1]), Path(sys.argv[2]), {options(2)!r},\n"
        "          report=lambda line: print(line, flush=True))\n"
    )
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-c", code, str(manifest), str(disturbed)], cwd=ROOT, stdout=log, stderr=log
        )
    victim = wait_for_mark(running, disturbed, beside=())
    first = descendants(running.pid)
    os.kill(victim, signal.SIGKILL)
    wait_for_workers(running, beside=first)
    assert "label: a worker process died with 1 video in its hand, to run last" in (tmp_path / "log").read_text()

    # kill -9 of the build itself in mid-run leaves nobody behind and no lock.
    below = descendants(running.pid)
    assert len(below) >= 2
    assert status(disturbed).running
    with pytest.raises(StoreBusyError, match=r"another build .*is at work"):
        run_build(manifest, disturbed, options(2), report=lines.append)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert all(wait_for_end(below))
    assert "stopped before its end" in render(status(disturbed))

    # Resumed with another number of workers, it is as if nothing had happened.
    resumed = run_build(manifest, disturbed, options(1), report=lines.append)
    assert data(disturbed) == before
    assert resumed.funnel == summary.funnel


def wait_for_mark(running: "subprocess.Popen[bytes]", out: Path, *, beside: Collection[int]) -> int:
    """A worker process that searches a video for faces and is none of those that were seen before.

    A fetch is over in a moment, and then there is another in which the worker has nothing in hand.
    """
    while True:
        assert running.poll() is None
        for mark in read_marks(out / ".build"):
            if mark.pid not in beside and mark.stage is Stage.FACES:
                return mark.pid
        select.select([], [], [], 0.02)


def test_a_bug_stops_the_build_with_its_traceback(tmp_path: Path, clips: Path) -> None:
    (tmp_path / "m.csv").write_text(f"video_id,url\na,{clips / 'face0.mp4'}\n")
    # A stage of the label job finds a file where it wants to make a folder.
    (tmp_path / "out" / ".build" / "in_hand").parent.mkdir(parents=True)
    (tmp_path / "out" / "store").mkdir()
    (tmp_path / "out" / "store" / "faces").write_text("in the way")

    with pytest.raises(driver.BuildError, match=r"(?s)the label job met an error.*\(in hand: a\).*NotADirectoryError"):
        run_build(tmp_path / "m.csv", tmp_path / "out", options(1), report=lambda line: None)


def test_a_full_store_stops_the_build_with_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("video_id,url\na,https://x.org/a.mp4\n")
    full = BuildOptions(fetch=FetchOptions(max_store_bytes=0))

    with pytest.raises(driver.BuildError, match=r"^the build has stopped: the videos in .* run the build again$"):
        run_build(tmp_path / "m.csv", tmp_path / "out", full, report=lambda line: None)


def wait_for_workers(running: "subprocess.Popen[bytes]", *, beside: Collection[int]) -> None:
    """Another wave has begun: its driver has started worker processes."""
    while len(set(descendants(running.pid)) - set(beside)) < 2:
        assert running.poll() is None
        select.select([], [], [], 0.02)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], check=False)
    if made.returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # plans stay mapped


def test_a_full_disk_stops_the_build_with_a_sentence_and_the_next_one_goes_on(
    tmp_path: Path, clips: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.csv").write_text(f"video_id,url\na,{clips / 'pattern.mp4'}\nb,{clips / 'face0.mp4'}\n")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 300_000))
    words = rf"^the build has stopped: there is no space left on the disk of {small_disk}.*what is finished is kept$"

    with pytest.raises(driver.BuildError, match=words):
        run_build(tmp_path / "m.csv", small_disk, options(1), report=lambda line: None)
    ballast.unlink()
    monkeypatch.setattr(waves, "Driver", InThisProcess)

    summary = run_build(tmp_path / "m.csv", small_disk, options(1), report=lambda line: None)

    assert summary.counts["decoded_frames"] == 20  # the other row had its result
    assert list(summary.failures) == ["no_face"]


def test_bad_rows_stop_a_build_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("video_id,url\na,a.mp4\na,b.mp4\n-x,c.mp4\n")

    with pytest.raises(ManifestError, match=r"2 bad row.*\n  line 3: .*\n  line 4: "):
        run_build(tmp_path / "m.csv", tmp_path / "out", options(1), report=lambda line: None)

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--no_such_option=1"], r"beam_options=\['--no_such_option=1'\] are no options of Beam"),
        (["stray"], "are no options of Beam"),
        (["--runner=DirectRunner"], "are set by the build itself; use --workers"),
        (["--direct_num_workers=9"], "are set by the build itself"),
        (["--job_name"], "expected one argument"),
    ],
)
def test_beam_options_that_cannot_be_are_refused(given: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_beam_options(given)


def test_beam_options_that_beam_knows_are_taken() -> None:
    check_beam_options(["--job_name=mine", "--no_pipeline_type_check"])


def test_a_locked_output_is_refused_before_anything_is_touched(tmp_path: Path, clips: Path) -> None:
    (tmp_path / "m.csv").write_text(f"video_id,url\na,{clips / 'face0.mp4'}\n")

    with build_lock(tmp_path / "out" / ".build"), pytest.raises(StoreBusyError, match="wait for it, or stop it"):
        run_build(tmp_path / "m.csv", tmp_path / "out", options(1), report=lambda line: None)

    assert [path.name for path in (tmp_path / "out" / ".build").iterdir()] == ["lock"]
