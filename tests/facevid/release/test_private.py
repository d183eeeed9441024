"""What of addresses and of the manifest's own columns goes out."""

import json

import pytest

from facevid.release.private import shared_extra, shared_text, shared_url


@pytest.mark.parametrize(
    ("url", "shared"),
    [
        ("https://video.example/watch?v=abc&t=3s", "https://video.example/watch?v=abc&t=3s"),
        ("https://b.example/a.mp4?X-Amz-Signature=s3cr3t", "https://b.example/a.mp4"),
        ("gs://bucket/clips/a.mp4", "gs://bucket/clips/a.mp4"),
        ("https://8.8.8.8/a.mp4", "https://8.8.8.8/a.mp4"),
        ("/home/anna/private/a.mp4", "a.mp4"),
        ("../anna/a b.mp4", "a b.mp4"),
        ("C:\\Users\\anna\\a.mp4", "a.mp4"),
        ("file:///home/anna/a%20b.mp4", "a b.mp4"),
        ("http://localhost:8000/anna/a.mp4", "a.mp4"),
        ("http://10.0.0.7/anna/a.mp4?x=1", "a.mp4"),
        ("http://[fd00::1]/anna/a.mp4", "a.mp4"),
        ("https://nas/anna/a.mp4", "a.mp4"),
        ("https://videos.corp/anna/a.mp4", "a.mp4"),
        ("https://127.0.0.1/", "local file"),
        ("http://127.1/anna/a.mp4", "a.mp4"),
        ("http://10.1.5/anna/a.mp4", "a.mp4"),
        ("http://0x7f.0.0.1/anna/a.mp4", "a.mp4"),
        ("http://nas.localdomain/anna/a.mp4", "a.mp4"),
        ("http://fritz.box/anna/a.mp4", "a.mp4"),
        ("http://nas.fritz.box/anna/a.mp4", "a.mp4"),
        ("https://4.example/a.mp4", "https://4.example/a.mp4"),
        ("http://[broken", "local file"),
        ("", "local file"),
    ],
)
def test_public_addresses_go_out_and_of_others_the_last_name(url: str, shared: str) -> None:
    assert shared_url(url) == shared


def test_only_the_columns_that_were_named_go_out() -> None:
    extra = json.dumps({"note": "tel. 123", "topic": "talk https://x.org/?token=s3cr3t"})
    assert shared_extra(extra, ()) is None
    assert json.loads(shared_extra(extra, ("topic", "other")) or "") == {"topic": "talk https://x.org/?token=removed"}
    assert shared_extra(None, ("topic",)) is None
    assert shared_extra("[1]", ("topic",)) is None


def test_texts_lose_what_lets_somebody_in() -> None:
    assert shared_text("see https://anna:pw@x.org/a?sig=1 now") == "see https://x.org/a?sig=removed now"
    assert shared_text(None) is None


def test_columns_stay_json_whatever_stands_around_a_secret() -> None:
    extra = json.dumps({"note": 'say "https://x.org/?token=s3cr3t" aloud'})
    assert json.loads(shared_extra(extra, ("note",)) or "") == {"note": 'say "https://x.org/?token=removed" aloud'}
