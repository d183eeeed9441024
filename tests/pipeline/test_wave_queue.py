"""Which row comes next, and what becomes of rows whose host is left alone."""

import json
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fetching import DATA, fetcher
from hypothesis import given
from hypothesis import strategies as st
from loopback import loopback_server
from pretend import Line
from synthetic import manifest_of, with_options

from facevid.failures import FailureCode, Stage
from pipeline.blame import Labeller
from pipeline.config import FetchOptions
from pipeline.driver import Driver, WaveEnd
from pipeline.egress.politeness import PROFILES
from pipeline.egress.service import egress_rules, running_egress
from pipeline.fetch import Fetcher
from pipeline.fetch_errors import FetchError
from pipeline.fetch_step import FetchRows
from pipeline.manifest import ManifestRow
from pipeline.plan import Plan, write_plan
from pipeline.row_state import row_state
from pipeline.store import Store
from pipeline.watch import Watch
from pipeline.wave import Wave, row_queue
from pipeline.wave_queue import WaveQueue, host_of, interleaved

SOCKETS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


def queue(folder: Path, hosts: Sequence[str], clock: Clock, *, pause_s: float = 5.0) -> WaveQueue:
    made = WaveQueue(folder / "q", range(len(hosts)), hosts, pause_s=pause_s, clock=clock)
    made.begin()
    return made


@pytest.mark.parametrize(("url", "host"), [
    ("https://X.org./a", "x.org:443"), ("http://x.org/a", "x.org:80"), ("http://x.org:8080/a", "x.org:8080"),
    ("a.mp4", ""), ("s3://bucket/a.mp4", ""),
])  # fmt: skip
def test_rows_wait_for_the_host_and_port_of_their_address(url: str, host: str) -> None:
    assert host_of(url) == host


@given(st.lists(st.sampled_from("abcd"), max_size=60))
def test_every_hosts_rows_are_spread_over_the_whole_in_their_order(hosts: list[str]) -> None:
    order = interleaved(range(len(hosts)), hosts)

    assert sorted(order) == list(range(len(hosts)))
    for host in set(hosts):
        own = [row for row in order if hosts[row] == host]
        assert own == sorted(own)
    # The first k rows hold of each host about its share of all rows.
    for k in range(1, len(hosts) + 1):
        for host in set(hosts):
            share = k * hosts.count(host) / len(hosts)
            assert abs(sum(hosts[row] == host for row in order[:k]) - share) < len(set(hosts))


def test_a_worker_takes_a_row_whose_host_can_be_asked_now(tmp_path: Path) -> None:
    clock = Clock()
    rows = queue(tmp_path, ["a", "a", "a", "b", "b", ""], clock)

    # Most rows first, and nobody waits where another host is free; then what needs no host.
    assert [rows.take() for _ in range(3)] == [(0, "a"), (3, "b"), (5, "")]
    rows.leave("b")
    clock.now_s += 1
    rows.leave("a")
    # All that is left must wait: for b 4 s, for a 5 s.
    assert rows.take() == (4, "b")
    assert rows.take() == (1, "a")
    # One who asks now must wait for the worker at a, as no other host has rows.
    assert rows.take() == (2, "a")
    assert rows.take() is None


def test_who_has_other_work_takes_no_row_that_must_wait(tmp_path: Path) -> None:
    clock = Clock()
    rows = queue(tmp_path, ["a", "a", ""], clock)
    assert rows.take(patient=False) == (0, "a")
    # Another worker is at a.
    assert [rows.take(patient=False) for _ in range(2)] == [(2, ""), None]

    rows.leave("a")
    clock.now_s += 4.9
    assert rows.take(patient=False) is None
    clock.now_s += 0.2
    assert rows.take(patient=False) == (1, "a")


def test_a_wave_is_over_when_all_rows_that_may_be_had_are_left(tmp_path: Path) -> None:
    clock = Clock()
    rows = queue(tmp_path, ["a", "", "a"], clock)
    told = [rows.over()]
    for _ in range(2):
        rows.take()
    rows.leave("a")
    told.append(rows.over())
    rows.refuse(0, "a", 60.0)
    told.append(rows.over())  # a file of this machine is still looked at
    rows.leave("")
    told.append(rows.over())
    clock.now_s += 60

    assert [*told, rows.over()] == [False, False, False, True, False]


def test_hosts_that_rest_are_passed_over_until_they_do_not(tmp_path: Path) -> None:
    clock = Clock()
    rows = queue(tmp_path, ["a", "a", "a", "b"], clock)
    assert rows.take() == (0, "a")

    rows.refuse(0, "a", 60.0)
    rows.leave("a")

    assert rows.resting() == {0: 1060.0, 1: 1060.0, 2: 1060.0}
    assert rows.take() == (3, "b")
    assert rows.take() is None
    clock.now_s += 60
    assert rows.take() == (1, "a")
    assert rows.resting() == {0: 1060.0, 2: 1060.0}


