"""The egress proxy: the only way from the workers to the network.

Of every client the token is asked for; what becomes of its connections stands in `pipeline.egress.tunnel`. A worker
that has begun a video (LEASE) has the video's turn at its host until that connection ends, which it also does when the
worker dies. A video has one connection at a time: a new one ends the one before, so that nobody waits for a turn while
holding another.
"""

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

from facevid.failures import FailureCode
from facevid.public_urls import public_url
from pipeline.egress.meter import Bandwidth, Log, VideoMeter
from pipeline.egress.rules import EgressRules
from pipeline.egress.tunnel import ClientGoneError, ClientReader, Tunnels
from pipeline.egress.turns import Hosts
from pipeline.egress.wire import (
    LARGEST_HEAD_BYTES,
    LEASE_HEADER,
    URL_HEADER,
    Head,
    RefusedError,
    WireError,
    answer_head,
    is_authorised,
    join_authority,
    read_head,
    refusal_fields,
    refusal_head,
    split_authority,
)

# Pages, playlists and the wrapping of TLS come on top of a video.
_OVERHEAD_BYTES = 64_000_000
_OVERHEAD_SHARE = 0.02
_HEAD_PATIENCE_S = 10.0
_OUTCOMES: dict[str, FailureCode | None] = {"ok": None, **{code.value: code for code in FailureCode}}
_HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade", "host",
    LEASE_HEADER.lower(),
})  # fmt: skip


