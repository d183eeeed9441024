import asyncio
import gc
import http.client
import http.server
import json
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback

from facevid.failures import FailureCode
from pipeline.egress.client import EgressError, Lease, video_lease
from pipeline.egress.connect import Connector, UpstreamProxy
from pipeline.egress.meter import Bandwidth, Log
from pipeline.egress.politeness import PROFILES
from pipeline.egress.proxy import EgressProxy
from pipeline.egress.rules import EgressRules
from pipeline.egress.service import EgressAddress, _stop, running_egress
from pipeline.egress.wire import RefusedError, credentials

DATA = bytes(range(256)) * 40


def rules(*, connector: dict[str, Any] | None = None, **changes: Any) -> EgressRules:
    made = Connector(**{"allow_private": True, "timeout_s": 2.0} | (connector or {}))
    usual = EgressRules(politeness=PROFILES["fast"], connector=made, max_bytes=10**9, max_fetch_s=60.0)
    return replace(usual, **changes)


def place(server: Loopback) -> tuple[str, int]:
    return "127.0.0.1", int(server.address.rpartition(":")[2])


def request(made: socket.socket, path: str) -> bytes:
    with made:
        made.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        parts = []
        while part := made.recv(65536):
            parts.append(part)
        return b"".join(parts)


@contextmanager
def lease(address: EgressAddress, host: str = "127.0.0.1", port: int = 80) -> Iterator[Lease]:
    with video_lease(address, host, port, "http://x/") as made:
        yield made


def refusal(address: EgressAddress, host: str, port: int, *, leased: str = "127.0.0.1") -> FailureCode:
    with lease(address, leased) as video, pytest.raises(RefusedError) as caught:
        video.connect(host, port)
    return caught.value.code


def test_a_connection_in_a_lease_is_as_if_made_directly(server: Loopback) -> None:
    server.serve("a", DATA)
    with running_egress(rules()) as address, lease(address) as video:
        assert request(video.connect(*place(server)), "/a").endswith(DATA)
        assert request(video.connect(*place(server)), "/a").endswith(DATA)


def test_ordinary_clients_are_served_with_the_token_and_without_it_nobody_is(server: Loopback) -> None:
    url = server.serve("a", DATA)
    with running_egress(rules()) as address:
        for method, target in (("GET", url), ("CONNECT", "127.0.0.1:80"), ("LEASE", "127.0.0.1:80")):
            for headers in ({}, {"Proxy-Authorization": credentials("guess")}):
                client = http.client.HTTPConnection(address.host, address.port, timeout=5)
                client.request(method, target, headers=headers)
                with client.getresponse() as answer:
                    assert answer.status == 407
                client.close()
        assert server.requests == []

        known = {"Proxy-Authorization": credentials(address.token)}
        client = http.client.HTTPConnection(address.host, address.port, timeout=5)
        client.request("GET", url, headers=known)
        assert client.getresponse().read() == DATA
        client.close()
        tunnel = http.client.HTTPConnection(address.host, address.port, timeout=5)
        tunnel.set_tunnel(*place(server), headers=known)
        tunnel.request("GET", "/a")
        assert tunnel.getresponse().read() == DATA
        tunnel.close()
    assert server.requests == ["/a", "/a"]


def test_our_token_does_not_reach_servers() -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, running_egress(rules()) as address:

        def serve() -> None:
            made, _ = listener.accept()
            with made:
                seen.append(made.recv(65536))
                made.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        client = http.client.HTTPConnection(address.host, address.port, timeout=5)
        client.request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}?q", headers={
            "Proxy-Authorization": credentials(address.token), "Cookie": "a=b",
        })  # fmt: skip
        with client.getresponse() as answer:
            assert answer.status == 200
        client.close()
        thread.join()
    assert seen[0].startswith(b"GET /?q HTTP/1.1\r\n")
    assert b"Cookie: a=b" in seen[0]
    assert b"uthorization" not in seen[0]


@pytest.mark.parametrize("request_line", ["GET / HTTP/1.1", "GET ftp://a/ HTTP/1.1", "CONNECT a HTTP/1.1", "LEASE / x",
                                          "nonsense", "GET http://u@a/ HTTP/1.1"])  # fmt: skip
