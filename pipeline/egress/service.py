"""Starting the proxy for a build, and telling the workers where it is."""

import asyncio
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.addresses import is_public
from pipeline.config import FetchOptions
from pipeline.damage import intact, require_kinds
from pipeline.download.cookies import read_cookies
from pipeline.egress.connect import Connector, UpstreamProxy
from pipeline.egress.lists import SourceList
from pipeline.egress.meter import Log
from pipeline.egress.proxy import EgressProxy
from pipeline.egress.rules import EgressRules
from pipeline.egress.wire import WireError, split_authority

TOKEN_VARIABLE = "FACEVID_EGRESS_TOKEN"  # noqa: S105  # a name
"""Environment variable: what `--egress HOST:PORT` asks for."""
UPSTREAM_VARIABLE = "FACEVID_UPSTREAM_AUTHORIZATION"
"""Environment variable: the value of Proxy-Authorization for `--upstream-proxy`, such as `Basic dXNlcjpwYXNz`."""
LOG_FILE = "egress.jsonl"

_ADDRESS_FILE = "egress.json"
_LOOKUPS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressAddress:
    """Where the proxy is.

    Attributes:
        host: Its name or address.
        port: Its port.
        token: What it asks for.
    """

    host: str
    port: int
    token: str


def egress_rules(options: FetchOptions, *, judge: Callable[[str], bool] = is_public) -> EgressRules:
    """What the proxy of a build permits.

    Args:
        options: Options of acquisition.
        judge: Whether an address is public; tests replace it.

    Raises:
        ValueError: An option that cannot be used.
    """
    upstream = None
    if options.upstream_proxy is not None:
        upstream = UpstreamProxy.parse(options.upstream_proxy, os.environ.get(UPSTREAM_VARIABLE))
    denied = SourceList.read(options.deny_list) if options.deny_list else SourceList()
    return EgressRules(
        politeness=options.courtesy,
        connector=Connector(
            allow_private=options.allow_private, timeout_s=options.timeout_s, upstream=upstream, is_public=judge
        ),
        max_bytes=options.max_bytes,
        max_fetch_s=options.max_fetch_s,
        max_bytes_per_s=options.max_bytes_per_s,
        denied=denied.names_host,
    )


@contextmanager
def running_egress(
    rules: EgressRules, *, log: Path | None = None, host: str = "127.0.0.1", port: int = 0, token: str | None = None
) -> Iterator[EgressAddress]:
    """Run the proxy in a thread of this process for the time of the block.

    Args:
        rules: What it permits.
        log: File for its log; lines are added.
        host: Where to listen.
        port: Where to listen; 0 takes a free port.
        token: What to ask for; the default is a new one.
    """
    token = token or secrets.token_urlsafe(32)
    loop = asyncio.new_event_loop()
    # A lookup that its name server does not answer holds a thread for half a minute, whoever still waits for it.
    loop.set_default_executor(ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="resolves names"))
    lines = Log(log)
    proxy = EgressProxy(rules, token=token, log=lines)
    server = loop.run_until_complete(proxy.start(host, port))
    thread = threading.Thread(target=loop.run_forever, name="egress proxy", daemon=True)
    thread.start()
    try:
        yield EgressAddress(host=host, port=server.sockets[0].getsockname()[1], token=token)
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server, proxy), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        lines.close()


_LAST_TURNS = 3
"""A connection is accepted in one turn of the loop, ended in the next, and its socket closed in the one after."""


async def _stop(server: asyncio.Server, proxy: EgressProxy) -> None:
    loop = asyncio.get_running_loop()
    # A server that closes loses what it is just accepting, and leaves the socket open: accept no more, then close.
    for listening in server.sockets:
        loop.remove_reader(listening)
    await proxy.stop()
    for _ in range(_LAST_TURNS):
        await asyncio.sleep(0)
    server.close()


@contextmanager
def build_egress(options: FetchOptions, state: Path) -> Iterator[None]:
    """Run a build's proxy for the time of the block, unless there is one elsewhere; workers find it by `find_egress`.

    Args:
        options: Options of acquisition.
        state: The build's state folder.

    Raises:
        ValueError: An option that cannot be used.
    """
    if options.cookies is not None:
        read_cookies(options.cookies)  # the workers do; a mistake shows here
    if options.egress is not None:
        find_egress(options, state)
        yield
        return
    with running_egress(egress_rules(options), log=state / LOG_FILE) as address:
        path = state / _ADDRESS_FILE
        path.unlink(missing_ok=True)
        # The token is for this user alone: others on this machine must not use the proxy.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"host": address.host, "port": address.port, "token": address.token}, file)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def find_egress(options: FetchOptions, state: Path) -> EgressAddress:
    """Where the build's proxy is.

    Raises:
        ValueError: `--egress` is no address, or its token is not in the environment.
        FileNotFoundError: No build runs in this state folder.
    """
    if options.egress is None:
        path = state / _ADDRESS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}: workers on other machines than the build's need --egress")
        with intact(path, "run the build again: it writes another"):
            plain = json.loads(path.read_bytes())
            require_kinds(plain, host=str, port=int, token=str)
            return EgressAddress(**plain)
    try:
        host, port = split_authority(options.egress)
    except WireError as error:
        raise ValueError(f"egress={options.egress!r} must be HOST:PORT") from error
    if not (token := os.environ.get(TOKEN_VARIABLE)):
        raise ValueError(f"egress={options.egress!r} needs its token in the environment variable {TOKEN_VARIABLE}")
    return EgressAddress(host=host, port=port, token=token)
