"""Acquisition at its worst: is every row accounted for, does no site see us hurry, does nothing get out or in?

    python -m benchmarks.acquisition --videos FOLDER      (or FACEVID_VIDEOS=FOLDER)

A web of three sites on loopback serves the eight videos of the folder and misbehaves in every way that we know; poison
files lie beside it; attackers ask for what they must not have. Then builds are killed and resumed, and beside that
three hours of video are read with an eye on the memory; a worker is stopped. Ends with one line of JSON, and with exit
status 1 where a goal was missed. A run with --out that was stopped goes on where it was when it is started again.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.acquisition.builds import EMPTY, Row, outcomes, run_build, write_manifest
from benchmarks.acquisition.hangs import measure_hang
from benchmarks.acquisition.kills import measure_kills
from benchmarks.acquisition.memory import measure_memory
from benchmarks.acquisition.notes import FILE as MEASURED_FILE
from benchmarks.acquisition.notes import Notes
from benchmarks.acquisition.rows import SITES, attack_rows, poison_rows, web_rows
from benchmarks.acquisition.server import Request, Web, running_web
from benchmarks.videos import add_videos, videos_or_leave
from facevid import assets
from pipeline.faces.probe import ffmpeg_program

PAUSE_S = 0.5
MEMORY_GOAL_MIB = 1536
SUFFIXES = {".mp4", ".mov", ".webm", ".mkv"}
_LIMIT_S = 1800.0
_LEFT = {"rows": ("rows", "poison"), "attacks": ("attacks", "outside"), "hangs": ("hang",), "memory": ("long",)}
"""What a run that was stopped in the middle of a part leaves of it."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.acquisition",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_videos(parser, holds="videos of faces")
    parser.add_argument(
        "--out", type=Path, help="folder to keep everything in, instead of a temporary one: new, or of a stopped run"
    )
    parser.add_argument("--quick", action="store_true", help="two kills, short videos, no long one: for development")
    parser.add_argument("--only", choices=["rows", "attacks", "kills", "hangs", "memory"], help="one part")
    arguments = parser.parse_args()
    videos = videos_or_leave(parser, arguments.videos, truth=False)
    if arguments.out is not None and arguments.out.exists() and not (arguments.out / MEASURED_FILE).is_file():
        parser.error(f"{arguments.out} exists already and is no stopped run of this benchmark")
    began_s = time.monotonic()
    folder = arguments.out or Path(tempfile.mkdtemp(prefix="facevid-acquisition-"))
    folder.mkdir(parents=True, exist_ok=True)
    assets.fetch_landmark_networks()
    parts = [arguments.only] if arguments.only else ["rows", "attacks", "memory", "kills", "hangs"]
    if arguments.quick:
        parts = [part for part in parts if part != "memory"]
    notes = Notes(folder)
    if notes.get("quick") not in {None, arguments.quick}:
        parser.error(f"{arguments.out} is of a run {'without' if arguments.quick else 'with'} --quick")
    notes.note("quick", arguments.quick)
    _measure(parts, videos, folder, notes, quick=arguments.quick)
    found: dict[str, Any] = {"exit_statuses": []}
    for part in parts:
        seen = notes.get(part)
        found = found | seen | {"exit_statuses": found["exit_statuses"] + seen.get("exit_statuses", [])}
    missed = _missed(found)
    print(f"\neverything is in {folder}")
    print("goals reached" if not missed else f"goals missed: {', '.join(missed)}")
    print(json.dumps({"goals_reached": not missed, "wall_s": round(time.monotonic() - began_s)} | found))
    return 1 if missed else 0


