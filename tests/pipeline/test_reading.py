import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from pretend import Line
from synthetic import with_options

from facevid.failures import FailureCode, Stage
from pipeline import reading
from pipeline.config import LimitOptions
from pipeline.desk import Desk
from pipeline.faces.errors import DecoderMemoryError, DecoderTimeoutError, VideoError
from pipeline.faces.limits import DecodeLimits
from pipeline.fetch import Fetcher
from pipeline.fetched_video import FetchedVideo
from pipeline.label import fetch_row
from pipeline.manifest import ManifestRow
from pipeline.progress import Counters
from pipeline.reading import FileFacts, file_facts, path_to_read
from pipeline.row_state import row_state


def fetch(line: Line, row: ManifestRow, facts_of: Any = None) -> None:
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
    fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, line.folder), facts_of)


@pytest.fixture
def stream(tmp_path: Path) -> Line:
    """A line with a file that has no index: 2 s of MPEG-TS."""
    line = Line(tmp_path)
    source = ["-f", "lavfi", "-i", "testsrc=size=32x32:rate=10:duration=2", "-c:v", "mpeg2video"]
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-v", "error", *source, str(tmp_path / "a.ts")], check=True)
    return line


@pytest.mark.parametrize(
    ("error", "code"),
    [(DecoderTimeoutError, FailureCode.TIMEOUT), (DecoderMemoryError, FailureCode.OUT_OF_MEMORY)],
)
def test_a_file_that_could_not_be_asked_is_a_failure_and_no_file_without_a_duration(
    tmp_path: Path, error: type[VideoError], code: FailureCode
) -> None:
    line = Line(tmp_path)
    row = line.row("talk", b"long")

    def busy(path: Path, limits: DecodeLimits) -> FileFacts:
        raise error(f"{path.name}: the machine is busy")

    fetch(line, row, busy)

    assert line.code(row) == (Stage.FETCH, code)
    assert code.retryable
    # What a limit stopped is tried again under another one, and then the truth is found.
    line.job = with_options(line.job, limits=LimitOptions(decoder_stall_s=90.0))
    fetch(line, row, lambda path, limits: FileFacts(duration_s=61.0))
    fetched = row_state(row, line.job, line.store).fetched
    assert fetched is not None
    assert fetched.file_duration_s == 61.0


def test_a_file_is_given_more_time_to_say_what_it_is_than_between_two_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[DecodeLimits] = []

    def probe(path: Path, limits: DecodeLimits) -> None:
        given.append(limits)
        raise DecoderTimeoutError("still busy")

    monkeypatch.setattr(reading, "probe", probe)

    with pytest.raises(DecoderTimeoutError):
        file_facts(tmp_path, DecodeLimits(decoder_stall_s=7.0))

    assert [limits.decoder_stall_s for limits in given] == [35.0]


def test_what_is_no_video_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")

    assert file_facts(tmp_path / "a", DecodeLimits()) == file_facts(tmp_path / "gone", DecodeLimits()) == FileFacts()


def fetched(line: Line, row: ManifestRow) -> FetchedVideo:
    fetch(line, row)
    video = row_state(row, line.job, line.store).fetched
    assert video is not None
    return video


def test_a_file_without_an_index_is_copied_once_for_all_its_parts(stream: Line, tmp_path: Path) -> None:
    row = stream.row("a.ts", None)
    video = fetched(stream, row)
    assert (video.indexed, video.file_duration_s) == (False, 2.0)

    whole = path_to_read(row, video, stream.job, stream.store, from_start=True)
    first = path_to_read(row, video, stream.job, stream.store, from_start=False)
    made = first.stat()
    second = path_to_read(row, video, stream.job, stream.store, from_start=False)

    assert whole == tmp_path / "a.ts"
    assert first == second != whole
    assert second.stat().st_mtime_ns == made.st_mtime_ns
    assert list((stream.store.root / "tmp").iterdir()) == []
    assert stream.store.video_bytes() == made.st_size


def test_a_file_of_which_there_is_no_copy_is_read_itself(
    stream: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = stream.row("a.ts", None)
    video = fetched(stream, row)
    tried: list[Path] = []
    monkeypatch.setattr(reading, "copy_with_index", lambda path, target, limits: bool(tried.append(path)))

    for _ in range(2):
        assert path_to_read(row, video, stream.job, stream.store, from_start=False) == tmp_path / "a.ts"

    assert len(tried) == 1


def test_no_copy_is_kept_of_a_file_that_changes_meanwhile(stream: Line, tmp_path: Path) -> None:
    row = stream.row("a.ts", None)
    video = fetched(stream, row)
    copied = reading.copy_with_index

    def change(path: Path, target: Path, limits: DecodeLimits) -> bool:
        made = copied(path, target, limits)
        path.write_bytes(b"something else")
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "copy_with_index", change)
        path_to_read(row, video, stream.job, stream.store, from_start=False)

    assert not (stream.store.root / "index").exists()


def test_a_video_with_an_index_is_read_where_it_is(stream: Line, tmp_path: Path) -> None:
    row = stream.row("a.ts", None)
    video = replace(fetched(stream, row), indexed=True)

    assert path_to_read(row, video, stream.job, stream.store, from_start=False) == tmp_path / "a.ts"
