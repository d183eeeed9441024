"""Which rows belong together because of what file they show, and which split they get then."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevid.splits import Split, split_of
from pipeline.manifest import ManifestRow
from pipeline.row_split import FilesOfRows, own_split


def row(video_id: str, **values: object) -> ManifestRow:
    return ManifestRow(video_id=video_id, url=f"{video_id}.mp4", **values)  # type: ignore[arg-type]


TRAIN, TEST = (
    [f"{n:03d}" for n in range(300) if split_of(video_id=f"{n:03d}") == split] for split in ("train", "test")
)
SUBJECT = {
    split: next(name for n in range(300) if split_of(video_id="", subject_id=(name := f"s{n}")) == split)
    for split in ("train", "test")
}


def moved(*rows_and_files: tuple[ManifestRow, str]) -> dict[str, Split]:
    files = FilesOfRows()
    for place, (each, file) in enumerate(rows_and_files):
        files.add(place, each, file)
    return files.moved([each for each, _ in rows_and_files])


def test_files_of_their_own_leave_all_splits_as_they_are() -> None:
    assert moved(*((row(name), name) for name in [*TRAIN[:20], *TEST[:20]])) == {}
    assert moved() == {}


def test_copies_get_the_split_of_the_first_id_wherever_it_stands_in_the_manifest() -> None:
    first, second = sorted([TRAIN[0], TEST[0]])
    split = own_split(row(first))
    assert moved((row(second), "f"), (row(first), "f")) == {second: split}
    assert moved((row(first), "f"), (row(second), "f"), (row(TRAIN[5]), "g")) == {second: split}


def test_the_manifests_word_counts_for_all_copies_without_one_and_is_never_overruled() -> None:
    a, b, c = TRAIN[:3]
    assert moved((row(a), "f"), (row(b, split="test"), "f"), (row(c), "f")) == {a: "test", c: "test"}
    assert moved((row(a, split="val"), "f"), (row(b, split="test"), "f"), (row(c), "f")) == {c: "val"}


def test_with_a_copy_goes_its_whole_subject() -> None:
    copy, other, alone = (row(name, subject_id=SUBJECT["test"]) for name in TRAIN[1:4])
    first = row(TRAIN[0])
    assert moved((copy, "f"), (other, "g"), (alone, "h"), (first, "f")) == dict.fromkeys(TRAIN[1:4], "train")


def test_clips_of_a_film_with_other_people_in_each_stay_apart_unless_they_overlap() -> None:
    film = {"start_s": 0.0, "end_s": 10.0, "subject_id": SUBJECT["train"]}
    one, other = row("a", **film), row("b", **film | {"start_s": 10.0, "end_s": 20.0, "subject_id": SUBJECT["test"]})
    assert moved((one, "f"), (other, "f")) == {}
    assert moved((one, "f"), (replace(other, start_s=9.0), "f")) == {"b": "train"}
    # Also where a shorter one lies between.
    short = replace(one, video_id="ab", start_s=1.0, end_s=2.0, subject_id="x")
    assert moved((one, "f"), (short, "f"), (replace(other, start_s=9.0), "f"))["b"] == "train"
    # A third one spans both.
    assert moved((one, "f"), (other, "f"), (row("c", start_s=1.0, subject_id="x"), "f"))["b"] == "train"


def test_parts_of_a_file_of_which_nobody_says_who_is_seen_belong_together() -> None:
    names = [*TRAIN[:10], *TEST[:10]]
    clips = [row(name, start_s=10.0 * n, end_s=10.0 * n + 5) for n, name in enumerate(names)]
    first = own_split(min(clips, key=lambda clip: clip.video_id))
    found = moved(*((clip, "f") for clip in clips))
    assert found == {clip.video_id: first for clip in clips if own_split(clip) != first}
    assert len({own_split(clip) for clip in clips}) > 1


@given(st.lists(st.tuples(st.sampled_from([None, "anna", "ben", "cleo"]), st.sampled_from("fghijk")), max_size=12))
def test_no_file_and_no_subject_is_in_two_splits(rows: list[tuple[str | None, str]]) -> None:
    shown = [(row(f"v{n}", subject_id=who), file) for n, (who, file) in enumerate(rows)]
    found = moved(*shown)
    splits: dict[str, set[str]] = {}
    for each, file in shown:
        for what in filter(None, (each.subject_id, file)):
            splits.setdefault(what, set()).add(found.get(each.video_id, own_split(each)))
    assert all(len(some) == 1 for some in splits.values())


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_the_order_of_the_rows_changes_nothing(order: slice) -> None:
    shown = [(row(f"{n:02d}", subject_id=f"s{n % 3}" if n % 2 else None), "fgh"[n % 3]) for n in range(12)]
    assert moved(*shown[order]) == moved(*shown)
