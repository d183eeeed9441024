"""The example for SLURM, with two processes as the machines and a few lines as the scheduler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from facevid import assets
from facevid.dataset import open_dataset
from pipeline.slices import begun_slices
from pipeline.status import status

ROOT = Path(__file__).parents[2]
SUBMIT = ROOT / "examples" / "slurm" / "submit.sh"

SBATCH = """#!/usr/bin/env bash
set -eu
array= parsable=
while case "$1" in --*) true ;; *) false ;; esac; do
    case "$1" in
        --array=*) array=${1#--array=} ;;
        --parsable) parsable=yes ;;
        --dependency=*) [ "$1" = --dependency=afterany:4711 ] ;;
    esac
    echo "$1" >> "$SEEN"
    shift
done
if [ -z "$array" ]; then exec "$@" > "$SEEN.tables" 2>&1; fi
for task in $(seq "${array%-*}" "${array#*-}"); do
    SLURM_ARRAY_TASK_ID=$task "$@" > "$SEEN.$task" 2>&1 &
    machines="${machines:-} $!"
done
for machine in $machines; do wait "$machine"; done
[ -z "$parsable" ] || echo "4711;cluster"
"""


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_an_array_job_labels_and_the_job_after_it_writes_the_tables(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "sbatch", SBATCH)
    facevid = script(tmp_path / "bin" / "facevid", f'#!/bin/sh\nexec "{sys.executable}" -m facevid "$@"\n')
    cut = ["-an", "-frames:v", "20", "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"]
    face = [get_ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(assets.fetch("single_face.mp4")), *cut]
    subprocess.run([*face, str(tmp_path / "face.mp4")], check=True)
    (tmp_path / "broken.mp4").write_text("no video")
    (tmp_path / "m.csv").write_text("video_id,url\nface,face.mp4\nbroken,broken.mp4\n")
    out = tmp_path / "shared disk" / "out"

    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "SEEN": str(tmp_path / "seen"), "FACEVID": str(facevid),
    }  # fmt: skip
    subprocess.run(
        [str(SUBMIT), "2", "m.csv", str(out), "--allow-local", "--workers", "1"], cwd=tmp_path, env=environment,
        check=True,
    )  # fmt: skip

    assert [status(folder).videos_done for folder in begun_slices(out).values()] == [1, 1]
    assert "label: 2 videos, 2 of them done before" in (tmp_path / "seen.tables").read_text()
    dataset = open_dataset(out)
    dataset.verify()
    assert dataset.table("frames").num_rows == 20
    assert dataset.table("failures")["video_id"].to_pylist() == ["broken"]
    asked = (tmp_path / "seen").read_text().split()
    assert asked.count("--cpus-per-task=1") == asked.count("--mem-per-cpu=1500M") == 2


def test_memory_that_the_user_asks_for_is_left_to_the_user(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "sbatch", '#!/bin/sh\necho "$@" >> "$SEEN"\n')
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "SEEN": str(tmp_path / "seen"),
        "SBATCH_MEM_PER_NODE": "64G",
    }  # fmt: skip
    subprocess.run([str(SUBMIT), "2", "m.csv", str(tmp_path / "out")], env=environment, check=True)
    assert "--cpus-per-task=1" in (tmp_path / "seen").read_text()
    assert "--mem-per-cpu" not in (tmp_path / "seen").read_text()


@pytest.mark.parametrize("name", ["submit.sh", "build.sh"])
def test_the_scripts_are_sound(name: str) -> None:
    subprocess.run(["bash", "-n", str(SUBMIT.with_name(name))], check=True)


def test_who_says_too_little_is_told_what_is_asked_for() -> None:
    ran = subprocess.run([str(SUBMIT), "8"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("examples/slurm/submit.sh SLICES MANIFEST OUT")
