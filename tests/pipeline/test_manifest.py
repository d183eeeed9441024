import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.manifest import Manifest, ManifestError, ManifestRow
from pipeline.manifest_columns import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, manifest_schema
from pipeline.manifest_files import read_manifest


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_known_columns_are_typed_and_unknown_ones_kept(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "\ufeffvideo_id,url,subject_id,licence,attribution,split,camera,start_s\r\n"
        'a-1,https://example.org/v.mp4,anna,CC-BY-4.0,"Anna, of X",val,phone,7.5\r\n'
        "\r\n"
        "b,clips/b.mp4,,,,,,\r\n",
    )

    manifest = read_manifest(path)

    assert manifest.bad_rows == ()
    assert manifest.folder == tmp_path
    assert manifest.rows == (
        ManifestRow(
            video_id="a-1", url="https://example.org/v.mp4", subject_id="anna", licence="CC-BY-4.0",
            attribution="Anna, of X", split="val", start_s=7.5, extra=(("camera", "phone"),), line=2,
        ),
        ManifestRow(video_id="b", url="clips/b.mp4", line=4),
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("ok,b.mp4,,,", "video_id 'ok' stands already on line 2"),
        ("../x,b.mp4,,,", "'../x' is not an id"),
        (".hidden,b.mp4,,,", "is not an id"),
        ("-rf,b.mp4,,,", "is not an id"),
        ("a/b,b.mp4,,,", "is not an id"),
        ("a" * 129 + ",b.mp4,,,", "is not an id"),
        ("ü,b.mp4,,,", "is not an id"),
        (",b.mp4,,,", "video_id '' is not an id"),
        ("x,,,,", "url is empty"),
        ("x,ftp://example.org/v,,,", "scheme 'ftp'"),
        ("x,file:///etc/passwd,,,", "scheme 'file'"),
        ("x,javascript:alert(1),,,", "scheme 'javascript'"),
        ("x,http://,,,", "names no host"),
        ("x,http://[::1,,,", "is no address"),
        ("x,http://h:port/,,,", "is no address"),
        ("x,https://me:secret@example.org/,,,", "user name or password"),
        ('x,"a\nb",,,', "control characters"),
        ("x,b.mp4,,,dev", "split 'dev' is none of train, val, test"),
        ("x,b.mp4,2,1,", "start_s 2 is not before end_s 1"),
        ("x,b.mp4,1,1,", "is not before"),
        ("x,b.mp4,-1,,", "start_s '-1'"),
        ("x,b.mp4,nan,,", "start_s 'nan'"),
        ("x,b.mp4,soon,,", "start_s 'soon' is no number"),
        ("x,b.mp4", "2 field(s), but the header has 5"),
        ("x,b.mp4,,,,,", "7 field(s), but the header has 5"),
        ('x,"b".mp4,,,', "not CSV"),
    ],
)
def test_a_bad_row_is_reported_with_its_line_and_reason(tmp_path: Path, row: str, reason: str) -> None:
    path = write(tmp_path, f"video_id,url,start_s,end_s,split\nok,a.mp4,,,\n\n{row}\nlast,c.mp4,,,\n")

    manifest = read_manifest(path)

    assert [good.video_id for good in manifest.rows] == ["ok", "last"]
    (bad,) = manifest.bad_rows
    assert bad.line == 4
    assert reason in bad.reason
    with pytest.raises(ManifestError, match=r"1 bad row.*nothing was done .*:\n  line 4: "):
        manifest.require_all_good()


def test_a_row_in_another_encoding_does_not_hide_its_neighbours(tmp_path: Path) -> None:
    path = write(tmp_path, b"video_id,url,who\na,a.mp4,x\nb,b.mp4,J\xf6rg\nc,c.mp4,y\n")

    manifest = read_manifest(path)

    assert [row.video_id for row in manifest.rows] == ["a", "c"]
    assert [(bad.line, bad.reason) for bad in manifest.bad_rows] == [(3, "who: not valid UTF-8")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no header line"),
        ("id,url\na,b\n", r"lacks the column\(s\) video_id; rename 'id' to video_id; it has: 'id,url'"),
        ("Video ID,URL\na,b\n", r"rename 'Video ID' to video_id; rename 'URL' to url; it has"),
        ("name,file\na,b\n", r"lacks the column\(s\) video_id, url; it has"),
        ("https://x.org/1\nhttps://x.org/2\n", r"has no header line; .* rename it to .txt"),
        ("video_id,url\na,b\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("video_id,url,url\na,b,c\n", r"has the column\(s\) 'url' twice"),
        ("video_id,url\n", "has no rows"),
        ('video_id,url\na,"x.mp4\nb,y.mp4\n', r"lines 2 to 3 are no CSV rows \(unexpected end of data\): is a quote"),
        ('video_id,url\na,"' + "x.mp4\nb,y.mp4\n" * 20_000, r"lines 2 to \d+ are no CSV rows \(field larger"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(tmp_path, text))


def test_a_missing_manifest_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"cannot read the manifest .*none\.csv: No such file"):
        read_manifest(tmp_path / "none.csv")


ROWS: list[dict[str, Any]] = [
    {"video_id": "a", "url": "https://example.org/v", "licence": "CC0", "camera": "phone", "take": 3, "split": "val"},
    {"video_id": "b", "url": "b.mp4", "subject_id": "Zoë", "camera": None, "take": None, "split": None},
]


def as_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join("" if row.get(name) is None else str(row[name]) for name in columns) for row in rows]
    path.write_text("\n".join([",".join(columns), *lines]) + "\n", "utf-8")


