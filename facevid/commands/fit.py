"""The command that fits landmarks which somebody else has found."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from facevid.commands.console import say
from fitting.options import FitOptions

if TYPE_CHECKING:
    from fitting.landmark_video import LandmarkVideo

_ENDINGS = {"out": ".npz", "arkit": ".csv", "gltf": ".glb", "obj": ".obj", "overlay": ".mp4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Fit one face over time to a file of landmarks: no video needed.

    LANDMARKS is .npz (landmarks: frames x points x 2, pixels; optional confidence, pts_s or fps, scheme) or .csv
    (frame,x0,y0,... or frame,point,x,y, or what OpenFace writes of a video). Missing points are NaN or empty.

    Example: facevid fit landmarks.npz --out fit.npz --gltf face.glb --video face.mp4 --overlay drawn.mp4
    """

    landmarks: tyro.conf.Positional[Path]
    """File of landmarks."""
    out: Path
    """The fit to write, .npz: identity, expression, cameras, errors."""
    model: Path | None = None
    """Face model file; without it, FaceVid-CC0."""
    scheme: str | None = None
    """Landmark scheme, where the file does not say: ibug68, mediapipe68 or mediapipe_dense."""
    picture_px: tuple[int, int] | None = None
    """Width and height of the picture, where neither the file nor --video says; --camera perspective needs them."""
    fps: float | None = None
    """Frames per second, where the file has no times; without it, the times of the frames of --video, or 30."""
    arkit: Path | None = None
    """Write ARKit weights in [0, 1] as CSV."""
    gltf: Path | None = None
    """Write the animated face as .glb with morph targets."""
    targets: Literal["components", "arkit"] = "arkit"
    """Morph targets of the .glb: named ARKit shapes, or the model's components, which give the fit exactly."""
    obj: Path | None = None
    """Write one frame's mesh as .obj."""
    frame: int | None = None
    """The frame of the .obj, by the file's own number; without it, the first."""
    video: Path | None = None
    """The video that the landmarks were found in, for --overlay, and for the times of its frames."""
    first_frame: int | None = None
    """The number that the file of landmarks gives to the first frame of that video; without it, 1 for OpenFace's
    tables, else 0."""
    overlay: Path | None = None
    """Write an .mp4 of that video with the fitted landmarks and, beside it, the fitted mesh."""
    options: Annotated[FitOptions, tyro.conf.arg(name="")] = field(default_factory=FitOptions)

    def run(self) -> int:
        """Fit, export, print what was written."""
        from fitting.face_model import DEFAULT_MODEL_PATH, load_face_model
        from fitting.fit_file import fit_file
        from fitting.whole_file import require_writable

        if (self.video is None) != (self.overlay is None):
            raise ValueError(f"video={self.video} and overlay={self.overlay}: one needs the other")
        if self.frame is not None and self.obj is None:
            raise ValueError(f"frame={self.frame} is the frame of an .obj; name one with --obj")
        outputs = self._outputs()
        if self.video is None and self.first_frame is not None:
            raise ValueError(f"first_frame={self.first_frame} is that of a video; name it with --video and --overlay")
        if self.video is not None and not self.video.is_file():
            raise FileNotFoundError(f"video={str(self.video)!r}: there is no such file")
        video = self._of_video()
        for path in outputs:
            require_writable(path)
        model_path = self.model or DEFAULT_MODEL_PATH
        model = load_face_model(model_path)
        if model.arkit is None and (self.arkit or (self.gltf and self.targets == "arkit")):
            raise ValueError(
                f"face model {model.name!r} has no map to ARKit weights: leave --arkit out, and give --gltf "
                "--targets components"
            )
        fit = fit_file(
            self.landmarks,
            self.out,
            model_path=model_path,
            scheme=self.scheme,
            fps=self.fps,
            picture_px=self.picture_px,
            frame=self.frame,
            video=video,
            options=self.options,
            report=say,
        )
        print(self.out)
        if self.arkit:
            from fitting.mesh_export import write_arkit_csv

            write_arkit_csv(self.arkit, fit, model)
            print(self.arkit)
        if self.gltf:
            from fitting.gltf import write_gltf

            write_gltf(self.gltf, fit, model, targets=self.targets)
            print(self.gltf)
        if self.obj:
            from fitting.mesh_export import write_obj

            write_obj(self.obj, fit, model, frame=int(fit.frame[0]) if self.frame is None else self.frame)
            print(self.obj)
        if self.video and self.overlay:
            from facevid.report.fit_video import write_fit_video

            write_fit_video(self.video, fit, model, self.overlay, report=say)
            print(self.overlay)
        return 0

    def _of_video(self) -> "LandmarkVideo | None":
        if self.video is None:
            return None
        from facevid.report.landmark_video import landmark_video

        return landmark_video(self.video, first_frame=self.first_frame, report=say)

    def _outputs(self) -> tuple[Path, ...]:
        """The files to write, each with the ending of its kind, none of them in the way of another or of an input."""
        taken = {
            name: path.resolve()
            for name, path in (("landmarks", self.landmarks), ("model", self.model), ("video", self.video))
            if path is not None
        }
        outputs: list[Path] = []
        for name, suffix in _ENDINGS.items():
            path: Path | None = getattr(self, name)
            if path is None:
                continue
            if path.suffix.lower() != suffix:
                raise ValueError(f"{name}={str(path)!r} must end in {suffix}")
            whole = path.resolve()
            for other, place in taken.items():
                if whole == place:
                    raise ValueError(f"{name}={str(path)!r} is the {other} file itself; choose another name")
                if whole.is_relative_to(place) or place.is_relative_to(whole):
                    pair = f"{name}={str(path)!r} and {other}={str(getattr(self, other))!r}"
                    raise ValueError(f"{pair}: one is a folder of the other; choose another name")
            taken[name] = whole
            outputs.append(path)
        return tuple(outputs)