def test_a_host_rests_until_the_latest_that_anybody_was_told(tmp_path: Path) -> None:
    clock = Clock()
    rows = queue(tmp_path, ["a", "a", "a"], clock)
    assert [rows.take(), rows.take()] == [(0, "a"), (1, "a")]

    rows.refuse(0, "a", 60.0)
    rows.refuse(1, "a", 30.0)

    clock.now_s += 45
    assert rows.resting()[2] == 1060.0
    assert rows.take() is None


def test_two_workers_take_every_row_once(tmp_path: Path) -> None:
    hosts = [f"h{number % 7}" for number in range(200)]
    queue(tmp_path, hosts, Clock())
    taken: list[int] = []

    def work() -> None:
        own = WaveQueue(tmp_path / "q", range(200), hosts, pause_s=0.0)
        while (found := own.take()) is not None:
            taken.append(found[0])
            own.leave(found[1])

    together(work, work)

    assert sorted(taken) == list(range(200))


def together(*works: Any) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@SOCKETS
@pytest.mark.usefixtures("fetching")
def test_no_worker_waits_for_a_host_while_another_has_rows(tmp_path: Path) -> None:
    """Three hosts, two workers, and a manifest that names one host after the other: told by the proxy's own log."""
    pause_s = 0.3
    options = FetchOptions(allow_private=True, pause_s=pause_s, timeout_s=5.0, attempts=1)
    with loopback_server() as one, loopback_server() as two, loopback_server() as three:
        urls = [each.serve(f"{n}.mp4", DATA + bytes([n])) for each in (one, two, three) for n in range(3)]
        hosts = [host_of(url) for url in urls]
        WaveQueue(tmp_path / "q", range(9), hosts, pause_s=pause_s).begin()
        with running_egress(egress_rules(options), log=tmp_path / "log") as egress:

            def work() -> None:
                rows = WaveQueue(tmp_path / "q", range(9), hosts, pause_s=pause_s)
                own = Fetcher(options, Store(tmp_path / "store"), tmp_path, egress=egress)
                while (taken := rows.take()) is not None:
                    own.fetch(urls[taken[0]])
                    rows.leave(taken[1])

            together(work, work)

    videos = [line for line in map(json.loads, (tmp_path / "log").open()) if line["kind"] == "video"]
    assert len(videos) == 9
    ends: dict[str, list[float]] = defaultdict(list)
    for line in videos:
        line["end_s"] = datetime.fromisoformat(line["at"]).timestamp()
        line["asked_s"] = line["end_s"] - line["duration_s"] - line["waited_s"]
        ends[line["host"]].append(line["end_s"])
    for line in (line for line in videos if line["waited_s"] > 0.05):
        for host in ends.keys() - {line["host"]}:
            begun = [other for other in videos if other["host"] == host and other["asked_s"] <= line["asked_s"] + 0.05]
            free_s = max((other["end_s"] + pause_s for other in begun), default=0.0)
            # It had no rows left, or could be asked no earlier.
            assert len(begun) == 3 or free_s >= line["asked_s"] + line["waited_s"] - 0.05


class Resting(Driver):
    """A driver that finds a host resting until a moment, and all rows of others had."""

    def __init__(self, line: Line, rows: Sequence[ManifestRow], clock: Clock, until_s: float) -> None:
        self.line, self.rows, self.clock, self.until_s = line, rows, clock, until_s
        self.waves: list[tuple[tuple[int, ...], bool]] = []

    def run(self, kind: str, rows: Sequence[int], *, may_rest: bool = False, **_: Any) -> WaveEnd:
        self.waves.append((tuple(rows), may_rest))
        resting = {}
        for index in rows:
            state = row_state(self.rows[index], self.line.job, self.line.store)
            if "busy.org" in self.rows[index].url and self.clock() < self.until_s and may_rest:
                resting[index] = self.clock() + 600.0
            else:
                self.line.store.commit_failure(Stage.FETCH, state.next_key, FailureCode.NOT_FOUND, "asked")
        return WaveEnd(died=False, resting=resting)