def as_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = dict.fromkeys(name for row in rows for name in row)
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in columns}), path)


FORMATS = {".csv": as_csv, ".jsonl": as_jsonl, ".parquet": as_parquet}


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_three_formats_mean_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"manifest{suffix}"
    FORMATS[suffix](path, ROWS)

    manifest = read_manifest(path)

    assert [(row.video_id, row.url, row.licence, row.subject_id, row.split) for row in manifest.rows] == [
        ("a", "https://example.org/v", "CC0", None, "val"), ("b", "b.mp4", None, "Zoë", None),
    ]  # fmt: skip
    # pandas and others turn a column of whole numbers with a hole into floating point; Arrow does not.
    assert [dict(row.extra) for row in manifest.rows] == [{"camera": "phone", "take": "3"}, {}]
    assert manifest.bad_rows == ()


def test_bad_rows_of_a_json_manifest_are_reported_with_their_lines(tmp_path: Path) -> None:
    lines = [
        '{"video_id": "a", "url": "a.mp4"}', "", '{"video_id": "b"', '["c"]', '{"video_id": "d"}',
        '{"video_id": "e", "url": "e.mp4", "url": "f.mp4"}', '{"video_id": "a", "url": "b.mp4"}',
        '{"video_id": "f", "url": "f.mp4", "who": "\\ud800"}', "[" * 100_000,
        '{"video_id": "g", "url": "g.mp4", "end_s": NaN}', '{"video_id": 7, "url": "seven.mp4", "list": [1, "x"]}',
    ]  # fmt: skip
    path = tmp_path / "m.jsonl"
    path.write_text("\ufeff" + "\r\n".join(lines), "utf-8")

    manifest = read_manifest(path)

    assert [row.video_id for row in manifest.rows] == ["a", "7"]
    assert manifest.rows[1].extra == (("list", '[1, "x"]'),)
    reasons = {bad.line: bad.reason for bad in manifest.bad_rows}
    wanted = {
        3: "not JSON: Expecting", 4: "not a JSON object", 5: "it lacks url", 6: "not JSON: it names a column twice",
        7: "video_id 'a' stands already on line 1", 8: "who: not valid UTF-8", 9: "not JSON: .*recursion",
        10: "not JSON: NaN is no number",
    }  # fmt: skip
    assert reasons.keys() == wanted.keys()
    assert all(re.match(wanted[line], reason) for line, reason in reasons.items()), reasons


def test_a_parquet_string_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    broken = pa.array([b"x", b"\xff", b"y"], pa.binary())
    table = pa.table({
        "video_id": ["a", "b", "c"], "url": pa.Array.from_buffers(pa.string(), 3, broken.buffers()),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "m.parquet")

    manifest = read_manifest(tmp_path / "m.parquet")

    assert [row.video_id for row in manifest.rows] == ["a", "c"]
    assert [(bad.line, bad.video_id, bad.reason) for bad in manifest.bad_rows] == [(2, "b", "url: not valid UTF-8")]


@pytest.mark.parametrize("name", ["m.json", "m", "m.csv.gz"])
def test_a_manifest_is_known_by_its_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError, match=r"a file with the suffix \.csv, \.tsv, \.jsonl, \.parquet, \.txt"):
        read_manifest(tmp_path / name)


@pytest.mark.parametrize(("name", "separator"), [("m.csv", ";"), ("m.csv", "\t"), ("m.tsv", "\t")])
def test_a_table_may_be_separated_as_spreadsheets_do_it(tmp_path: Path, name: str, separator: str) -> None:
    rows = (("video_id", "url", "licence"), ("a", "v,1.mp4", "CC0"), ("b", "v.mp4", ""))
    (tmp_path / name).write_text("\ufeff" + "\r\n".join(separator.join(row) for row in rows))

    manifest = read_manifest(tmp_path / name)

    assert [(row.video_id, row.url, row.licence) for row in manifest.rows] == [
        ("a", "v,1.mp4", "CC0"), ("b", "v.mp4", None),
    ]  # fmt: skip
    assert not manifest.bad_rows


