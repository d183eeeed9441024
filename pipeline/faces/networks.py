"""One TensorFlow Lite network on one core."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8


class Network:
    """A network with one picture as input. Not for use by two threads at once.

    Args:
        path: The `.tflite` file.
        low: Value that the network wants for black (white is 1).
        output: Name of the only output that is wanted, if one is: what leads to the others is not computed.

    Raises:
        ValueError: There is no such file, it is no network that this runtime can run, or it has no such output.
    """

    def __init__(self, path: Path, *, low: float, output: str | None = None) -> None:
        # Imported here: loading the runtime takes a tenth of a second that a command's help must not pay.
        from ai_edge_litert.interpreter import Interpreter

        if not path.is_file():
            raise ValueError(f"there is no landmark network at {path}; `facevid assets fetch` fetches it")
        content = path.read_bytes()
        try:
            self._interpreter = _opened(Interpreter, content)
            if output is not None:
                # Only what was seen to be a network may be taken apart.
                self._interpreter = _opened(Interpreter, _leading_to(output, content))
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is no network that LiteRT can run: {error}") from error
        detail = self._interpreter.get_input_details()[0]
        self._outputs = [int(d["index"]) for d in self._interpreter.get_output_details()]
        self.size_px = int(detail["shape"][1])
        self._low = np.float32(low)
        self._gain = np.float32((1.0 - low) / 255.0)
        self._input = self._interpreter.tensor(int(detail["index"]))

    def __call__(self, square: UInt8[np.ndarray, "size size 3"]) -> list[Float32[np.ndarray, "..."]]:
        """The network's outputs, in its own order.

        Args:
            square: An RGB picture of `size_px` x `size_px`.
        """
        # Straight into the network's own memory, to which nothing may refer while it runs.
        picture = self._input()
        np.multiply(square, self._gain, out=picture[0])
        if self._low:
            picture += self._low
        del picture
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def sigmoid(logit: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """1 / (1 + exp(-logit)), without overflow."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -80.0, 80.0))), dtype=np.float32)


def _opened(interpreter_class: Any, content: bytes) -> Any:
    interpreter = interpreter_class(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _leading_to(output: str, content: bytes) -> bytes:
    """The network with this output only, and the operators that lead to it."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    wanted = [index for index in graph.outputs if graph.tensors[index].name.decode() == output]
    if not wanted:
        raise ValueError(f"it has no output={output!r}")
    needed, operators = set(map(int, wanted)), []
    for operator in reversed(graph.operators):
        if not needed.isdisjoint(map(int, operator.outputs)):
            operators.append(operator)
            needed.update(map(int, operator.inputs))
    graph.operators, graph.outputs = operators[::-1], wanted
    # They name the outputs that are gone.
    model.signatureDefs = model.metadata = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
