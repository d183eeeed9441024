"""The worker's side of the proxy: begin a video, connect within it, end it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from facevid.failures import FailureCode
from pipeline.egress.seal import unsealed
from pipeline.egress.service import EgressAddress
from pipeline.egress.wire import (
    LARGEST_HEAD_BYTES,
    LEASE_HEADER,
    MESSAGE_HEADER,
    URL_HEADER,
    Head,
    RefusedError,
    WireError,
    credentials,
    join_authority,
    parse_head,
    plain_host,
    refusal_of,
    request_head,
)

# The proxy keeps to time limits of its own; all that this one catches is a machine that is gone.
_CONNECT_PATIENCE_S = 30.0
_NOTE_EVERY_S = 30.0
_END = b"\r\n\r\n"


class EgressError(Exception):
    """The proxy is not there, or does not understand us: no video's fault."""


class Lease:
    """A video that was begun: connections are made through it.

    Args:
        address: Where the proxy is.
        control: The connection that is the lease.
        key: The lease's name.
        on_wait: Called now and then while a turn is waited for, and when it has come.
    """

    def __init__(
        self, address: EgressAddress, control: socket.socket, key: str, on_wait: Callable[[], None]
    ) -> None:
        self.address = address
        self._control = control
        self._key = key
        self._on_wait = on_wait

    def connect(self, host: str, port: int) -> socket.socket:
        """A connection to a host, as if made directly. Waits for its turn; the one before is ended.

        Raises:
            RefusedError: The proxy refuses or cannot connect.
            EgressError: The proxy is gone.
        """
        target = _authority(host, port)
        made, _ = _ask(self.address, "CONNECT", target, self._on_wait, **{LEASE_HEADER: self._key})
        return made

    def again(self) -> None:
        """Begin a further try: all bytes may be received again.

        Raises:
            EgressError: The proxy is gone.
        """
        self._ask("again")

    def stopped(self) -> RefusedError | None:
        """Why the proxy has cut this video's connection off, if it has.

        Raises:
            EgressError: The proxy is gone.
        """
        return refusal_of(self._ask("why"))

    def end(self, code: FailureCode | None) -> None:
        """Say how the video ended: its failure code, or None where it was had."""
        self._say("end ok" if code is None else f"end {code}")

    def _ask(self, word: str) -> Head:
        self._say(word)
        head = _receive_head(self._control, self._on_wait)
        _require_ok(head)
        return head

    def _say(self, word: str) -> None:
        try:
            self._control.sendall(f"{word}\n".encode())
        except OSError as error:
            raise EgressError(f"the egress proxy is gone: {error}") from error


@contextmanager
def video_lease(
    address: EgressAddress, host: str, port: int, url: str, *, on_wait: Callable[[], None] = lambda: None
) -> Iterator[Lease]:
    """Begin a video of a host: waits until no other worker has one of that host, and for the pause after it.

    Args:
        address: Where the proxy is.
        host: The host.
        port: Its port.
        url: What is fetched, for the proxy's log.
        on_wait: Called now and then while a turn is waited for, and when it has come: for clocks that are to stand
            still meanwhile.

    Raises:
        RefusedError: `rate_limited`: the host is left alone for now; `not_found`: there can be no such host.
        EgressError: The proxy is gone.
    """
    asked = _ask(address, "LEASE", _authority(host, port), on_wait, **{URL_HEADER: url})
    with asked[0] as control:
        yield Lease(address, control, asked[1].get(LEASE_HEADER) or "", on_wait)


def _authority(host: str, port: int) -> str:
    # A stranger's host may be any text; what is no name must not look like a proxy that misunderstands.
    try:
        return join_authority(plain_host(host), port)
    except WireError as error:
        raise RefusedError(FailureCode.NOT_FOUND, str(error)) from error


def _ask(
    address: EgressAddress, method: str, target: str, on_wait: Callable[[], None], **fields: str
) -> tuple[socket.socket, Head]:
    try:
        with unsealed():
            made = socket.create_connection((address.host, address.port), timeout=_CONNECT_PATIENCE_S)
    except OSError as error:
        raise EgressError(
            f"the egress proxy at {address.host}:{address.port} cannot be reached: {error}; is the build that "
            "started it still running?"
        ) from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.sendall(request_head(method, target, Proxy_Authorization=credentials(address.token), **fields))
        # Waiting for one's turn may take hours, and counts towards no limit.
        made.settimeout(_NOTE_EVERY_S)
        head = _receive_head(made, on_wait)
        on_wait()
        _require_ok(head)
        made.settimeout(None)
    except BaseException as error:
        made.close()
        if isinstance(error, OSError):
            raise EgressError(f"the egress proxy at {address.host}:{address.port} is gone: {error}") from error
        raise
    return made, head


def _receive_head(made: socket.socket, on_wait: Callable[[], None]) -> Head:
    # Looked at before it is taken: what follows the head belongs to the tunnel.
    data = b""
    while (end := data.find(_END)) < 0:
        try:
            part = made.recv(LARGEST_HEAD_BYTES, socket.MSG_PEEK)
        except TimeoutError:
            on_wait()
            continue
        except OSError as error:
            raise EgressError(f"the egress proxy is gone: {error}") from error
        if not part or len(data) > LARGEST_HEAD_BYTES:
            raise EgressError("the egress proxy ended the connection in the middle of an answer")
        found = (data + part).find(_END)
        data += made.recv(len(part) if found < 0 else found + len(_END) - len(data))
    try:
        return parse_head(data[: end + len(_END)])
    except WireError as error:
        raise EgressError(f"what answers as the egress proxy is none: {error}") from error


def _require_ok(head: Head) -> None:
    status = head.start[1]
    if status == "200":
        return
    if refused := refusal_of(head):
        raise refused
    if status == "407":
        raise EgressError("the egress proxy does not know our token")
    raise EgressError(f"the egress proxy answers {' '.join(head.start[1:])}: {head.get(MESSAGE_HEADER) or ''}")
