"""ffmpeg as a child process on a short leash: memory, CPU time and files bounded by the kernel, waits bounded by us.

The bounds are set from outside, right after the start (`prlimit`): code between fork and exec is not safe in a process
with threads. They are Linux's; elsewhere ffmpeg runs without them, and only waits and pictures are bounded.
"""

import math
import os
import re
import resource
import select
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from pipeline.faces.errors import (
    CorruptVideoError,
    DecoderInterruptedError,
    DecoderMemoryError,
    DecoderTimeoutError,
    VideoError,
)
from pipeline.faces.limits import DecodeLimits

_OPEN_FILES = 64
_LAST_WORDS_S = 5
_LONGEST_POLL_MS = 2**31 - 1
_NO_MEMORY = re.compile(
    r"Cannot allocate memory|Failed to allocate packet|(pthread_create\(\)|thread_encoder_init) failed"
)
_NO_PICTURE = "get_buffer() failed"
"""The decoder got no memory for a picture, and says so of one that it may not have as well."""
_ENDED_WHEN_ASKED = 255
"""What ffmpeg ends with when it was asked to. The low byte of EPERM is the same, of which it complains."""
_ASKED_AGAIN_AND_AGAIN = 123
_MAY_BE_OUT_OF_TIME = frozenset({_ENDED_WHEN_ASKED, _ASKED_AGAIN_AND_AGAIN, -signal.SIGKILL})
"""The kernel asks by SIGXCPU, which ffmpeg takes for one of SIGTERM's kind, then every second, then kills."""
_NEARLY = 0.9
"""The kernel may count ticks for its limits, and measure what it tells."""
_NOT_PERMITTED = "Operation not permitted"
_ASKS_TO_END = frozenset({-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGQUIT})
_NOT_TO_HAVE = re.compile(r"Picture size .* (is invalid|exceeds)|image parameters invalid")


