from dataclasses import replace
from pathlib import Path

import pytest

from facevid.failures import Stage
from pipeline.wave import Wave, row_queue, span_queue

LABEL = Wave(
    kind="label", out=Path("/data/out"), rows=(3, 5), workers=4, beam_options=("--job_name=mine",), parent_pid=7,
    hosts=("x.org:443", ""), fit_batch=8, may_rest=True,
)  # fmt: skip
ASSEMBLE = replace(LABEL, kind="assemble", hosts=(), fit_batch=1, may_rest=False)


@pytest.mark.parametrize("wave", [LABEL, ASSEMBLE])
def test_a_worker_reads_what_the_driver_wrote(tmp_path: Path, wave: Wave) -> None:
    wave.begin(tmp_path / "wave.json")

    assert Wave.read(tmp_path / "wave.json") == wave


def test_a_wave_that_labels_begins_with_queues_from_which_nothing_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "wave.json"
    for _ in range(2):
        LABEL.begin(path)
        assert [row_queue(path, LABEL).take() for _ in range(3)] == [(3, "x.org:443"), (5, ""), None]
        for stage in (Stage.FACES, Stage.FIT):
            assert span_queue(path, stage).take() == []
            span_queue(path, stage).offer([(1.0, 3, 0)])


def test_every_worker_has_a_turn_at_labelling_and_every_row_one_at_assembling() -> None:
    assert len(LABEL.elements) == 4
    assert len(replace(LABEL, workers=1).elements) == 2
    assert list(ASSEMBLE.elements) == [3, 5]


def test_rows_that_are_labelled_have_a_host_each(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        replace(LABEL, hosts=("",)).begin(tmp_path / "wave.json")
