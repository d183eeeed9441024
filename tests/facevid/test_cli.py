"""The command line: help is complete and light, mistakes are one line, unknown options are refused."""

import errno
import itertools
import multiprocessing
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from facevid import cli
from facevid.description import FunnelStep
from facevid.failures import FailureCode
from facevid.schema import dataset_schemas
from fitting.face_model import load_face_model
from fitting.synthetic import SyntheticOptions, synthetic_track
from pipeline.status import Status
from training.stopping import StopRequest, interruption


def _loaded_by(*arguments: str) -> set[str]:
    code = (
        "import sys; from facevid.cli import main\n"
        f"try: main({list(arguments)!r})\n"
        "except SystemExit: pass\n"
        "print('\\nLOADED', *sorted({n.split('.')[0] for n in sys.modules}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["build", "--help"], ["predict", "--help"]])
def test_help_loads_neither_numpy_nor_torch_nor_beam(arguments: list[str]) -> None:
    assert not _loaded_by(*arguments) & {"numpy", "torch", "pyarrow", "apache_beam", "cv2", "scipy", "sklearn"}


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_a_help_page_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*name.split(), "--help"])
    assert ended.value.code == 0
    assert f"Example: facevid {name}" in " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_no_help_text_breaks_a_line_before_it_is_full(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([*name.split(), "--help"])
    lines = [line.replace("│", " ").rstrip() for line in capsys.readouterr().out.splitlines()]
    texts = [line for line in lines if line.startswith(8 * " ")]
    early = [
        (line, following)
        for line, following in itertools.pairwise(texts)
        if not line.endswith(")") and len(line) + 1 + len(following.split()[0]) <= 78
    ]
    assert not early


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_every_help_page_fits_into_its_terminal(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    with suppress(SystemExit):
        cli.main([*name.split(), "--help"])
    usage, *lines = capsys.readouterr().out.splitlines()
    assert usage.startswith("usage: ")
    assert [line for line in lines if len(line) > 72] == []


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_example_can_be_typed_as_it_is_shown(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    with pytest.raises(SystemExit):
        cli.main([*name.split(), "--help"])
    example = capsys.readouterr().out.partition("Example: ")[2].partition("\n\n")[0]
    program, *words = shlex.split(example.replace("\\\n", " ").partition(" > ")[0])
    monkeypatch.setattr(cli.COMMANDS[name], "run", lambda *_: 0)
    assert (program, cli.main(words)) == ("facevid", 0)


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"facevid {name} " in shown for name in cli.COMMANDS)


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["frobnicate"]) == 2
    assert capsys.readouterr().err == (
        "facevid: error: no command 'frobnicate'; `facevid --help` lists them all\n"
    )


@pytest.mark.parametrize(("words", "meant"), [("buld m.csv", "build"), ("trian expression", "train expression")])
def test_a_command_that_is_spelled_wrong_is_told_the_right_one(
    words: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words.split()) == 2
    assert f"(did you mean `facevid {meant}`?)" in capsys.readouterr().err


def test_half_a_command_is_told_the_other_half(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "foo"]) == 2
    *shown, error = capsys.readouterr().err.splitlines()
    assert error.startswith("facevid: error: no command 'train foo'")
    assert [line.split()[2] for line in shown if "facevid train" in line] == ["deepexp3d", "expression"]


def test_local_files_alone_are_refused_at_once_unless_they_are_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.csv").write_text("video_id,url\na,a.mp4\nb,b.mp4\n")
    words = ["build", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out")]
    for more in ([], ["--dry-run"]):
        assert cli.main([*words, *more]) == 2
        assert "all 2 rows of the manifest are paths of local files, such as 'a.mp4'; --allow-local permits them" in (
            capsys.readouterr().err
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "begun"), [("build m.csv --out", "build.run_build"), ("retry", "retry.retry_build")]
)
def test_a_build_without_a_single_frame_does_not_count_as_done(
    command: str, begun: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my out"
    monkeypatch.setattr(f"pipeline.{begun}", lambda *_, **__: None)
    for kept in (7, 0):
        step = FunnelStep(step="frames", unit="frames", entered=9, ok=kept, failed=0, filtered=9 - kept)
        seen = Status(
            out=out, running=False, finished=True, videos=1, videos_done=1, frames_per_s=None, funnel=(step,),
            failures=(),
        )  # fmt: skip
        monkeypatch.setattr("pipeline.status.status", lambda *_, seen=seen: seen)

        assert cli.main([*command.split(), str(out)]) == (0 if kept else 1)

        shown = capsys.readouterr()
        assert (f"facevid report '{out}'" in shown.out) == bool(kept)
        assert ("no frame of any video was kept" in shown.err) != bool(kept)


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["build", "m.csv", "--out", str(tmp_path), "--no-such-option"])
    assert ended.value.code == 2


