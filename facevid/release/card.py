"""The dataset card, `README.md`: what a dataset is, holds, means and must not be used for, in Markdown after YAML.

The YAML is what Hugging Face reads. Words of strangers (licences, names) stand only where `markdown.plain` has
made them harmless, and never in the YAML, but for the publisher's own, quoted as JSON.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator

from facevid.counted import counted
from facevid.dataset import Dataset
from facevid.description import DatasetDescription
from facevid.release import card_texts
from facevid.release.contents import Contents, Share
from facevid.release.markdown import plain, table
from facevid.release.publication import Publication
from facevid.schema import TABLES, columns

CARD_FILE = "README.md"
_MARK = "<!-- written by facevid: sha256 {sha256} of what stands above; a card that says otherwise stays as it is -->\n"
_EARLIER_MARK = b"<!-- written by facevid; whoever edits the card removes this line, and no build writes over it -->"
_ROWS_OF = {
    "frames": "One row per face and frame, sorted by video, track and frame.",
    "tracks": "One row per face track, sorted by video and track.",
    "crops": "One row per frame of which a picture of the face was kept, sorted as the frames. **These show persons.**",
    "failures": "One row per item of the manifest, or track, that failed.",
}
_MOST_LICENCES = 50
_TAGS = ("3dmm", "faces", "facial-expression", "facevid", "landmarks", "video")
_HUB_LICENCES = frozenset({
    "apache-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0",
    "cc-by-nd-4.0", "mit", "odbl", "odc-by", "pddl",
})  # fmt: skip
"""The licences for data among those that Hugging Face knows by name."""
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
          (10**8, "10M<n<100M"), (10**9, "100M<n<1B"))  # fmt: skip


def card_text(dataset: Dataset, contents: Contents) -> str:
    """The whole card; the same dataset gives the same text.

    Args:
        dataset: The dataset; its description must list what the card is to speak of.
        contents: What it holds.
    """
    about = dataset.description
    publication = Publication.from_plain(about.publication)
    there = [name for name in TABLES if dataset.shards(name)]
    lines = [
        *_front_matter(about, publication, there), "",
        f"# {plain(publication.name) or 'FaceVid dataset'}", "", *_introduction(about, publication), "",
        "## What it holds", "", *_holdings(about, contents), "",
        "## Splits", "", *_splits(contents), "",
        "## How to read it", "", card_texts.READING, "",
        "## Coordinates and camera", "", card_texts.CAMERA, "",
        "## Tables", "",
    ]  # fmt: skip
    for name in there:
        lines += [*_table_section(dataset, name), ""]
    lines += [
        "## How it was made", "", *_making(about), "",
        "## How to make it again", "", card_texts.AGAIN, "",
        "## Limits", "", card_texts.LIMITS, "",
        "## Persons", "", card_texts.PERSONS, "",
        "## Licences of the videos", "", *_licences(contents), "",
        "## Citation", "", *_citation(publication), "",
    ]  # fmt: skip
    text = "\n".join(lines)
    return text + _mark(text)


def is_unedited(card: bytes) -> bool:
    """Whether a card is as `card_text` gave it, which its last line tells, and may be written over."""
    text, mark, rest = card.replace(b"\r\n", b"\n").rpartition(b"\n<!-- written by facevid")
    if mark + rest == b"\n" + _EARLIER_MARK + b"\n":  # earlier versions asked those who edit it to remove this line
        return True
    try:
        above = text.decode() + "\n"
    except UnicodeDecodeError:
        return False
    return mark + rest == b"\n" + _mark(above).encode()


def _mark(text: str) -> str:
    return _MARK.format(sha256=hashlib.sha256(text.encode()).hexdigest())


def _front_matter(about: DatasetDescription, publication: Publication, there: list[str]) -> Iterator[str]:
    frames = sum(shard.rows for shard in about.shards if shard.table == "frames")
    yield "---"
    yield f"pretty_name: {_quoted(publication.name or 'FaceVid dataset')}"
    if (terms := publication.terms.lower()) in _HUB_LICENCES:
        yield f"license: {terms}"
    else:
        yield from ("license: other", "license_name: see-card")
    yield from ("annotations_creators:", "- machine-generated", "source_datasets:", "- original", "size_categories:")
    yield f"- {next((name for limit, name in _SIZES if frames < limit), 'n>1T' if frames >= 10**12 else '1B<n<10B')}"
    yield from ("tags:", *(f"- {tag}" for tag in _TAGS))
    yield "configs:"
    for name in there:
        yield f"- config_name: {name}"
        if name == "frames":
            yield "  default: true"
        yield from ("  data_files:", "  - split: full", f"    path: {name}/*.parquet")
    yield "---"


def _quoted(text: str) -> str:
    # YAML knows no pairs of surrogates, as JSON writes an emoji, and has line ends of its own that JSON leaves alone.
    json_text = json.dumps(text, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08X}" for sign in json_text)


def _introduction(about: DatasetDescription, publication: Publication) -> Iterator[str]:
    yield card_texts.WHAT
    yield ""
    yield from _published(publication)
    if about.is_release:
        with_crops = any(shard.table == "crops" for shard in about.shards)
        yield ("This is a release: kept rows only, no videos, and " +
               ("pictures of faces in `crops/`." if with_crops else "no pictures.") +
               " What was left out is counted below, with the reasons.")  # fmt: skip
    else:
        yield ("This is the folder of a build, not yet a release: it has all rows, marked by `kept`, and beside them "
               "pictures and videos of persons. `facevid release` makes what may be handed on.")  # fmt: skip


def _published(publication: Publication) -> list[str]:
    said = (("made by", publication.creator), ("version", publication.version), ("published", publication.published),
            ("at", publication.url), ("terms of this dataset:", publication.terms))  # fmt: skip
    words = ", ".join(f"{word} {plain(text, longest=300)}" for word, text in said if text)
    return [f"{words[:1].upper()}{words[1:]}.", ""] if words else []


def _holdings(about: DatasetDescription, contents: Contents) -> Iterator[str]:
    kept = contents.kept
    yield (f"{counted(kept.videos, 'video')} with {counted(kept.tracks, 'kept face track')}, "
           f"{counted(kept.frames, 'frame')}, {_minutes(kept)} minutes of face; "
           f"{kept.subjects:,} subjects are named.")  # fmt: skip
    yield ""
    yield "What became of every item, step by step:"
    yield ""
    steps = ((plain(s.step), plain(s.unit), s.entered, s.ok, s.failed, s.filtered) for s in about.funnel)
    yield from table(("step", "unit", "in", "went on", "failed", "filtered"), steps, numbers=4)
    reasons = [(plain(s.step), plain(reason), count) for s in about.funnel for reason, count in s.reasons.items()]
    if reasons:
        yield from ("", "What filtered them:", "", *table(("step", "by", "items"), reasons, numbers=1))
    if contents.failures:
        failed = ((plain(stage), plain(code), count) for (stage, code), count in contents.failures.items())
        yield from ("", "How items failed:", "", *table(("stage", "as", "items"), failed, numbers=1))


def _splits(contents: Contents) -> Iterator[str]:
    yield ("The column `split` of the tracks. All tracks of a video, of a subject that the manifest names, and of a "
           "file that is there under several ids, are in one, unless the manifest itself gave them several: frames of "
           "the same face are near-duplicates.")  # fmt: skip
    yield ""
    yield from _shares("split", contents.splits.items())


def _shares(what: str, shares: Iterable[tuple[str, Share]]) -> list[str]:
    head = (what, "videos", "subjects", "tracks", "frames", "minutes")
    return table(head, [(plain(name), *_numbers(share)) for name, share in shares], numbers=5)


def _numbers(share: Share) -> tuple[int | str, ...]:
    return share.videos, share.subjects, share.tracks, share.frames, _minutes(share)


def _minutes(share: Share) -> str:
    minutes = share.seconds / 60
    return f"{minutes:,.0f}" if minutes >= 100 else f"{minutes:.2f}"


def _table_section(dataset: Dataset, name: str) -> Iterator[str]:
    shards = dataset.shards(name)
    size, rows = sum(shard.bytes for shard in shards), sum(shard.rows for shard in shards)
    yield f"### {name}"
    yield ""
    yield f"{_ROWS_OF[name]} {counted(rows, 'row')} in {counted(len(shards), 'shard')}, {size / 1e6:,.1f} MB."
    yield ""
    described = ((f"`{column}`", f"`{kind}`", _own(meaning)) for column, kind, meaning in columns(dataset.schema(name)))
    yield from table(("column", "type", "meaning"), described)


def _own(meaning: str) -> str:
    # Our own words: only what would end the cell or begin a mark.
    return meaning.replace("|", "&#124;").replace("<", "&lt;").replace("*", r"\*")


def _making(about: DatasetDescription) -> Iterator[str]:
    rows = [
        ("face model", plain(about.face_model)),
        ("its components", f"{about.n_identity} of identity, {about.n_expression} of expression"),
        ("its licence", plain(about.face_model_licence)),
        ("its sha256 (`face_model.npz`)", f"`{plain(about.face_model_sha256)}`"),
        ("landmark detector", plain(about.detector)),
        ("sha256 over its weights", f"`{plain(about.detector_sha256)}`"),
        ("landmarks", f"{plain(about.landmark_scheme)}, {about.points} points"),
        ("version of the tables", str(about.schema_version)),
        ("program", f"facevid {plain(about.program_version)}"),
        ("hash of the options", f"`{plain(about.config_hash)}` (all of them stand in `facevid.json`)"),
    ]
    yield from table(("", ""), rows)
    if not about.with_face_model:
        yield from ("", card_texts.WITHOUT_MODEL)


def _licences(contents: Contents) -> Iterator[str]:
    yield card_texts.LICENCES
    yield ""
    listed = list(contents.licences.items())
    yield from _shares("licence", [(name or "none stated", share) for name, share in listed[:_MOST_LICENCES]])
    if (more := len(listed) - _MOST_LICENCES) > 0:
        yield from ("", f"{more:,} further statements, of fewer videos each, stand in the tracks.")
    if contents.without_licence:
        videos = contents.licences[None].videos
        more = videos - len(contents.without_licence)
        named = ", ".join(plain(name) for name in contents.without_licence) + (f", and {more:,} more" if more else "")
        yield from ("", f"Without a licence statement, so that nothing may be taken as granted: {named}.")


def _citation(publication: Publication) -> Iterator[str]:
    if publication.name and publication.creator:
        version = f", version {plain(publication.version)}" if publication.version else ""
        day = f", {publication.published}" if publication.published else ""
        where = f", {plain(publication.url, longest=300)}" if publication.url else ""
        yield from (f"{plain(publication.creator)}: {plain(publication.name)}{version}{day}{where}.", "")
    yield from ("The method, and the first dataset of this name, which was never released:", "")
    yield from ("```bibtex", card_texts.PAPER, "```")
