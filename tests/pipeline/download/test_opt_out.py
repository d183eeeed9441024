from email.message import Message

import pytest

from pipeline.download.opt_out import reserved, speaks_of_a_work


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("X-Robots-Tag", "noai", "X-Robots-Tag: noai"),
    ("x-robots-tag", "NoFollow, NoImageAI , noindex", "X-Robots-Tag: noimageai, noindex"),
    ("X-Robots-Tag", "noimageindex", "X-Robots-Tag: noimageindex"),
    ("X-Robots-Tag", "none", "X-Robots-Tag: none"),
    ("X-Robots-Tag", "nofollow, noarchive, nosnippet, notranslate, all", None),
    ("X-Robots-Tag", "facevid: noai", "X-Robots-Tag: noai"),
    ("X-Robots-Tag", "FaceVid : nofollow, noindex", "X-Robots-Tag: noindex"),
    ("X-Robots-Tag", "googlebot: noindex, nofollow", None),
    ("X-Robots-Tag", "unavailable_after: 25 Jun 2010 15:00:00 PST", None),
    ("X-Robots-Tag", "max-snippet: 20, noai", "X-Robots-Tag: noai"),
    ("X-Robots-Tag", "noairport", None),
    ("X-Robots-Tag", "", None),
    ("TDM-Reservation", " 1 ", "TDM-Reservation: 1"),
    ("TDM-Reservation", "0", None),
    ("Robots", "noai", None),
])  # fmt: skip
def test_what_a_header_reserves(name: str, value: str, expected: str | None) -> None:
    assert reserved([(name, value)]) == expected


def test_the_header_may_come_several_times() -> None:
    assert reserved([("X-Robots-Tag", "otherbot: noai"), ("X-Robots-Tag", "nofollow"), ("X-Robots-Tag", "noai")])


@pytest.mark.parametrize(("kind", "work"), [
    ("video/mp4", True), ("text/html; charset=utf-8", True), ("application/x-mpegURL", True), ("audio/mpeg", True),
    (None, True), ("application/json", False), ("text/javascript", False), ("image/png", False),
])  # fmt: skip
def test_pages_and_videos_are_works_but_not_what_pages_are_made_of(kind: str | None, work: bool) -> None:
    headers = Message()
    if kind:
        headers["Content-Type"] = kind

    assert speaks_of_a_work(headers) is work
