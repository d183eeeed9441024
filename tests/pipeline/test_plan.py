import stat
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import job_in

from facevid.description import DatasetError
from pipeline.manifest import BadRow, Manifest, ManifestRow
from pipeline.plan import Plan, read_plan, write_plan

ROWS = (
    ManifestRow(video_id="a", url="https://x.org/ü", start_s=0.0, split="val", extra=(("who", "Zoë\n"),), line=2),
    ManifestRow(video_id="b", url="b.mp4", line=3),
    ManifestRow(video_id="c", url="c.mp4", end_s=2.5, subject_id="s", licence="CC0", attribution="A", line=5),
)
BAD = (BadRow(line=4, video_id="?", url="", reason="url is empty"),)


def plan_in(folder: Path, *rows: ManifestRow) -> Plan:
    return Plan(job=job_in(folder), manifest=Manifest(rows=rows, bad_rows=BAD, folder=folder))


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, *ROWS)
    write_plan(plan)

    found = read_plan(plan.job.out)

    assert found.job == plan.job
    assert found.manifest.folder == tmp_path
    assert tuple(found.manifest.rows) == ROWS
    assert tuple(found.manifest.bad_rows) == BAD


def test_single_rows_are_found_from_both_ends(tmp_path: Path) -> None:
    write_plan(plan_in(tmp_path, *ROWS))

    rows = read_plan(tmp_path / "out").manifest.rows

    assert len(rows) == 3
    assert (rows[2], rows[-3]) == (ROWS[2], ROWS[0])
    assert rows[1:] == ROWS[1:]
    with pytest.raises(IndexError, match="index=3: there are 3 rows"):
        rows[3]


def test_who_has_read_a_plan_keeps_it_when_another_is_written(tmp_path: Path) -> None:
    write_plan(plan_in(tmp_path, *ROWS))
    before = read_plan(tmp_path / "out").manifest

    write_plan(plan_in(tmp_path, replace(ROWS[0], video_id="other")))

    assert before.rows[1] == ROWS[1]
    assert [row.video_id for row in read_plan(tmp_path / "out").manifest.rows] == ["other"]
    # Nothing of the old plan is left.
    assert len(list((tmp_path / "out" / ".build").glob("rows-*"))) == 2


def test_a_plan_without_rows_is_a_plan(tmp_path: Path) -> None:
    write_plan(plan_in(tmp_path))

    assert list(read_plan(tmp_path / "out").manifest.rows) == []


def test_where_no_build_was_begun_there_is_no_plan(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"plan\.json"):
        read_plan(tmp_path)


def test_a_plan_of_another_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write_plan(plan_in(tmp_path, *ROWS))
    file = tmp_path / "out" / ".build" / "plan.json"
    file.write_text(file.read_text().replace('"format": 2', '"format": 1'))

    with pytest.raises(DatasetError, match="begun by another version; `facevid build` takes it up again"):
        read_plan(tmp_path / "out")


def test_a_damaged_plan_of_before_stops_no_build_of_another_manifest(tmp_path: Path) -> None:
    many = (ManifestRow(video_id=f"v{number}", url=f"{number}.mp4") for number in range(500))
    write_plan(plan_in(tmp_path, *many))
    (file,) = (tmp_path / "out" / ".build").glob("rows-*.jsonl")
    file.write_bytes(file.read_bytes()[:-10] + b"?" * 10)

    write_plan(plan_in(tmp_path, *ROWS))

    assert tuple(read_plan(tmp_path / "out").manifest.rows) == ROWS


def test_a_plan_is_for_its_users_eyes_alone(tmp_path: Path) -> None:
    write_plan(plan_in(tmp_path, *ROWS))

    files = [path for path in (tmp_path / "out" / ".build").iterdir() if path.is_file()]
    assert len(files) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
