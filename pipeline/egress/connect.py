"""How the proxy connects: every address judged at the moment of connecting, then that very address.

Judging the address, not the name in a URL, covers redirects, playlists, and names that resolve differently
from one moment to the next.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from facevid.failures import FailureCode
from pipeline import addresses
from pipeline.egress.wire import RefusedError, WireError, join_authority, read_head, request_head

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamProxy:
    """A proxy of the user's own network, through which everything goes.

    Attributes:
        host: Its name or address.
        port: Its port.
        authorization: Value of Proxy-Authorization, or None.
    """

    host: str
    port: int
    authorization: str | None = None

    @classmethod
    def parse(cls, url: str, authorization: str | None) -> "UpstreamProxy":
        """Read `http://HOST:PORT`.

        Raises:
            ValueError: It is something else.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"}:
            raise ValueError(f"upstream_proxy={url!r} must be http://HOST:PORT")
        if parts.username is not None or parts.password is not None:
            raise ValueError("upstream_proxy must not hold a user name or password, which would be written to disk")
        return cls(host=parts.hostname, port=parts.port or 3128, authorization=authorization)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """Connects to the web.

    Attributes:
        allow_private: Connect to any address and port.
        timeout_s: Longest time for a name, and for each connection.
        upstream: The proxy to go through, or None.
        is_public: Judges an address; the tests replace it.
    """

    allow_private: bool
    timeout_s: float
    upstream: UpstreamProxy | None = None
    is_public: Callable[[str], bool] = addresses.is_public

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        """Connect; returns the streams and the address that was judged.

        Raises:
            RefusedError: `unsafe_address`, or what prevented it.
        """
        if self.allow_private and self.upstream is not None:
            return *await self._through(self.upstream, host, port), host
        if not self.allow_private and not addresses.is_web_port(port):
            raise RefusedError(
                FailureCode.UNSAFE_ADDRESS, f"{host} is asked on port {port}, which is no web server's; "
                "--allow-private permits it",
            )
        found = await self._resolve(host, port)
        if not self.allow_private and (inside := next((a for a in found if not self.is_public(a)), None)):
            raise RefusedError(
                FailureCode.UNSAFE_ADDRESS, f"{host} resolves to {inside}, which is not on the public internet; "
                "--allow-private permits it",
            )
        if self.upstream is not None:
            return *await self._through(self.upstream, found[0], port), found[0]
        for address in found[:-1]:
            try:
                return *await self._to(address, port, host), address
            except RefusedError:
                continue
        return *await self._to(found[-1], port, host), found[-1]

    async def _resolve(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timeout_s):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise RefusedError(FailureCode.TIMEOUT, f"the name {host} did not resolve in time", passing=True) from error
        except UnicodeError as error:
            raise RefusedError(FailureCode.NOT_FOUND, f"{host} cannot be the name of a host") from error
        except OSError as error:
            hint = "; behind an upstream proxy, --allow-private leaves names to it" if self.upstream else ""
            raise RefusedError(
                FailureCode.NETWORK, f"the name {host} does not resolve: {error.strerror}{hint}",
                passing=isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN,
            ) from error
        return list(dict.fromkeys(str(target[0]) for _, _, _, _, target in found))

    async def _to(self, address: str, port: int, host: str) -> Streams:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await asyncio.open_connection(address, port)
        except TimeoutError as error:
            message = f"{host} did not accept a connection in time"
            raise RefusedError(FailureCode.TIMEOUT, message, passing=True) from error
        except OSError as error:
            message = f"{host} cannot be reached: {error.strerror or error}"
            raise RefusedError(FailureCode.NETWORK, message, passing=True) from error

    async def _through(self, upstream: UpstreamProxy, host: str, port: int) -> Streams:
        reader, writer = await self._to(upstream.host, upstream.port, f"the upstream proxy {upstream.host}")
        target = join_authority(host, port)
        fields = {"Proxy-Authorization": upstream.authorization} if upstream.authorization else {}
        try:
            async with asyncio.timeout(self.timeout_s):
                writer.write(request_head("CONNECT", target, Host=target, **fields))
                answer = await read_head(reader)
        except TimeoutError as error:
            writer.transport.abort()
            message = "the upstream proxy did not answer in time"
            raise RefusedError(FailureCode.TIMEOUT, message, passing=True) from error
        except (OSError, WireError) as error:
            writer.transport.abort()
            raise RefusedError(FailureCode.NETWORK, f"the upstream proxy failed: {error}", passing=True) from error
        if answer.start[1] != "200":
            writer.transport.abort()
            status = " ".join(answer.start[1:])
            raise RefusedError(FailureCode.NETWORK, f"the upstream proxy refused {host}: {status}")
        return reader, writer