def labelled(folder: Path, *, until_s: float, patience_s: float | None = None) -> tuple[Resting, Clock, list[str]]:
    line, clock, said = Line(folder), Clock(), list[str]()
    line.job = with_options(line.job, wave=2, fetch=FetchOptions(patience_s=patience_s))
    rows = [ManifestRow(video_id=f"v{n}", url=f"https://{host}.org/{n}") for n, host in enumerate(["busy", "x"] * 3)]
    driver = Resting(line, rows, clock, until_s)

    def sleep(wait_s: float) -> None:
        clock.now_s += wait_s

    watch = Watch(line.job.state, line.job.options.limits)
    Labeller(
        line.job, manifest_of(*rows), line.store, driver, watch, report=said.append, clock=clock, sleep=sleep
    ).label(range(6))
    assert all(row_state(row, line.job, line.store).next_stage is None for row in rows)
    return driver, clock, said


def test_rows_of_a_host_that_rests_come_when_it_may_be_asked_again(tmp_path: Path) -> None:
    driver, clock, said = labelled(tmp_path, until_s=1500.0)

    assert driver.waves == [((0, 1), True), ((2, 3), True), ((4, 5), True), ((0, 2), True), ((4,), True)]
    assert clock.now_s == 1600.0
    assert said == ["label: waiting 10 min for busy.org:443, which refused too many; 3 videos left"]


def test_a_build_does_not_wait_for_ever_for_a_host_that_rests(tmp_path: Path) -> None:
    driver, clock, said = labelled(tmp_path, until_s=1e9, patience_s=1300.0)

    # Waited for twice; then they fail, to be tried again by the user.
    assert clock.now_s == 1000.0 + 2 * 600.0
    assert len(said) == 2
    assert driver.waves[-2:] == [((0, 2), False), ((4,), False)]


def test_hosts_of_ones_own_are_waited_for_less() -> None:
    assert FetchOptions().rests_s == 3600.0
    assert FetchOptions(politeness="fast").rests_s == 30.0
    assert FetchOptions(politeness="fast", patience_s=7.0).rests_s == 7.0


class Sources:
    """Fetches nothing: hosts refuse, or rest."""

    def __init__(self, rests: Mapping[str, float]) -> None:
        self.rests, self.asked = rests, list[str]()

    def fetch(self, url: str) -> Any:
        self.asked.append(url)
        rest_s = next((rest_s for host, rest_s in self.rests.items() if host in url), None)
        raise FetchError(FailureCode.RATE_LIMITED, "too many", rest_s=rest_s)


@pytest.mark.parametrize("may_rest", [True, False])
def test_a_row_that_was_not_asked_for_has_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_rest: bool
) -> None:
    line = Line(tmp_path)
    urls = [f"https://{host}.org/{n}" for host in ("rests", "x") for n in range(2)]
    rows = [ManifestRow(video_id=f"v{n}", url=url) for n, url in enumerate(urls)]
    write_plan(Plan(job=line.job, manifest=manifest_of(*rows)))
    hosts = tuple(host_of(url) for url in urls)
    wave_file = tmp_path / "wave.json"
    wave = Wave(
        kind="label", out=line.job.out, rows=(0, 1, 2, 3), workers=1, hosts=hosts, may_rest=may_rest, beam_options=(),
        parent_pid=1,
    )  # fmt: skip
    wave.begin(wave_file)
    shared = row_queue(wave_file, wave)
    source = Sources({"rests.org": 600.0})
    monkeypatch.setattr("pipeline.egress.service.find_egress", lambda *_: None)
    step = FetchRows(line.job.out, wave_file)
    step.setup()
    monkeypatch.setattr(step, "_fetcher", source)

    assert list(step.process(0)) == []

    states = [row_state(row, line.job, line.store) for row in rows]
    codes = [None if state.failure is None else state.failure.code for state in states]
    refused = FailureCode.RATE_LIMITED
    assert codes == ([None, None, refused, refused] if may_rest else [refused] * 4)
    assert [state.next_stage for state in states[:2]] == [Stage.FETCH if may_rest else None] * 2
    assert sorted(shared.resting()) == ([0, 1] if may_rest else [])
    assert len(source.asked) == (3 if may_rest else 4)
    assert list(step.process(1)) == []


@SOCKETS
@pytest.mark.usefixtures("fetching")
def test_the_proxy_says_for_how_long_a_host_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = replace(PROFILES["fast"], breaker_videos=1, breaker_share=1.0, breaker_rest_s=1000.0)
    monkeypatch.setattr("pipeline.config.PROFILES", {"polite": PROFILES["polite"], "fast": strict})
    refused = fetcher(tmp_path)
    with loopback_server() as server:
        told = []
        for _ in range(2):
            with pytest.raises(FetchError) as caught:
                refused.fetch(f"{server.address}/status/429")
            told.append(caught.value.rest_s)

    assert told[0] is None  # it was asked
    assert told[1] is not None
    assert 900 < told[1] <= 1000
