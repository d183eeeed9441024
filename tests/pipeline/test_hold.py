from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline import hold
from pipeline.hold import held, is_held


def test_who_asks_for_what_is_held_waits_until_it_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "_ASK_EVERY_S", 0.0)
    first, waits = ExitStack(), list[str]()
    first.enter_context(held(tmp_path / "holds", "faces/ab", on_wait=lambda: None))

    def on_wait() -> None:
        waits.append("waits")
        if len(waits) == 3:
            first.close()

    with held(tmp_path / "holds", "faces/ab", on_wait=on_wait):
        pass

    # The last one says that it has come.
    assert len(waits) == 4


def test_what_has_another_name_is_held_at_once(tmp_path: Path) -> None:
    waits: list[str] = []
    with (
        held(tmp_path / "holds", "faces/ab", on_wait=lambda: None),
        held(tmp_path / "holds", "faces/ac", on_wait=lambda: waits.append("come")),
    ):
        assert waits == ["come"]


def test_a_hold_can_be_asked_after_without_waiting(tmp_path: Path) -> None:
    with held(tmp_path / "holds", "tmp/a"):
        assert [is_held(tmp_path / "holds", name) for name in ("tmp/a", "tmp/b")] == [True, False]
    assert not is_held(tmp_path / "holds", "tmp/a")
