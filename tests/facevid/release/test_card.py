"""The card of a dataset: what it says, and what strangers cannot make it say."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import facevid
from facevid.dataset import Dataset
from facevid.release.card import card_text
from facevid.release.contents import read_contents
from facevid.release.documents import has_documents, is_own_card, write_documents
from facevid.release.markdown import plain
from facevid.release.publication import Publication
from pipeline.manifest_files import read_manifest

FAILED = {"video_id": "z", "track": None, "url": "u", "stage": "faces", "code": "no_face", "retryable": False,
          "attempt": 1, "message": "no face was seen"}  # fmt: skip

EARLIER_MARK = "<!-- written by facevid; whoever edits the card removes this line, and no build writes over it -->"


@pytest.fixture
def dataset(write_dataset: Callable[..., Path], toy_track: type) -> Path:
    return write_dataset(
        toy_track(video_id="a", frames=50, licence="CC-BY-4.0", subject_id="anna"),
        toy_track(video_id="a", track=1, frames=25, licence="CC-BY-4.0", subject_id="anna"),
        toy_track(video_id="b", frames=75, licence="CC-BY-4.0", subject_id="anna"),
        toy_track(video_id="c", frames=100, split="val"),
        toy_track(video_id="d", frames=10, split="test", licence="own", kept=False),
        failures=[FAILED, FAILED | {"video_id": "y"}],
    )


def card_of(path: Path) -> str:
    opened = facevid.open(path)
    return card_text(opened, read_contents(opened))


def test_what_is_kept_is_counted_by_split_and_licence_and_failures_by_kind(dataset: Path) -> None:
    contents = read_contents(facevid.open(dataset))

    def numbers(share: object) -> tuple[int, ...]:
        return share.videos, share.subjects, share.tracks, share.frames  # type: ignore[attr-defined]

    assert numbers(contents.kept) == (3, 1, 4, 250)
    assert contents.kept.seconds == pytest.approx((49 + 24 + 74 + 99) / 25)
    assert {name: numbers(share) for name, share in contents.splits.items()} == {
        "train": (2, 1, 3, 150), "val": (1, 0, 1, 100)
    }
    assert {name: numbers(share) for name, share in contents.licences.items()} == {
        "CC-BY-4.0": (2, 1, 3, 150), None: (1, 0, 1, 100)
    }
    assert contents.without_licence == ("c",)
    assert contents.failures == {("faces", "no_face"): 2}


def test_the_card_counts_and_names_what_a_reader_must_know(dataset: Path) -> None:
    card = card_of(dataset)
    assert "3 videos with 4 kept face tracks, 250 frames" in card
    assert "| train | 2 | 1 | 3 | 150 | 0.10 |" in card
    assert "| CC-BY-4.0 | 2 | 1 | 3 | 150 | 0.10 |" in card
    assert "nothing may be taken as granted: c." in card
    assert r"| faces | no\_face | 2 |" in card
    assert "| `expression` | `float32[4]` | expression coefficients, standard deviations |" in card
    assert "scale_px_per_mm * (R @ head_mm)" in card
    assert "koujan2020facevid" in card
    assert "biometric" in card


def test_the_front_matter_is_what_hugging_face_reads(dataset: Path) -> None:
    front = yaml.safe_load(card_of(dataset).split("---\n")[1])
    assert front["license"] == "other"
    assert front["size_categories"] == ["n<1K"]
    files = {config["config_name"]: config["data_files"] for config in front["configs"]}
    assert files["frames"] == [{"split": "full", "path": "frames/*.parquet"}]
    assert list(files) == ["frames", "tracks", "crops", "failures"]


def test_what_the_card_says_can_be_run_and_gives_a_manifest(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", card_of(dataset), re.DOTALL)
    # The landmarks of a toy model are none: tests/pipeline/test_card_formula.py runs what needs them.
    run = [block for block in blocks if "import datasets" not in block and "face_model.npz" not in block]
    assert len(run) == 3 == len(blocks) - 2
    monkeypatch.chdir(dataset)
    names: dict[str, object] = {}
    for block in run:
        exec(block, names)  # noqa: S102
    assert len(names["both"]) == 250  # type: ignore[arg-type]

    manifest = read_manifest(dataset / "manifest.csv")
    manifest.require_all_good()
    assert [(row.video_id, row.url, row.subject_id, row.split) for row in sorted(manifest.rows, key=str)][:2] == [
        ("a", "x.mp4", "anna", "train"), ("b", "x.mp4", "anna", "train")
    ]
    assert len(manifest.rows) == 4


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


EVIL = "<script>alert(1)</script><img src=x onerror=y> [x](javascript:1) ![x](//x.png) | `a` **b**\n\n# c\n---\nd: e"


def test_words_of_strangers_are_shown_and_do_nothing(write_dataset: Callable[..., Path], toy_track: type) -> None:
    harmless = card_of(write_dataset(toy_track(video_id="a", licence="x"), name="harmless"))
    card = card_of(write_dataset(toy_track(video_id="a", licence=EVIL + "\u202e"), name="evil"))
    pages = [MarkdownIt("commonmark").enable("table").render(text.split("---\n", 2)[2]) for text in (harmless, card)]
    tags, counts = [], []
    for page in pages:
        parser = _Tags()
        parser.feed(page)
        tags.append(parser.seen)
        counts.append({tag: page.count(f"<{tag}") for tag in ("h1", "h2", "tr", "td", "hr", "a", "strong", "code")})
    assert tags[0] == tags[1]
    assert counts[0] == counts[1]
    assert "&lt;script&gt;alert(1)" in pages[1]
    assert "\u202e" not in card
    assert card.split("---\n")[1] == harmless.split("---\n")[1]


@given(st.text())
def test_plain_text_is_one_short_line_without_markup(text: str) -> None:
    line = plain(text)
    assert len(line.splitlines()) <= 1
    assert not re.search(r"(?<!\\)[`*_\[\]<>|]", line)
    assert len(plain(text * 50, longest=20)) <= 20 * len("&#124;")


def test_the_same_dataset_gives_the_same_files(dataset: Path) -> None:
    names = ("README.md", "croissant.json")
    opened = facevid.open(dataset)
    assert not has_documents(str(dataset))
    write_documents(opened)
    first = [(dataset / name).read_bytes() for name in names]
    write_documents(opened)
    assert has_documents(str(dataset))
    assert [(dataset / name).read_bytes() for name in names] == first


@pytest.mark.parametrize(
    "edit",
    [
        lambda _: "# My project\n", lambda _: "", lambda _: "caf\udce9",
        lambda text: text.replace("# FaceVid dataset", "# Faces of Anna", 1),  # and our last line stays in
        lambda text: text + "Ask me: anna@example.org\n",
        lambda text: "".join(text.splitlines(keepends=True)[:-1]),
        lambda text: text[:300] + text[400:],
        lambda text: text.rpartition("<!-- ")[0] + EARLIER_MARK + "and more\n",
    ],
    ids=["own", "empty", "no-text", "edited", "longer", "without-mark", "shorter", "earlier-and-longer"],
)  # fmt: skip
def test_a_card_that_somebody_wrote_or_edited_stays(dataset: Path, edit: Callable[[str], str]) -> None:
    opened = facevid.open(dataset)
    card = dataset / "README.md"
    write_documents(opened)
    mine = edit(card.read_text("utf-8")).encode(errors="surrogateescape")
    card.write_bytes(mine)
    write_documents(opened)
    assert card.read_bytes() == mine
    card.unlink()
    write_documents(opened)
    assert is_own_card(str(dataset))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text, lambda text: text.replace("\n", "\r\n"),
        lambda text: text.rpartition("<!-- ")[0].replace("# FaceVid", "# Then") + EARLIER_MARK + "\n",
    ],
    ids=["as-it-was", "line-ends", "earlier"],
)
def test_a_card_that_nobody_edited_is_written_anew(dataset: Path, change: Callable[[str], str]) -> None:
    opened = facevid.open(dataset)
    write_documents(opened)
    card = dataset / "README.md"
    card.write_bytes(change(card.read_text("utf-8")).encode())
    named = replace(opened, description=replace(opened.description, publication={"name": "Faces of Bob"}))
    write_documents(named)
    assert "# Faces of Bob\n" in card.read_text("utf-8")


def test_a_dataset_without_tracks_has_a_card_too(write_dataset: Callable[..., Path]) -> None:
    opened: Dataset = facevid.open(write_dataset())
    assert "0 videos with 0 kept face tracks" in card_text(opened, read_contents(opened))


@pytest.mark.parametrize("name", ["Faces \U0001f600 of ours", 'a "b" \\ c', "one\u2028two\x85three"])
def test_the_name_of_a_dataset_comes_through_yaml_as_it_is(dataset: Path, name: str) -> None:
    opened = facevid.open(dataset)
    named = replace(opened, description=replace(opened.description, publication={"name": name}))
    front = card_text(named, read_contents(opened)).split("---\n")[1]
    assert yaml.safe_load(front)["pretty_name"] == name


@pytest.mark.parametrize("field", [{"name": "a\udcff"}, {"url": "http://[x"}])
def test_what_cannot_be_said_is_refused_by_name(field: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(field))}="):
        Publication(**field)
