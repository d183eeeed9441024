"""The rows of the benchmark: eight good videos, every misbehaviour of a server, poison files, and attackers."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.acquisition.builds import Row
from benchmarks.poison import POISONS

SITES = ("93.184.215.14", "93.184.215.14:8080", "93.184.215.15")
"""Addresses of the public internet, which the benchmark's own proxy answers for; nothing leaves the machine."""

_MISBEHAVIOURS: Mapping[str, str] = {
    "403": "denied",
    "404": "not_found",
    "410": "removed",
    "451": "geo_blocked",
    "429": "rate_limited",
    "500": "network",
    "429-once": "ok",
    "500-once": "ok",
    "cut-once": "ok",
    "late": "ok",
    "page": "ok",
    "stall": "timeout",
    "never": "timeout",
    "drip": "timeout",
    "cut": "network",
    "reset": "network",
    "garbage": "network",
    "large-head": "network",
    "promises-less": "corrupt",
    "endless": "too_large",
    "empty-page": "unsupported_format",
    "reserved": "opt_out",
    "bomb": "too_large",
}


def web_rows(videos: Mapping[str, str], small: str) -> list[Row]:
    """Rows that are fetched from the misbehaving web.

    Args:
        videos: How each of the good videos ends, by its name on the server.
        small: The name of a short video with a face.
    """
    rows = [
        Row(video_id=f"good-{n}", url=f"http://{SITES[n % len(SITES)]}/file/{name}", expected=expected)
        for n, (name, expected) in enumerate(videos.items())
    ]
    rows += [
        Row(video_id=f"web-{name}", url=f"http://{SITES[n % len(SITES)]}/{name}/{small}", expected=expected)
        for n, (name, expected) in enumerate(_MISBEHAVIOURS.items())
    ]
    site = SITES[0]
    rows += [
        Row(video_id="web-redirect", url=f"http://{site}/redirect/x?to=/file/{small}%3Fredirected", expected="ok"),
        Row(video_id="web-redirect-loop", url=f"http://{site}/redirect/loop", expected="network"),
        Row(video_id="web-tls", url=f"https://{site}/file/{small}", expected="network"),
        Row(video_id="web-no-such-host", url="http://no-such-host.invalid/x.mp4", expected="network"),
    ]
    return rows


def poison_rows(folder: Path, source: Path, *, ok: str, slow: bool) -> list[Row]:
    """Make the poison files, and rows for them.

    Args:
        folder: Where to make them.
        source: A video to make them from.
        ok: How a good video made from the source ends.
        slow: Make those that take longer, too.
    """
    rows = []
    for number, poison in enumerate(p for p in POISONS if slow or not p.slow):
        path = folder / poison.name
        poison.make(path, source)
        expected = ok if poison.expected == "ok" else poison.expected
        rows.append(Row(video_id=f"file-{number:02d}", url=f"{folder.name}/{poison.name}", expected=expected))
    return rows


def attack_rows(outside: Path, *, canary_port: int) -> list[Row]:
    """Rows that try to reach, read or write what they must not.

    Args:
        outside: A folder in which nothing may be written.
        canary_port: A service on loopback that nobody may reach.
    """
    unsafe = {
        "loopback": f"http://127.0.0.1:{canary_port}/x.mp4",
        "loopback-name": f"http://localhost:{canary_port}/x.mp4",
        "loopback-decimal": f"http://2130706433:{canary_port}/x.mp4",
        "loopback-hexadecimal": f"http://0x7f000001:{canary_port}/x.mp4",
        "loopback-short": f"http://127.1:{canary_port}/x.mp4",
        "loopback-v6": f"http://[::1]:{canary_port}/x.mp4",
        "loopback-mapped": f"http://[::ffff:127.0.0.1]:{canary_port}/x.mp4",
        "any": f"http://0.0.0.0:{canary_port}/x.mp4",
        "private-10": "http://10.0.0.1/x.mp4",
        "private-192": "http://192.168.1.1/x.mp4",
        "metadata": "http://169.254.169.254/latest/meta-data/",
        "mail-port": f"http://{SITES[0]}:25/x.mp4",
    }
    rows = [Row(video_id=f"ssrf-{name}", url=url, expected="unsafe_address") for name, url in unsafe.items()]
    private = f"http://127.0.0.1:{canary_port}/x.mp4"
    site = SITES[0]
    rows += [
        Row(video_id="redirect-private", url=f"http://{site}/redirect/x?to={private}", expected="unsafe_address"),
        Row(video_id="redirect-metadata", url=f"http://{site}/redirect/x?to=http://169.254.169.254/",
            expected="unsafe_address"),
        Row(video_id="redirect-file", url=f"http://{site}/redirect/x?to=file:///etc/passwd",
            expected="not_found"),
        Row(video_id="playlist-private", url=f"http://{site}/playlist/x.m3u8?to={private}", expected="unsafe_address"),
        Row(video_id="playlist-file", url=f"http://{site}/playlist/x.m3u8?to=file:///etc/passwd",
            expected="unsupported_format"),
        Row(video_id="path-absolute", url="/etc/passwd", expected="denied"),
        Row(video_id="path-up", url="../../../../etc/passwd", expected="denied"),
        Row(video_id="scheme-file", url="file:///etc/passwd", expected="bad_row"),
        Row(video_id="scheme-ftp", url="ftp://127.0.0.1/x.mp4", expected="bad_row"),
        Row(video_id="scheme-concat", url="concat:/etc/passwd", expected="bad_row"),
        Row(video_id="option-in-url", url=f"--exec=touch {outside}/x", expected="denied"),
        Row(video_id="-o", url=f"http://{site}/file/x.mp4", expected="bad_row"),
        Row(video_id=f"--config-locations={outside}/x", url=f"http://{site}/file/x.mp4", expected="bad_row"),
        Row(video_id="../../escaped", url=f"http://{site}/file/x.mp4", expected="bad_row"),
        Row(video_id=f"{outside}/escaped", url=f"http://{site}/file/x.mp4", expected="bad_row"),
        Row(video_id="a/../../escaped", url=f"http://{site}/file/x.mp4", expected="bad_row"),
        Row(video_id="..", url=f"http://{site}/file/x.mp4", expected="bad_row"),
        Row(video_id="nul\x01", url=f"http://{site}/file/x.mp4", expected="bad_row"),
    ]
    return [Row(video_id=row.video_id, url=row.url, expected=row.expected, attack=True) for row in rows]
