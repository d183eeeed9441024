"""One TensorFlow Lite network on one core."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from pipeline.faces.graphs import Wanted, rewritten
from pipeline.faces.picture import Square


class Network:
    """A network with pictures as input. Not for use by two threads at once.

    Args:
        path: The `.tflite` file.
        low: Value that the network wants for black (white is 1).
        wanted: Which of its outputs are wanted, and which values of them; the others are not computed. None is all.
        most: How many pictures it may be given at once. Two take a tenth less than one after the other, and give the
            same numbers.

    Raises:
        ValueError: There is no such file, it is no network that this runtime can run, or it has no such output.
    """

    def __init__(self, path: Path, *, low: float, wanted: Wanted | None = None, most: int = 1) -> None:
        # Imported here: loading the runtime takes a tenth of a second that a command's help must not pay.
        from ai_edge_litert.interpreter import Interpreter

        if not path.is_file():
            raise ValueError(f"there is no landmark network at {path}; `facevid assets fetch` fetches it")
        content = path.read_bytes()
        try:
            # Only what is seen to be a network may be taken apart.
            Interpreter(model_content=content)
            content = rewritten(content, low=low, wanted=wanted)
            self._runs = [_Run(Interpreter, content, pictures=pictures) for pictures in range(1, most + 1)]
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is no network that LiteRT can run: {error}") from error
        self.size_px = self._runs[0].size_px

    def __call__(self, *squares: UInt8[np.ndarray, "size size 3"]) -> list[Float32[np.ndarray, "..."]]:
        """The outputs that are wanted, in that order; each has those of all pictures, one after the other.

        Args:
            squares: RGB pictures of `size_px` x `size_px`; at most as many as were said to come at once.
        """
        run = self._runs[len(squares) - 1]
        # Into the network's own memory, to which nothing may refer while it runs.
        run.input()[:] = squares
        return run()

    def look(self, *squares: Square) -> list[Float32[np.ndarray, "..."]]:
        """The same for parts of pictures, whose colours go straight into the network's own memory."""
        run = self._runs[len(squares) - 1]
        pictures = run.input()
        for picture, square in zip(pictures, squares, strict=True):
            square.put_rgb(picture)
        del pictures, picture
        return run()


class _Run:
    """The network with memory for so many pictures."""

    def __init__(self, interpreter_class: Any, content: bytes, *, pictures: int) -> None:
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
