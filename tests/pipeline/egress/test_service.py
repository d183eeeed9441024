import os
import stat
from pathlib import Path

import pytest

from pipeline.config import FetchOptions
from pipeline.egress.client import EgressError, video_lease
from pipeline.egress.service import TOKEN_VARIABLE, build_egress, find_egress


def test_a_builds_proxy_is_found_by_its_user_alone_while_it_runs(tmp_path: Path) -> None:
    options = FetchOptions(politeness="fast")
    with build_egress(options, tmp_path):
        found = find_egress(options, tmp_path)
        assert (found.host, len(found.token) > 30) == ("127.0.0.1", True)
        (file,) = tmp_path.glob("*.json")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with video_lease(found, "a.example", 80, "x"):
            pass

    assert not list(tmp_path.glob("*.json"))
    with pytest.raises(FileNotFoundError, match="need --egress"):
        find_egress(options, tmp_path)
    with pytest.raises(EgressError), video_lease(found, "a.example", 80, "x"):
        pass


def test_what_a_killed_build_left_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        left = build_egress(FetchOptions(), tmp_path)
        with left:
            os.link(tmp_path / "egress.json", tmp_path / "left")
        (tmp_path / "left").rename(tmp_path / "egress.json")

    with build_egress(FetchOptions(), tmp_path):
        assert find_egress(FetchOptions(), tmp_path).port > 0


def test_a_proxy_elsewhere_is_taken_at_its_word_and_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = FetchOptions(egress="proxy.example:3129")
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(ValueError, match=TOKEN_VARIABLE), build_egress(elsewhere, tmp_path):
        pass

    monkeypatch.setenv(TOKEN_VARIABLE, "0123456789abcdef")
    with build_egress(elsewhere, tmp_path):
        found = find_egress(elsewhere, tmp_path)

    assert (found.host, found.port, found.token) == ("proxy.example", 3129, "0123456789abcdef")
    assert not (tmp_path / "egress.json").exists()


def test_options_that_cannot_be_used_stop_a_build_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("not a host")
    for options in (
        FetchOptions(cookies=tmp_path / "bad.txt"), FetchOptions(deny_list=tmp_path / "bad.txt"),
        FetchOptions(upstream_proxy="socks5://a:1"), FetchOptions(egress="nonsense"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"line 1|upstream_proxy|egress"), build_egress(options, tmp_path):
            pass
