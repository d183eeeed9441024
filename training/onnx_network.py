"""DeepExp3D through ONNX Runtime: on CPUs in two thirds of torch's time, and without torch's second of loading."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float32, UInt8
from onnxruntime.capi import onnxruntime_pybind11_state as refusals

from pipeline.faces.register import CROP_SIZE_PX
from training.model_config import CONFIG_FILE, ONNX_FILE, ONNX_INPUT, ONNX_OUTPUT, ModelConfig, read_config

_FATAL = 4
_REFUSALS = (
    refusals.Fail, refusals.InvalidArgument, refusals.InvalidGraph, refusals.InvalidProtobuf, refusals.NoModel,
    refusals.NotImplemented, refusals.RuntimeException,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxDeepExp3D:
    """A trained network in its ONNX form, ready to predict on the CPU.

    Attributes:
        config: What it is and which face model it speaks of.
        session: ONNX Runtime's.
    """

    config: ModelConfig
    session: onnxruntime.InferenceSession

    def predict(
        self, crops: UInt8[np.ndarray, "batch 224 224 3"]
    ) -> Float32[np.ndarray, "batch n_expression"]:
        """Expression coefficients, standard deviations, of registered RGB crops (`pipeline.faces.register`).

        All of them go through the network together: the caller knows how much memory there is.
        """
        (found,) = self.session.run([ONNX_OUTPUT], {ONNX_INPUT: np.ascontiguousarray(crops)})
        return np.asarray(found)


def load_onnx(folder: Path) -> OnnxDeepExp3D:
    """Load a model folder's ONNX form. Nothing outside the two files is read, and nothing in the folder is executed.

    Args:
        folder: What `facevid train deepexp3d` wrote.

    Raises:
        ValueError: It is no such folder, of a newer format, or damaged.
    """
    config = read_config(folder)
    path = folder / ONNX_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}): on the CPU prediction runs a model's ONNX form; copy the whole "
            "folder"
        ) from error
    options = onnxruntime.SessionOptions()
    # Named by us: of its own choice it would bind threads to processors that may not be ours.
    options.intra_op_num_threads = _threads()
    options.log_severity_level = _FATAL  # what it complains of stands in the error
    try:
        # From bytes: a model from strangers that keeps its weights in files elsewhere is refused.
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _REFUSALS as error:
        raise ValueError(f"{path} is no network that ONNX Runtime reads: {str(error).splitlines()[0]}") from error
    _check(session, config, path)
    return OnnxDeepExp3D(config=config, session=session)


def _check(session: onnxruntime.InferenceSession, config: ModelConfig, path: Path) -> None:
    side = CROP_SIZE_PX
    seen = [(one.name, one.type, one.shape[1:]) for one in (*session.get_inputs(), *session.get_outputs())]
    wanted = [
        (ONNX_INPUT, "tensor(uint8)", [side, side, 3]), (ONNX_OUTPUT, "tensor(float)", [config.n_expression])
    ]
    if seen != wanted:
        raise ValueError(f"{path} takes and gives {seen}, not {wanted}: it is not that of this folder's {CONFIG_FILE}")


def _threads() -> int:
    """As many as torch would take: the processors that are ours, or fewer where OMP_NUM_THREADS says so."""
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(ours, int(asked)) if asked.isdecimal() and int(asked) else ours
