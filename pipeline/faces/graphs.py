"""Networks rewritten before they run: pictures go in as bytes, and only what is wanted comes out.

What comes out are the very numbers of the whole network: each is the same sum in the same order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Wanted = Mapping[str, Sequence[int] | None]
"""Which of a network's outputs are wanted, by name, and which values of each; None is all of them."""


def rewritten(content: bytes, *, low: float, wanted: Wanted | None) -> bytes:
    """A network that takes RGB bytes, and computes no more than leads to the outputs that are wanted.

    Args:
        content: A `.tflite` file that was seen to be a network.
        low: Value that it wants for black (white is 1).
        wanted: See there; None is all that it gives.

    Raises:
        ValueError: It does not take one picture of floats, it has no such output, or values are wanted of one that no
            convolution gives.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = _Graph(schema, schema.ModelT.InitFromPackedBuf(content, 0))
    if wanted is not None:
        graph.keep(wanted)
    graph.take_bytes(low)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(graph.model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Graph:
    """The operators of a model with one subgraph. The schema's module comes from who loaded the runtime."""

    def __init__(self, schema: Any, model: Any) -> None:
        self._schema = schema
        self.model = model
        self._graph = model.subgraphs[0]
        # They name inputs and outputs that will be gone.
        model.signatureDefs = model.metadata = None

    def keep(self, wanted: Wanted) -> None:
        """Drop all that does not lead to these outputs; they come in this order."""
        names = {self._graph.tensors[index].name.decode(): int(index) for index in self._graph.outputs}
        outputs = []
        for name, values in wanted.items():
            if name not in names:
                raise ValueError(f"it has no output={name!r}; it has {', '.join(sorted(names))}")
            outputs.append(names[name] if values is None else self._cut(names[name], values))
        needed, operators = set(outputs), []
        for operator in reversed(self._graph.operators):
            if not needed.isdisjoint(map(int, operator.outputs)):
                operators.append(operator)
                needed.update(map(int, operator.inputs))
        self._graph.operators, self._graph.outputs = operators[::-1], outputs
        kept = {self._graph.tensors[index].buffer for index in needed if index >= 0}
        for place, buffer in enumerate(self.model.buffers):
            if place not in kept:
                buffer.data = None

    def take_bytes(self, low: float) -> None:
        """Turn bytes into what the network takes inside of it, where that is a tenth of the time."""
        floats = int(self._graph.inputs[0])
        shape = [int(length) for length in self._graph.tensors[floats].shape]
        is_float = self._graph.tensors[floats].type == self._schema.TensorType.FLOAT32
        if len(self._graph.inputs) != 1 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or not is_float:
            raise ValueError(f"it takes no square RGB picture of floats, but shape={shape}")
        picture = self._tensor(shape, self._schema.TensorType.UINT8)
        scale = self._schema.QuantizationParametersT()
        scale.scale = np.array([(1.0 - low) / 255.0], dtype=np.float32)
        scale.zeroPoint = np.zeros(1, dtype=np.int64)
        self._graph.tensors[picture].quantization = scale
        scaled = self._tensor(shape, self._schema.TensorType.FLOAT32) if low else floats
        steps = [self._operator("DEQUANTIZE", self._schema.DequantizeOptionsT(), [picture], scaled)]
        if low:
            lowest = self._constant(np.array([low], dtype=np.float32))
            steps.append(self._operator("ADD", self._schema.AddOptionsT(), [scaled, lowest], floats))
        self._graph.operators = steps + list(self._graph.operators)
        self._graph.inputs = [picture]

    def _cut(self, output: int, values: Sequence[int]) -> int:
        """A new output of these values only, straight from the convolution that gives them."""
        name = self._graph.tensors[output].name.decode()
        maker = self._maker_of(output)
        while maker is not None and self._code_of(maker) == self._schema.BuiltinOperator.RESHAPE:
            maker = self._maker_of(int(maker.inputs[0]))
        if maker is None or self._code_of(maker) != self._schema.BuiltinOperator.CONV_2D:
            raise ValueError(f"no convolution gives output={name!r}, so none of its values can be left out")
        made = self._graph.tensors[int(maker.outputs[0])]
        places, shape = np.asarray(values, dtype=np.intp), [int(length) for length in made.shape]
        if shape[:-1] != [1, 1, 1] or not ((places >= 0) & (places < shape[-1])).all():
            raise ValueError(f"output={name!r} of shape={shape} has not the values that are wanted")
        picture, *weights = (int(index) for index in maker.inputs)
        rows = [self._constant(self._values_of(index)[places]) for index in weights]
        cut = self._tensor([1, 1, 1, len(places)], self._schema.TensorType.FLOAT32)
        operator = self._schema.OperatorT()
        operator.opcodeIndex = maker.opcodeIndex
        operator.builtinOptionsType, operator.builtinOptions = maker.builtinOptionsType, maker.builtinOptions
        operator.inputs, operator.outputs = [picture, *rows], [cut]
        self._graph.operators.insert(self._graph.operators.index(maker) + 1, operator)
        return cut

    def _maker_of(self, tensor: int) -> Any:
        return next((each for each in self._graph.operators if tensor in map(int, each.outputs)), None)

    def _code_of(self, operator: Any) -> int:
        code = self.model.operatorCodes[operator.opcodeIndex]
        # Files of before there were more than 127 kinds have it in the other place.
        return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))

    def _values_of(self, tensor: int) -> np.ndarray:
        described = self._graph.tensors[tensor]
        data = self.model.buffers[described.buffer].data
        if described.type != self._schema.TensorType.FLOAT32 or data is None:
            raise ValueError(f"the weights {described.name.decode()!r} are no floats")
        return np.frombuffer(bytes(data), dtype=np.float32).reshape(described.shape)

    def _operator(self, kind: str, options: Any, inputs: list[int], output: int) -> Any:
        code = self._schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self._schema.BuiltinOperator, kind)
        code.version = 1
        self.model.operatorCodes.append(code)
        operator = self._schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, type(options).__name__[:-1])
        operator.builtinOptions = options
        return operator

    def _tensor(self, shape: Sequence[int], kind: int, buffer: int = 0) -> int:
        tensor = self._schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = np.asarray(shape, dtype=np.int32), kind, buffer
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _constant(self, values: np.ndarray) -> int:
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), dtype=np.uint8)
        self.model.buffers.append(buffer)
        return self._tensor(values.shape, self._schema.TensorType.FLOAT32, buffer=len(self.model.buffers) - 1)
