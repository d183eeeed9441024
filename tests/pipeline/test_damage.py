"""A disk that failed, or a hand that went astray: whatever a file holds, there is one error with the way out."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from pretend import Line
from synthetic import manifest_of

from facevid.description import DatasetError
from facevid.failures import FailureCode, Stage
from pipeline.config import FetchOptions
from pipeline.egress.service import find_egress
from pipeline.finish import _up_to_date
from pipeline.items import TrackPart, read_boxes, read_facts, read_fitted, read_track
from pipeline.job import fetch_keys
from pipeline.manifest import ManifestRow
from pipeline.plan import Plan, read_plan, write_plan
from pipeline.retry import retry_text
from pipeline.row_state import row_state
from pipeline.run_record import read_begin, write_begin
from pipeline.status import status
from pipeline.stored_crops import read_crops


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """A build that was stopped: a good row, one that failed, one to do."""
    line = Line(tmp_path)
    gone, todo = (ManifestRow(video_id=name, url=f"https://x.org/{name}") for name in ("gone", "todo"))
    good = line.row("a")
    line.run(good)
    line.store.commit_failure(Stage.FETCH, fetch_keys(gone, line.job)[1], FailureCode.NETWORK, "no route")
    write_plan(Plan(job=line.job, manifest=manifest_of(good, gone, todo)))
    write_begin(line.job.state, "2026-01-02T03:04:05Z", todo=3)
    return line


def files(line: Line, *patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in line.job.out.glob(pattern))


def altered(value: object) -> bytes:
    return json.dumps(value).encode()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "zeroed": lambda data: bytes(len(data)),
    "a list": lambda data: b"[]",
    "a number": lambda data: b"7",
    "an empty object": lambda data: b"{}",
    "deeper than any": lambda data: b"[" * 100_000,
    "no UTF-8": lambda data: b"\xff" + data,
    "of other types": lambda data: altered({name: [] for name in json.loads(data)}),
    "null": lambda data: altered(dict.fromkeys(json.loads(data))),
}


def look(line: Line) -> None:
    """What every command that looks at a stopped build does."""
    assert status(line.job.out).videos_done == 2
    assert retry_text(line.job.out).startswith("1 video would")


@pytest.mark.parametrize("pattern", [
    ".build/plan.json", "store/fetch/*/*/video.json", "store/fetch/*/*/failure.json", "store/faces/*/*/faces.json",
    ".build/progress/*.json",
])  # fmt: skip
def test_a_damaged_record_is_named_with_what_to_do(line: Line, pattern: str) -> None:
    look(line)
    (file,) = files(line, pattern)
    whole = file.read_bytes()
    for name, damage in DAMAGES.items():
        file.write_bytes(damage(whole))
        if (pattern, name) == (".build/progress/*.json", "an empty object"):
            look(line)  # nothing was counted: as good as any
            continue
        with pytest.raises(DatasetError, match=r"(another version|damaged).*(build|remove)") as caught:
            look(line)
        assert str(file) in str(caught.value) or "another version" in str(caught.value), name


@pytest.mark.parametrize("suffix", ["jsonl", "index"])
def test_a_plan_whose_rows_were_damaged_does_not_pass_for_a_shorter_one(line: Line, suffix: str) -> None:
    (file,) = files(line, f".build/rows-*.{suffix}")
    whole = file.read_bytes()
    for name in ("emptied", "cut short", "zeroed", "a list", "a number"):
        file.write_bytes(DAMAGES[name](whole))
        with pytest.raises(DatasetError, match=r"rows-.* is damaged .*run `facevid build` with the manifest"):
            look(line)


def test_a_row_that_somebody_altered_in_the_plan_is_noticed(line: Line) -> None:
    (file,) = files(line, ".build/rows-*.jsonl")
    file.write_bytes(file.read_bytes().replace(b"todo", b"evil"))

    with pytest.raises(DatasetError, match="it is not what its name says"):
        look(line)


def test_a_plan_whose_rows_are_gone_says_so(line: Line) -> None:
    for file in files(line, ".build/rows-*.jsonl"):
        file.unlink()

    with pytest.raises(DatasetError, match=r"rows-.*is not there; run `facevid build`"):
        read_plan(line.job.out)


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_notes_of_a_build_are_named(tmp_path: Path, name: str) -> None:
    write_begin(tmp_path, "2026-01-02T03:04:05Z", todo=3)
    assert read_begin(tmp_path) is not None
    for file in (tmp_path / "begin.json", tmp_path / "egress.json"):
        file.write_bytes(DAMAGES[name](b'{"host": "127.0.0.1", "port": 1, "token": "t"}'))

    with pytest.raises(DatasetError, match=r"begin\.json is damaged .*; remove it"):
        read_begin(tmp_path)
    with pytest.raises(DatasetError, match=r"egress\.json is damaged .*run the build again"):
        find_egress(FetchOptions(), tmp_path)


@pytest.mark.parametrize("pattern", ["faces/*/*/tracks.npz", "faces/*/*/crops.parquet", "fit/*/*/fitted.npz",
                                     "fit/*/*/sizes.npz", "fit/*/*/fit.json"])  # fmt: skip
def test_damaged_arrays_are_read_or_named(line: Line, pattern: str) -> None:
    (file,) = files(line, f"store/{pattern}")
    whole, draw = file.read_bytes(), random.Random(1)
    named = 0
    for number in range(20):
        data = bytearray(whole)
        begin = draw.randrange(len(data))
        if number % 2:
            del data[begin:]
        else:
            data[begin : begin + 200] = draw.randbytes(min(200, len(data) - begin))
        file.write_bytes(data)
        try:
            _read_all(file.parent)
        except DatasetError as error:  # else the damage hit what does not matter
            named += 1
            assert f"{file} is damaged" in str(error)  # noqa: PT017  # there may be none
            assert str(error).endswith("remove the folder that it is in, and run the build again: it makes what is missing")  # noqa: PT017, E501
    assert named > 8


def _read_all(folder: Path) -> None:
    if (folder / "faces.json").exists():
        read_boxes(folder)
        for track in range(len(read_facts(folder).schemes)):
            read_track(folder, track)
            for _ in read_crops(folder, TrackPart(span=0, track=track, begin=0, end=1 << 30)):
                pass
    else:
        read_fitted(folder)


def test_a_damaged_result_is_made_again_once_its_folder_is_removed(line: Line) -> None:
    (file,) = files(line, "store/faces/*/*/faces.json")
    file.write_bytes(b"")
    for path in file.parent.iterdir():
        path.unlink()
    file.parent.rmdir()

    assert row_state(line.row("a", None), line.job, line.store).next_stage is Stage.FACES


@pytest.mark.parametrize("name", DAMAGES)
def test_tables_whose_description_is_damaged_are_written_anew(tmp_path: Path, name: str) -> None:
    done, description = tmp_path / "assembled.json", tmp_path / "facevid.json"
    whole = b'{"content_key": "k", "shards": [], "funnel": []}'
    for damaged, other in ((done, description), (description, done)):
        damaged.write_bytes(DAMAGES[name](whole))
        other.write_bytes(whole)
        assert not _up_to_date(tmp_path, done, "k")
