"""A seal on a thread: within it nothing connects but through the proxy, and no program is started.

yt-dlp is two thousand extractors by many hands. Its handler is ours; this is for what does not use it. The
interpreter's audit events (PEP 578) tell of sockets and programs in the very thread that asks for them, and the seal
is on one thread: the others of the process, such as Beam's, go on as ever. A thread that is started within the seal
has none; yt-dlp starts some for several fragments at once and for protocols of live streams, and is asked for neither.
What calls the C library past Python's own modules raises no event. So the seal holds against what an extractor does in
the way extractors do, not against code that is out to break it.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_REFUSED = {
    "socket.connect": "connect past the egress proxy",
    "socket.sendto": "send past the egress proxy",
    "socket.sendmsg": "send past the egress proxy",
    "socket.getaddrinfo": "resolve a name past the egress proxy",
    "socket.gethostbyname": "resolve a name past the egress proxy",
    "socket.gethostbyaddr": "resolve a name past the egress proxy",
    "socket.getnameinfo": "resolve a name past the egress proxy",
    "socket.bind": "listen to the network",
    "subprocess.Popen": "start a program",
    "os.system": "start a program",
    "os.exec": "start a program",
    "os.fork": "start a process",
    "os.forkpty": "start a process",
    "os.posix_spawn": "start a program",
    "os.spawn": "start a program",
    "pty.spawn": "start a program",
}
_state = threading.local()
_watching = threading.Lock()
_hooked = threading.Event()


class SealError(PermissionError):
    """Something tried to get past the seal; as an OSError, it is taken for a network that is not there."""


@contextmanager
def sealed() -> Iterator[None]:
    """Refuse connections and programs to this thread in the block."""
    with _watching:
        if not _hooked.is_set():
            sys.addaudithook(_refuse)  # for good: there is no way to remove one
            _hooked.set()
    before = getattr(_state, "on", False)
    _state.on = True
    try:
        yield
    finally:
        _state.on = before


@contextmanager
def unsealed() -> Iterator[None]:
    """Permit them again, to the one piece of code that may: the way to the proxy itself."""
    before = getattr(_state, "on", False)
    _state.on = False
    try:
        yield
    finally:
        _state.on = before


def _refuse(event: str, arguments: tuple[object, ...]) -> None:  # noqa: ARG001  # the hook's signature
    if event in _REFUSED and getattr(_state, "on", False):
        raise SealError(f"yt-dlp tried to {_REFUSED[event]}, which is not permitted")