class EgressProxy:
    """The proxy, inside a running event loop.

    Args:
        rules: What it permits.
        token: Who knows it may use it.
        log: Where connections are noted.
        clock: Monotonic seconds; tests replace it.
        sleep: Waits for seconds; tests replace it.
        draw: Random numbers in [0, 1).
    """

    def __init__(
        self,
        rules: EgressRules,
        *,
        token: str,
        log: Log,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._rules, self._token, self._log, self._clock = rules, token, log, clock
        self._hosts = Hosts(rules.politeness, clock=clock, sleep=sleep, draw=draw)
        bandwidth = Bandwidth(rules.max_bytes_per_s, clock=clock, sleep=sleep)
        self._tunnels = Tunnels(rules, bandwidth=bandwidth, log=log, clock=clock)
        self._videos: dict[str, VideoMeter] = {}
        self._held: dict[VideoMeter, asyncio.Task[None]] = {}
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._stopped = False

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Begin to listen; port 0 takes a free one."""

        def protocol() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(ClientReader(), self._accept)

        return await asyncio.get_running_loop().create_server(protocol, host, port)

    async def stop(self) -> None:
        """End all connections, those too that are just being accepted."""
        self._stopped = True
        clients = dict(self._clients)
        for task in clients:
            task.cancel()
        if clients:
            await asyncio.wait(clients)
        # A task that is cancelled before its first step has closed nothing.
        for writer in clients.values():
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in clients.values()), return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._stopped:
            writer.close()
            return
        # A lease may be silent for long: notice a machine that went away.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._clients[task] = writer
        task.add_done_callback(lambda done: self._clients.pop(done, None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not isinstance(reader, ClientReader):  # never: `start` makes them
            raise TypeError(f"reader is a {type(reader).__name__}")
        try:
            with suppress(ClientGoneError, OSError):
                await self._answer(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: ClientReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_PATIENCE_S):
                head = await read_head(reader)
            method, target, _ = head.start
            if not is_authorised(head, self._token):
                writer.write(answer_head("407 Proxy Authentication Required", Proxy_Authenticate="Basic",
                                         Connection="close", Content_Length="0"))  # fmt: skip
            elif method == "LEASE":
                await self._lease(head, split_authority(target), reader, writer)
            elif method == "CONNECT":
                await self._connect(head, split_authority(target), b"", reader, writer)
            else:
                place, first = _origin_request(head)
                await self._connect(head, place, first, reader, writer)
        except WireError as error:
            writer.write(answer_head("400 Bad Request", X_FaceVid_Message=str(error), Connection="close",
                                     Content_Length="0"))  # fmt: skip
        except RefusedError as refused:
            writer.write(refusal_head(refused))
        await writer.drain()

    async def _lease(
        self, head: Head, place: tuple[str, int], reader: ClientReader, writer: asyncio.StreamWriter
    ) -> None:
        host = join_authority(*place)
        asked_s = self._clock()
        async with AsyncExitStack() as stack:
            await reader.unless_gone(stack.enter_async_context(self._hosts.video(host)))
            video = VideoMeter(
                url=public_url(head.get(URL_HEADER) or ""), host=host, bytes_left=0,
                seconds_left=self._rules.max_fetch_s,
            )  # fmt: skip
            begun_s = self._clock()
            outcome = "worker_gone"
            self._videos[video.key] = video
            try:
                word = "again"
                while word in {"again", "why"}:
                    fields = {LEASE_HEADER: video.key}
                    if word == "again":
                        # Each try has all bytes, but the time is that of all tries.
                        video.bytes_left = round(self._rules.max_bytes * (1 + _OVERHEAD_SHARE)) + _OVERHEAD_BYTES
                        video.refused = None
                    elif video.refused is not None:
                        fields |= refusal_fields(video.refused)
                    writer.write(answer_head("200 OK", **fields))
                    word = await _word(reader)
                if word.startswith("end "):
                    outcome = word.removeprefix("end ")
                    self._hosts.record(host, _OUTCOMES[outcome])
            finally:
                del self._videos[video.key]
                await self._leave(video)
                self._log.write(
                    "video", url=video.url, host=host, waited_s=round(begun_s - asked_s, 3),
                    duration_s=round(self._clock() - begun_s, 3), connections=video.connections,
                    bytes_in=video.bytes_in, outcome=outcome,
                )  # fmt: skip

    async def _connect(
        self, head: Head, place: tuple[str, int], first: bytes, reader: ClientReader, writer: asyncio.StreamWriter
    ) -> None:
        key = head.get(LEASE_HEADER)
        video = self._videos.get(key) if key else None
        if key and video is None:
            raise RefusedError(FailureCode.NETWORK, "the video of this connection has ended")
        if video is None:
            # An ordinary client: each of its connections is a video of its own.
            video = VideoMeter(
                url="", host=join_authority(*place), bytes_left=self._rules.max_bytes,
                seconds_left=self._rules.max_fetch_s,
            )  # fmt: skip
        await self._leave(video)
        own = asyncio.ensure_future(self._tunnels.run(video, place, first, reader, writer))
        self._held[video] = own
        try:
            await asyncio.shield(own)
        finally:
            if self._held.get(video) is own:
                del self._held[video]
            if not own.done():
                own.cancel()
                await asyncio.wait({own})

    async def _leave(self, video: VideoMeter) -> None:
        if before := self._held.pop(video, None):
            before.cancel()
            await asyncio.wait({before})

async def _word(reader: asyncio.StreamReader) -> str:
    try:
        word = (await reader.readline()).decode("latin-1").strip()
    except ValueError as error:
        raise WireError(f"a line is longer than {LARGEST_HEAD_BYTES} bytes") from error
    if word.startswith("end ") and word.removeprefix("end ") not in _OUTCOMES:
        raise WireError(f"{word[:80]!r} is no way for a video to end")
    return word


def _origin_request(head: Head) -> tuple[tuple[str, int], bytes]:
    # From the form that proxies are asked in to the one that servers are.
    method, target, _ = head.start
    scheme, _, rest = target.partition("://")
    if scheme.lower() != "http" or not rest:
        raise WireError(f"{target[:80]!r}: CONNECT host:port, or an http:// address is asked of a proxy")
    slash = next((index for index, char in enumerate(rest) if char in "/?"), len(rest))
    place = split_authority(rest[:slash], 80)
    path = rest[slash:] if rest[slash : slash + 1] == "/" else f"/{rest[slash:]}"
    lines = [f"{method} {path} HTTP/1.1", f"Host: {rest[:slash]}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in head.fields if name.lower() not in _HOP_BY_HOP]
    return place, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
