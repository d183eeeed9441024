from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.manifest import ManifestError, ManifestRow, read_manifest


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_known_columns_are_typed_and_unknown_ones_kept(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "\ufeffvideo_id,url,subject_id,licence,attribution,split,camera,start_s\r\n"
        'a-1,https://example.org/v.mp4,anna,CC-BY-4.0,"Anna, of X",val,phone,\r\n'
        "\r\n"
        "b,clips/b.mp4,,,,,,\r\n",
    )

    manifest = read_manifest(path)

    assert manifest.bad_rows == ()
    assert manifest.folder == tmp_path
    assert manifest.rows == (
        ManifestRow(
            video_id="a-1", url="https://example.org/v.mp4", subject_id="anna", licence="CC-BY-4.0",
            attribution="Anna, of X", split="val", extra=(("camera", "phone"),), line=2,
        ),
        ManifestRow(video_id="b", url="clips/b.mp4", extra=(("camera", ""),), line=4),
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
        ("x,b.mp4,1,2,", "not supported yet"),
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
    with pytest.raises(ManifestError, match=r"1 bad row.*nothing was done:\n  line 4: "):
        manifest.require_all_good()


def test_a_row_in_another_encoding_does_not_hide_its_neighbours(tmp_path: Path) -> None:
    path = write(tmp_path, b"video_id,url,who\na,a.mp4,x\nb,b.mp4,J\xf6rg\nc,c.mp4,y\n")

    manifest = read_manifest(path)

    assert [row.video_id for row in manifest.rows] == ["a", "c"]
    assert [(bad.line, bad.reason) for bad in manifest.bad_rows] == [(3, "not valid UTF-8")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no header line"),
        ("id,url\na,b\n", r"lacks the column\(s\) video_id"),
        ("video_id,url,url\na,b,c\n", r"has the column\(s\) 'url' twice"),
        ("video_id,url\n", "a header but no rows"),
        ('video_id,url\na,"x.mp4\nb,y.mp4\n', r"lines 2 to 3 are no CSV rows \(unexpected end of data\): is a quote"),
        ('video_id,url\na,"' + "x.mp4\nb,y.mp4\n" * 20_000, r"lines 2 to \d+ are no CSV rows \(field larger"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(tmp_path, text))


def test_a_missing_manifest_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"cannot read the manifest .*none\.csv: No such file"):
        read_manifest(tmp_path / "none.csv")


@given(body=st.binary(max_size=200))
def test_any_bytes_give_rows_and_bad_rows_or_a_manifest_error(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    path = write(tmp_path_factory.mktemp("any"), b"video_id,url\n" + body)

    try:
        manifest = read_manifest(path)
    except ManifestError:
        return

    lines = [row.line for row in (*manifest.rows, *manifest.bad_rows)]
    assert len(lines) == len(set(lines))
    assert all(row.video_id.isascii() for row in manifest.rows)
