"""Reading a dataset: tables as Arrow, tracks as numpy arrays, and a check of every file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Float64, Int32

from facevid import storage
from facevid.description import DESCRIPTION_FILE, FACE_MODEL_FILE, DatasetDescription, DatasetError
from facevid.keep import parse_keep
from facevid.schema import TABLES, dataset_schemas
from facevid.shard_file import ShardFile
from facevid.shards import ShardInfo
from facevid.splits import SPLITS, Split

_TRACK_COLUMNS = (
    "video_id", "track", "frame", "pts_s", "kept", "expression", "expression_sigma", "scale_px_per_mm",
    "rotation_wxyz", "translation_px", "landmarks_px", "smoothed_px", "landmark_confidence", "reprojection_error",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackArrays:
    """One face track, frame by frame.

    Attributes:
        video_id: The manifest's id of the video.
        track: Index of the track in the video.
        row: The track's row of the tracks table.
        frame: Index of each frame in its video, in presentation order.
        pts_s: Presentation times, seconds.
        identity: Identity coefficients, standard deviations.
        expression: Expression coefficients per frame, standard deviations.
        expression_sigma: Posterior standard deviation of each.
        rotation_wxyz: Unit quaternions, head frame to camera frame.
        scale_px_per_mm: Camera scale.
        translation_px: Where the head frame's origin falls.
        landmarks_px: Landmarks as detected.
        smoothed_px: Landmarks after smoothing over time, which the fit saw.
        landmark_confidence: The detector's face presence score; 0 where it missed the face.
        reprojection_error: Median distance over the inner 51 points, fraction of the outer-eye distance.
        lens: One over the focal length (1/px) and the principal point (px); zeros for scaled orthographic.
    """

    video_id: str
    track: int
    row: dict[str, Any]
    frame: Int32[np.ndarray, " frames"]
    pts_s: Float64[np.ndarray, " frames"]
    identity: Float32[np.ndarray, " n_identity"]
    expression: Float32[np.ndarray, "frames n_expression"]
    expression_sigma: Float32[np.ndarray, "frames n_expression"]
    rotation_wxyz: Float32[np.ndarray, "frames 4"]
    scale_px_per_mm: Float32[np.ndarray, " frames"]
    translation_px: Float32[np.ndarray, "frames 2"]
    landmarks_px: Float32[np.ndarray, "frames points 2"]
    smoothed_px: Float32[np.ndarray, "frames points 2"]
    landmark_confidence: Float32[np.ndarray, " frames"]
    reprojection_error: Float32[np.ndarray, " frames"]
    lens: Float32[np.ndarray, " 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset folder, opened. Nothing but `facevid.json` is read until asked for.

    Attributes:
        root: The folder: a local path or a bucket's address.
        description: What `facevid.json` says.
    """

    root: str
    description: DatasetDescription

    @property
    def face_model_path(self) -> str:
        """The copy of the face model that the dataset was fitted with."""
        return storage.join(self.root, FACE_MODEL_FILE)

    def schema(self, name: str) -> pa.Schema:
        """Columns of a table, with their descriptions as metadata.

        Raises:
            ValueError: There is no table of this name.
        """
        if name not in TABLES:
            raise ValueError(f"name={name!r} is none of the tables {', '.join(TABLES)}")
        about = self.description
        return dataset_schemas(
            points=about.points, n_identity=about.n_identity, n_expression=about.n_expression
        )[name]

    def shards(self, name: str) -> tuple[ShardInfo, ...]:
        """The shards of a table, by name; empty where the table was not written.

        Raises:
            ValueError: There is no table of this name.
        """
        self.schema(name)
        return tuple(sorted((s for s in self.description.shards if s.table == name), key=lambda shard: shard.path))

    def open_shard(self, shard: ShardInfo) -> ShardFile:
        """A shard to read row groups from; close it, or use it in a `with`.

        Raises:
            DatasetError: The file is missing, no Parquet file, or has not as many rows as it should.
        """
        return ShardFile(self.root, shard, self.schema(shard.table))

    def lacking(self, name: str) -> tuple[str, ...]:
        """Columns of a table that an earlier version of FaceVid did not write; all of them where there is no shard.

        One build writes all shards, so the first speaks for them.

        Raises:
            ValueError: There is no table of this name.
            DatasetError: The shard is missing or damaged.
        """
        there: tuple[str, ...] = ()
        for shard in self.shards(name)[:1]:
            with self.open_shard(shard) as file:
                there = file.columns
        return tuple(column for column in self.schema(name).names if column not in there)

    def table(
        self, name: str, *, columns: Sequence[str] | None = None, kept_only: bool = False, keep: str = ""
    ) -> pa.Table:
        """A whole table in memory, in the order of its shards.

        Args:
            name: frames, tracks, crops or failures.
            columns: Columns to read, default all.
            kept_only: Leave out rows that pruning marked; frames and tracks only.
            keep: Leave out rows for which this does not hold, such as "abs(yaw_deg) < 60 and sharpness > 0.1".

        Raises:
            ValueError: Unknown table or column, `kept_only` for a table that has no such mark, or a `keep` that cannot
                be read.
            DatasetError: A shard is missing or damaged, or an earlier version wrote it without some of the columns.
        """
        schema = self.schema(name)
        wanted = list(schema.names if columns is None else columns)
        if unknown := [column for column in wanted if column not in schema.names]:
            raise ValueError(f"columns={unknown} are not in {name}, which has: {', '.join(schema.names)}")
        if kept_only and "kept" not in schema.names:
            raise ValueError(f"kept_only=True: the table {name!r} has no column kept")
        condition = parse_keep(keep, schema) if keep.strip() else None
        asked = condition.columns if condition else ()
        read = list(dict.fromkeys([*wanted, *asked, *(["kept"] if kept_only else [])]))
        parts = [pa.schema([schema.field(column) for column in read]).empty_table()]
        for shard in self.shards(name):
            whole = self._read(shard, read)
            if kept_only:
                whole = whole.filter(pc.field("kept"))
            parts.append(whole.filter(condition.expression) if condition else whole)
        return pa.concat_tables(parts).select(wanted)

    def tracks(
        self, *, kept_only: bool = True, split: Split | None = None, keep: str = ""
    ) -> Iterator[TrackArrays]:
        """Tracks one by one, in the order of the shards, each with the arrays of its frames.

        Args:
            kept_only: Leave out tracks and frames that pruning marked.
            split: Only this one's.
            keep: Leave out frames for which this does not hold, such as "abs(yaw_deg) < 60 and sharpness > 0.1".

        Raises:
            ValueError: `split` is no split, or `keep` cannot be read.
            DatasetError: A shard is missing or damaged, or an earlier version wrote it without some of the columns.
        """
        if split is not None and split not in SPLITS:
            raise ValueError(f"split={split!r} is none of {', '.join(SPLITS)}")
        condition = parse_keep(keep, self.schema("frames")) if keep.strip() else None
        read = list(dict.fromkeys([*_TRACK_COLUMNS, *(condition.columns if condition else ())]))
        rows = {(row["video_id"], row["track"]): row for row in self.table("tracks").to_pylist()}
        for shard in self.shards("frames"):
            for key, part in _by_track(self._read(shard, read)):
                row = rows.get(key)
                if row is None:
                    raise DatasetError(f"{shard.path} has frames of {key}, which the tracks table lacks; build again")
                if (split is not None and row["split"] != split) or (kept_only and not row["kept"]):
                    continue
                chosen = part.filter(pc.field("kept")) if kept_only else part
                chosen = chosen.filter(condition.expression) if condition else chosen
                if chosen.num_rows:
                    yield _arrays(row, chosen)

    def _read(self, shard: ShardInfo, columns: list[str]) -> pa.Table:
        with self.open_shard(shard) as file:
            return file.read(columns)

    def verify(self) -> None:
        """Read every file and compare size and sha256 with `facevid.json`.

        Raises:
            DatasetError: The first file that is missing, truncated or altered.
        """
        for shard in self.description.shards:
            _require_size(self.root, shard)
            self._verify_file(shard.path, shard.sha256)
        self._verify_file(FACE_MODEL_FILE, self.description.face_model_sha256)

    def _verify_file(self, name: str, wanted: str) -> None:
        path = storage.join(self.root, name)
        if not storage.exists(path):
            raise DatasetError(f"{path} is missing; run the build again, it resumes")
        if (seen := storage.sha256(path)) != wanted:
            raise DatasetError(f"{path} has sha256 {seen}, not {wanted}: altered; build it again")


