"""Makes two models that give what they take: `echo` of every type, and `floats` of one input with one open dimension.

echo_models.py DIR
"""

import pathlib
import sys

import onnx
from onnx import TensorProto, helper

TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}

CARD = """name = "{name}"
task = "tensor"
file = "model.onnx"
licence = "Apache-2.0"
source = "made by a test"
[input]
kind = "tensors"
[output]
labels = ["zero", "one"]
"""


def save(folder, name, ports):
    """A model with an input `in_NAME` and an output `out_NAME` for each port."""
    nodes = [helper.make_node("Identity", [f"in_{port}"], [f"out_{port}"]) for port, _, _ in ports]
    values = [
        [helper.make_tensor_value_info(f"{side}_{port}", type, shape) for port, type, shape in ports]
        for side in ("in", "out")
    ]
    graph = helper.make_graph(nodes, name, *values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "model.toml").write_text(CARD.format(name=name), "utf-8")


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1])
    save(root / "echo", "echo", [(name, type, ["n", 2]) for name, type in TYPES.items()])
    save(root / "floats", "floats", [("values", TensorProto.FLOAT, ["n", 4])])
