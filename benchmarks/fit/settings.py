"""The kinds of synthetic video, and what each fit is told about them."""

from dataclasses import dataclass, replace

from fitting.options import Camera, FitMethod, FitOptions
from fitting.synthetic import SyntheticOptions

SCHEME = "ibug68"
MAIN, OUTLIERS = "1 px", "outliers, missing"
LEAST_NOISE_PX = 0.1
"""What a fit is told where there is no noise: its energy is in units of it."""
CLOSE_KEYFRAMES_S = 0.12
JOINT_ITERATIONS = 25
"""The textbook's fit needs more iterations than two stages: its head goes on shrinking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One kind of video.

    Attributes:
        name: For the tables.
        video: How its videos are made.
        methods: Which methods fit them.
        camera: The camera that is fitted.
    """

    name: str
    video: SyntheticOptions
    methods: tuple[FitMethod, ...] = ("two_stage",)
    camera: Camera = "scaled_orthographic"

    @property
    def has_floor(self) -> bool:
        """Whether the noise is such that a floor can be computed."""
        return not (self.video.noise_memory or self.video.bias_px or self.video.distance_mm or not self.video.noise_px)

    def options(self, method: FitMethod = "two_stage") -> FitOptions:
        """Options of a fit that knows how noisy the landmarks are, and how slowly the truth moves.

        The generator's paths change by 1/32 from frame to frame, and are smoother than any process of the fit: a
        smoothness of 16 leaves it as sure as it may be. Real faces move faster (the default is 4).
        Its expressions are others after 0.12 s; real ones last for longer (the default is 0.3 s).
        """
        unit = self.video.outer_eye_px
        options = FitOptions(
            landmark_noise=max(self.video.noise_px, LEAST_NOISE_PX) / unit,
            landmark_bias=self.video.bias_px / unit,
            expression_smoothness=16.0,
            learn_smoothness=False,
            camera=self.camera,
            keyframe_spacing_s=CLOSE_KEYFRAMES_S,
        )
        if method == "two_stage":
            return options
        baseline = replace(options, method=method)
        return replace(baseline, identity_iterations=JOINT_ITERATIONS) if method == "joint_map" else baseline


def default_options(method: FitMethod = "two_stage", camera: Camera = "scaled_orthographic") -> FitOptions:
    """What a user has who tells the fit nothing of the video; of the textbook's, enough iterations besides."""
    if method == "two_stage":
        return FitOptions(camera=camera)
    iterations = JOINT_ITERATIONS if method == "joint_map" else FitOptions().identity_iterations
    return FitOptions(method=method, identity_iterations=iterations)


BASELINES: tuple[FitMethod, ...] = ("koujan2020", "joint_map", "single_frame")
ALL: tuple[FitMethod, ...] = ("two_stage", *BASELINES)


def settings() -> list[Setting]:
    """All of them, the main one first."""
    return [
        Setting(name=MAIN, video=SyntheticOptions(), methods=ALL),
        Setting(name=OUTLIERS, video=SyntheticOptions(outlier_share=0.05, missing_share=0.2), methods=ALL),
        *(Setting(name=f"{px:g} px", video=SyntheticOptions(noise_px=px)) for px in (0.5, 2.0, 4.0)),
        *(Setting(name=f"yaw {deg:g} deg", video=SyntheticOptions(yaw_deg=deg)) for deg in (5.0, 45.0)),
        Setting(name="noise over frames", video=SyntheticOptions(noise_memory=0.8)),
        Setting(name="lasting bias 1 px", video=SyntheticOptions(bias_px=1.0)),
        Setting(name="occlusions", video=SyntheticOptions(occlusions=6)),
        Setting(name="frames missing", video=SyntheticOptions(missing_frame_share=0.2)),
        Setting(name="pinhole 1 m", video=SyntheticOptions(distance_mm=1000.0)),
        Setting(name="pinhole 40 cm", video=SyntheticOptions(distance_mm=400.0)),
        Setting(name="pinhole 40 cm, fitted so", video=SyntheticOptions(distance_mm=400.0), camera="perspective"),
    ]
