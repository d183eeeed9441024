"""Expressions over frames: what they mean, and that nothing else is one."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevid.keep import Keep, KeepError, parse_keep
from facevid.schema import frames_schema

SCHEMA = frames_schema(points=1, n_expression=1)
YAW = [-80.0, -10.0, 0.0, 30.0, np.nan]
SHARPNESS = [1.0, 0.1, 0.3, 0.9, 0.5]
FRAMES = pa.table({
    "yaw_deg": pa.array(YAW, pa.float32()), "sharpness": pa.array(SHARPNESS, pa.float32()),
    "frame": pa.array(range(5), pa.int32()), "kept": [True, False, True, True, True],
})  # fmt: skip


def kept(text: str) -> list[int]:
    keep = parse_keep(text, SCHEMA)
    rows = FRAMES.filter(keep.expression)["frame"].to_pylist()
    # Both ways of using it agree.
    assert np.flatnonzero(keep.first_failed(FRAMES) == len(keep.rules)).tolist() == rows
    return rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("yaw_deg < 20", [0, 1, 2]),
        ("abs(yaw_deg) < 20", [1, 2]),
        ("abs(yaw_deg) <= 30 and sharpness > 0.2", [2, 3]),
        ("sharpness < .2 or sharpness >= 0.75", [0, 1, 3]),
        ("not (sharpness < 0.2 or yaw_deg < -50)", [2, 3, 4]),
        ("-20 < yaw_deg <= 0", [1, 2]),
        ("0.2 < sharpness", [0, 2, 3, 4]),
        ("frame == 3", [3]),
        ("frame != 3 and kept", [0, 2, 4]),
        ("sharpness > -yaw_deg", [2, 3]),
        ("yaw_deg < +20", [0, 1, 2]),
        (" yaw_deg\t< 20 ", [0, 1, 2]),
    ],
)
def test_an_expression_keeps_what_it_says(text: str, rows: list[int]) -> None:
    assert kept(text) == rows


def test_the_first_rule_that_fails_is_the_reason() -> None:
    keep = parse_keep("abs(yaw_deg)<20 and (sharpness>0.2 or frame>9) and frame!=2", SCHEMA)
    assert [rule.text for rule in keep.rules] == ["abs(yaw_deg) < 20", "sharpness > 0.2 or frame > 9", "frame != 2"]
    assert keep.columns == ("frame", "sharpness", "yaw_deg")
    # A number that is not there fulfils nothing.
    assert keep.first_failed(FRAMES).tolist() == [0, 1, 2, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("yaw_deg <", "cannot be read"),
        ("jaw_deg < 3", "no column 'jaw_deg'; did you mean 'yaw_deg'. There are .*, pitch_deg"),
        ("identity_norm < 3", "no column 'identity_norm'; there are .*yaw_deg"),
        ("expression < 3", "the column 'expression' holds no single numbers"),
        ("video_id == 3", "the column 'video_id' holds no single numbers"),
        ("yaw_deg = 3", "cannot be read: .*; instead of '=' write '=='"),
        ("yaw_deg => 3", "cannot be read: [^;]*; instead of '=>' write '>='. Example"),
        ("yaw_deg =< 3", "cannot be read: [^;]*; instead of '=<' write '<='. Example"),
        ("yaw_deg <> 3", "cannot be read: [^;]*; instead of '<>' write '!='. Example"),
        ("yaw_deg <= 3 && sharpness == 1", "cannot be read: invalid syntax; instead of '&' write 'and'. Example"),
        ("yaw_deg < 3 & sharpness > 1", "'3 & sharpness' is neither .*; instead of '&' write 'and'"),
        ("yaw_deg < 3 OR sharpness > 1", "instead of 'OR' write 'or'"),
        ("-" * 900 + "1 < yaw_deg", "cannot be read"),
        ("yaw_deg < " + "9" * 400, "is too large a number"),
        ("sharpness > 1e400", "'1e400' is too large a number"),
        ("sharpness > -1e400", "'1e400' is too large a number"),
        ("yaw_deg", "'yaw_deg' is no condition"),
        ("3", "'3' is no condition"),
        ("yaw_deg < True", "'True' is neither a number nor a column"),
        ("yaw_deg < 'x'", "is neither a number nor a column"),
        ("yaw_deg in (1, 2)", "is neither a number nor a column"),
        ("yaw_deg is 3", "compares otherwise than by < <= > >= == !="),
        ("yaw_deg + 1 < 3", r"'yaw_deg \+ 1' is neither"),
        ("sqrt(yaw_deg) < 3", r"'sqrt\(yaw_deg\)' is neither"),
        ("yaw_deg.x < 3", "is neither"),
        ("__import__('os').system('true') == 0", "is neither"),
        ("(lambda: 1)() < 2", "is neither"),
        ("[x for x in (1,)]", "is no condition"),
        ("yaw_deg < 1j", "is neither"),
        ("frame < 3; frame > 1", "cannot be read"),
        ("x = 3", "cannot be read"),
        ("frame < 3\x00", "cannot be read"),
        ("(" * 500 + ")" * 500, "cannot be read"),
        ("not " * 240 + "kept and x < 3", "no column 'x'"),
        ("frame < 3 and " * 100 + "frame < 3", "the most is 1000"),
    ],
)
def test_what_is_no_expression_is_refused_and_named(text: str, message: str) -> None:
    with pytest.raises(KeepError, match=message):
        parse_keep(text, SCHEMA)


@given(st.text(alphabet="yaw_deg<>=!()and ornotabs.0123456789-+*'\"[]{}:,\\", max_size=60))
def test_a_text_is_an_expression_or_a_keep_error(text: str) -> None:
    try:
        keep = parse_keep(text, SCHEMA)
    except KeepError:
        return
    assert isinstance(keep, Keep)
