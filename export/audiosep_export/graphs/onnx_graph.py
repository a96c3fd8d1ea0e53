"""An ONNX graph under construction, node by node.

Graphs are written rather than traced: a graph without a traced example holds no length that
was constant only in that example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

#: Operator set of every graph: the first with LayerNormalization.
OPSET = 17
#: File version of the same age; ONNX Runtime reads both from 1.14 on.
IR_VERSION = 8


class Graph:
    """Nodes and constants; every method returns a value's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.shapes: list[onnx.ValueInfoProto] = []

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node with one output."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], output, **attributes))
        return output

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        """An array stored in the file; a name that is known already keeps its first value."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(f"float_{value}", np.float32(value))

    def integers(self, *values: int) -> str:
        """A vector of int64: axes, a shape."""
        return self.constant("int_" + "_".join(map(str, values)), np.array(values, np.int64))

    def shaped(self, value: str, element_type: int, *shape: str | int) -> str:
        """State a value's shape, which inference cannot tell where a length is dynamic."""
        self.shapes.append(helper.make_tensor_value_info(value, element_type, list(shape)))
        return value

    def gelu(self, values: str) -> str:
        """The exact Gaussian error linear unit."""
        error = self.node("Erf", self.node("Div", values, self.number(float(np.sqrt(2.0)))))
        doubled = self.node("Mul", values, self.node("Add", error, self.number(1.0)))
        return self.node("Mul", doubled, self.number(0.5))

    def model(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        opset: int,
        ir_version: int,
    ) -> onnx.ModelProto:
        """The finished model."""
        constants = list(self.constants.values())
        return helper.make_model(
            helper.make_graph(
                self.nodes, name, list(inputs), list(outputs), constants, value_info=self.shapes
            ),
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=ir_version,
            producer_name="audiosep",
        )
