import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevid.public_urls import public_url, without_secrets

SECRET = "s3cr3t"  # noqa: S105  # no password of anyone


@pytest.mark.parametrize("url", [
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PL1&t=3s", "https://video.example/@anna/clip?author=me#t=1,2",
    "http://[::1]:8080/@x?Expires=1", "gs://bucket/a b.mp4", "videos/a.mp4", "../a?token=1.mp4", "C:\\videos\\a@b.mp4",
    "https://x.org/?token=", "",
])  # fmt: skip
def test_an_address_without_secrets_is_left_as_it_is(url: str) -> None:
    assert public_url(url) == url


@pytest.mark.parametrize(("url", "seen"), [
    (f"https://anna:{SECRET}@x.org:8080/a?v=1", "https://x.org:8080/a?v=1"),
    (f"ftp://{SECRET}@x.org/a", "ftp://x.org/a"),
    (f"https:anna:{SECRET}@x.org/a", "https:x.org/a"),
    (f"https://anna:{SECRET}/{SECRET}@x.org/a", "https://x.org/a"),
    (f"https://x.org/a?v=1&X-Amz-Credential={SECRET}&X-Amz-Signature={SECRET}&X-Amz-Expires=60",
     "https://x.org/a?v=1"),
    (f"https://x.org/a?Signature={SECRET};Key-Pair-Id={SECRET}", "https://x.org/a?Signature=removed;Key-Pair-Id=removed"),
    (f"https://x.org/a?v=1&sig={SECRET}%2F%3D", "https://x.org/a?v=1&sig=removed"),
    (f"https://x.org/a?accessToken={SECRET}", "https://x.org/a?accessToken=removed"),
    (f"https://x.org/a?%74oken={SECRET}", "https://x.org/a?%74oken=removed"),
    (f"https://x.org/a#access_token={SECRET}&x=1", "https://x.org/a#access_token=removed&x=1"),
    (f"https://x.org/?to=https%3A%2F%2Fy.org%2F%3Fapi_key%3D{SECRET}", "https://x.org/?to=removed"),
    (f"https://x.org/?to=https%3A%2F%2Fanna:{SECRET}%40y.org", "https://x.org/?to=removed"),
])  # fmt: skip
def test_what_lets_someone_in_is_taken_out_of_an_address(url: str, seen: str) -> None:
    assert public_url(url) == seen


def test_a_text_shows_every_address_in_it_without_secrets() -> None:
    text = f"asked 'https://a:{SECRET}@x.org/1', then https://y.org/?token={SECRET} 2 times; see a@b.org"

    assert without_secrets(text) == "asked 'https://x.org/1', then https://y.org/?token=removed 2 times; see a@b.org"


@given(st.text(string.printable + "ü漢", max_size=80))
def test_whatever_someone_writes_is_an_address_that_can_be_shown(text: str) -> None:
    for url in (text, f"https://{text}", f"http://x/?{text}"):
        assert public_url(public_url(url)) == public_url(url)
        assert SECRET not in without_secrets(f"https://a:{SECRET}@x/?{text}")


def test_long_texts_and_deeply_nested_addresses_cost_little() -> None:
    assert without_secrets("a" * 200_000) == "a" * 200_000
    assert SECRET not in public_url("http://x/?x=" * 400 + f"http://x/?token={SECRET}")
