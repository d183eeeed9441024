"""A copy of a video that can be read from any moment on, for files whose container has no index by time.

Without an index the decoder starts at the beginning of the file, whatever part is asked for: a video of thirty spans
would be decoded fifteen times. The copy holds the very same compressed pictures, in Matroska; nothing is decoded for
it. Its times are those of the file's own pictures, to the millisecond, and `probe.INDEXED_TAG` in it says that they are
to be taken as they stand: the first picture need not be at 0.
"""

import shutil
import subprocess
from pathlib import Path

from pipeline.faces.complaints import Complaints
from pipeline.faces.errors import DecoderInterruptedError, DecoderTimeoutError, VideoError
from pipeline.faces.ffmpeg_process import how_it_ended, start_ffmpeg
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.probe import INDEXED_TAG, ffmpeg_program, input_arguments, memory_arguments, probe

_SLOWEST_BYTES_PER_S = 1e6
_HEADROOM_BYTES = 1 << 24
_TIMES_AS_LARGE = 2


def copy_with_index(path: Path, target: Path, limits: DecodeLimits) -> bool:
    """Copy the pictures of a video into a file with an index.

    Args:
        path: A local video file.
        target: The new file, in a folder that is there.
        limits: What it may cost.

    Returns:
        Whether there is such a copy; some files are too damaged for one, or hold what Matroska does not.

    Raises:
        DecoderTimeoutError: It takes too long.
        DecoderMemoryError: ffmpeg needs too much memory.
        OSError: The disk is full.
    """
    size = path.stat().st_size
    output = input_arguments(path, limits=limits, fflags="+genpts").output(
        f"file:{target.absolute()}", map="0:V:0", c="copy", avoid_negative_ts="disabled", map_metadata="-1",
        map_chapters="-1", metadata=f"{INDEXED_TAG}=1", fflags="+bitexact", f="matroska",
    )  # fmt: skip
    command = [
        ffmpeg_program(), "-nostdin", "-hide_banner", "-loglevel", "level+error", *memory_arguments(limits),
        *output.get_args(),
    ]  # fmt: skip
    most_bytes = _TIMES_AS_LARGE * size + _HEADROOM_BYTES
    with start_ffmpeg(
        command, limits, file_bytes=most_bytes, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None  # noqa: S101  # asked for above
        complaints = Complaints(process.stderr, limits)
        try:
            process.wait(limits.decoder_stall_s + size / _SLOWEST_BYTES_PER_S)
        except subprocess.TimeoutExpired as error:
            raise DecoderTimeoutError(f"{path.name}: copying it takes too long") from error
        finally:
            process.kill()
            complaints.join()
    if not process.returncode:
        return _is_whole(target, limits)
    if shutil.disk_usage(target.parent).free < _HEADROOM_BYTES:
        with target.open("ab") as file:  # the system's own words for what ffmpeg met
            file.write(bytes(_HEADROOM_BYTES))
    broken = how_it_ended(process, complaints.last, name=path.name)
    if broken is not None and broken.code != "corrupt":
        raise broken
    return False


def _is_whole(target: Path, limits: DecodeLimits) -> bool:
    try:
        info = probe(target, limits)
    except (DecoderTimeoutError, DecoderInterruptedError):
        raise
    except VideoError:
        return False
    return info.seekable and info.duration_s is not None