def test_a_value_out_of_range_is_one_line_naming_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", "m.csv", "--out", str(tmp_path), "--workers", "0"]) == 2
    assert "workers=0 must be at least 1" in capsys.readouterr().err


def test_a_missing_manifest_is_one_line_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", str(tmp_path / "none.csv"), "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert "none.csv" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("words", [["network,rate_limited"], ["network", "rate_limited"]])
def test_codes_to_try_again_come_with_commas_or_blanks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    given: dict[str, object] = {}

    def retry_build(*_: object, **options: object) -> None:
        given.update(options)
        raise ValueError("enough seen")

    monkeypatch.setattr("pipeline.retry.retry_build", retry_build)
    assert cli.main(["retry", str(tmp_path), "--only", *words]) == 2
    assert given["only"] == [FailureCode.NETWORK, FailureCode.RATE_LIMITED]


def test_a_code_that_does_not_exist_cannot_be_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["retry", str(tmp_path), "--only", "network,bad_luck"]) == 2
    assert "only='bad_luck' is no failure code; they are: bad_row, removed," in capsys.readouterr().err
    assert cli.main(["retry", str(tmp_path), "--only", "netwrok"]) == 2
    assert "(did you mean network?)" in capsys.readouterr().err


def test_a_dry_run_ends_with_1_where_the_build_would_refuse_the_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.csv").write_text("video_id,url\na,a.mp4\nb,ftp://x\n")
    words = ["build", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out"), "--allow-local", "--dry-run"]

    assert cli.main(words) == 1
    assert "line 3: url 'ftp://x' has the scheme" in capsys.readouterr().out
    assert cli.main([*words, "--skip-bad-rows"]) == 0
    assert not (tmp_path / "out").exists()


def test_the_schema_tells_every_column_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    shown = capsys.readouterr().out
    for name, schema in dataset_schemas(points=68, n_identity=80, n_expression=28).items():
        assert f"\n{name}\n" in f"\n{shown}"
        for field in schema:
            description = field.metadata[b"description"].decode()
            assert re.search(rf"^  {field.name} .*{re.escape(description)}$", shown, re.MULTILINE)
    assert "float32[28]" in shown
    assert "string?" in shown


def test_the_schema_of_a_dataset_has_its_own_lengths(
    write_dataset: Callable[..., Path], toy_track: type, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["schema", str(write_dataset(toy_track(video_id="a"))), "--table", "frames"]) == 0
    shown = capsys.readouterr().out
    assert "float32[4]" in shown
    assert "float32[10]" in shown
    assert "identity_norm" not in shown


@pytest.mark.parametrize(
    ("command", "resumes"), [("build x", True), ("train deepexp3d x", True), ("train expression --prototypes", False)]
)
def test_only_a_command_that_resumes_says_so_when_stopped(
    command: str, resumes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.build.run_build", stopped)
    monkeypatch.setattr("training.deepexp3d.train_deepexp3d", stopped)
    monkeypatch.setattr("training.expression.train_expression", stopped)
    (tmp_path / "out.training").mkdir()
    assert cli.main([*command.split(), "--out", str(tmp_path / "out")]) == 130
    assert ("run the same command again to go on" in capsys.readouterr().err) == resumes


def test_a_training_that_was_stopped_before_anything_was_saved_says_that_it_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.deepexp3d.train_deepexp3d", stopped)
    assert cli.main(["train", "deepexp3d", "x", "--out", str(tmp_path / "out")]) == 130
    said = "facevid: stopped before anything was saved; run again, the same command begins anew\n"
    assert capsys.readouterr().err == said


def test_what_is_watched_through_a_pipe_holds_no_codes_of_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = Status(
        out=tmp_path, running=False, finished=True, videos=1, videos_done=1, frames_per_s=None, funnel=(), failures=()
    )
    monkeypatch.setattr("pipeline.slice_status.status_of_all", lambda *_, **__: seen)
    assert cli.main(["status", str(tmp_path), "--watch"]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}: finished")


@pytest.mark.parametrize(
    ("words", "runs"),
    [("build m.csv", "pipeline.build.run_build"), ("train deepexp3d x", "training.deepexp3d.train_deepexp3d")],
)
def test_a_command_that_a_scheduler_ends_says_so(
    words: str, runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(runs, lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    (tmp_path / "out.training").mkdir()

    assert cli.main([*words.split(), "--out", str(tmp_path / "out")]) == 128 + signal.SIGTERM

    assert capsys.readouterr().err == "facevid: stopped; run the same command again to go on\n"
    assert signal.getsignal(signal.SIGTERM) == before


def run_until_killed() -> None:
    for _ in range(2000):  # or for so long that nothing but the signal can have ended it
        time.sleep(0.01)


def test_a_process_that_a_library_forks_dies_of_sigterm_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int | None] = []

    def forks(*_: object, **__: object) -> None:
        for _ in range(5):
            process = multiprocessing.get_context("fork").Process(target=run_until_killed)
            process.start()
            process.terminate()
            process.join()
            ended.append(process.exitcode)

    monkeypatch.setattr("training.deepexp3d.train_deepexp3d", forks)
    assert cli.main(["train", "deepexp3d", "x", "--out", str(tmp_path / "out")]) == 0
    assert ended == [-signal.SIGTERM] * 5


def test_a_training_that_a_scheduler_ends_within_a_step_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        stop = StopRequest(lambda _: None)
        with stop.between_steps():
            signal.raise_signal(signal.SIGTERM)
        assert stop.asked is not None
        raise interruption(stop.asked)

    monkeypatch.setattr("training.deepexp3d.train_deepexp3d", stopped)
    assert cli.main(["train", "deepexp3d", "x", "--out", str(tmp_path / "out")]) == 128 + signal.SIGTERM


def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.build.run_build", full)
    assert cli.main(["build", "m.csv", "--out", str(tmp_path)]) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_the_demo_does_not_replace_what_is_not_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "models" / "deepexp3d" / "model.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weeks of work")
    assert cli.main(["demo", "--out", str(tmp_path)]) == 2
    assert "not an earlier demo's folder" in capsys.readouterr().err
    assert model.read_bytes() == b"weeks of work"


@pytest.mark.parametrize("words", ["schema", "--help", "build --help"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_who_has_seen_enough_is_no_error(words: str, unbuffered: str) -> None:
    command = f"set -o pipefail; {sys.executable} -m facevid {words} | true"
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=environment)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_landmarks_of_ones_own_are_fitted_and_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_face_model()
    truth = synthetic_track(model, "ibug68", SyntheticOptions(frames=5), seed=3)
    np.savez(tmp_path / "landmarks.npz", landmarks=truth.sequence.observed_px, fps=30.0, scheme="ibug68")
    written = [tmp_path / name for name in ("fit.npz", "arkit.csv", "face.glb", "face.obj")]
    pairs = zip(("--out", "--arkit", "--gltf", "--obj"), written, strict=True)
    options = [str(word) for pair in pairs for word in pair]
    assert cli.main(["fit", str(tmp_path / "landmarks.npz"), *options]) == 0
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    assert all(path.stat().st_size > 0 for path in written)


def test_importing_a_face_model_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "model.pkl"
    other.write_bytes(b"no pickle")
    words = ["model", "import", str(other), "--kind", "flame", "--out", str(tmp_path / "model.npz")]
    assert cli.main(words) == 2
    assert str(other) in capsys.readouterr().err
    assert not (tmp_path / "model.npz").exists()


def test_named_points_of_a_face_model_are_given_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def note(*_: object, points: object, **__: object) -> None:
        asked.append(points)
        raise ValueError("enough")

    monkeypatch.setattr("fitting.importers.read.import_face_model", note)
    words = ["model", "import", "gnm_head.npz", "--kind", "gnm-head", "--out", str(tmp_path / "model.npz")]
    assert cli.main([*words, "--points", "nose_tip", "7", "chin", "9"]) == cli.main(words) == 2
    assert asked == [{"nose_tip": 7, "chin": 9}, None]
    assert capsys.readouterr().err == "facevid: error: enough\n" * 2


@pytest.mark.parametrize(("given", "wanted"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_without_spinning_unless_the_user_says_otherwise(given: str | None, wanted: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    code = "import os; from facevid.cli import main; main(['--version']); print(os.environ['OMP_WAIT_POLICY'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert ended.stdout.split()[-1] == wanted


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--gltf", "face.gltf"), "must end in .glb"),
        (("--obj", "face.stl"), "must end in .obj"),
        (("--arkit", "weights.npz"), "must end in .csv"),
        (("--video", "video.mp4", "--overlay", "drawn.txt"), "must end in .mp4"),
        (("--video", "nothing.mp4", "--overlay", "drawn.mp4"), "nothing.mp4': there is no such file"),
        (("--obj", "video.mp4/face.obj"), "video.mp4 is a file, not a folder"),
        (("--out", "video.mp4/fit.npz"), "video.mp4 is a file, not a folder"),
        (("--out", "new/fit.json"), "must end in .npz"),
        (("--obj", "fit.npz/face.obj"), "'fit.npz/face.obj' and out='fit.npz': one is a folder of the other"),
        (("--obj", "face.obj/a.obj", "--arkit", "face.obj/a.obj/b.csv"), "one is a folder of the other"),
        (("--video", "video.mp4", "--overlay", "video.mp4"), "'video.mp4' is the video file itself"),
        (("--out", "landmarks.npz"), "'landmarks.npz' is the landmarks file itself"),
        (("--out", "new/../model.npz", "--model", "model.npz"), "is the model file itself"),
        (("--first-frame", "1"), "first_frame=1 is that of a video; name it with --video and --overlay"),
        (("--video", "video.mp4", "--overlay", "drawn.mp4"), "video.mp4 is empty"),
        (("--frame", "0"), "frame=0 is the frame of an .obj; name one with --obj"),
        (("--obj", "face.obj", "--frame", "99"), "frame=99 is not in landmarks.npz, whose 1 frames lie"),
        (("--camera", "perspective"), "landmarks.npz does not say: give it as --picture-px WIDTH HEIGHT"),
    ],
)
def test_what_cannot_be_written_after_a_fit_is_told_before_it(
    words: tuple[str, ...], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("video.mp4").write_bytes(b"")
    np.savez("landmarks.npz", landmarks=np.zeros((1, 68, 2)), scheme="ibug68")
    out = () if "--out" in words else ("--out", "fit.npz")
    assert cli.main(["fit", "landmarks.npz", *out, *words]) == 2
    seen = capsys.readouterr()
    assert complaint in seen.err
    assert len(seen.err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["landmarks.npz", "video.mp4"]


@pytest.mark.usefixtures("toy_model")
@pytest.mark.parametrize("words", [("--arkit", "weights.csv"), ("--gltf", "face.glb")])
def test_arkit_weights_of_a_face_model_that_has_none_are_refused_before_the_fit(
    words: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fitting.fit_file.fit_file", lambda *_, **__: pytest.fail("it was fitted"))
    np.savez("landmarks.npz", landmarks=np.zeros((1, 68, 2)), scheme="ibug68")
    assert cli.main(["fit", "landmarks.npz", "--out", "fit.npz", "--model", "toy.npz", *words]) == 2
    error = capsys.readouterr().err
    assert "face model 'toy' has no map to ARKit weights: leave --arkit out, and give --gltf --targets" in error


@pytest.mark.parametrize(
    "words",
    [
        ("model", "calibrate", "nowhere"), ("model", "import", "nowhere", "--kind", "flame"), ("model", "build"),
        ("model", "render"),
    ],
)  # fmt: skip
def test_a_face_model_that_cannot_be_written_is_told_before_the_work(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert cli.main([*words, "--out", str(tmp_path / "file" / "out.png")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert str(tmp_path / "file") in error
