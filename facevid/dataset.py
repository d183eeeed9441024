"""Reading a dataset: tables as Arrow, tracks as numpy arrays, and a check of every file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from facevid import storage
from facevid.description import DESCRIPTION_FILE, FACE_MODEL_FILE, RECEIVED, REMOVE, DatasetDescription, DatasetError
from facevid.keep import parse_keep
from facevid.schema import TABLES, dataset_schemas
from facevid.shard_file import ShardFile
from facevid.shards import ShardInfo, is_home
from facevid.splits import SPLITS, Split
from facevid.track_arrays import TRACK_COLUMNS, TrackArrays, by_track, track_arrays


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

    def face_model_bytes(self) -> bytes:
        """The file of the face model that the dataset was fitted with.

        Raises:
            DatasetError: It is missing, or a release left it out, in which case the message says what to get.
        """
        try:
            return storage.read_bytes(self.face_model_path)
        except FileNotFoundError as error:
            about = self.description
            if about.with_face_model:
                raise DatasetError(f"{self.face_model_path} is missing; run the build again, {RECEIVED}") from error
            raise DatasetError(
                f"{self.root} was released without its face model {about.face_model!r} (licence: "
                f"{about.face_model_licence!r}): get that from its makers, import it with `facevid model import`, and "
                f"put it there as {FACE_MODEL_FILE}; its sha256 must be {about.face_model_sha256}"
            ) from error

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
            DatasetError: The file is missing, no Parquet file, or has not as many rows or bytes as it should: a build
                may have written the tables anew since the dataset was opened.
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

        In memory are the rows of one shard of the tracks table, one row group of frames and one track, however large
        the dataset is.

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
        read = list(dict.fromkeys([*TRACK_COLUMNS, *(condition.columns if condition else ())]))
        # A track's rows of all tables are in shards of one name.
        homes = {shard.path.rpartition("/")[2]: shard for shard in self.shards("tracks")}
        for shard in self.shards("frames"):
            home = homes.get(shard.path.rpartition("/")[2])
            found = self._read(home, self.schema("tracks").names).to_pylist() if home and shard.rows else []
            rows = {(row["video_id"], row["track"]): row for row in found}
            for key, part in by_track(self._row_groups(shard, read)):
                row = rows.get(key)
                if row is None:
                    raise DatasetError(f"{shard.path} has frames of {key}, which the tracks table lacks; build again")
                if (split is not None and row["split"] != split) or (kept_only and not row["kept"]):
                    continue
                chosen = part.filter(pc.field("kept")) if kept_only else part
                chosen = chosen.filter(condition.expression) if condition else chosen
                if chosen.num_rows:
                    yield track_arrays(row, chosen)

    def track(self, video_id: str, track: int) -> TrackArrays:
        """One track with all its frames, kept or not. Read are the row groups that hold it, of two shards.

        Args:
            video_id: The manifest's id of the video.
            track: Index of the track in the video.

        Raises:
            ValueError: The dataset has no such track, or no frames of it.
            DatasetError: A shard is missing or damaged, or an earlier version wrote it without some of the columns.
        """
        rows = self._of_track("tracks", video_id, track, self.schema("tracks").names)
        frames = self._of_track("frames", video_id, track, TRACK_COLUMNS)
        if not rows.num_rows or not frames.num_rows:
            raise ValueError(f"track={track} of video_id={video_id!r} is not in {self.root}, or has no frames there")
        return track_arrays(rows.to_pylist()[0], frames)

    def _of_track(self, name: str, video_id: str, track: int, columns: Sequence[str]) -> pa.Table:
        """The rows of a track in one of the tables."""
        wanted = (pc.field("video_id") == video_id) & (pc.field("track") == track)
        parts = [self.schema(name).empty_table().select(list(columns))]
        for shard in self.shards(name):
            if is_home(shard, video_id, track):
                with self.open_shard(shard) as file:
                    groups = file.row_groups_of(video_id, track)
                    parts += [file.read(columns, row_group=group).filter(wanted) for group in groups]
        return pa.concat_tables(parts)

    def _row_groups(self, shard: ShardInfo, columns: list[str]) -> Iterator[pa.Table]:
        with self.open_shard(shard) as file:
            for number in range(len(file.row_groups)):
                yield file.read(columns, row_group=number)

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
        if self.description.with_face_model or storage.exists(self.face_model_path):
            self._verify_file(FACE_MODEL_FILE, self.description.face_model_sha256)

    def _verify_file(self, name: str, wanted: str) -> None:
        path = storage.join(self.root, name)
        if not storage.exists(path):
            raise DatasetError(f"{path} is missing; run the build again, it resumes, {RECEIVED}")
        if (seen := storage.sha256(path)) != wanted:
            raise DatasetError(f"{path} has sha256 {seen}, not {wanted}: altered; {REMOVE}")


def open_dataset(path: str | Path) -> Dataset:
    """Open a dataset folder, or a bucket's address.

    Shards may be symbolic links, as in a cache of downloads; what they point to counts as the file.

    Raises:
        DatasetError: It is no dataset, its build did not finish, it is of a newer schema, or a shard is missing or not
            of the size that it was written with.
    """
    root = str(path)
    text = _description_text(root)
    while True:
        description = DatasetDescription.from_json(text, where=storage.join(root, DESCRIPTION_FILE))
        try:
            for shard in description.shards:
                _require_size(root, shard)
        except DatasetError:
            if (now := _description_text(root)) == text:
                raise
            text = now  # a build has put new tables in the place of the old ones just now
        else:
            return Dataset(root=root, description=description)


def _description_text(root: str) -> str:
    where = storage.join(root, DESCRIPTION_FILE)
    try:
        return storage.read_bytes(where).decode()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetError(
            f"{root} is no FaceVid dataset: it has no {DESCRIPTION_FILE}. If a build was stopped, run it again"
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{where} is not text ({error}); build the dataset again") from error


def _require_size(root: str, shard: ShardInfo) -> None:
    path = storage.join(root, shard.path)
    try:
        seen_bytes = storage.size_bytes(path)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing; run the build again, it resumes, {RECEIVED}") from error
    if seen_bytes != shard.bytes:
        raise DatasetError(
            f"{path} has {seen_bytes} bytes, not {shard.bytes}: truncated or altered; {REMOVE}"
        )
