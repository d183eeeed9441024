import errno
import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from fetching import DATA, code_of, fetcher
from loopback import STATUS_PATHS, Loopback

from facevid import storage
from facevid.failures import FailureCode
from pipeline.addresses import is_public
from pipeline.download import bodies
from pipeline.download.formats import choose_format
from pipeline.fetch_errors import FetchError, classify
from pipeline.fetched_video import FetchedVideo
from pipeline.store import StoreFullError

# yt-dlp leaves sockets of refused answers to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"), pytest.mark.usefixtures("fetching"),
]  # fmt: skip


def test_a_direct_link_is_stored_under_its_hash(tmp_path: Path, server: Loopback) -> None:
    url = server.serve("clip.mp4", DATA)

    video = fetcher(tmp_path).fetch(url)

    assert video.sha256 == hashlib.sha256(DATA).hexdigest()
    assert video.path == tmp_path / "store" / "videos" / video.sha256[:2] / video.sha256
    assert video.path.read_bytes() == DATA
    assert (video.url, video.bytes, video.title) == (url, len(DATA), "clip")
    assert server.requests == ["/clip.mp4"]
    assert video.fetched_at is not None
    assert video.fetched_at.endswith("Z")


def test_a_page_with_one_video_and_a_redirect_are_followed(tmp_path: Path, server: Loopback) -> None:
    server.serve("clip.mp4", DATA)
    page = server.serve(
        "page", b'<html><head><title>Anna talks</title></head><body><video src="/clip.mp4"></video></body>', "text/html"
    )

    assert fetcher(tmp_path).fetch(page).bytes == len(DATA)
    assert fetcher(tmp_path).fetch(f"{server.address}/redirect?to=/clip.mp4").bytes == len(DATA)


def test_what_a_page_tells_of_its_video_is_kept(tmp_path: Path, server: Loopback) -> None:
    told = {
        "@context": "https://schema.org", "@type": "VideoObject", "name": "Anna talks", "uploadDate": "2024-02-29",
        "contentUrl": server.serve("clip.mp4", DATA), "duration": "PT1M4S", "width": 640, "height": 360,
    }  # fmt: skip
    page = f'<html><head><script type="application/ld+json">{json.dumps(told)}</script></head></html>'

    video = fetcher(tmp_path).fetch(server.serve("page", page.encode(), "text/html"))

    assert (video.title, video.upload_date, video.duration_s) == ("Anna talks", "2024-02-29", 64.0)
    assert (video.width_px, video.height_px, video.extension, video.fps) == (640, 360, "mp4", None)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/status/401", FailureCode.LOGIN_REQUIRED),
        ("/status/403", FailureCode.DENIED),
        ("/status/404", FailureCode.NOT_FOUND),
        ("/status/410", FailureCode.REMOVED),
        ("/status/418", FailureCode.NOT_FOUND),
        ("/status/429", FailureCode.RATE_LIMITED),
        ("/status/451", FailureCode.GEO_BLOCKED),
        ("/status/500", FailureCode.NETWORK),
        ("/status/503", FailureCode.NETWORK),
        ("/truncated.mp4", FailureCode.NETWORK),
        ("/endless.mp4", FailureCode.TOO_LARGE),
        ("/redirect?to=/redirect%3Fto%3D/status/404", FailureCode.NOT_FOUND),
    ],
)
def test_what_a_server_does_maps_to_a_code(tmp_path: Path, server: Loopback, path: str, code: FailureCode) -> None:
    assert code_of(tmp_path, server.address + path, max_bytes=200_000) is code


def test_a_server_that_stands_still_is_timed_out(tmp_path: Path, server: Loopback) -> None:
    assert code_of(tmp_path, f"{server.address}/stall.mp4", timeout_s=0.5) is FailureCode.TIMEOUT


def test_every_misbehaviour_of_the_server_by_status_is_tested() -> None:
    assert set(STATUS_PATHS.values()) == {401, 403, 404, 410, 418, 429, 451, 500, 503}


def test_pages_without_a_video_or_with_several_are_not_guessed_at(tmp_path: Path, server: Loopback) -> None:
    server.serve("clip.mp4", DATA)
    none = server.serve("none", b"<html><body>nothing here</body></html>", "text/html")
    two = server.serve(
        "two", b'<html><body><video src="/clip.mp4"></video><video src="/b.mp4"></video></body></html>', "text/html"
    )

    assert code_of(tmp_path, none) is FailureCode.UNSUPPORTED_FORMAT
    assert code_of(tmp_path, two) is FailureCode.UNSUPPORTED_FORMAT


def test_a_playlist_cannot_read_local_files(tmp_path: Path, server: Loopback) -> None:
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    url = server.serve("list.m3u8", playlist, "application/vnd.apple.mpegurl")

    assert code_of(tmp_path, url) is FailureCode.UNSUPPORTED_FORMAT
    assert not (tmp_path / "store" / "videos").exists()