class FfmpegProcess(subprocess.Popen[bytes]):
    """ffmpeg, and what it took when it ended.

    Attributes:
        cpu_limit_s: CPU time after which the kernel asks it to end, seconds.
        cpu_s: CPU time that it took, seconds; known when it has been waited for, and 0 where the system does not tell.
    """

    cpu_limit_s: float = math.inf
    cpu_s: float = 0.0

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        self._note_cpu_time()
        return super().poll()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, when it has ended.

        Raises:
            subprocess.TimeoutExpired: That takes longer than the timeout, seconds.
        """
        if self.returncode is None and hasattr(os, "pidfd_open"):
            watched = os.pidfd_open(self.pid)
            try:
                poll = select.poll()
                poll.register(watched, select.POLLIN)
                ended = poll.poll(None if timeout is None else min(1000 * timeout, _LONGEST_POLL_MS))
            finally:
                os.close(watched)
            if not ended and timeout is not None:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self._note_cpu_time()
        return super().wait(timeout)

    def _note_cpu_time(self) -> None:
        # As long as nobody has waited for it, a process that has ended is still listed.
        if self.returncode is not None:
            return
        try:
            status = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return
        user, system = status.rpartition(")")[2].split()[11:13]
        self.cpu_s = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def start_ffmpeg(
    command: Sequence[str], limits: DecodeLimits, *, file_bytes: int = 0, **popen: Any
) -> FfmpegProcess:
    """Start ffmpeg within limits.

    Args:
        command: Program and arguments.
        limits: `decoder_memory_bytes` and `decoder_cpu_s` are the kernel's business from here on. It may not dump its
            memory.
        file_bytes: How long a file may be that it writes; without it, it may write none.
        popen: Further arguments of `subprocess.Popen`, such as pipes.
    """
    process = FfmpegProcess(command, stdin=subprocess.DEVNULL, **popen)
    cpu_s = int(limits.decoder_cpu_s)
    process.cpu_limit_s = cpu_s
    for what, soft, hard in (
        ("RLIMIT_AS", limits.decoder_memory_bytes, limits.decoder_memory_bytes),
        ("RLIMIT_CPU", cpu_s, cpu_s + _LAST_WORDS_S),
        ("RLIMIT_FSIZE", file_bytes, file_bytes),
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_NOFILE", _OPEN_FILES, _OPEN_FILES),
    ):
        if hasattr(resource, "prlimit"):
            _bound(process.pid, getattr(resource, what), soft, hard)
    return process


def _bound(pid: int, what: int, soft: int, hard: int) -> None:
    try:
        _, most = resource.prlimit(pid, what)
        if most != resource.RLIM_INFINITY:  # a stricter bound of this machine stays
            soft, hard = min(soft, most), min(hard, most)
        resource.prlimit(pid, what, (soft, hard))
    except ProcessLookupError:  # it has ended already
        return


class PatientReader:
    """Reads from ffmpeg's pipe into memory, but does not wait for ever.

    Args:
        pipe: Unbuffered.
        stall_s: Longest wait for the next byte.
        name: The file's name, for messages.
    """

    def __init__(self, pipe: IO[bytes], *, stall_s: float, name: str) -> None:
        self._pipe, self._stall_s, self._name = pipe, stall_s, name
        self._poll = select.poll()
        self._poll.register(pipe.fileno(), select.POLLIN)

    def fill(self, target: memoryview, *, more_s: float = 0.0) -> int:
        """Fill a buffer, and tell how many bytes there were: fewer only where the pipe ends.

        Args:
            target: The buffer.
            more_s: Wait this much longer for its first byte.

        Raises:
            DecoderTimeoutError: No byte came for too long.
        """
        filled = 0
        while filled < len(target):
            self._wait(0.0 if filled else more_s)
            got = self._pipe.readinto(target[filled:])  # type: ignore[attr-defined]
            if not got:
                break
            filled += got
        return filled

    def read_up_to(self, count: int) -> bytes:
        """The bytes until the pipe ends, or as many.

        Raises:
            DecoderTimeoutError: No byte came for too long.
        """
        parts: list[bytes] = []
        while count > 0:
            self._wait(0.0)
            if not (part := self._pipe.read(min(count, 65536))):
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _wait(self, more_s: float) -> None:
        if not self._poll.poll(min(1000 * (self._stall_s + more_s), _LONGEST_POLL_MS)):
            raise DecoderTimeoutError(f"{self._name}: the decoder gave nothing for {self._stall_s + more_s:g} s")


def how_it_ended(process: FfmpegProcess, complaints: Iterable[str], *, name: str) -> VideoError | None:
    """Why ffmpeg ended before its time, or None where neither a limit nor a signal had a part in it.

    Args:
        process: It has ended.
        complaints: What it said.
        name: The file's name, for messages.
    """
    code = process.returncode
    out_of_time = process.cpu_s >= _NEARLY * process.cpu_limit_s
    if code == -signal.SIGXCPU or (out_of_time and code in _MAY_BE_OUT_OF_TIME):
        return DecoderTimeoutError(f"{name}: the decoder used up its CPU time, decoder_cpu_s")
    said = "\n".join(complaints)
    no_memory = _NO_MEMORY.search(said) or (_NO_PICTURE in said and not _NOT_TO_HAVE.search(said))
    # The kernel's last resort when memory is short; we ourselves kill it only when nobody asks any more.
    if code == -signal.SIGKILL or no_memory:
        return DecoderMemoryError(f"{name}: the decoder needs more memory than it may have, decoder_memory_bytes")
    if code in _ASKS_TO_END or (code == _ENDED_WHEN_ASKED and _NOT_PERMITTED not in said):
        return DecoderInterruptedError(f"{name}: the decoder was ended from outside")
    if code < 0:
        return CorruptVideoError(f"{name}: the decoder crashed ({signal.Signals(-code).name})")
    return None