def open_dataset(path: str | Path) -> Dataset:
    """Open a dataset folder, or a bucket's address.

    Shards may be symbolic links, as in a cache of downloads; what they point to counts as the file.

    Raises:
        DatasetError: It is no dataset, its build did not finish, it is of a newer schema, or a shard is missing or not
            of the size that it was written with.
    """
    root = str(path)
    where = storage.join(root, DESCRIPTION_FILE)
    try:
        text = storage.read_bytes(where).decode()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetError(
            f"{root} is no FaceVid dataset: it has no {DESCRIPTION_FILE}. If a build was stopped, run it again"
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{where} is not text ({error}); build the dataset again") from error
    description = DatasetDescription.from_json(text, where=where)
    for shard in description.shards:
        _require_size(root, shard)
    return Dataset(root=root, description=description)


def _require_size(root: str, shard: ShardInfo) -> None:
    path = storage.join(root, shard.path)
    try:
        seen_bytes = storage.size_bytes(path)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing; run the build again, it resumes") from error
    if seen_bytes != shard.bytes:
        raise DatasetError(f"{path} has {seen_bytes} bytes, not {shard.bytes}: truncated or altered; build it again")


def vectors(column: Any) -> Float32[np.ndarray, "rows width"]:
    """A column of fixed-size lists as a matrix; works on slices too."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):  # no chunk at all
        whole = pa.array([], column.type)
    return np.asarray(whole.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(-1, whole.type.list_size)


def _by_track(frames: pa.Table) -> Iterator[tuple[tuple[str, int], pa.Table]]:
    # Shards are sorted by track, so a track is a run of rows.
    if not frames.num_rows:
        return
    videos = frames["video_id"].to_numpy(zero_copy_only=False)
    tracks = frames["track"].to_numpy()
    starts = [0, *(np.flatnonzero((videos[1:] != videos[:-1]) | (tracks[1:] != tracks[:-1])) + 1).tolist()]
    for start, stop in zip(starts, [*starts[1:], frames.num_rows], strict=True):
        yield (videos[start], int(tracks[start])), frames.slice(start, stop - start)


def _arrays(row: dict[str, Any], frames: pa.Table) -> TrackArrays:
    count = frames.num_rows
    return TrackArrays(
        video_id=row["video_id"],
        track=row["track"],
        row=row,
        frame=frames["frame"].to_numpy(),
        pts_s=frames["pts_s"].to_numpy(),
        identity=np.asarray(row["identity"], np.float32),
        expression=vectors(frames["expression"]),
        expression_sigma=vectors(frames["expression_sigma"]),
        rotation_wxyz=vectors(frames["rotation_wxyz"]),
        scale_px_per_mm=frames["scale_px_per_mm"].to_numpy(),
        translation_px=vectors(frames["translation_px"]),
        landmarks_px=vectors(frames["landmarks_px"]).reshape(count, -1, 2),
        smoothed_px=vectors(frames["smoothed_px"]).reshape(count, -1, 2),
        landmark_confidence=frames["landmark_confidence"].to_numpy(),
        reprojection_error=frames["reprojection_error"].to_numpy(),
        lens=_lens(row),
    )


def _lens(row: dict[str, Any]) -> Float32[np.ndarray, " 3"]:
    if row["focal_px"] is None:
        return np.zeros(3, dtype=np.float32)
    middle = (row["width_px"] - 1) / 2, (row["height_px"] - 1) / 2
    return np.array([1 / row["focal_px"], *middle], dtype=np.float32)
