"""The one file format that all face models come in: what must be in it, before anything is made of it.

A `.npz` without pickled objects. Its `header` is a JSON object (name, licence, source, schemes, names of ARKit units);
its arrays are those of `fitting.face_model.FaceModel`, by their names, and those of its calibrations.
"""

import json
from typing import Any

import numpy as np

from fitting.npz import arrays_of

FORMAT_VERSION = 1


def header_and_arrays(data: bytes, *, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a face model's file holds.

    Args:
        data: The file's bytes.
        where: The file, for messages.

    Raises:
        ValueError: It is no face model, or of a newer format.
    """
    try:
        arrays = arrays_of(data)
        if "header" not in arrays:
            raise ValueError(f"it has no header; it holds: {', '.join(sorted(arrays)[:5]) or 'nothing'}")
        header = json.loads(arrays.pop("header").tobytes())
    except ValueError as error:
        raise ValueError(f"{where} is no face model file: {error}") from error
    if isinstance(header, dict) and "kind" in header:
        raise ValueError(f"{where} is no face model file: it is a {header['kind']}")
    seen = header.get("format_version") if isinstance(header, dict) else None
    if seen != FORMAT_VERSION:
        raise ValueError(f"{where} has format_version {seen!r}; this program reads {FORMAT_VERSION}")
    return header, arrays


def check_arrays(header: dict[str, Any], arrays: dict[str, Any], where: str) -> None:
    """Check that the arrays of a face model fit each other, in shape, type and content.

    Args:
        header: The file's header.
        arrays: Its arrays, as far as they are named here.
        where: The file, for messages.

    Raises:
        ValueError: They do not.
        KeyError: One is missing.
    """
    vertices = len(arrays["mean_mm"])
    n_identity, n_expression = len(arrays["identity_basis_mm"]), len(arrays["expression_basis_mm"])
    schemes, units = header["landmark_schemes"], len(header["arkit_names"])
    # Name, shape (-1 is any length), and type; the bases are stored in half precision, or in single by other writers.
    wanted: list[tuple[str, tuple[int, ...], tuple[str, ...]]] = [
        ("mean_mm", (vertices, 3), ("float32",)),
        ("identity_basis_mm", (n_identity, vertices, 3), ("float16", "float32")),
        ("expression_basis_mm", (n_expression, vertices, 3), ("float16", "float32")),
        ("neutral_expression", (n_expression,), ("float32",)),
        ("triangles", (-1, 3), ("int32",)),
        *((f"landmarks/{s}/vertex_ids", (-1, 3), ("int32",)) for s in schemes),
        *((f"landmarks/{s}/weights", (len(arrays[f"landmarks/{s}/vertex_ids"]), 3), ("float32",)) for s in schemes),
    ]
    if "mirror_vertex" in arrays:
        wanted.append(("mirror_vertex", (vertices,), ("int32",)))
    if units:
        wanted += [
            ("arkit_offset", (units,), ("float32",)),
            ("arkit_matrix", (units, n_expression), ("float32",)),
        ]
    for name, shape, types in wanted:
        seen = arrays[name]
        if len(seen.shape) != len(shape) or any(a != b for a, b in zip(seen.shape, shape, strict=True) if b >= 0):
            raise ValueError(f"{where}: {name} has shape {seen.shape}, but the rest of the model asks for {shape}")
        if str(seen.dtype) not in types:
            raise ValueError(f"{where}: {name} has type {seen.dtype}, but must be {' or '.join(types)}")
        if types == ("int32",):
            if seen.size and (outside := seen[(seen < 0) | (seen >= vertices)]).size:
                raise ValueError(f"{where}: {name} names vertex {int(outside[0])}, but there are {vertices}")
        elif not np.isfinite(seen).all():
            raise ValueError(f"{where}: {name} holds values that are not finite")
