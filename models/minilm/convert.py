#!/usr/bin/env python3
"""all-MiniLM-L6-v2 from safetensors to ONNX, fused for ONNX Runtime. numpy and onnx alone.

    convert.py WEIGHTS_DIR MODEL_DIR    writes model.onnx (fp32), model_q8.onnx (8-bit weights) and tokenizer.json

in   input_ids, attention_mask, token_type_ids   i64 [batch, sequence], right-padded
out  last_hidden_state   f32 [batch, sequence, 384]
     sentence_embedding  f32 [batch, 384]        masked mean, length 1

Inside, the tokens of all texts are the rows of one matrix: so a layer's bias goes into its Gemm, and ONNX Runtime does not
fuse an addition and the normalisation after it into SkipLayerNormalization, which is six times as slow on a CPU as the two.

The 8-bit weights are in blocks of 32 with a scale each, and activations are quantised a block at a time, so that a row's
result does not depend on its neighbours in the batch.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
BLOCK = 32


def safetensors(path):
    """Arrays by name: a length, a JSON header, and the bytes."""
    blob = np.memmap(path, np.uint8, "r")
    header_len = int.from_bytes(blob[:8].tobytes(), "little")
    header = json.loads(blob[8 : 8 + header_len].tobytes())
    types = {"F32": np.float32, "F16": np.float16, "I64": np.int64}
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = (8 + header_len + offset for offset in entry["data_offsets"])
            arrays[name] = blob[start:end].view(types[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def quantise(weights):
    """Rows of 8-bit numbers round 128, with a scale for each block of 32."""
    blocks = weights.reshape(len(weights), -1, BLOCK)
    scales = np.maximum(np.abs(blocks).max(-1) / 127, 1e-12).astype(np.float32)
    numbers = np.clip(np.round(blocks / scales[..., None]), -127, 127) + 128
    return numbers.astype(np.uint8), scales


class Encoder:
    """Builds the graph. `quantised` chooses between fp32 and 8-bit weights."""

    def __init__(self, arrays, config, quantised):
        self.arrays, self.config, self.quantised = arrays, config, quantised
        self.nodes, self.constants = [], {}

    def weights(self, name):
        return self.arrays[name].astype(np.float32)

    def constant(self, name, value):
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, kind, inputs, outputs, domain="", **attributes):
        outputs = [outputs] if isinstance(outputs, str) else outputs
        name = f"{outputs[0]}/{kind}"
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]

    def linear(self, x, name, output):
        """x times the layer's weights, whose rows are the outputs, and the layer's bias."""
        weights, bias = self.weights(f"{name}.weight"), self.constant(f"{output}.b", self.weights(f"{name}.bias"))
        if not self.quantised:
            return self.node("Gemm", [x, self.constant(f"{output}.w", weights.T), bias], output)
        rows, columns = weights.shape
        numbers, scales = quantise(weights)
        inputs = [x, self.constant(f"{output}.q", numbers), self.constant(f"{output}.s", scales)]
        shape = {"N": rows, "K": columns, "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
        product = self.node("MatMulNBits", inputs, f"{output}.raw", MICROSOFT, **shape)
        return self.node("Add", [product, bias], output)

    def norm(self, x, name, output):
        gain = self.constant(f"{output}.gain", self.weights(f"{name}.weight"))
        shift = self.constant(f"{output}.shift", self.weights(f"{name}.bias"))
        epsilon = self.config["layer_norm_eps"]
        return self.node("LayerNormalization", [x, gain, shift], output, axis=-1, epsilon=epsilon)

    def added_norm(self, x, skip, name, output):
        return self.norm(self.node("Add", [x, skip], f"{output}.sum"), name, output)

    def as_rows(self, x, output):
        """[batch, sequence, width] as [batch x sequence, width]."""
        return self.node("Reshape", [x, "rows_shape"], output)

    def as_texts(self, x, output):
        """The other way round."""
        return self.node("Reshape", [x, "texts_shape"], output)

    def shapes(self):
        width = self.config["hidden_size"]
        self.constant("rows_shape", np.int64([-1, width]))
        last = self.constant("width", np.int64([width]))
        self.node("Concat", [self.node("Shape", ["input_ids"], "shape"), last], "texts_shape", axis=0)

    def embeddings(self):
        words = self.weights("embeddings.word_embeddings.weight")
        positions = self.constant("positions", self.weights("embeddings.position_embeddings.weight"))
        types = self.constant("types", self.weights("embeddings.token_type_embeddings.weight"))
        if self.quantised:
            numbers, scales = quantise(words)
            inputs = [self.constant("words.q", numbers.reshape(words.shape)), "input_ids", self.constant("words.s", scales)]
            layout = {"bits": 8, "block_size": BLOCK, "quantize_axis": 1, "gather_axis": 0}
            word = self.node("GatherBlockQuantized", inputs, "word", MICROSOFT, **layout)
        else:
            word = self.node("Gather", [self.constant("words", words), "input_ids"], "word")
        typed = self.node("Add", [word, self.node("Gather", [types, "token_type_ids"], "type")], "typed")
        length = self.node("Shape", ["input_ids"], "length", start=1, end=2)
        first = self.constant("first", np.int64([0]))
        position = self.node("Slice", [positions, first, length, first], "position")
        placed = self.node("Add", [typed, position], "placed")
        return self.norm(self.as_rows(placed, "rows"), "embeddings.LayerNorm", "embedded")

    def attention(self, rows, layer, output):
        prefix = f"encoder.layer.{layer}.attention.self"
        heads = self.config["num_attention_heads"]
        names = [f"{prefix}.{part}" for part in ("query", "key", "value")]
        texts = self.as_texts(rows, f"{output}.in")
        if self.quantised:
            parts = [self.linear(texts, name, f"{output}.part{at}") for at, name in enumerate(names)]
            kind, inputs = "MultiHeadAttention", [*parts, "", "mask32"]
        else:
            weights = np.concatenate([self.weights(f"{name}.weight").T for name in names], 1)
            biases = np.concatenate([self.weights(f"{name}.bias") for name in names])
            packed = self.constant(f"{output}.w", weights), self.constant(f"{output}.b", biases)
            kind, inputs = "Attention", [texts, *packed, "mask32"]
        return self.as_rows(self.node(kind, inputs, f"{output}.texts", MICROSOFT, num_heads=heads), output)

    def layer(self, x, layer, output):
        prefix, at = f"encoder.layer.{layer}", f"layer{layer}"
        context = self.attention(x, layer, f"{at}.context")
        mixed = self.linear(context, f"{prefix}.attention.output.dense", f"{at}.mixed")
        hidden = self.added_norm(mixed, x, f"{prefix}.attention.output.LayerNorm", f"{at}.hidden")
        wide = self.linear(hidden, f"{prefix}.intermediate.dense", f"{at}.wide")
        active = self.node("Gelu", [wide], f"{at}.active", MICROSOFT)
        narrow = self.linear(active, f"{prefix}.output.dense", f"{at}.narrow")
        return self.added_norm(narrow, hidden, f"{prefix}.output.LayerNorm", output)

    def build(self):
        self.node("Cast", ["attention_mask"], "mask32", to=TensorProto.INT32)
        self.shapes()
        x = self.embeddings()
        for layer in range(self.config["num_hidden_layers"]):
            x = self.layer(x, layer, f"layer{layer}.out")
        x = self.as_texts(x, "last_hidden_state")
        mask = self.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
        axis = self.constant("axis", np.int64([1]))
        total = self.node("MatMul", [self.node("Unsqueeze", [mask, axis], "mask_row"), x], "total")
        # Scaling to length 1 makes dividing by the count needless.
        self.node("LpNormalization", [self.node("Squeeze", [total, axis], "pooled")], "sentence_embedding", axis=-1, p=2)
        return self

    def save(self, path):
        value, width = helper.make_tensor_value_info, self.config["hidden_size"]
        names = ("input_ids", "attention_mask", "token_type_ids")
        graph = helper.make_graph(
            self.nodes,
            "minilm",
            [value(name, TensorProto.INT64, ["batch", "sequence"]) for name in names],
            [
                value("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", width]),
                value("sentence_embedding", TensorProto.FLOAT, ["batch", width]),
            ],
            list(self.constants.values()),
        )
        opsets = [helper.make_opsetid("", 21 if self.quantised else 17), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="selvedge")
        onnx.save_model(model, path)


def tokenizer(source):
    """The package's tokenizer pads every text to 128 tokens; the host pads batches itself."""
    content = json.loads(source.read_text("utf-8"))
    content["padding"] = None
    content["truncation"] = None
    return json.dumps(content, ensure_ascii=False)


def main(weights, out):
    weights, out = pathlib.Path(weights), pathlib.Path(out)
    config = json.loads((weights / "config.json").read_text())
    arrays = safetensors(weights / "model.safetensors")
    Encoder(arrays, config, quantised=False).build().save(out / "model.onnx")
    Encoder(arrays, config, quantised=True).build().save(out / "model_q8.onnx")
    (out / "tokenizer.json").write_text(tokenizer(weights / "tokenizer.json"), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
