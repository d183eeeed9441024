"""New tables in the place of old ones: what a reader sees, and what deaths in between leave."""

import errno
import hashlib
import os
import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deaths import Death, Killed
from pretend import Line
from synthetic import MODEL, manifest_of, with_options

import facevid
from facevid import storage
from facevid.dataset import Dataset
from facevid.description import DESCRIPTION_FILE, DatasetDescription, DatasetError
from facevid.release.card import CARD_FILE
from facevid.shards import shard_of
from pipeline.assemble import ShardOrder, failure_shard, references, write_description, write_shards
from pipeline.config import PruneOptions
from pipeline.forecast import forecast_text
from pipeline.funnel import take_census
from pipeline.manifest import ManifestRow
from pipeline.swap import new_tables, settle_tables, standing_bytes, swap_tables


def write_tables(line: Line, *rows: ManifestRow) -> None:
    """New tables, whole, that have not taken their place yet."""
    shards, written = line.job.options.shards, []
    found = [references(index, row, line.job, line.store) for index, row in enumerate(rows)]
    for shard in range(shards):
        order = ShardOrder(
            shard=shard,
            tracks=tuple(
                (index, track) for index, (tracks, _) in enumerate(found) for track in tracks
                if shard_of(rows[index].video_id, track, shards) == shard
            ),
            failures=tuple(f for _, own in found for f in own if failure_shard(f, shards) == shard),
        )  # fmt: skip
        written += write_shards(order, rows, line.job, line.store, MODEL)
    steps = take_census(manifest_of(*rows), line.job, line.store).steps
    write_description(line.job, MODEL, written, steps, content_key=repr(line.job.options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset in three shards, and whole beside it another one: a row more, nothing marked, in two shards."""
    folder = tmp_path_factory.mktemp("swap")
    line = Line(folder)
    rows = [line.row("a"), line.row("dark", b"black"), line.row("b", b"broken"), line.row("c")]
    line.run(*rows)
    line.job = with_options(line.job, shards=3, prune=PruneOptions(keep="frame >= 2"))
    write_tables(line, *rows[:3])
    swap_tables(line.job.out)
    line.job = with_options(line.job, shards=2, prune=PruneOptions())
    write_tables(line, *rows)
    return line.job.out


@pytest.fixture
def out(folder: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return copied(folder, tmp_path / "out")


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to, ignore=shutil.ignore_patterns("store")))


def content(out: Path) -> dict[str, str]:
    files = [*out.glob("*/part-*"), *(path for path in out.iterdir() if path.is_file())]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def frames(dataset: Dataset) -> int:
    return dataset.table("frames", kept_only=True).num_rows


def test_a_death_at_any_step_leaves_the_old_or_the_new_or_what_the_next_build_repairs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied(folder, tmp_path / "undisturbed")
    old = frames(facevid.open(out))
    assert swap_tables(out)
    wanted, new = content(out), frames(facevid.open(out))
    facevid.open(out).verify()
    assert not swap_tables(out)

    seen: list[int | None] = []
    done = False
    while not done:
        # Each round begins with the old dataset, and dies one step later than the one before.
        out = copied(folder, tmp_path / f"killed-{len(seen)}")
        death = Death(after=len(seen))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", death.at(Path.replace))
            patch.setattr(storage, "remove", death.at(storage.remove))
            patch.setattr(shutil, "rmtree", death.at(shutil.rmtree))
            with suppress(Killed):
                done = swap_tables(out)
        try:
            seen.append(frames(facevid.open(out)))
        except DatasetError:
            seen.append(None)
        settle_tables(out)
        assert content(out) == wanted
        assert not new_tables(out).exists()

    # First the old one, then for a moment neither, then the new one.
    times = [seen.count(each) for each in (old, None, new)]
    assert seen == [old] * times[0] + [None] * times[1] + [new] * times[2]
    assert min(times) > 1


def test_new_tables_that_are_not_whole_are_removed_by_the_next_build(out: Path) -> None:
    before = content(out)
    (new_tables(out) / DESCRIPTION_FILE).unlink()

    settle_tables(out)

    assert content(out) == before
    assert not new_tables(out).exists()


def test_what_a_kill_left_half_written_is_removed_by_the_next_build(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # Killed between the bytes of the description and its name: nothing is tidied up.
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        patch.setattr(storage, "sync_folder", lambda _: None)
        rename = Path.replace

        def dying(source: Path, target: Path) -> Path:
            if source.name.startswith(".partial-"):
                raise Killed
            return rename(source, target)

        patch.setattr(Path, "replace", dying)
        with pytest.raises(Killed):
            settle_tables(out)
    (out / "crops" / ".partial-0123456789abcdef").write_bytes(b"of another disk")
    assert len(list(out.glob(".partial-*"))) == 1

    settle_tables(out)

    assert not list(out.rglob(".partial-*"))
    facevid.open(out).verify()


def test_shards_whose_content_is_the_same_are_not_replaced(out: Path) -> None:
    old, new = (DatasetDescription.from_json((each / DESCRIPTION_FILE).read_text()) for each in (out, new_tables(out)))
    # The failures are, but for the number of shards, those of before.
    same = next(shard for shard in old.shards if shard.table == "failures")
    named = replace(new, shards=(*new.shards, same))
    shutil.copy(out / same.path, new_tables(out) / same.path)
    (new_tables(out) / DESCRIPTION_FILE).write_text(named.to_json())
    before = (out / same.path).stat()

    swap_tables(out)

    facevid.open(out).verify()
    assert os.path.samestat((out / same.path).stat(), before)


def test_the_room_of_old_shards_is_given_back_when_the_new_dataset_can_be_read(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [(path, path.stat()) for path in out.glob("*/part-*")]
    write, told = storage.write_bytes, []

    def see(path: Path, data: bytes) -> None:
        told.append(path)
        for shard, before in old:
            assert os.path.samestat((new_tables(out) / "old" / shard.parent.name / shard.name).stat(), before)
        write(path, data)

    monkeypatch.setattr(storage, "write_bytes", see)

    swap_tables(out)

    assert told == [out / DESCRIPTION_FILE]
    assert not new_tables(out).exists()


def test_a_damaged_shard_is_replaced_though_the_new_one_is_what_it_was(out: Path) -> None:
    old, new = (DatasetDescription.from_json((each / DESCRIPTION_FILE).read_text()) for each in (out, new_tables(out)))
    same = next(shard for shard in old.shards if shard.table == "failures")
    (new_tables(out) / DESCRIPTION_FILE).write_text(replace(new, shards=(*new.shards, same)).to_json())
    shutil.copy(out / same.path, new_tables(out) / same.path)
    content = bytearray((out / same.path).read_bytes())
    content[len(content) // 2] ^= 1
    (out / same.path).write_bytes(content)
    with pytest.raises(DatasetError, match="altered; remove it and run the build again, or, if somebody gave it"):
        facevid.open(out).verify()

    swap_tables(out)

    facevid.open(out).verify()


def test_who_has_the_old_dataset_open_reads_on_or_is_told(out: Path) -> None:
    opened = facevid.open(out)
    old = opened.table("tracks")
    with opened.open_shard(opened.shards("tracks")[0]) as shard:
        rows = sum(shard.row_groups)
        swap_tables(out)
        assert shard.read(["video_id"]).num_rows == rows

    with pytest.raises(DatasetError, match="is missing; run the build again"):
        opened.table("tracks")
    assert facevid.open(out).table("tracks").num_rows > old.num_rows


def test_a_shard_of_as_many_rows_that_was_written_anew_is_not_taken_for_the_old_one(out: Path) -> None:
    swap_tables(out)
    opened = facevid.open(out)
    shard = opened.shards("failures")[-1]
    rows = pq.read_table(out / shard.path)
    longer = pa.array([f"{message} indeed" for message in rows["message"].to_pylist()])
    pq.write_table(rows.set_column(rows.schema.get_field_index("message"), "message", longer), out / shard.path)

    with pytest.raises(DatasetError, match=r"has \d+ bytes, not \d+: altered, or written anew by a build"):
        opened.table("failures")


def test_who_opens_a_dataset_just_when_it_is_replaced_gets_the_new_one(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = storage.size_bytes

    def late(path: str) -> int:
        swap_tables(out)
        return measure(path)

    monkeypatch.setattr(storage, "size_bytes", late)

    opened = facevid.open(out)

    assert len({shard.path[-8:] for shard in opened.shards("frames")}) == 1
    opened.verify()


def test_a_table_that_somebody_put_on_another_disk_is_copied_there(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def on_two_disks(source: Path, target: Path) -> Path:
        if target.parent.name == "crops" and source.parent != target.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", on_two_disks)

    swap_tables(out)

    facevid.open(out).verify()


def test_a_card_that_somebody_wrote_stays(out: Path) -> None:
    (out / CARD_FILE).write_text("mine")

    swap_tables(out)

    assert (out / CARD_FILE).read_text() == "mine"


def test_a_dry_run_counts_the_tables_twice(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a")
    line.run(row)
    write_tables(line, row)

    def told(*rows: ManifestRow) -> str:
        return forecast_text(manifest_of(*rows), line.job, skip_bad_rows=False, networks_missing=False)

    assert "disk" not in told(row)
    swap_tables(line.job.out)
    assert standing_bytes(line.job.out) == sum(path.stat().st_size for path in line.job.out.glob("*/part-*"))
    assert re.search(r"disk: about \d+ kB while new tables are written beside the old ones; ", told(row))
    assert re.search(r"disk: about \d+ MB more, store and dataset together, and \d+ kB while", told(row, line.row("b")))
