"""The command that learns a detector's errors, and what faces do, from a dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from facevid.dataset import Dataset
    from fitting.face_model import FaceModel
    from fitting.tracks import LandmarkSequence

MOST_FRAMES = 3000
"""Of one track; more say nothing new about a face."""
FEW_FACES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCalibrate:
    """Learn from a dataset where its detector errs and what its faces do, and write a face model that knows it.

    Per landmark: how far off the model's own point the detector marks it on the average face, how noisy it is, how
    far it errs on single faces. And the mean and covariance of the expression, which become the unit of expression:
    the new model's coefficients mean nothing on the old one. Build again with `facevid build --model` to use it. A
    handful of faces moves little, hundreds much; `fitting/calibrate.py` has the terms.

    Example: facevid model calibrate out --out calibrated.npz
    """

    dataset: tyro.conf.Positional[str]
    """A dataset; its landmarks are fitted with its face model."""
    out: Path
    """The face model file to write."""
    expression_prior: bool = True
    """Make what the faces did the unit of expression; without it, only the detector's errors are learnt."""
    max_faces: int = 100
    """Learn from at most so many tracks: the longest, one per subject, or per video where no subject is named."""

    def run(self) -> int:
        """Learn, write, print what was learnt."""
        import numpy as np
        from tqdm import tqdm

        from facevid.commands.console import say
        from facevid.dataset import open_dataset
        from fitting.calibrate import calibrate
        from fitting.calibration import calibration_table
        from fitting.options import FitOptions
        from fitting.whole_file import require_writable

        if self.max_faces < 1:
            raise ValueError(f"max_faces={self.max_faces} is below 1")
        require_writable(self.out)
        dataset = open_dataset(self.dataset)
        model = _model_of(dataset)
        sequences = longest_tracks(dataset, most=self.max_faces)
        if len(sequences) < FEW_FACES:
            say(f"{len(sequences)} faces are few: what they share by chance is held for what all faces share")
        with tqdm(desc="calibrate", unit="track", total=0) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            learnt = calibrate(
                sequences, model, FitOptions(), expression_prior=self.expression_prior, progress=progress
            )
        print("\n".join(calibration_table(dataset.description.landmark_scheme, learnt.calibration)))
        spread = np.sqrt(np.linalg.eigvalsh(learnt.expression_covariance))
        print(
            f"expression: mean {np.linalg.norm(learnt.expression_mean):.2f} sd from the model's; standard deviations "
            f"{spread[0]:.2f} to {spread[-1]:.2f} of the model's{'' if self.expression_prior else ' (not applied)'}"
        )
        print(f"{self.out} sha256 {learnt.model.save(self.out)}")
        return 0


def longest_tracks(dataset: "Dataset", *, most: int) -> "list[LandmarkSequence]":
    """The longest kept track of each subject (of each video, where no subject is named), the longest first.

    Args:
        dataset: The dataset.
        most: At most so many.
    """
    import numpy as np

    from fitting.tracks import LandmarkSequence

    rows = dataset.table("tracks", columns=["video_id", "track", "subject_id", "frames"], kept_only=True).to_pylist()
    rows.sort(key=lambda row: (-row["frames"], row["video_id"], row["track"]))
    chosen: dict[tuple[str, str], tuple[str, int]] = {}
    for row in rows:
        person = ("subject", row["subject_id"]) if row["subject_id"] else ("video", row["video_id"])
        chosen.setdefault(person, (row["video_id"], row["track"]))
    rank = {key: number for number, key in enumerate(list(chosen.values())[:most])}
    found: dict[int, LandmarkSequence] = {}
    for track in dataset.tracks(kept_only=True):
        number = rank.get((track.video_id, track.track))
        if number is None:
            continue
        some = slice(0, MOST_FRAMES)
        points = track.landmarks_px.shape[1]
        found[number] = LandmarkSequence(
            scheme=dataset.description.landmark_scheme,
            observed_px=track.landmarks_px[some],
            smoothed_px=track.smoothed_px[some],
            weight=np.repeat(track.landmark_confidence[some, None], points, axis=1),
            pts_s=track.pts_s[some],
        )
    return [found[number] for number in sorted(found)]


def _model_of(dataset: "Dataset") -> "FaceModel":
    import tempfile

    from fitting.face_model import load_face_model

    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "face_model.npz"
        local.write_bytes(dataset.face_model_bytes())
        return load_face_model(local)
