"""What `facevid purge` did, or would do, as text for a terminal."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.job import state_folder
from pipeline.purge import GROUPS, Group, Purged
from pipeline.tell import size_text

_WORDS: dict[Group, str] = {
    "denied": "of denied rows",
    "done_videos": "videos of rows that are done",
    "unreferenced": "needed by no row",
}
_KIND_WORDS = {
    "fit": "fits", "faces": "faces and crops", "index": "copies of videos", "videos": "videos",
    "partial": "parts of downloads", "forgotten": "earlier tries", "fetch": "records of downloads",
}  # fmt: skip


def purge_text(done: Purged, out: Path, *, dry_run: bool) -> str:
    """What went, or may go, as text for a terminal."""
    survey, chosen = done.survey, done.chosen
    would = "would be removed" if dry_run else "removed"
    lines = [f"{survey.store}"]
    for group in GROUPS:
        items = survey.items[group]
        word = would if group in chosen else f"may go with --{group.replace('_', '-')}"
        total = float(sum(item.bytes for item in items))
        what = _WORDS[group] + (f", of which there are {survey.denied_rows}" if group == "denied" else "")
        lines.append(f"  {what:<34}{len(items):>9}{size_text(total):>9}  {word if items else ''}".rstrip())
        counts: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for item in items:
            counts[item.kind] += 1
            sizes[item.kind] += item.bytes
        lines += [f"    {_KIND_WORDS[kind]:<32}{counts[kind]:>9}{size_text(float(sizes[kind])):>9}" for kind in counts]
    if survey.leftovers:
        total = float(sum(item.bytes for item in survey.leftovers))
        word = would if chosen else "goes with any of these"
        lines.append(f"  {'left by processes that died':<34}{len(survey.leftovers):>9}{size_text(total):>9}  {word}")
    return "\n".join([*lines, *_remarks(done, out)])


def _remarks(done: Purged, out: Path) -> Iterator[str]:
    survey, chosen = done.survey, done.chosen
    if survey.unused_entries:
        yield survey.unused_entries
    if "denied" in chosen:
        if survey.needers:
            shown = ", ".join(survey.needers[:5]) + (", ..." if len(survey.needers) > 5 else "")
            yield f"what other rows have in common with denied ones stays, as these need it: {shown}"
        if survey.nameless and "unreferenced" not in chosen:
            yield (
                f"{survey.nameless} results of an earlier version do not say whose they are, and no row needs them: "
                "--unreferenced removes them too"
            )
        if survey.denied_rows and not (state_folder(out) / "finished.json").is_file():
            yield f"the tables of {out} are older than its last build and may still hold them: run the build again"
        if survey.denied_rows and (out / "report.html").exists():
            yield f"{out / 'report.html'} may show them: write it anew, or remove it"
    if "done_videos" in chosen and survey.items["done_videos"]:
        yield (
            "without these videos the report has no pictures of them; where other options have them searched again, "
            "they are fetched again"
        )
    if "unreferenced" in chosen and survey.items["unreferenced"]:
        yield "what other options made is made again where you go back to them"