def _measure(parts: Sequence[str], videos: Path, folder: Path, notes: Notes, *, quick: bool) -> None:
    """Measure what is not in the notes yet, and note it."""
    clips = _clips(videos, folder / "clips")
    with running_web() as web, ThreadPoolExecutor(1) as beside:
        web.files |= {name: path.read_bytes() for name, path in clips.items()}
        options = (*_options(web), "--shards", "4")

        def kills() -> dict[str, object]:
            rows, times = _twelve_rows(clips, folder), 2 if quick else 20
            seen = measure_kills(rows, folder, (*options, "--workers", "2"), times=times, notes=notes, say=_say)
            return {"kills": seen.kills, "kills_identical": seen.identical, "kills_repeated": seen.repeated}

        def hangs() -> dict[str, object]:
            rows = [Row(video_id=path.stem, url=f"clips/{name}", expected="ok") for name, path in clips.items()]
            manifest = write_manifest(folder / "hang.csv", rows)
            return {"hang_costs_its_row": measure_hang(manifest, folder / "hang", options, say=_say)}

        measures: dict[str, Callable[[], dict[str, object]]] = {
            "rows": lambda: _measure_rows(web, videos, clips, folder, options, quick=quick),
            "attacks": lambda: _measure_attacks(web, folder, options),
            "memory": lambda: {"peak_rss_mib": round(measure_memory(folder, options, say=_say))},
            "kills": kills,
            "hangs": hangs,
        }
        waiting = None
        for part in parts:
            if notes.get(part) is not None:
                continue
            for left in _LEFT.get(part, ()):
                shutil.rmtree(folder / left, ignore_errors=True)
            if part == "memory":  # one core reads the long video, while builds are killed on what is left
                waiting = beside.submit(measures[part])
            else:
                notes.note(part, measures[part]())
        if waiting is not None:
            notes.note("memory", waiting.result())


def _missed(found: dict[str, object]) -> list[str]:
    """The names of what was measured and is not as it must be."""
    goals = {
        "accounted": found.get("accounted") == found.get("rows"),
        "wrong_codes": not found.get("wrong_codes"),
        "exit_statuses": not any(found.get("exit_statuses", [])),  # type: ignore[arg-type, call-overload]
        "kills_identical": found.get("kills_identical") == found.get("kills"),
        "kills_repeated": not found.get("kills_repeated"),
        "hang_costs_its_row": found.get("hang_costs_its_row", True),
        "max_requests_per_host": found.get("max_requests_per_host", 1) == 1,
        "min_pause_s": float(found.get("min_pause_s", PAUSE_S)) >= PAUSE_S,  # type: ignore[arg-type]
        "attacks_refused": found.get("attacks_refused") == found.get("attacks"),
        "peak_rss_mib": float(found.get("peak_rss_mib", 0)) < MEMORY_GOAL_MIB,  # type: ignore[arg-type]
    }
    return [name for name, reached in goals.items() if not reached]


def _options(web: Web) -> tuple[str, ...]:
    return (
        "--upstream-proxy", f"http://127.0.0.1:{web.port}", "--politeness", "fast", "--pause-s", str(PAUSE_S),
        "--attempts", "2", "--timeout-s", "3", "--max-fetch-s", "10", "--max-bytes", "20000000", "--allow-local",
        "--skip-bad-rows", "--decoder-stall-s", "30",
    )  # fmt: skip


def _clips(videos: Path, folder: Path) -> dict[str, Path]:
    """The first two seconds of each video, small, with an index at the front: what takes long is not measured here."""
    folder.mkdir(exist_ok=True)
    made = {}
    for video in sorted(path for path in videos.iterdir() if path.suffix in SUFFIXES):
        made[f"{video.stem}.mp4"] = folder / f"{video.stem}.mp4"
        command = [
            ffmpeg_program(), "-nostdin", "-v", "error", "-y", "-i", str(video), "-t", "2", "-an",
            "-vf", "scale=-2:240", "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1",
            str(folder / f"{video.stem}.mp4"),
        ]  # fmt: skip
        subprocess.run(command, check=True)
    return made


def _measure_rows(
    web: Web, videos: Path, clips: dict[str, Path], folder: Path, options: Sequence[str], *, quick: bool
) -> dict[str, object]:
    """Every row of a run over good videos, misbehaviours and poison ends exactly once, as it must."""
    good = {path.name: path for path in sorted(videos.iterdir()) if path.suffix in SUFFIXES}
    web.files |= {f"good-{name}": (clips[f"{path.stem}.mp4"] if quick else path).read_bytes()
                  for name, path in good.items()}
    ends = {f"good-{name}": "no_face" if name.startswith("no_face") else "ok" for name in good}
    small = next(name for name in clips if name.startswith("single_face"))
    if quick:
        ends |= {name: "no_face" for name in ends if name.startswith("good-noface")}
    (folder / "poison").mkdir()
    rows = web_rows(ends, small) + poison_rows(folder / "poison", clips[small], ok="ok", slow=not quick)
    out = folder / "rows"
    status, _ = run_build(
        write_manifest(folder / "rows.csv", rows), out, [*options, "--workers", "2"], limit_s=_LIMIT_S
    )
    if status:
        _say(f"the build exits {status}; see {out.with_suffix('.log')}")
        return {"rows": len(rows), "accounted": 0, "exit_statuses": [status]}
    ended = outcomes(out)
    wrong = [(row, ended.get(row.video_id)) for row in rows if ended.get(row.video_id) != [row.expected]]
    for row, codes in wrong:
        _say(f"  {row.video_id} ({row.url}) must end as {row.expected}, but ended as {codes}")
    return {
        "rows": len(rows),
        "accounted": sum(len(ended.get(row.video_id, ())) == 1 for row in rows),
        "wrong_codes": len(wrong),
        "exit_statuses": [status],
        "max_requests_per_host": max(web.busiest.values()),
        "min_pause_s": round(_shortest_pause_s(web.requests), 3),
    }