def test_what_is_no_request_to_a_proxy_is_a_bad_request(request_line: str) -> None:
    with running_egress(rules()) as address, socket.create_connection((address.host, address.port), timeout=5) as made:
        made.sendall(f"{request_line}\r\nProxy-Authorization: {credentials(address.token)}\r\n\r\n".encode())
        assert made.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_private_addresses_and_other_ports_are_refused_when_connecting(server: Loopback) -> None:
    with running_egress(rules(connector={"allow_private": False})) as address:
        assert refusal(address, *place(server)) is FailureCode.UNSAFE_ADDRESS
        assert refusal(address, "localhost", 80) is FailureCode.UNSAFE_ADDRESS
        assert refusal(address, "169.254.169.254", 80) is FailureCode.UNSAFE_ADDRESS
        assert refusal(address, "2130706433", 80) is FailureCode.UNSAFE_ADDRESS
        assert refusal(address, "::ffff:127.0.0.1", 443) is FailureCode.UNSAFE_ADDRESS
        for port in (22, 25, 6000, 10080):
            assert refusal(address, "8.8.8.8", port) is FailureCode.UNSAFE_ADDRESS
    assert server.requests == []


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    connector = Connector(allow_private=False, timeout_s=1.0)

    with pytest.raises(RefusedError, match=r"mixed.example resolves to 10.0.0.1"):
        asyncio.run(connector.connect("mixed.example", 80))


