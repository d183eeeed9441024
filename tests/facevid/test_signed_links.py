import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevid.public_urls import public_url
from facevid.signed_links import unsigned_url

AMAZON = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20261101T070000Z&X-Amz-SignedHeaders=host;a&X-Amz-Signature=b"


@pytest.mark.parametrize(("url", "unsigned"), [
    (f"https://b.s3.amazonaws.com/c.mp4?{AMAZON}", "https://b.s3.amazonaws.com/c.mp4"),
    (f"https://b.s3.amazonaws.com/c.mp4?{AMAZON}&versionId=3", "https://b.s3.amazonaws.com/c.mp4?versionId=3"),
    (f"https://b.s3.amazonaws.com/c.mp4?part=1&{AMAZON.lower()}#t=3", "https://b.s3.amazonaws.com/c.mp4?part=1#t=3"),
    ("https://x.org/c?AWSAccessKeyId=A&Expires=17&Signature=b%3D", "https://x.org/c"),
    ("https://x.org/c?GoogleAccessId=a&Expires=17&Signature=b", "https://x.org/c"),
    ("https://x.org/c?X%2DGoog%2DDate=17&X-Goog-Signature=b&v=1", "https://x.org/c?v=1"),
    ("https://x.org/c?Policy=e&Signature=b&Key-Pair-Id=K", "https://x.org/c"),
    ("https://a.blob.core.windows.net/c?sv=2022&se=2026&sr=b&sp=r&sig=b%3D", "https://a.blob.core.windows.net/c"),
])  # fmt: skip
def test_a_signature_goes_with_all_that_belongs_to_it(url: str, unsigned: str) -> None:
    assert unsigned_url(url) == unsigned


@pytest.mark.parametrize("url", [
    "https://x.org/watch?v=1&t=30s&sp=2&st=3&se=4&sr=5", "https://x.org/c?sig=1&t=2&st=3", "https://x.org/c?sv=1&se=2",
    "https://x.org/c?Expires=17&Policy=a", "https://x.org/c?Signature=a&Expires=17", "https://x.org/c?Key-Pair-Id=K",
    "https://x.org/c?token=a", "https://x.org/c?", "s3://b/c.mp4", "clips/a?X-Amz-Date=1.mp4", "C:\\a?X-Amz-Date=1", "",
])  # fmt: skip
def test_an_address_that_is_not_signed_stays_as_it_is(url: str) -> None:
    assert unsigned_url(url) == url


@given(st.text(string.ascii_letters + "?&=;#%:/@-", max_size=40), st.sampled_from(["", "sv=2&sig=3&", f"{AMAZON}&"]))
def test_what_is_unsigned_is_unsigned_for_good(text: str, signing: str) -> None:
    for url in (text, f"https://x/?{signing}{text}"):
        assert unsigned_url(unsigned_url(url)) == unsigned_url(url)
        assert public_url(public_url(url)) == public_url(url)
