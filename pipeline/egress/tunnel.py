"""A connection through the proxy: a client on one side, a server on the other, and what it costs.

For every connection the turn at (host, port) is waited for, the address judged, bytes and seconds counted.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

from facevid.failures import FailureCode
from pipeline.egress.meter import Bandwidth, Log, VideoMeter
from pipeline.egress.rules import EgressRules
from pipeline.egress.turns import Turns
from pipeline.egress.wire import LARGEST_HEAD_BYTES, RefusedError, answer_head

_T = TypeVar("_T")

_HEAR_OUT_S = 0.05
_HEARD_BYTES = 65_536


class ClientGoneError(Exception):
    """Whoever asked is there no more."""


class ClientReader(asyncio.StreamReader):
    """What a client sends; tells that the client has gone without reading what it may have sent before."""

    def __init__(self) -> None:
        super().__init__(limit=LARGEST_HEAD_BYTES)
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        """The client has ended in order."""
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Exception) -> None:
        """The connection broke."""
        super().set_exception(exc)
        self.gone.set()

    async def unless_gone(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do some work, and drop it when the other side goes.

        Raises:
            ClientGoneError: It went.
        """
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGoneError
            return task.result()
        finally:
            gone.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})


class Tunnels:
    """Makes the connections of one proxy.

    Args:
        rules: What it permits.
        bandwidth: The cap on all of them together.
        log: Where they are noted.
        clock: Monotonic seconds.
    """

    def __init__(
        self, rules: EgressRules, *, bandwidth: Bandwidth, log: Log, clock: Callable[[], float]
    ) -> None:
        self._rules, self._bandwidth, self._log, self._clock = rules, bandwidth, log, clock
        self._turns = Turns()

    async def run(
        self,
        video: VideoMeter,
        place: tuple[str, int],
        first: bytes,
        reader: ClientReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Wait for the turn at a server, connect, and carry bytes until either side ends.

        Args:
            video: Whose connection it is.
            place: Host and port of the server.
            first: What is sent to the server first; with nothing, the client is told that it is connected.
            reader: What the client sends.
            writer: Goes to the client.

        Raises:
            RefusedError: The server may not be reached, or the video costs more than it may.
            ClientGoneError: The client went while it waited.
            OSError: The connection broke.
        """
        host, port = place
        facts: dict[str, Any] = {"host": host, "port": port, "address": None}
        asked_s = begun_s = self._clock()
        before = video.bytes_in
        video.connections += 1
        try:
            if reason := self._rules.denied(host):
                raise RefusedError(FailureCode.DENIED, reason)
            async with AsyncExitStack() as stack:
                await reader.unless_gone(stack.enter_async_context(self._turns.turn(place)))
                begun_s = self._clock()
                limit = asyncio.timeout(max(video.seconds_left, 0.0))
                try:
                    async with limit:
                        server, sender, facts["address"] = await self._rules.connector.connect(host, port)
                        stack.push_async_callback(_part, server, sender, self._rules.politeness.leave_s)
                        if first:
                            sender.write(first)
                        else:
                            writer.write(answer_head("200 Connection established"))
                        await self._relay(video, (reader, writer), (server, sender))
                except TimeoutError as error:
                    if not limit.expired():
                        raise
                    video.refused = RefusedError(
                        FailureCode.TIMEOUT, f"the video took longer than max_fetch_s ({self._rules.max_fetch_s:g} s)"
                    )
                    raise video.refused from error
                finally:
                    video.seconds_left -= self._clock() - begun_s
            facts["ended"] = "closed"
        except asyncio.CancelledError:
            facts["ended"] = "replaced"
            # The worker may not have noticed that it is done with this one.
            _reset(writer)
            raise
        except RefusedError as refused:
            facts["ended"] = refused.code.value
            if facts["address"] is not None:
                _reset(writer)  # an answer in the middle of a body would be read as part of it
            raise
        except OSError:
            facts["ended"] = "reset"
            _reset(writer)
            raise
        except ClientGoneError:
            facts["ended"] = "client_gone"
            raise
        finally:
            self._log.write(
                "connection", video=video.key, **facts, waited_s=round(begun_s - asked_s, 3),
                duration_s=round(self._clock() - begun_s, 3), bytes_in=video.bytes_in - before,
            )  # fmt: skip

    async def _relay(
        self,
        video: VideoMeter,
        client: tuple[ClientReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        async def upload() -> None:
            while data := await client[0].read(self._bandwidth.chunk_bytes):
                await self._bandwidth.spend(len(data))
                server[1].write(data)
                await server[1].drain()

        async def download() -> None:
            while data := await server[0].read(self._bandwidth.chunk_bytes):
                video.receive(len(data))
                await self._bandwidth.spend(len(data))
                client[1].write(data)
                await client[1].drain()

        pumps = [asyncio.ensure_future(upload()), asyncio.ensure_future(download())]
        try:
            # Either side's end is the end: what the server said last is written by then.
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in done:
                pump.result()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)


def _reset(writer: asyncio.StreamWriter) -> None:
    # An orderly end would make a body without a length look whole.
    with suppress(OSError):  # it may have ended already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _part(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, leave_s: float) -> None:
    # Hear the server out for a moment; one that goes on is cut off, and given a moment to notice.
    try:
        async with asyncio.timeout(_HEAR_OUT_S):
            if writer.can_write_eof():
                writer.write_eof()
            while await reader.read(_HEARD_BYTES):
                pass
    except (OSError, TimeoutError):
        _reset(writer)
        await asyncio.sleep(leave_s)
    except asyncio.CancelledError:
        _reset(writer)  # the proxy stops, or another connection takes over
        raise
    else:
        writer.close()
