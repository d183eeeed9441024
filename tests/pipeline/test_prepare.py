from pathlib import Path

import pytest
from synthetic import manifest_of

from fitting.face_model import DEFAULT_MODEL_PATH
from pipeline.config import BuildOptions, FetchOptions
from pipeline.prepare import make_job


def test_paths_of_a_build_hold_wherever_a_later_command_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "face.npz").symlink_to(DEFAULT_MODEL_PATH)
    fetch = FetchOptions(cookies=Path("cookies.txt"), allow_list=Path("allow.txt"), deny_list=Path("deny.txt"))
    options = BuildOptions(store=Path("shelf"), model=Path("face.npz"), fetch=fetch)

    job, _ = make_job(manifest_of(), Path("out"), options, None)
    monkeypatch.chdir("/")

    assert (job.out, job.store_folder) == (tmp_path / "out", tmp_path / "shelf")
    assert (job.model_path, job.options.model) == (tmp_path / "face.npz", tmp_path / "face.npz")
    kept = job.options.fetch
    assert (kept.cookies, kept.allow_list, kept.deny_list) == tuple(
        tmp_path / name for name in ("cookies.txt", "allow.txt", "deny.txt")
    )
