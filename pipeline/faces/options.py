"""What a user may choose about faces. Standard library only: the command line imports it."""

from dataclasses import dataclass
from typing import Literal

Detector = Literal["mediapipe", "face_alignment"]
Scheme = Literal["mediapipe68", "mediapipe_dense", "ibug68"]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]
Faces = Literal["all", "first"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FacesOptions:
    """Options of decoding, detection, tracking and crops. They are hashed into the configuration of a dataset."""

    detector: Detector = "mediapipe"
    """Landmark detector; face_alignment is FAN, for GPUs, whose weights are not part of this program. There is never a
    silent fallback from one to another."""
    scheme: Scheme = "mediapipe68"
    """Landmarks to keep: the 68 iBUG-like points, or these and a denser set on lids, lips, brows, cheeks, contour;
    face_alignment gives ibug68 only. `python -m benchmarks.expressions` shows what either does for lids and lips."""
    detector_device: Device = "cpu"
    """Where face_alignment's network runs."""
    detector_precision: Precision = "float32"
    """What it computes with; less than float32 on cuda only."""
    batch_faces: int = 64
    """How many faces, of as many frames as it takes, face_alignment looks at in one batch: what the GPU's memory
    holds. It changes the landmarks by rounding only."""
    height_px: int | None = None
    """Decode larger pictures to this height, which is faster. All pixels in the tables stay those of the displayed
    picture. None decodes them as they are."""
    fps: float | None = None
    """Read at most this many frames a second: of each interval of 1/fps seconds the first frame. Frames are counted as
    they are read. None reads all."""
    faces: Faces = "all"
    """Follow all faces, or one at a time as the paper does: the largest of the first frame that shows any."""
    max_faces: int = 6
    """Most faces followed at the same time; the largest are. Each costs as much as the first."""
    margin: float = 0.25
    """A face is the same one while its box overlaps the last one by at least this intersection over union. A shaken
    camera can move a face by half its width from frame to frame; two people's faces hardly overlap."""
    max_misses: int = 5
    """K of the paper: a track stops after more than this many consecutive frames without the face."""
    min_track_s: float = 0.5
    """Tracks shorter than this are not fitted."""
    min_face_px: float = 28.0
    """Faces with a smaller box side are not followed."""
    min_confidence: float = 0.5
    """Lowest face presence score of the landmark network that counts as the face."""
    span_s: float = 120.0
    """Longer videos are cut into parts of about this many seconds, which different workers search at once. They overlap
    by 3 s and `min_track_s`, and tracks are joined there. At least `min_track_s`."""
    max_appearance_jump: float = 0.57
    """A track ends where the look of its face leaps further than this: it is somebody else. Measured on six people, the
    same face stays below 0.38 (0.56 where the head is thrown about), and 99% of changes to another are beyond 0.55."""
    crops: bool = True
    """Write registered 224x224 crops for training."""
    crops_per_s: float | None = None
    """Keep crops of at most this many frames a second: of each interval of 1/crops_per_s seconds of the file's clock,
    the first frame. All frames are fitted. Crops are four fifths of what a frame takes on disk. None keeps all."""
    jpeg_quality: int = 92
    """JPEG quality of the crops, 1 to 100."""

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: Naming the option and its value.
        """
        if (self.detector == "face_alignment") != (self.scheme == "ibug68"):
            raise ValueError(
                f"detector={self.detector!r} does not give scheme={self.scheme!r}: face_alignment gives ibug68, "
                "mediapipe gives mediapipe68 or mediapipe_dense"
            )
        if self.span_s < self.min_track_s:
            raise ValueError(f"span_s={self.span_s!r} must be at least min_track_s={self.min_track_s!r}")
        device, precision = self.detector_device, self.detector_precision
        if self.detector == "mediapipe" and device != "cpu":
            raise ValueError(f"detector_device={device!r}: mediapipe runs on the CPU; face_alignment can use cuda")
        if device == "cpu" and precision != "float32":
            raise ValueError(f"detector_precision={precision!r} is for detector_device='cuda', not for the CPU")
        if self.crops_per_s is not None and not self.crops:
            raise ValueError(f"crops_per_s={self.crops_per_s!r} keeps some crops, and crops=False none; leave one out")
        for name, low, high in (
            ("batch_faces", 1, 4096),
            ("height_px", 32, 4320),
            ("fps", 1e-3, 1e3),
            ("max_faces", 1, 100),
            ("margin", 0.0, 1.0),
            ("max_misses", 0, 10_000),
            ("min_track_s", 0.0, 1e6),
            ("min_face_px", 1.0, 1e5),
            ("min_confidence", 0.0, 1.0),
            ("span_s", 0.5, 1e6),
            ("max_appearance_jump", 0.0, 1e6),
            ("crops_per_s", 1e-3, 1e3),
            ("jpeg_quality", 1, 100),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name}={value!r} must lie between {low} and {high}")
