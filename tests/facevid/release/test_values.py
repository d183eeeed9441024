"""Every kind of damage to what tables say is told, in a line with how many rows have it and where the first one is."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facevid.cli import main
from facevid.description import DatasetError
from facevid.release.row_rules import _BOUNDS, _RULES
from facevid.release.values import Pictures, value_faults
from facevid.release.verify import read_described
from facevid.schema import dataset_schemas
from facevid.shards import shard_of
from training.decoding import decoded_crop

Change = Callable[[pa.Table], pa.Table]
FAILURE = {
    "video_id": "f", "track": None, "url": "u", "stage": "fetch", "code": "network", "retryable": True, "attempt": 1,
    "message": "m",
}  # fmt: skip


def found(folder: Path, *, most: int = 0) -> list[str]:
    return list(value_faults(read_described(str(folder)), Pictures(decode=decoded_crop, most=most)))


@pytest.fixture
def dataset(write_dataset: Callable[..., Path], toy_track: type) -> Path:
    folder = write_dataset(
        toy_track(video_id="a", frames=6, dropped_frames=(2,)), toy_track(video_id="b", frames=5, subject_id="s"),
        toy_track(video_id="b", track=1, frames=4, subject_id="s", kept=False),
        shards=1, failures=[FAILURE, FAILURE | {"track": 0, "stage": "fit", "code": "fit_diverged"}],
    )  # fmt: skip
    assert found(folder) == []
    return folder


def put(name: str, value: object, *rows: int) -> Change:
    """Other values in some rows of a column, of one element where the rows are vectors and the value is none."""

    def change(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        for row in rows:
            values[row] = value if not isinstance(values[row], list) or isinstance(value, list) else [
                *values[row][:-1], value
            ]
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        return table.set_column(place, field, pa.array(values, field.type))

    return change


def rows(*order: int) -> Change:
    return lambda table: table.take(pa.array(order))


def picture(side_px: int) -> bytes:
    return cv2.imencode(".jpg", np.zeros((side_px, side_px, 3), np.uint8))[1].tobytes()


ALL = tuple(range(15))
FRAMES = [
    (put("pts_s", math.nan, 3), "pts_s is not finite: 1 row, such as video_id 'a' track 0 frame 3: pts_s nan"),
    (put("landmarks_px", math.inf, 3, 4), "landmarks_px is not finite: 2 rows, such as video_id 'a' track 0 frame 3: "),
    (put("expression", math.nan, 7), "expression is not finite: 1 row"),
    (put("expression_sigma", 0.0, *ALL), "expression_sigma is not above 0, or not finite: 15 rows"),
    (put("scale_px_per_mm", -1.0, 1), "scale_px_per_mm is not above 0, or not finite: 1 row"),
    (put("landmark_confidence", 1.5, 1), "landmark_confidence is not between 0 and 1: 1 row"),
    (put("occlusion", math.nan, 1), "occlusion is not between 0 and 1: 1 row"),
    (put("yaw_deg", 181.0, 1), "yaw_deg is not between -180 and 180: 1 row"),
    (put("jitter", -0.1, 1), "jitter is below 0, or not finite: 1 row"),
    (put("rotation_wxyz", [1.0, 1.0, 0.0, 0.0], 1), "rotation_wxyz is no unit quaternion: 1 row"),
    (put("rotation_wxyz", [-1.0, 0.0, 0.0, 0.0], 1), "rotation_wxyz has a w below 0: 1 row"),
    (put("box_px", [9.0, 0.0, 0.0, 9.0], 1), "box_px has an edge beyond the opposite one: 1 row"),
    (put("filtered_reason", "why", 0), "filtered_reason is there though kept, or lacking though not: 1 row"),
    (put("filtered_reason", None, 2), "filtered_reason is there though kept, or lacking though not: 1 row"),
    (put("pts_s", 0.04, 2), "pts_s does not rise within its track: 1 row, such as video_id 'a' track 0 frame 2"),
    (rows(0, 2, 1, *range(3, 15)), "rows are not in the order of their key: 1 row, such as video_id 'a' track 0"),
    (put("frame", 3, 4), "rows have a key that was there before: 1 row, such as video_id 'a' track 0 frame 3"),
    (put("video_id", "c", 12, 13, 14), "the tracks table lacks the track: 3 rows, such as video_id 'c' track 1"),
]
TRACKS = [
    (put("identity", math.inf, 1), "identity is not finite: 1 row"),
    (put("identity_norm", 2.0, 1), "identity_norm is not the length of identity: 1 row"),
    (put("holdout_error", math.nan, 1), "holdout_error is below 0, or no number: 1 row"),
    (put("focal_px", 0.0, 1), "focal_px is not above 0, or not finite: 1 row"),
    (put("width_px", 0, 1), "width_px is below 1, or not finite: 1 row"),
    (put("fit_status", "diverged", 1), "fit_status is neither converged nor iteration_limit: 1 row"),
    (put("split", "zebra", 0), "split is none of train, val, test: 1 row"),
    (put("source_sha256", "00", 0), "source_sha256 is no sha256: 1 row"),
    (put("end_s", -1.0, 0), "end_s is before start_s: 1 row"),
    (put("frames", 5, 0), "frames is not what the frames table has: 1 row, such as video_id 'a' track 0: 5, not 6"),
    (put("first_frame", 1, 0), "first_frame is not what the frames table has: 1 row"),
    (put("last_frame", 7, 0), "last_frame is not what the frames table has: 1 row"),
    (put("start_s", 0.1, 0), "start_s is not what the frames table has: 1 row"),
    (put("detector", "mine", 0, 1), "detector is not the dataset's, toy: 2 rows, such as video_id 'a' track 0: 'mine'"),
    (put("split", "val", 2), "a subject is in two splits, and training would leak: 1 row, such as 's' in"),
    (rows(1, 0, 2), "rows are not in the order of their key: 1 row"),
]
CROPS = [
    (put("crop_from_frame", [1.0, 1.0, 0.0, 1.0, 1.0, 0.0], 4), "crop_from_frame is no similarity: 1 row"),
    (put("crop_from_frame", math.nan, 4), "crop_from_frame is not finite: 1 row"),
    (put("frame", 99, 5), "the frames table lacks the frame: 1 row, such as video_id 'a' track 0 frame 99"),
    (put("jpeg", b"no picture", 3), "a picture is no picture: 1 row, such as video_id 'a' track 0 frame 3"),
    (put("jpeg", picture(200), 3, 4), "a picture is 200 x 200 pixels, not 224 x 224: 2 rows"),
    (put("jpeg", picture(224)[:-200], 3), "a picture is no picture: 1 row"),
]
FAILURES = [
    (put("stage", "lunch", 0), "stage is none of the stages: 1 row, such as video_id 'f': stage 'lunch'"),
    (put("code", "bored", 0), "code is none of the codes: 1 row"),
    (put("attempt", 0, 1), "attempt is below 1, or not finite: 1 row"),
]


@pytest.mark.parametrize(
    ("table", "change", "told"),
    [
        (table, *case) for table, cases in
        (("frames", FRAMES), ("tracks", TRACKS), ("crops", CROPS), ("failures", FAILURES)) for case in cases
    ],
)
def test_damage_is_told_by_kind_with_a_count_and_an_example(
    dataset: Path, forge_shard: Callable[..., Path], table: str, change: Change, told: str
) -> None:
    forge_shard(dataset, table, change)
    lines = found(dataset)
    assert any(line.startswith(f"{table}: {told}") for line in lines), lines


def test_frames_that_are_kept_of_a_track_that_is_not_are_told(
    dataset: Path, forge_shard: Callable[..., Path]
) -> None:
    forge_shard(dataset, "frames", lambda table: put("filtered_reason", None, 13)(put("kept", True, 13)(table)))
    assert found(dataset) == ["frames: kept, of a track that is not: 1 row, such as video_id 'b' track 1"]


def test_a_release_with_frames_that_are_not_kept_is_told(dataset: Path) -> None:
    where = dataset / "facevid.json"
    plain = json.loads(where.read_text("utf-8"))
    step = {"step": "release", "unit": "frames", "entered": 10, "ok": 10, "failed": 0, "filtered": 0}
    where.write_text(json.dumps(plain | {"funnel": [step]}), "utf-8")
    assert found(dataset) == ["frames: not kept, in a release: 5 rows, such as video_id 'a' track 0"]


def test_a_funnel_that_counts_other_frames_than_are_kept_is_told(dataset: Path) -> None:
    where = dataset / "facevid.json"
    plain = json.loads(where.read_text("utf-8"))
    step = {"step": "frames", "unit": "frames", "entered": 15, "ok": 11, "failed": 0, "filtered": 4}
    where.write_text(json.dumps(plain | {"funnel": [step]}), "utf-8")
    assert found(dataset) == ["the funnel says that 11 frames went out, the frames table has 10"]


def test_a_track_in_the_shard_of_another_is_told(
    write_dataset: Callable[..., Path], toy_track: type, forge_shard: Callable[..., Path]
) -> None:
    folder = write_dataset(toy_track(video_id="a"), shards=2)
    other = next(name for name in "bcdefghi" if shard_of(name, 0, 2) != shard_of("a", 0, 2))
    for name in ("frames", "tracks", "crops"):
        forge_shard(folder, name, lambda table: put("video_id", other, *range(table.num_rows))(table))
    assert [line.split(" in ")[0] for line in found(folder)] == [
        f"tracks: the shard is not the track's: 1 row, such as video_id '{other}' track 0",
        f"frames: the shard is not the track's: 8 rows, such as video_id '{other}' track 0 frame 0",
        f"crops: the shard is not the track's: 8 rows, such as video_id '{other}' track 0 frame 0",
    ]


def test_order_and_times_are_compared_over_the_borders_of_row_groups(
    dataset: Path, forge_shard: Callable[..., Path]
) -> None:
    def small_groups(table: pa.Table) -> bytes:
        pq.write_table(put("pts_s", 0.1, 4)(table), buffer := io.BytesIO(), row_group_size=2)
        return buffer.getvalue()

    forge_shard(dataset, "frames", small_groups)
    lines = found(dataset)
    assert [line.split(", such")[0] for line in lines] == ["frames: pts_s does not rise within its track: 1 row"]


def test_of_many_pictures_so_many_are_decoded_spread_evenly(
    write_dataset: Callable[..., Path], toy_track: type
) -> None:
    folder = write_dataset(*(toy_track(video_id=name, frames=10) for name in "abcd"), shards=3)
    seen: list[bytes] = []

    def decode(data: bytes) -> object:
        seen.append(data)
        return decoded_crop(data)

    dataset = read_described(str(folder))
    pictures = [row for shard in dataset.shards("crops") for row in dataset._read(shard, ["jpeg"])["jpeg"].to_pylist()]
    for most, wanted in ((0, pictures), (99, pictures), (4, [pictures[place] for place in (0, 13, 26, 39)])):
        seen.clear()
        assert list(value_faults(dataset, Pictures(decode=decode, most=most))) == []
        assert seen == wanted


def test_tables_of_an_earlier_version_are_looked_at_for_what_they_have(
    dataset: Path, forge_shard: Callable[..., Path]
) -> None:
    forge_shard(dataset, "frames", lambda table: put("sharpness", -1.0, 0)(table).drop_columns(["occlusion", "box_px"]))
    assert [line.split(":")[1] for line in found(dataset)] == [" sharpness is below 0, or not finite"]
    forge_shard(dataset, "frames", lambda table: table.drop_columns(["kept"]))
    with pytest.raises(DatasetError, match=r"frames/part-00000-of-00001\.parquet lacks columns: kept"):
        found(dataset)


def test_the_command_tells_damage_and_how_many_pictures_it_decoded(
    dataset: Path, forge_shard: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(dataset), "--crops", "4"]) == 0
    assert "is whole: 15 frames of 3 tracks" in (out := capsys.readouterr().out)
    assert out.endswith("; 4 of 15 crops were decoded\n")
    forge_shard(dataset, "frames", put("scale_px_per_mm", math.nan, 0, 1))
    assert main(["verify", str(dataset)]) == 1
    assert capsys.readouterr().out == (
        "frames: scale_px_per_mm is not above 0, or not finite: 2 rows, such as video_id 'a' track 0 frame 0: "
        "scale_px_per_mm nan\n"
    )
    with pytest.raises(SystemExit):
        main(["verify", str(dataset), "--crops", "-1"])
    assert "crops=-1 must be at least 0" in capsys.readouterr().err


def test_every_column_that_a_rule_names_is_in_the_schema() -> None:
    schemas = dataset_schemas(points=5, n_identity=3, n_expression=4)
    for name, schema in schemas.items():
        assert set(_BOUNDS[name]) <= set(schema.names)
        assert {column for columns, _, _ in _RULES[name] for column in columns} <= set(schema.names)
