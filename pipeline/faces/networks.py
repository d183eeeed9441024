"""One TensorFlow Lite network on one core."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8


class Network:
    """A network with one picture as input. Not for use by two threads at once.

    Args:
        path: The `.tflite` file.
        low: Value that the network wants for black (white is 1).

    Raises:
        ValueError: There is no such file, or it is no network that this runtime can run.
    """

    def __init__(self, path: Path, *, low: float) -> None:
        # Imported here: loading the runtime takes a tenth of a second that a command's help must not pay.
        from ai_edge_litert.interpreter import Interpreter

        if not path.is_file():
            raise ValueError(f"there is no landmark network at {path}; `facevid assets fetch` fetches it")
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is no network that LiteRT can run: {error}") from error
        detail = self._interpreter.get_input_details()[0]
        self._input = int(detail["index"])
        self._outputs = [int(d["index"]) for d in self._interpreter.get_output_details()]
        self.size_px = int(detail["shape"][1])
        self._low = np.float32(low)
        self._gain = np.float32((1.0 - low) / 255.0)
        self._picture = np.empty((1, self.size_px, self.size_px, 3), dtype=np.float32)

    def __call__(self, square: UInt8[np.ndarray, "size size 3"]) -> list[Float32[np.ndarray, "..."]]:
        """The network's outputs, in its own order.

        Args:
            square: RGB picture of `size_px` x `size_px`.
        """
        np.multiply(square, self._gain, out=self._picture[0])
        self._picture += self._low
        self._interpreter.set_tensor(self._input, self._picture)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def sigmoid(logit: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """1 / (1 + exp(-logit)), without overflow."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -80.0, 80.0))), dtype=np.float32)
