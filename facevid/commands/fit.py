"""The command that fits one face: of a video, or of landmarks which somebody else has found."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from facevid.commands.console import say, use_one_opencv_thread
from facevid.commands.fit_outputs import MeshFiles, check_outputs
from fitting.options import FitOptions

if TYPE_CHECKING:
    from fitting.face_model import FaceModel
    from fitting.landmark_video import LandmarkVideo
    from fitting.saved_fit import SavedFit

_LANDMARK_ENDINGS = (".npz", ".csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Fit one face over time: the largest of a video, or one in a file of landmarks.

    PATH is a video, whose faces are found and followed as by a build; or landmarks that you have: .npz (landmarks:
    frames x points x 2, pixels; optional confidence, pts_s (seconds) or fps, scheme) or .csv (frame,x0,y0,... or
    frame,point,x,y, or what OpenFace writes of a video). Missing points are NaN or empty. The 468 or 478 points of
    MediaPipe's face mesh will do as well, in pixels, or as it gives them with --normalised and --picture-px.

    Example: facevid fit clip.mp4 --out fit.npz --gltf face.glb --overlay drawn.mp4

    Example: facevid fit landmarks.npz --out fit.npz --gltf face.glb --video face.mp4 --overlay drawn.mp4
    """

    source: tyro.conf.Positional[Path]
    """A video, or a file of landmarks (.npz, .csv)."""
    out: Path
    """The fit to write, .npz: identity, expression, cameras, errors."""
    model: Path | None = None
    """Face model file; without it, FaceVid-CC0."""
    scheme: str | None = None
    """Landmark scheme. Of a file, where it does not say: ibug68, mediapipe68 or mediapipe_dense. Of a video, which to
    find: mediapipe68 (without it), or mediapipe_dense."""
    track: int | None = None
    """Of a video with several face tracks (several people, or cuts), the one to fit; without it, the one that fills
    most of the pictures. What tracks there are is said."""
    picture_px: tuple[int, int] | None = None
    """Width and height of the picture, where neither the file nor --video says; --camera perspective needs them."""
    normalised: bool = False
    """The file's landmarks are shares of the picture's width and height, as MediaPipe gives them, not pixels."""
    fps: float | None = None
    """Frames per second, where the file has no times; without it, the times of the frames of --video, or 30."""
    files: Annotated[MeshFiles, tyro.conf.arg(name="")] = field(default_factory=MeshFiles)
    video: Path | None = None
    """The video that a file's landmarks were found in, for --overlay, and for the times of its frames."""
    first_frame: int | None = None
    """The number that the file of landmarks gives to the first frame of that video; without it, 1 for OpenFace's
    tables, else 0."""
    overlay: Path | None = None
    """Write an .mp4 of the video with the fitted landmarks and, beside it, the fitted mesh."""
    options: Annotated[FitOptions, tyro.conf.arg(name="")] = field(default_factory=FitOptions)

    def run(self) -> int:
        """Fit, export, print what was written."""
        from fitting.face_model import DEFAULT_MODEL_PATH, load_face_model
        from fitting.whole_file import require_writable

        self._check()
        video = self._of_video()
        for path in self._outputs():
            require_writable(path)
        model_path = self.model or DEFAULT_MODEL_PATH
        model = load_face_model(model_path)
        self.files.check_model(model)
        fit = self._fitted_video(model) if self._is_video else self._fitted_landmarks(model_path, video)
        print(self.out)
        self.files.write(fit, model)
        drawn = self.source if self._is_video else self.video
        if drawn and self.overlay:
            from facevid.report.fit_video import write_fit_video

            write_fit_video(drawn, fit, model, self.overlay, report=say)
            print(self.overlay)
        return 0

    @property
    def _is_video(self) -> bool:
        return self.source.suffix.lower() not in _LANDMARK_ENDINGS

    def _check(self) -> None:
        if self._is_video:
            for name in ("video", "first_frame", "picture_px", "fps", "normalised"):
                if (value := getattr(self, name)) is not None and value is not False:
                    raise ValueError(f"{name}={value} goes with a file of landmarks (.npz, .csv), and {self.source} is "
                                     "a video, which says it itself")  # fmt: skip
        elif self.track is not None:
            raise ValueError(f"track={self.track} is one of a video; {self.source} holds one face")
        elif (self.video is None) != (self.overlay is None):
            raise ValueError(f"video={self.video} and overlay={self.overlay}: one needs the other")
        self.files.check()
        self._outputs()
        if self.video is None and self.first_frame is not None:
            raise ValueError(f"first_frame={self.first_frame} is that of a video; name it with --video and --overlay")
        for name, path in (("video", self.video), ("source", self.source if self._is_video else None)):
            if path is not None and not path.is_file():
                what = "this is a folder, and a fit takes one video" if path.is_dir() else "there is no such file"
                raise FileNotFoundError(f"{name}={str(path)!r}: {what}")
        if self._is_video:
            self._refuse_image()

    def _refuse_image(self) -> None:
        from training.image_files import images_among

        if images_among([self.source])[0]:
            raise ValueError(f"source={str(self.source)!r} is an image, and a fit takes a video or a file of "
                             "landmarks; of images, facevid predict tells the expression")  # fmt: skip

    def _outputs(self) -> tuple[Path, ...]:
        files = self.files
        outputs = {
            "out": self.out, "arkit": files.arkit, "gltf": files.gltf, "obj": files.obj, "overlay": self.overlay
        }
        kind = "video" if self._is_video else "landmarks"
        inputs = {kind: self.source, "model": self.model}
        return check_outputs(outputs, {"out": ".npz"}, inputs if self._is_video else inputs | {"video": self.video})

    def _of_video(self) -> "LandmarkVideo | None":
        if self.video is None:
            return None
        from facevid.report.landmark_video import landmark_video

        return landmark_video(self.video, first_frame=self.first_frame, report=say)

    def _fitted_landmarks(self, model_path: Path, video: "LandmarkVideo | None") -> "SavedFit":
        from fitting.fit_file import fit_file

        return fit_file(
            self.source,
            self.out,
            model_path=model_path,
            scheme=self.scheme,
            fps=self.fps,
            picture_px=self.picture_px,
            normalised=self.normalised,
            frame=self.files.frame,
            video=video,
            options=self.options,
            report=say,
        )

    def _fitted_video(self, model: "FaceModel") -> "SavedFit":
        from facevid.report.video_face import face_of_video
        from fitting.fit_file import fit_sequence

        use_one_opencv_thread()
        face = face_of_video(self.source, scheme=self.scheme, track=self.track, report=say)
        if self.files.frame is not None and self.files.frame not in face.frame:
            raise ValueError(f"frame={self.files.frame} is not among the frames {face.frame[0]} to {face.frame[-1]}, "
                             f"in which {self.source} shows the face that is fitted")  # fmt: skip
        return fit_sequence(
            self.source, self.out, face.sequence, frame=face.frame, model=model, options=self.options, report=say
        )