def _shortest_pause_s(requests: Sequence[Request]) -> float:
    """The shortest time on any site between the end of one video's last request and the next video's first one."""
    shortest_s = float("inf")
    for site in {request.site for request in requests}:
        own = sorted((request for request in requests if request.site == site), key=lambda request: request.began_s)
        for before, after in pairwise(own):
            if _video_of(before) != _video_of(after):
                shortest_s = min(shortest_s, after.began_s - before.ended_s)
    return shortest_s


def _video_of(request: Request) -> str:
    # A page and the video that it names, an address and where it redirects to, are one video.
    behaviour, _, name = request.path.lstrip("/").partition("/")
    followed = behaviour == "page" or (behaviour == "file" and not name.startswith("good-"))
    return "followed" if followed or behaviour == "redirect" else request.path


def _measure_attacks(web: Web, folder: Path, options: Sequence[str]) -> dict[str, object]:
    """Each attack is refused with its code, and nobody reaches what they must not."""
    outside = folder / "outside"
    outside.mkdir()
    with _canary() as (port, visitors):
        rows = attack_rows(outside, canary_port=port)
        out = folder / "attacks"
        options = [option for option in options if option != "--allow-local"]
        status, _ = run_build(
            write_manifest(folder / "attacks.csv", rows), out, [*options, "--workers", "2"], limit_s=_LIMIT_S
        )
    ended = outcomes(out) if status == EMPTY else {}
    refused = 0
    for row in rows:
        # What no table may hold stands in it as a question mark.
        codes = ended.get("".join(char if char.isprintable() else "?" for char in row.video_id))
        if codes == [row.expected]:
            refused += 1
        else:
            _say(f"  {row.video_id!r} ({row.url}) must be refused as {row.expected}, but: {codes}")
    reached = [target for target in web.tunnels if target.removesuffix(":80").removesuffix(":443") not in SITES]
    stolen = [path for path in out.rglob("*") if path.is_file() and b"root:x:0:0" in path.read_bytes()]
    written = list(outside.iterdir())
    for what, found in (("canary", visitors), ("reached", reached), ("stolen", stolen), ("written", written)):
        if found:
            _say(f"  BREACH, {what}: {found[:5]}")
    breached = bool(visitors or reached or stolen or written)
    return {
        "attacks": len(rows), "attacks_refused": 0 if breached else refused, "exit_statuses": [status - EMPTY],
    }  # fmt: skip


@contextmanager
def _canary() -> Iterator[tuple[int, list[str]]]:
    """A service on loopback that nobody may visit."""
    visitors: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def wait() -> None:
            while True:
                try:
                    visitor, address = listener.accept()
                except OSError:
                    return
                visitors.append(str(address))
                visitor.close()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        yield listener.getsockname()[1], visitors
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def _twelve_rows(clips: dict[str, Path], folder: Path) -> Path:
    """Good videos from the web and from the disk, and some that fail."""
    (folder / "broken.mp4").write_bytes(b"no video")
    names = list(clips)
    rows = [
        *(Row(video_id=f"web-{n}", url=f"http://{SITES[n % 3]}/file/{name}?kills", expected="ok")
          for n, name in enumerate(names[:4])),
        *(Row(video_id=f"disk-{n}", url=f"clips/{name}", expected="ok") for n, name in enumerate(names[4:8])),
        Row(video_id="gone", url=f"http://{SITES[0]}/404/x.mp4", expected="not_found"),
        Row(video_id="missing", url="missing.mp4", expected="not_found"),
        Row(video_id="broken", url="broken.mp4", expected="unsupported_format"),
        Row(video_id="stalls", url=f"http://{SITES[1]}/stall/{names[0]}", expected="timeout"),
    ]
    return write_manifest(folder / "twelve.csv", rows)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
