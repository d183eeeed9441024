"""Commands that hand a dataset on: make a release of it, and check one that was received."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from facevid.commands.console import say
from facevid.counted import counted

if TYPE_CHECKING:
    from facevid.commands.takedowns import Takedowns
    from facevid.dataset import Dataset
    from facevid.release.write import Progress, ReleaseOptions

_TOLD_AFTER_S = 5.0
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Write what of a dataset may be handed on into a new folder: kept rows, no pictures, no local paths, no secrets.

    Frames and tracks that pruning marked stay back, and so do crops, the store, and the rows of failures, of which the
    counts go out. Addresses of the web go out, so that others can make the same again; of local paths only the file's
    name. Ids of videos and subjects go out as the manifest has them: see `--dry-run` first.

    Example: facevid release out --to facevid-1.0 --deny-list takedowns.txt --licence CC-BY-4.0 --dry-run
    """

    dataset: tyro.conf.Positional[Path]
    """Folder of the dataset: a finished build, or a release to be narrowed."""
    to: Path
    """The folder to write. It appears whole or not at all."""
    deny_list: Path | None = None
    """Videos that must stay back since the build: hosts, addresses, id:VIDEO_ID, subject:ID, one per line, as in a
    build. Addresses may be as in the manifest, with secrets, or as in the tables; entries that name no kept track are
    told."""
    licence: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Only videos whose licence statement is this one, in any case; may be given several times."""
    extra: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A further column of the manifest that goes out, too; may be given several times. Others stay back."""
    with_crops: bool = False
    """Let the pictures of faces go out, which training needs. They show real persons."""
    with_model: bool = False
    """Let the face model go out whatever its licence; without this, one under CC0, MIT, Apache, BSD or CC-BY does."""
    name: str = ""
    """What the dataset is called: for its card and its metadata, as are the next five."""
    release_version: str = ""
    """Version of the release, as 1.0.0."""
    creator: str = ""
    """Who made it: a person or an organisation."""
    url: str = ""
    """Page of the dataset."""
    published: str = ""
    """Day of publication, YYYY-MM-DD."""
    terms: str = ""
    """Licence of the release itself, as an SPDX name (CC-BY-4.0) or an address."""
    overwrite: bool = False
    """Replace a release that stands there. Anything else that stands there is never replaced, nor is a release that
    holds files of others (.git, LICENSE) or an edited card."""
    dry_run: bool = False
    """Print what would go out, what would stay back, and why; write nothing."""

    def run(self) -> int:
        """Write it, print what can be done next."""
        from facevid.dataset import open_dataset
        from facevid.release.choice import OUT
        from facevid.release.face_model import model_goes_out
        from facevid.release.forecast import forecast_text
        from facevid.release.write import write_release

        denied = self._denied()
        options = self._options(denied)
        _require_at_rest(self.dataset)
        dataset = open_dataset(self.dataset)
        _require_place(self.to, self.dataset)
        self._require_replaceable(self.to)
        with _told() as progress:
            if self.dry_run:
                text = forecast_text(dataset, self.to, options, progress=progress)
            else:
                tally = write_release(
                    dataset, self.to, options, progress=progress, require_replaceable=self._require_replaceable
                )
        if self.dry_run:
            print(text)
            _tell_unused(denied)
            return 0
        print(f"{self.to}: {counted(len(tally.videos), 'video')}, {counted(tally.tracks[OUT], 'track')}, "
              f"{counted(tally.frames[OUT], 'frame')}")
        if kept_back := tally.kept_back():
            print(f"kept back: {kept_back}")
        _tell_unused(denied)
        about = dataset.description
        if not model_goes_out(about, with_model=self.with_model):
            say(f"the face model {about.face_model!r} stays back, as its licence is {about.face_model_licence!r}; the "
                "card says what to get. Where it may go out: --with-model")  # fmt: skip
        said = options.publication.over(about.publication)
        if not (said.name and said.creator and said.terms):
            say("the card lacks a name, who made it, or terms: --name, --creator, --terms, or edit README.md")
        say("whoever receives it: facevid verify DIR")
        return 0

    def _require_replaceable(self, to: Path) -> None:
        if not os.path.lexists(to) or (to.is_dir() and not any(to.iterdir())):
            return
        if not self.overwrite:
            raise ValueError(f"to={str(to)!r} exists; name another folder, or --overwrite a release")
        if (release := _release_at(to)) is None:
            raise ValueError(f"to={str(to)!r} is no release, so --overwrite leaves it alone; name another folder")
        from facevid.release.verify import not_ours

        if others := not_ours(release):
            named = ", ".join(ascii(name)[1:-1] for name in others[:_MOST_NAMED])
            named += f" and {len(others) - _MOST_NAMED:,} more" if len(others) > _MOST_NAMED else ""
            raise ValueError(
                f"to={str(to)!r} holds what no release wrote, or what was edited since: {named}; --overwrite would "
                "remove it, so put it elsewhere first, or name another folder and copy it there afterwards"
            )

    def _denied(self) -> "Takedowns | None":
        if self.deny_list is None:
            return None
        from facevid.commands.takedowns import Takedowns
        from pipeline.egress.lists import SourceList

        return Takedowns(SourceList.read(self.deny_list))

    def _options(self, denied: "Takedowns | None") -> "ReleaseOptions":
        from facevid.release.choice import Choice, nobody
        from facevid.release.publication import Publication
        from facevid.release.write import ReleaseOptions

        publication = Publication(
            name=self.name, version=self.release_version, creator=self.creator, url=self.url, published=self.published,
            terms=self.terms,
        )  # fmt: skip
        return ReleaseOptions(
            choice=Choice(denied=denied or nobody, licences=self.licence), with_crops=self.with_crops,
            with_model=self.with_model, extra=self.extra, publication=publication,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Check a dataset that you received: every file's size, sha256, rows and columns, and that nothing else is there.

    Then whether what stands in the tables can be: numbers in their bounds, times that rise, tables that agree with one
    another, crops that are pictures. Exits with 1 where something is wrong, and names all of it, a line for each kind
    of damage. README.md is not compared: publishers may edit it.

    Example: facevid verify facevid-1.0 --crops 0
    """

    dataset: tyro.conf.Positional[str]
    """Folder of the dataset, or a bucket's address."""
    crops: int = 1000
    """Crops to decode, spread evenly over all there are; 0 decodes them all."""

    def __post_init__(self) -> None:
        """Refuse a value outside its range."""
        if self.crops < 0:
            raise ValueError(f"crops={self.crops} must be at least 0")

    def run(self) -> int:
        """Check, print what is wrong."""
        from facevid.release.values import Pictures
        from facevid.release.verify import faults, read_described
        from training.decoding import decoded_crop

        dataset = read_described(self.dataset)
        shards = dataset.description.shards
        total, done, found = sum(shard.bytes for shard in shards), 0, 0
        rows, rows_done = sum(shard.rows for shard in shards if shard.table in {"frames", "crops"}), 0
        with _told() as progress:

            def on_bytes(size: int) -> None:
                nonlocal done
                done += size
                progress("check", done, total)

            def on_rows(count: int) -> None:
                nonlocal rows_done
                rows_done += count
                progress("values", rows_done, rows)

            pictures = Pictures(decode=decoded_crop, most=self.crops)
            for fault in faults(dataset, pictures, on_bytes=on_bytes, on_rows=on_rows):
                found += 1
                print("".join(sign if sign.isprintable() else "?" for sign in fault))  # words of a stranger
        if found:
            say(f"facevid: {self.dataset} is not as its facevid.json says, see above: get again what is missing or "
                "altered, remove what is not listed")  # fmt: skip
            return 1
        frames = sum(shard.rows for shard in shards if shard.table == "frames")
        tracks = sum(shard.rows for shard in shards if shard.table == "tracks")
        crops = sum(shard.rows for shard in shards if shard.table == "crops")
        decoded = f"; {min(self.crops or crops, crops):,} of {crops:,} crops were decoded" if crops else ""
        held = f"{counted(frames, 'frame')} of {counted(tracks, 'track')}, {total / 1e6:,.1f} MB"
        print(f"{self.dataset} is whole: {held}{decoded}")
        return 0


def _tell_unused(denied: "Takedowns | None") -> None:
    if denied is not None and (unused := denied.unused_text()):
        say(unused)


def _require_at_rest(folder: Path) -> None:
    """Refuse a dataset that a build is at work on, or has not finished."""
    from facevid.description import DatasetError
    from pipeline.finish import FINISHED_FILE
    from pipeline.job import state_folder
    from pipeline.output_lock import is_locked

    state = state_folder(folder)
    if is_locked(state):
        raise DatasetError(f"a build is at work in {folder}; wait for its end: facevid status {folder} --watch")
    if (state / "plan.json").is_file() and not (state / FINISHED_FILE).is_file():
        raise DatasetError(f"the last build in {folder} was stopped before its end; run it again, it resumes")


def _require_place(to: Path, source: Path) -> None:
    if "://" in str(to):
        raise ValueError(f"to={str(to)!r} is no local folder; write it to a disk, then copy it")
    inside = to.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(to.resolve())
    if inside:
        raise ValueError(f"to={str(to)!r} lies within the dataset {source}, or around it; name a folder beside it")


def _release_at(folder: Path) -> "Dataset | None":
    from facevid.description import DatasetError
    from facevid.release.verify import read_described

    try:
        dataset = read_described(str(folder))
    except DatasetError:
        return None
    return dataset if dataset.description.is_release and not folder.is_symlink() else None


@contextmanager
def _told() -> "Iterator[Progress]":
    """Progress with rate and time left, once it takes longer than a moment."""
    from tqdm import tqdm

    bars: dict[str, tqdm[None]] = {}

    def progress(what: str, done: int, total: int) -> None:
        if what not in bars:
            for bar in bars.values():
                bar.close()
            unit = {"check": "B", "values": " rows"}.get(what, " frames")
            bars[what] = tqdm(desc=what, total=total, unit=unit, unit_scale=True, delay=_TOLD_AFTER_S, leave=False)
        bars[what].update(done - bars[what].n)

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()
