"""What a fitted face can be written as, for the commands that have one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fitting.face_model import FaceModel
    from fitting.saved_fit import SavedFit

_ENDINGS = {"arkit": ".csv", "gltf": ".glb", "obj": ".obj", "overlay": ".mp4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshFiles:
    """Files of a fitted face for other programs."""

    arkit: Path | None = None
    """Write ARKit weights in [0, 1] as CSV."""
    gltf: Path | None = None
    """Write the animated face as .glb with morph targets."""
    targets: Literal["components", "arkit"] = "arkit"
    """Morph targets of the .glb: named ARKit shapes, or the model's components, which give the fit exactly."""
    obj: Path | None = None
    """Write one frame's mesh as .obj."""
    frame: int | None = None
    """The frame of the .obj, by its number in the video or the file of landmarks; without it, the first."""

    def check(self) -> None:
        """Refuse a frame without its file.

        Raises:
            ValueError: See above.
        """
        if self.frame is not None and self.obj is None:
            raise ValueError(f"frame={self.frame} is the frame of an .obj; name one with --obj")

    def check_model(self, model: "FaceModel") -> None:
        """Refuse a face model that has no ARKit weights, where they are wanted.

        Raises:
            ValueError: It has none.
        """
        if model.arkit is None and (self.arkit or (self.gltf and self.targets == "arkit")):
            raise ValueError(
                f"face model {model.name!r} has no map to ARKit weights: leave --arkit out, and give --gltf "
                "--targets components"
            )

    def write(self, fit: "SavedFit", model: "FaceModel") -> None:
        """Write what is wanted; prints the name of each file.

        Raises:
            ValueError: The fit has no such frame.
            OSError: A file cannot be written.
        """
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


def check_outputs(
    outputs: Mapping[str, Path | None], endings: Mapping[str, str], inputs: Mapping[str, Path | None]
) -> tuple[Path, ...]:
    """The files to write, each with the ending of its kind, none of them in the way of another or of an input.

    Args:
        outputs: By option; None where it was not given.
        endings: Of the options that `MeshFiles` and overlays do not have.
        inputs: Files that are read, by option.

    Raises:
        ValueError: Naming the option and its value.
    """
    taken = {name: path for name, path in inputs.items() if path is not None}
    wanted: list[Path] = []
    for name, path in outputs.items():
        if path is None:
            continue
        suffix = (dict(endings) | _ENDINGS)[name]
        if path.suffix.lower() != suffix:
            raise ValueError(f"{name}={str(path)!r} must end in {suffix}")
        whole = path.resolve()
        for other, given in taken.items():
            place = given.resolve()
            if whole == place:
                raise ValueError(f"{name}={str(path)!r} is the {other} file itself; choose another name")
            if whole.is_relative_to(place) or place.is_relative_to(whole):
                pair = f"{name}={str(path)!r} and {other}={str(given)!r}"
                raise ValueError(f"{pair}: one is a folder of the other; choose another name")
        taken[name] = path
        wanted.append(path)
    return tuple(wanted)