def test_a_comma_in_the_header_makes_it_the_separator(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "video_id,url,a;b\nx,v;1.mp4,c;d\n"))
    assert [(row.url, row.extra) for row in manifest.rows] == [("v;1.mp4", (("a;b", "c;d"),))]


def test_the_same_video_twice_is_remarked_on(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "video_id,url,start_s,end_s\na,https://x.org/1,,\nb,https://x.org/2,5,\nc,https://x.org/1,,\n"
        "d,https://x.org/2,0,5\ne,https://x.org/3,2,9\nf,https://x.org/3,,3\n",
    )

    assert read_manifest(path).remarks == (
        "line 4: https://x.org/1 is in the dataset twice, as a (line 2) and c, with the same or overlapping times",
        "line 7: https://x.org/3 is in the dataset twice, as f (line 7) and e, with the same or overlapping times",
    )


def test_one_file_in_two_spellings_is_remarked_on(tmp_path: Path) -> None:
    rows = f"a,vids/a.mp4\nb,./vids/a.mp4\nc,vids/b.mp4\nd,{tmp_path}/vids/b.mp4\ne,https://x.org/./vids/b.mp4\n"

    first, second = read_manifest(write(tmp_path, f"video_id,url\n{rows}")).remarks

    assert first.startswith("line 3: ./vids/a.mp4 is in the dataset twice, as a (line 2) and b, ")
    assert second.startswith(f"line 5: {tmp_path}/vids/b.mp4 is in the dataset twice, as c (line 4) and d, ")


def test_the_published_schema_names_every_column_and_the_readme_describes_it() -> None:
    schema = manifest_schema()
    columns = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    readme = (Path(__file__).parents[2] / "manifests" / "README.md").read_text("utf-8")

    assert set(schema["properties"]) == set(columns)
    assert schema["required"] == list(REQUIRED_COLUMNS)
    assert all(f"`{column}`" in readme for column in columns)


def read_or_refused(path: Path) -> Manifest | None:
    try:
        return read_manifest(path)
    except ManifestError:
        return None


@given(body=st.binary(max_size=200))
def test_any_bytes_give_rows_and_bad_rows_or_a_manifest_error(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    path = write(tmp_path_factory.mktemp("any"), b"video_id,url\n" + body)

    if (manifest := read_or_refused(path)) is None:
        return

    lines = [row.line for row in (*manifest.rows, *manifest.bad_rows)]
    assert len(lines) == len(set(lines))
    assert all(row.video_id.isascii() for row in manifest.rows)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_CELLS = st.fixed_dictionaries(
    {"video_id": st.text(max_size=5) | _JSON, "url": st.text(max_size=8) | _JSON},
    optional=dict.fromkeys((*OPTIONAL_COLUMNS, "extra"), _JSON),
)


@given(rows=st.lists(_CELLS, min_size=1, max_size=4))
def test_any_json_objects_give_rows_that_can_be_written_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "m.jsonl"
    as_jsonl(path, rows)

    manifest = read_manifest(path)

    assert len(manifest.rows) + len(manifest.bad_rows) == len(rows)
    for row in (*manifest.rows, *manifest.bad_rows):
        repr(row).encode()


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_no_parquet_and_no_worse(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "m.parquet"
    path.write_bytes(b"PAR1" + raw + len(raw).to_bytes(4, "little") + b"PAR1")

    read_or_refused(path)


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_parquet_manifest_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any") / "m.parquet"
    as_parquet(path, ROWS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)

    if (manifest := read_or_refused(path)) is not None:
        for row in (*manifest.rows, *manifest.bad_rows):
            repr(row).encode()


@pytest.mark.parametrize("url", [
    "https://anna:s3cr3t@x.org/a", "https://anna:s3cr3t/@x.org/a", "ftp://anna:s3cr3t@x.org/a?v=1",
    "https://x.org\x01/?token=s3cr3t", "https://[x/?token=s3cr3t", "https:///a?token=s3cr3t",
])  # fmt: skip
def test_what_is_said_of_a_bad_row_holds_no_secret(tmp_path: Path, url: str) -> None:
    (bad,) = read_manifest(write(tmp_path, f"video_id,url\na,{url}\n")).bad_rows

    assert "s3cr3t" not in f"{bad.url} {bad.reason}"


def test_remarks_hold_no_secrets(tmp_path: Path) -> None:
    rows = "".join(f"{name},https://x.org/?token=s3cr3t\n" for name in "ab")
    (remark,) = read_manifest(write(tmp_path, f"video_id,url\n{rows}")).remarks

    assert "https://x.org/?token=removed is in the dataset twice" in remark