def test_the_address_that_was_judged_is_the_one_that_is_asked(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def rebind(_: Any, host: str, port: int, **__: Any) -> list[Any]:
        # The second answer of a name that rebinds would be another one.
        asked.append(host)
        address = "127.0.0.1" if asked.count("rebinds.example") <= 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host if host[0].isdigit() else address, port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", rebind)
    connector = Connector(allow_private=False, timeout_s=1.0, is_public=lambda address: address == "127.0.0.1")

    async def connect() -> Any:
        _, writer, address = await connector.connect("rebinds.example", place(server)[1])
        peer = writer.get_extra_info("peername")[0]
        writer.close()
        return address, peer

    assert asyncio.run(connect()) == ("127.0.0.1", "127.0.0.1")
    assert asked.count("rebinds.example") == 1


def test_a_server_sees_one_connection_at_a_time_over_all_workers() -> None:
    open_now = most = 0
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            nonlocal open_now, most
            with lock:
                open_now += 1
                most = max(most, open_now)
            try:
                self.send_response(200)
                self.end_headers()
                for _ in range(20):
                    self.wfile.write(DATA)
            except OSError:
                pass
            with lock:
                open_now -= 1

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, running_egress(rules()) as address:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        where = server.server_address[1]

        def work(number: int) -> int:
            got = 0
            # Other hosts' videos, whose files lie on one server.
            with lease(address, host=f"host{number}.example") as video:
                for _ in range(3):
                    got += len(request(video.connect("127.0.0.1", where), "/"))
                video.end(None)
            return got

        with ThreadPoolExecutor(6) as pool:
            sizes = list(pool.map(work, range(6)))
        server.shutdown()
        thread.join()
    assert most == 1
    assert all(size > 3 * 20 * len(DATA) for size in sizes)


def test_a_new_connection_of_a_video_ends_the_one_before(server: Loopback) -> None:
    server.serve("a", DATA)
    with running_egress(rules()) as address, lease(address) as video:
        first = video.connect(*place(server))
        second = video.connect(*place(server))
        first.settimeout(5)
        with first, pytest.raises(ConnectionResetError):
            first.recv(1)
        assert request(second, "/a").endswith(DATA)


def test_a_lease_ends_with_its_worker(server: Loopback) -> None:
    with running_egress(rules()) as address:
        waiting = ThreadPoolExecutor(1)

        def second() -> bytes:
            with lease(address, *place(server)) as video:
                return request(video.connect(*place(server)), "/status/404")

        with lease(address, *place(server)) as video:
            held = video.connect(*place(server))
            later = waiting.submit(second)
            assert not later.done()
            # The block ends without a word, as a killed process would; even its connection stays open elsewhere.
        assert later.result(timeout=5).startswith(b"HTTP/1.1 404")
        held.close()
        waiting.shutdown()


def test_a_video_gets_no_more_bytes_than_it_may_and_a_further_try_gets_them_anew(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.egress.proxy._OVERHEAD_BYTES", 1000)
    server.serve("a", DATA)
    with running_egress(rules(max_bytes=len(DATA))) as address, lease(address) as video:
        assert request(video.connect(*place(server)), "/a").endswith(DATA)
        assert video.stopped() is None
        with pytest.raises(ConnectionResetError):
            request(video.connect(*place(server)), "/endless.mp4")
        stopped = video.stopped()
        assert stopped is not None
        assert stopped.code is FailureCode.TOO_LARGE
        video.again()
        assert request(video.connect(*place(server)), "/a").endswith(DATA)


def test_a_server_that_trickles_is_left_after_max_fetch_s() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        running_egress(rules(max_fetch_s=0.3)) as address,
        lease(address) as video,
    ):
        made = video.connect("127.0.0.1", listener.getsockname()[1])
        server, _ = listener.accept()

        def trickle() -> None:
            while True:
                server.sendall(b"x")
                made.recv(1)

        with server, made, pytest.raises(ConnectionResetError):
            trickle()
        stopped = video.stopped()
        assert stopped is not None
        assert (stopped.code, stopped.passing) == (FailureCode.TIMEOUT, False)


def test_waiting_for_ones_turn_counts_towards_no_limit(server: Loopback) -> None:
    server.serve("a", DATA)
    limited = rules(max_fetch_s=0.3)
    with running_egress(limited) as address, lease(address, "a") as first, lease(address, "b") as second:
        with first.connect(*place(server)):
            # Waits until the first has used up its time, which is as long as its own.
            made = second.connect(*place(server))
        stopped = first.stopped()
        assert stopped is not None
        assert stopped.code is FailureCode.TIMEOUT
        assert request(made, "/a").endswith(DATA)
        assert second.stopped() is None


def test_who_waits_for_a_turn_is_told_that_it_is_still_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.egress.client._NOTE_EVERY_S", 0.02)
    waiting = threading.Event()
    with running_egress(rules()) as address, ThreadPoolExecutor(1) as pool:

        def second() -> int:
            calls = 0

            def note() -> None:
                nonlocal calls
                calls += 1
                waiting.set()

            with video_lease(address, "a", 80, "x", on_wait=note):
                return calls

        with lease(address, "a"):
            later = pool.submit(second)
            assert waiting.wait(5)
        assert later.result(timeout=5) >= 2


def test_a_denied_host_is_not_connected_to(server: Loopback) -> None:
    denied = rules(denied=lambda host: f"{host} is listed" if host == "127.0.0.1" else None)
    with running_egress(denied) as address:
        assert refusal(address, *place(server)) is FailureCode.DENIED
    assert server.requests == []


def test_what_was_connected_to_is_logged(server: Loopback, tmp_path: Path) -> None:
    server.serve("a", DATA)
    with running_egress(rules(), log=tmp_path / "log.jsonl") as address:
        with lease(address, "a.example", 443) as video:
            request(video.connect(*place(server)), "/a")
            video.end(FailureCode.CORRUPT)
        assert refusal(address, "no-such-host.invalid", 80) is FailureCode.NETWORK
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    video_line = next(line for line in lines if line["kind"] == "video" and line["host"] == "a.example:443")
    connection = next(line for line in lines if line["kind"] == "connection")
    assert (video_line["url"], video_line["outcome"], video_line["connections"]) == ("http://x/", "corrupt", 1)
    assert video_line["bytes_in"] == connection["bytes_in"] > len(DATA)
    assert (connection["host"], connection["address"], connection["ended"]) == ("127.0.0.1", "127.0.0.1", "closed")
    assert {"network"} == {line["ended"] for line in lines if line.get("host") == "no-such-host.invalid"}


def test_everything_goes_through_the_upstream_proxy_by_the_judged_address(server: Loopback, tmp_path: Path) -> None:
    server.serve("a", DATA)
    log = tmp_path / "upstream.jsonl"
    with running_egress(rules(), log=log) as outer:
        upstream = UpstreamProxy(host=outer.host, port=outer.port, authorization=credentials(outer.token))
        public = {"allow_private": False, "is_public": lambda address: address == "127.0.0.1", "upstream": upstream}
        with running_egress(rules(connector=public)) as address:
            with lease(address) as video:
                assert request(video.connect(*place(server)), "/a").endswith(DATA)
            assert refusal(address, "127.0.0.2", 8000) is FailureCode.UNSAFE_ADDRESS
        wrong = replace(upstream, authorization=None)
        with running_egress(rules(connector={"upstream": wrong})) as address:
            assert refusal(address, *place(server)) is FailureCode.NETWORK
    assert [json.loads(line)["host"] for line in log.read_text().splitlines()] == ["127.0.0.1"]


@pytest.mark.parametrize("url", ["http://u:p@a:1", "socks5://a:1", "a:1", "http://", "http://a:1/x"])
def test_an_upstream_proxy_is_an_address_without_secrets(url: str) -> None:
    with pytest.raises(ValueError, match="upstream_proxy"):
        UpstreamProxy.parse(url, None)


def test_a_proxy_that_is_gone_is_no_videos_fault() -> None:
    with (
        running_egress(rules()) as address,
        pytest.raises(EgressError, match="does not know our token"),
        lease(EgressAddress(host=address.host, port=address.port, token="other")),  # noqa: S106
    ):
        pass
    with pytest.raises(EgressError, match="cannot be reached"), lease(address):
        pass


def test_bandwidth_is_shared_out_at_its_rate() -> None:
    now_s = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    async def run() -> None:
        shared = Bandwidth(1000, clock=lambda: now_s, sleep=sleep)
        assert shared.chunk_bytes == 250
        for _ in range(8):
            await shared.spend(250)

    asyncio.run(run())
    assert now_s == pytest.approx(2.0)


def test_a_connection_that_comes_as_the_proxy_stops_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def accepted_and_stopped() -> bool:
        proxy = EgressProxy(rules(), token="t", log=Log(None))  # noqa: S106
        accept, stopping = proxy._accept, []

        def accept_last(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Stopping begins before the first step of the connection's task, which is made here.
            stopping.append(asyncio.ensure_future(proxy.stop()))
            accept(reader, writer)

        monkeypatch.setattr(proxy, "_accept", accept_last)
        server = await proxy.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        async with asyncio.timeout(10):  # a failure, instead of a test that never ends
            gone = await reader.read() == b""
        await asyncio.gather(*stopping)
        server.close()
        writer.close()
        await writer.wait_closed()
        return gone

    assert asyncio.run(accepted_and_stopped())


def test_a_proxy_that_stops_closes_the_connection_that_is_just_being_accepted() -> None:
    async def stopped_after_some_turns(server: asyncio.Server, proxy: EgressProxy, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await _stop(server, proxy)

    # From still in the kernel's queue to served: each turn of the loop brings the connection one step further.
    for turns in range(6):
        loop = asyncio.new_event_loop()
        proxy = EgressProxy(rules(), token="t", log=Log(None))  # noqa: S106
        server = loop.run_until_complete(proxy.start("127.0.0.1", 0))
        with socket.create_connection(server.sockets[0].getsockname(), timeout=5) as made:
            loop.run_until_complete(stopped_after_some_turns(server, proxy, turns))
            loop.close()
            try:
                assert made.recv(1) == b"", f"{turns=}"
            except ConnectionResetError:
                assert turns == 0  # never accepted
    gc.collect()  # a socket that was only let go of warns, and warnings are errors


def test_the_log_is_its_users_own_and_holds_no_secrets(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.touch(mode=0o644)
    url = "https://x.example/a?v=1&X-Amz-Signature=s3cr3t"
    with running_egress(rules(), log=log) as address, video_lease(address, "x.example", 443, url):
        pass

    assert '"https://x.example/a?v=1"' in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_host_has_one_turn_however_it_is_spelled(tmp_path: Path) -> None:
    with running_egress(rules(), log=tmp_path / "log.jsonl") as address:
        for host in ("Example.org.", "example.org", "ex%61mple.org", "\uff45xample.org"):
            with lease(address, host, 443):
                pass

    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {line["host"] for line in lines} == {"example.org:443"}


def test_names_that_do_not_resolve_hold_nobody_else_up(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    released, resolve = threading.Event(), socket.getaddrinfo

    def resolve_late(host: str, *args: Any, **kwargs: Any) -> Any:
        if host.startswith("late"):
            released.wait(30)
            raise socket.gaierror(socket.EAI_NONAME, "nobody knows it")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_late)
    # More than asyncio has threads of its own for lookups on any machine; in a lease each, they are asked for at once.
    hosts = [f"late{number}.example" for number in range(40)]
    with running_egress(rules(connector={"timeout_s": 0.5})) as address, ThreadPoolExecutor(len(hosts)) as workers:
        try:
            codes = workers.map(lambda host: refusal(address, host, 80, leased=host), hosts)
            assert set(codes) == {FailureCode.TIMEOUT}
            # Their lookups still wait for an answer.
            with lease(address) as video:
                video.connect("localhost", place(server)[1]).close()
        finally:
            released.set()


def test_a_worker_that_says_nonsense_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    for said in ("end nonsense", "again" * 20_000):
        with running_egress(rules()) as address, lease(address) as video:
            video._control.sendall(f"{said}\n".encode())
            with pytest.raises(EgressError):
                video.again()
    gc.collect()
    assert "never retrieved" not in capfd.readouterr().err