@pytest.mark.parametrize("allow_private", [False, True])
def test_a_dead_server_and_a_dead_name_are_network_failures(tmp_path: Path, allow_private: bool) -> None:
    assert code_of(tmp_path, "http://127.0.0.1:1/x.mp4") is FailureCode.NETWORK
    name = "http://no-such-host.invalid/x.mp4"
    assert code_of(tmp_path, name, allow_private=allow_private) is FailureCode.NETWORK


@pytest.mark.parametrize("allow_private", [False, True])
def test_a_redirect_to_another_scheme_connects_to_nobody(
    tmp_path: Path, server: Loopback, allow_private: bool
) -> None:
    with socket.create_server(("127.0.0.2", 0)) as inside:
        inside.setblocking(False)
        target = f"ftp://127.0.0.2:{inside.getsockname()[1]}/clip.mp4"
        code = code_of(
            tmp_path, f"{server.address}/redirect?to={target}", allow_private=allow_private, judge=only_127_0_0_1
        )
        assert code is not FailureCode.INTERNAL
        with pytest.raises(BlockingIOError):
            inside.accept()


def test_a_page_without_end_does_not_fill_the_memory(
    tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LARGEST_PAGE_BYTES", 100_000)

    assert code_of(tmp_path, f"{server.address}/endless.html") is FailureCode.TOO_LARGE
    assert len(server.requests) == 1


def test_what_a_page_says_of_itself_fits_into_any_file(tmp_path: Path, server: Loopback) -> None:
    server.serve("clip.mp4", DATA)
    page = server.serve(
        "page", b'<html><head><title>Anna \xed\xa0\xbd &#55357; &#7; talks%s</title></head>'
        b'<body><video src="/clip.mp4"></video></body>' % (b"!" * 5000), "text/html",
    )  # fmt: skip

    title = fetcher(tmp_path).fetch(page).title

    assert title is not None
    assert title.startswith("Anna ")
    assert title.isprintable()
    assert len(title.encode()) <= 4000


def test_half_a_character_in_a_message_can_be_written() -> None:
    assert FetchError(FailureCode.NETWORK, "so \ud83d\n bad").message == "so ? bad"


def test_a_full_disk_is_no_fault_of_a_video(
    tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("yt_dlp.downloader.common.sanitize_open", full)

    with pytest.raises(OSError, match="No space left on device"):
        fetcher(tmp_path).fetch(server.serve("a.mp4", DATA))


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"])
def test_proxies_of_the_environment_are_not_asked(
    tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        monkeypatch.setenv(name, f"http://127.0.0.1:{other.getsockname()[1]}")
        assert fetcher(tmp_path).fetch(server.serve("a.mp4", DATA)).bytes == len(DATA)
        with pytest.raises(BlockingIOError):
            other.accept()


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize("host", ["a" * 70 + ".org", "a..org", "a b.org", "\u2024\u2024", "\U0001f600" * 70, "a\x85b"])
def test_a_host_that_cannot_exist_is_not_found(tmp_path: Path, host: str, allow_private: bool) -> None:
    assert code_of(tmp_path, f"http://{host}/x.mp4", allow_private=allow_private) is FailureCode.NOT_FOUND


def test_a_page_that_an_extractor_stumbles_over_costs_only_itself(
    tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise TypeError("'NoneType' object is not subscriptable")

    monkeypatch.setattr("yt_dlp.extractor.generic.GenericIE._real_extract", stumble)

    with pytest.raises(FetchError, match="stumbled over this page: TypeError: 'NoneType'"):
        fetcher(tmp_path).fetch(server.serve("a.mp4", DATA))


def test_addresses_outside_the_public_internet_are_refused_before_any_request(
    tmp_path: Path, server: Loopback
) -> None:
    url = server.serve("clip.mp4", DATA)

    assert code_of(tmp_path, url, allow_private=False) is FailureCode.UNSAFE_ADDRESS
    assert code_of(tmp_path, "http://localhost:9/", allow_private=False) is FailureCode.UNSAFE_ADDRESS
    assert server.requests == []


def only_127_0_0_1(address: str) -> bool:
    # It plays the public internet, 127.0.0.2 the private network behind it.
    return address == "127.0.0.1"


def test_a_redirect_to_a_private_address_is_refused_at_the_connection(tmp_path: Path, server: Loopback) -> None:
    server.serve("clip.mp4", DATA)
    inside = server.address.replace("127.0.0.1", "127.0.0.2")

    guarded = {"allow_private": False, "judge": only_127_0_0_1}
    assert fetcher(tmp_path, **guarded).fetch(f"{server.address}/redirect?to=/clip.mp4").bytes == len(DATA)
    code = code_of(tmp_path, f"{server.address}/redirect?to={inside}/clip.mp4", **guarded)
    assert code is FailureCode.UNSAFE_ADDRESS


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2001:4860:4860::8888", True),
        ("127.0.0.1", False), ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.1.1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.1", False), ("224.0.0.1", False),
        ("::1", False), ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("64:ff9b::808:808", True), ("64:ff9b:1::808:808", False),
        ("2001:0:7f00:1::8080:8080", False), ("::7f00:1", False), ("fec0::1", False), ("3fff::1", False),
        # Where clouds serve their own machines.
        ("168.63.129.16", False), ("192.0.0.192", False), ("100.100.100.200", False), ("fd00:ec2::254", False),
    ],
)
def test_public_addresses_are_told_from_others(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_local_files_need_permission_and_must_be_regular(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(DATA)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "folder").mkdir()

    assert code_of(tmp_path, "clip.mp4") is FailureCode.DENIED
    assert code_of(tmp_path, "none.mp4", allow_local=True) is FailureCode.NOT_FOUND
    assert code_of(tmp_path, "folder", allow_local=True) is FailureCode.UNSUPPORTED_FORMAT
    assert code_of(tmp_path, "empty.mp4", allow_local=True) is FailureCode.CORRUPT
    assert code_of(tmp_path, "clip.mp4", allow_local=True, max_bytes=100) is FailureCode.TOO_LARGE
    assert fetcher(tmp_path, allow_local=True).fetch("clip.mp4") == FetchedVideo(
        sha256=hashlib.sha256(DATA).hexdigest(), path=tmp_path / "clip.mp4", url="clip.mp4", title=None,
        uploader=None, licence=None, fetched_at=None, bytes=len(DATA),
    )


def test_an_object_in_a_bucket_is_copied_into_the_store(tmp_path: Path) -> None:
    storage.write_bytes("memory://bucket/talks/a.mp4", DATA)

    video = fetcher(tmp_path).fetch("memory://bucket/talks/a.mp4")

    assert video.path == tmp_path / "store" / "videos" / video.sha256[:2] / video.sha256
    assert video.path.read_bytes() == DATA
    assert (video.bytes, video.extension) == (len(DATA), "mp4")
    assert video.fetched_at is not None
    assert code_of(tmp_path, "memory://bucket/talks/none.mp4") is FailureCode.NOT_FOUND
    assert code_of(tmp_path, "memory://bucket/talks/a.mp4", max_bytes=100) is FailureCode.TOO_LARGE
    assert code_of(tmp_path, f"memory://a::file://{video.path}") is FailureCode.UNSAFE_ADDRESS


def test_a_full_store_stops_the_build_before_and_while_a_video_comes(tmp_path: Path, server: Loopback) -> None:
    url = server.serve("a.mp4", DATA)

    with pytest.raises(StoreFullError, match=rf"take up {len(DATA)} bytes, max_store_bytes={len(DATA) - 1}"):
        fetcher(tmp_path, max_store_bytes=len(DATA) - 1).fetch(url)
    fetcher(tmp_path, max_store_bytes=len(DATA)).fetch(url)
    asked = len(server.requests)
    with pytest.raises(StoreFullError, match="facevid purge DIR --done-videos"):
        fetcher(tmp_path, max_store_bytes=len(DATA)).fetch(url)
    assert len(server.requests) == asked


def test_the_smallest_format_that_is_high_enough_is_taken() -> None:
    def names(*formats: dict[str, Any]) -> list[str]:
        return [chosen["format_id"] for chosen in choose_format(list(formats), 360)]

    sound = {"format_id": "sound", "vcodec": "none", "height": None, "tbr": 1.0}
    low = {"format_id": "240", "height": 240, "tbr": 10.0}
    fit = {"format_id": "480", "height": 480, "tbr": 30.0, "acodec": "none"}
    both = {"format_id": "480+", "height": 480, "tbr": 29.0, "acodec": "aac"}
    high = {"format_id": "720", "height": 720, "tbr": 50.0}
    stream = {"format_id": "rtmp", "height": 360, "protocol": "rtmp"}
    direct = {"format_id": "direct"}

    assert names(sound, low, both, fit, high, stream) == ["480"]
    assert names(sound, low) == ["240"]
    assert names(sound, direct) == ["direct"]
    assert names(sound) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("ERROR: [youtube] x: Private video. Sign in if you've been granted access", FailureCode.PRIVATE),
        ("ERROR: [youtube] x: Sign in to confirm your age", FailureCode.AGE_GATED),
        ("ERROR: [youtube] x: Sign in to confirm you\u2019re not a bot", FailureCode.LOGIN_REQUIRED),
        ("ERROR: [youtube] x: Video unavailable. This video has been removed by the uploader", FailureCode.REMOVED),
        ("ERROR: [youtube] x: Video unavailable", FailureCode.NOT_FOUND),
        ("ERROR: The uploader has not made this video available in your country", FailureCode.GEO_BLOCKED),
        ("ERROR: [x] Requested format is not available", FailureCode.UNSUPPORTED_FORMAT),
        ("ERROR: Response data has no m3u header", FailureCode.UNSUPPORTED_FORMAT),
        ("something nobody has seen", FailureCode.INTERNAL),
    ],
)
def test_what_sites_say_maps_to_a_code(words: str, code: FailureCode) -> None:
    assert classify(Exception(words)).code is code
