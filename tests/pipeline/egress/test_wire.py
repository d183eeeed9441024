import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevid.failures import FailureCode
from pipeline.egress.wire import (
    RefusedError,
    WireError,
    answer_head,
    credentials,
    is_authorised,
    join_authority,
    parse_head,
    plain_host,
    refusal_head,
    refusal_of,
    request_head,
    split_authority,
)


def test_a_head_is_read_as_it_was_written() -> None:
    head = parse_head(request_head("CONNECT", "example.org:443", Proxy_Authorization="Basic eA==", Host="a"))

    assert head.start == ("CONNECT", "example.org:443", "HTTP/1.1")
    assert head.get("proxy-authorization") == "Basic eA=="
    assert head.get("Cookie") is None


@pytest.mark.parametrize("code", FailureCode)
@pytest.mark.parametrize("passing", [False, True])
def test_a_refusal_arrives_as_it_was_sent(code: FailureCode, passing: bool) -> None:
    arrived = refusal_of(parse_head(refusal_head(RefusedError(code, "so it is", passing=passing))))

    assert arrived is not None
    assert (arrived.code, arrived.message, arrived.passing) == (code, "so it is", passing)
    assert parse_head(refusal_head(RefusedError(code, "x"))).start[1] in {"403", "502", "503", "504"}


def test_no_value_begins_a_line_of_its_own() -> None:
    head = parse_head(answer_head("200 OK", Message="so\r\nX-FaceVid-Code: denied"))

    assert [name for name, _ in head.fields] == ["Message"]


@pytest.mark.parametrize("line", ["A: b\nHost: c", "A: b\rHost: c", "A: \x00", "A\nB: c"])
def test_no_character_that_others_take_for_the_end_of_a_line_is_passed_on(line: str) -> None:
    with pytest.raises(WireError):
        parse_head(f"GET http://x/ HTTP/1.1\r\n{line}\r\n\r\n".encode())


@given(st.binary(max_size=200))
def test_bytes_are_a_head_or_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        parse_head(data + b"\r\n\r\n")


@pytest.mark.parametrize(("text", "place"), [
    ("Example.org:443", ("example.org", 443)), ("[::1]:80", ("::1", 80)), ("127.0.0.1:8080", ("127.0.0.1", 8080)),
])  # fmt: skip
def test_authorities_are_split_and_joined(text: str, place: tuple[str, int]) -> None:
    assert split_authority(text) == place
    assert join_authority(*place) == text.lower()


@pytest.mark.parametrize(("spellings", "host"), [
    (["example.org", "EXAMPLE.org", "example.org.", "ex%61mple.org", "\uff45xample\u3002org"], "example.org"),
    (["münchen.example", "MÜNCHEN.example.", "xn--mnchen-3ya.example", "m%C3%BCnchen.example"],
     "xn--mnchen-3ya.example"),
    (["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1."], "127.0.0.1"),
    (["[::1]", "[0:0:0:0:0:0:0:1]", "[::0:1]"], "::1"),
    (["1e100.example", "1E100.example"], "1e100.example"),
])  # fmt: skip
def test_a_host_has_one_name_however_it_is_spelled(spellings: list[str], host: str) -> None:
    assert {split_authority(f"{spelling}:80") for spelling in spellings} == {(host, 80)}
    assert {split_authority(spelling, 443) for spelling in spellings} == {(host, 443)}


@pytest.mark.parametrize("text", [
    "", ".", "..", "a..", "a..b", "a\x00b", "a\nb: c", "a\rb: c", "a b", "%0d%0a", "a%2fb", "a%2561", "exa\u2100mple",
    "\ud800", "::x",
])  # fmt: skip
def test_what_cannot_be_a_host_is_none(text: str) -> None:
    with pytest.raises(WireError):
        plain_host(text)


@given(st.text(max_size=20) | st.from_regex(r"[a-z0-9%.:]{1,12}", fullmatch=True))
def test_the_plain_name_of_a_host_is_its_own(text: str) -> None:
    with contextlib.suppress(WireError):
        assert plain_host(plain_host(text)) == plain_host(text)


@pytest.mark.parametrize("text", ["", "a", ":80", "a:x", "a:99999", "a:80/x", "u@a:80", "a:80?x", "[::1"])
def test_what_is_no_authority_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        split_authority(text)


@given(st.text(max_size=60))
def test_any_text_is_an_authority_or_a_wire_error(text: str) -> None:
    with contextlib.suppress(WireError):
        split_authority(text, 80)


def test_only_the_token_authorises() -> None:
    def head(value: str) -> bool:
        return is_authorised(parse_head(request_head("GET", "/", Proxy_Authorization=value)), "secret")

    assert head(credentials("secret"))
    assert not head(credentials("secre"))
    assert not head("secret")
    assert not is_authorised(parse_head(request_head("GET", "/")), "secret")
