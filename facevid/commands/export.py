"""The command that writes one face of a dataset for other programs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from facevid.commands.console import say
from facevid.commands.fit_outputs import MeshFiles, check_outputs
from facevid.counted import counted

if TYPE_CHECKING:
    from facevid.dataset import Dataset

_MOST_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Write one face track of a dataset as an animated mesh, ARKit weights, a fit, landmarks, or a drawing.

    All frames of the track are written, those that pruning marked too.

    Example: facevid export out --video-id clip --gltf face.glb --arkit weights.csv --overlay drawn.mp4
    """

    dataset: tyro.conf.Positional[Path]
    """Folder of the dataset."""
    video_id: str | None = None
    """The video's id; without it, the dataset's only one."""
    track: int | None = None
    """The face track; without it, the longest that was kept (of those of a video, `facevid report` shows pictures)."""
    out: Path | None = None
    """Write the fit as .npz, as `facevid fit` does."""
    landmarks: Path | None = None
    """Write the landmarks as .npz: `facevid fit` fits them again, with other options perhaps."""
    files: Annotated[MeshFiles, tyro.conf.arg(name="")] = field(default_factory=MeshFiles)
    overlay: Path | None = None
    """Write an .mp4 of the track's part of the video with the fitted landmarks and, beside it, the fitted mesh."""
    store: Path | None = None
    """Where the build kept its videos, if not in `store` inside the dataset's folder."""

    def run(self) -> int:
        """Write what is wanted, print the names of the files."""
        from facevid.dataset import open_dataset
        from facevid.report.track_fit import face_model_of, saved_fit, write_track_landmarks
        from facevid.report.video_sources import VideoSources
        from fitting.saved_fit import write_fit
        from fitting.whole_file import require_writable

        outputs = self._outputs()
        self.files.check()
        if not outputs:
            raise ValueError("nothing to write: name a file with --gltf, --arkit, --obj, --overlay, --out, --landmarks")
        dataset = open_dataset(self.dataset)
        for path in outputs:
            require_writable(path)
        track = dataset.track(*_chosen(dataset, self.video_id, self.track))
        video = None
        if self.overlay:
            video = VideoSources.of(self.dataset, self.store).find(track.row)
            if video is None:
                raise FileNotFoundError(f"the video {track.video_id!r} is no longer in the store, nor where the "
                                        "manifest had it: leave --overlay out, or name the --store")  # fmt: skip
        model = face_model_of(dataset)
        self.files.check_model(model)
        fit = saved_fit(track, dataset, model)
        say(f"{track.video_id}, track {track.track}: {counted(len(track.frame), 'frame')} from {track.pts_s[0]:.2f} to "
            f"{track.pts_s[-1]:.2f} s")  # fmt: skip
        if self.out:
            write_fit(self.out, fit)
            print(self.out)
        if self.landmarks:
            write_track_landmarks(self.landmarks, track, dataset)
            print(self.landmarks)
        self.files.write(fit, model)
        if video and self.overlay:
            from facevid.report.fit_video import write_fit_video

            write_fit_video(video, fit, model, self.overlay, by_time=True, report=say)
            print(self.overlay)
        return 0

    def _outputs(self) -> tuple[Path, ...]:
        files = self.files
        outputs = {
            "out": self.out, "landmarks": self.landmarks, "arkit": files.arkit, "gltf": files.gltf, "obj": files.obj,
            "overlay": self.overlay,
        }  # fmt: skip
        return check_outputs(outputs, {"out": ".npz", "landmarks": ".npz"}, {})


def _chosen(dataset: "Dataset", video_id: str | None, track: int | None) -> tuple[str, int]:
    """The video and the track that are meant."""
    rows = dataset.table("tracks", columns=["video_id", "track", "frames", "kept"]).to_pylist()
    videos = sorted({row["video_id"] for row in rows})
    some = ", ".join(videos[:_MOST_NAMED]) + (", ..." if len(videos) > _MOST_NAMED else "")
    if video_id is None and len(videos) != 1:
        raise ValueError(f"{dataset.root} has {len(videos)} videos with faces: name one with --video-id ({some})")
    wanted = videos[0] if video_id is None else video_id
    if wanted not in videos:
        import difflib

        near = difflib.get_close_matches(wanted, videos, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else f"; there are {some}" if videos else ""
        raise ValueError(f"video_id={wanted!r} has no face track in {dataset.root}{meant}")
    own = [row for row in rows if row["video_id"] == wanted]
    if track is None:
        return wanted, max(own, key=lambda row: (row["kept"], row["frames"], -row["track"]))["track"]
    if track not in {row["track"] for row in own}:
        known = ", ".join(str(row["track"]) for row in sorted(own, key=lambda row: row["track"]))
        raise ValueError(f"track={track} of video_id={wanted!r}: there are {known}")
    return wanted, track
