"""One TensorFlow Lite network on one core."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8


class Network:
    """A network with pictures as input. Not for use by two threads at once.

    Args:
        path: The `.tflite` file.
        low: Value that the network wants for black (white is 1).
        output: Name of the only output that is wanted, if one is: what leads to the others is not computed.
        most: How many pictures it may be given at once. Two take a tenth less than one after the other, and give the
            same numbers.

    Raises:
        ValueError: There is no such file, it is no network that this runtime can run, or it has no such output.
    """

    def __init__(self, path: Path, *, low: float, output: str | None = None, most: int = 1) -> None:
        # Imported here: loading the runtime takes a tenth of a second that a command's help must not pay.
        from ai_edge_litert.interpreter import Interpreter

        if not path.is_file():
            raise ValueError(f"there is no landmark network at {path}; `facevid assets fetch` fetches it")
        content = path.read_bytes()
        try:
            self._runs = [_Run(Interpreter, content)]
            if output is not None:
                # Only what was seen to be a network may be taken apart.
                content = _leading_to(output, content)
                self._runs = [_Run(Interpreter, content)]
            self._runs += [_Run(Interpreter, content, pictures=pictures) for pictures in range(2, most + 1)]
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is no network that LiteRT can run: {error}") from error
        self.size_px = self._runs[0].size_px
        self._low = np.float32(low)
        self._gain = np.float32((1.0 - low) / 255.0)

    def __call__(self, *squares: UInt8[np.ndarray, "size size 3"]) -> list[Float32[np.ndarray, "..."]]:
        """The network's outputs, in its own order; each has those of all pictures, one after the other.

        Args:
            squares: RGB pictures of `size_px` x `size_px`; at most as many as were said to come at once.
        """
        run = self._runs[len(squares) - 1]
        # Straight into the network's own memory, to which nothing may refer while it runs.
        pictures = run.input()
        for picture, square in zip(pictures, squares, strict=True):
            np.multiply(square, self._gain, out=picture)
        if self._low:
            pictures += self._low
        del pictures, picture
        return run()


class _Run:
    """The network with memory for so many pictures."""

    def __init__(self, interpreter_class: Any, content: bytes, *, pictures: int = 1) -> None:
        self._interpreter = interpreter_class(model_content=content, num_threads=1)
        detail = self._interpreter.get_input_details()[0]
        index, shape = int(detail["index"]), [int(length) for length in detail["shape"]]
        self.size_px = shape[1]
        if pictures > 1:
            self._interpreter.resize_tensor_input(index, [pictures, *shape[1:]])
        self._interpreter.allocate_tensors()
        self._outputs = [int(d["index"]) for d in self._interpreter.get_output_details()]
        self.input = self._interpreter.tensor(index)

    def __call__(self) -> list[Float32[np.ndarray, "..."]]:
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def sigmoid(logit: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """1 / (1 + exp(-logit)), without overflow."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -80.0, 80.0))), dtype=np.float32)


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
