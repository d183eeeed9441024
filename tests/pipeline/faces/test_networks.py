"""Networks that were rewritten give the very numbers of the files they were made from."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from facevid import assets
from pipeline.faces.detect import FULL_RANGE_FILE, SHORT_RANGE_FILE
from pipeline.faces.eyes import EYE_FILE
from pipeline.faces.landmarks import MESH_FILE
from pipeline.faces.networks import Network

CONTOURS, IRIS = "output_eyes_contours_and_brows", "output_iris"


@pytest.fixture(scope="module")
def networks():
    return assets.fetch_landmark_networks()


def squares(side, count=1):
    return np.random.default_rng(side).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("file", "low"), [(MESH_FILE, 0.0), (EYE_FILE, 0.0), (SHORT_RANGE_FILE, -1.0), (FULL_RANGE_FILE, -1.0)]
)
def test_bytes_give_what_the_file_gives_for_floats(networks, file, low):
    theirs = Interpreter(model_path=str(networks / file), num_threads=1)
    theirs.allocate_tensors()
    ours = Network(networks / file, low=low)
    (square,) = squares(ours.size_px)
    floats = square * np.float32((1 - low) / 255) + np.float32(low)
    theirs.set_tensor(theirs.get_input_details()[0]["index"], floats[None])
    theirs.invoke()
    for output, expected in zip(ours(square), theirs.get_output_details(), strict=True):
        np.testing.assert_array_equal(output, theirs.get_tensor(expected["index"]))


def test_a_network_cut_to_some_outputs_and_values_gives_what_the_whole_one_gives(networks):
    (square,) = squares(64)
    contours, iris = Network(networks / EYE_FILE, low=0.0)(square)
    (alone,) = Network(networks / EYE_FILE, low=0.0, wanted={CONTOURS: None})(square)
    np.testing.assert_array_equal(alone, contours)
    some, all_of_it = Network(networks / EYE_FILE, low=0.0, wanted={IRIS: [14, 0, 3], CONTOURS: None})(square)
    np.testing.assert_array_equal(some.reshape(-1), iris.reshape(-1)[[14, 0, 3]])
    np.testing.assert_array_equal(all_of_it, contours)


def test_two_pictures_at_once_have_the_outputs_of_each(networks):
    network = Network(networks / EYE_FILE, low=-1.0, wanted={CONTOURS: range(32), IRIS: None}, most=2)
    first, second = squares(64, 2)
    for both, *each in zip(network(first, second), network(first), network(second), strict=True):
        np.testing.assert_array_equal(both.reshape(2, -1), np.concatenate(each).reshape(2, -1))


def test_what_is_not_wanted_is_not_computed(networks):
    def operators(wanted):
        (run,) = Network(networks / EYE_FILE, low=0.0, wanted=wanted)._runs
        return [operator["op_name"] for operator in run._interpreter._get_ops_details()]

    contours = operators({CONTOURS: range(32)})
    assert len(contours) < 0.75 * len(operators(None))
    assert "RESHAPE" not in contours


def test_an_output_that_is_not_there_is_named(networks):
    with pytest.raises(ValueError, match=r"iris_landmark\.tflite .* it has no output='nose'; it has output_eyes"):
        Network(networks / EYE_FILE, low=0.0, wanted={"nose": None})


def test_values_that_an_output_has_not_are_refused(networks):
    with pytest.raises(ValueError, match=r"output='output_iris' of shape=\[1, 1, 1, 15\] has not the values"):
        Network(networks / EYE_FILE, low=0.0, wanted={IRIS: [15]})


def test_values_are_not_picked_from_what_no_convolution_gives(networks):
    with pytest.raises(ValueError, match="no convolution gives output='classificators'"):
        Network(networks / SHORT_RANGE_FILE, low=-1.0, wanted={"classificators": [0]})


def test_a_network_of_something_else_than_pictures_is_refused(networks, tmp_path):
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf((networks / EYE_FILE).read_bytes(), 0)
    graph = model.subgraphs[0]
    # From the second operator on: it takes what the first one makes, which has 64 channels.
    graph.inputs, graph.operators = graph.operators[0].outputs, graph.operators[1:]
    model.signatureDefs = model.metadata = None
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "headless.tflite"
    path.write_bytes(bytes(builder.Output()))
    with pytest.raises(ValueError, match=r"headless\.tflite .* it takes no square RGB picture of floats, but shape="):
        Network(path, low=0.0)
