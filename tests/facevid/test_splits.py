"""Splits: one person on one side, in stable proportions."""

from facevid.splits import SPLITS, split_of


def test_all_videos_of_a_subject_share_a_split() -> None:
    for subject in range(50):
        assert len({split_of(video_id=f"v{n}", subject_id=f"s{subject}") for n in range(10)}) == 1


def test_the_manifest_has_the_last_word() -> None:
    for given in SPLITS:
        assert split_of(video_id="v", subject_id="s", given=given) == given


def test_splits_are_eighty_ten_ten() -> None:
    seen = [split_of(video_id=f"video {n}") for n in range(10_000)]
    assert 0.78 < seen.count("train") / len(seen) < 0.82
    assert 0.085 < seen.count("val") / len(seen) < 0.115


def test_a_video_and_a_subject_of_the_same_name_are_different_keys() -> None:
    pairs = [(split_of(video_id=f"{n}"), split_of(video_id="x", subject_id=f"{n}")) for n in range(200)]
    assert any(video != subject for video, subject in pairs)
