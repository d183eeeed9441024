"""Errors that a bad video causes. Each carries the failure code that the dataset records.

    VideoError
    ├── CorruptVideoError       corrupt
    ├── UnsupportedFormatError  unsupported_format
    ├── VideoTooLargeError      too_large
    ├── DecoderTimeoutError     timeout
    ├── DecoderMemoryError      out_of_memory
    ├── DecoderInterruptedError corrupt, where it is so twice
    ├── NoVideoStreamError      no_video_stream
    ├── OutsideVideoError       outside_video
    └── NoFaceError             no_face
        └── TrackTooShortError  track_too_short

Exceptions take one positional message, so that they survive pickling between worker processes.
"""

from typing import ClassVar


class VideoError(Exception):
    """Something is wrong with one video, and the run goes on without it."""

    code: ClassVar[str] = "corrupt"


class CorruptVideoError(VideoError):
    """The file cannot be decoded, or not to its end."""

    code = "corrupt"


class UnsupportedFormatError(VideoError):
    """The file is no video that our ffmpeg can read."""

    code = "unsupported_format"


class VideoTooLargeError(VideoError):
    """The video goes beyond a limit: too long, too many frames, or too large pictures."""

    code = "too_large"


class DecoderTimeoutError(VideoError):
    """The decoder gave no frame for too long, or needed too much CPU time."""

    code = "timeout"


class DecoderMemoryError(VideoError):
    """The decoder needed more memory than it may have."""

    code = "out_of_memory"


class DecoderInterruptedError(VideoError):
    """The decoder ended as if it had been asked to, as schedulers do with all processes of a job.

    Once, that tells nothing of the video: whoever records failures tries again first. Twice, it is the video's fault,
    whatever it has in it.
    """

    code = "corrupt"


class NoVideoStreamError(VideoError):
    """The file has no video stream."""

    code = "no_video_stream"


class OutsideVideoError(VideoError):
    """The file has no frame in the part that was asked for."""

    code = "outside_video"


class NoFaceError(VideoError):
    """No face was found in any frame, or (the class below) none for long enough."""

    code = "no_face"


class TrackTooShortError(NoFaceError):
    """Faces were found, but none for as long as `FacesOptions.min_track_s`."""

    code = "track_too_short"
