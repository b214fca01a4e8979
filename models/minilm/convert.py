#!/usr/bin/env python3
"""all-MiniLM-L6-v2 from safetensors to ONNX, fused for ONNX Runtime. numpy and onnx alone.

    convert.py WEIGHTS_DIR MODEL_DIR fp32|q8    writes model.onnx (fp32) and tokenizer.json, or model_q8.onnx (8-bit weights)

in   input_ids, attention_mask, token_type_ids   i64 [batch, sequence], right-padded
out  last_hidden_state   f32 [batch, sequence, 384]
     sentence_embedding  f32 [batch, 384]        masked mean, length 1

Inside, the real tokens of all texts are the rows of one matrix, and only attention sees texts and padding: so texts of
different length share a batch at no cost, and a layer's bias goes into its Gemm. Nor does ONNX Runtime fuse an addition and
the normalisation after it into SkipLayerNormalization then, which is six times as slow on a CPU as the two.

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

    def linear(self, x, name, output, factor=1):
        """x times the layer's weights, whose rows are the outputs, and the layer's bias; all of it times a factor."""
        weights = self.weights(f"{name}.weight") * factor
        bias = self.constant(f"{output}.b", self.weights(f"{name}.bias") * factor)
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

    def places(self):
        """Where the real tokens lie among all, [tokens], and for each place the row of its token, [batch x sequence]."""
        mask32 = self.node("Cast", ["attention_mask"], "mask32", to=TensorProto.INT32)
        mask = self.node("Reshape", [mask32, self.constant("flat", np.int64([-1]))], "mask_flat")
        axis = self.constant("axis0", np.int64([0]))
        self.node("Squeeze", [self.node("NonZero", [mask], "real_column"), axis], "real")
        zero, one = self.constant("zero32", np.int32(0)), self.constant("one32", np.int32(1))
        count = self.node("CumSum", [mask, zero], "count")
        # Padding takes the row of the token before it: what it computes is masked, and it must only be a number.
        self.node("Max", [self.node("Sub", [count, one], "row"), zero], "place")
        width = self.config["hidden_size"]
        self.constant("rows_shape", np.int64([-1, width]))
        last = self.constant("width", np.int64([width]))
        self.node("Concat", [self.node("Shape", ["input_ids"], "shape"), last], "texts_shape", axis=0)

    def as_rows(self, x, output):
        """[batch, sequence, width] as [tokens, width]."""
        flat = self.node("Reshape", [x, "rows_shape"], f"{output}.flat")
        return self.node("Gather", [flat, "real"], output)

    def as_texts(self, x, output):
        """[tokens, width] as [batch, sequence, width]."""
        padded = self.node("Gather", [x, "place"], f"{output}.padded")
        return self.node("Reshape", [padded, "texts_shape"], output)

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

    def heads_first(self, rows, output, order=(0, 2, 1, 3)):
        """[tokens, width] as [batch, heads, sequence, width of a head], or in another order."""
        shape = self.constant("heads_shape", np.int64([0, 0, self.config["num_attention_heads"], -1]))
        apart = self.node("Reshape", [self.as_texts(rows, f"{output}.spread"), shape], f"{output}.apart")
        return self.node("Transpose", [apart], output, perm=order)

    def attention(self, rows, layer, output):
        """Written out: ONNX Runtime's fused operator takes longer for short texts."""
        prefix = f"encoder.layer.{layer}.attention.self"
        scale = np.float32((self.config["hidden_size"] // self.config["num_attention_heads"]) ** -0.5)
        query, key, value = (
            self.linear(rows, f"{prefix}.{part}", f"{output}.{part}.rows", factor)
            for part, factor in (("query", scale), ("key", 1), ("value", 1))
        )
        query, value = self.heads_first(query, f"{output}.query"), self.heads_first(value, f"{output}.value")
        key = self.heads_first(key, f"{output}.key", order=(0, 2, 3, 1))
        scores = self.node("MatMul", [query, key], f"{output}.scores")
        masked = self.node("Add", [scores, "mask_bias"], f"{output}.masked")
        weights = self.node("Softmax", [masked], f"{output}.weights", axis=-1)
        mixed = self.node("MatMul", [weights, value], f"{output}.heads")
        return self.as_rows(self.node("Transpose", [mixed], f"{output}.texts", perm=[0, 2, 1, 3]), output)

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
        self.places()
        mask = self.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
        absent = self.node("Sub", [mask, self.constant("one", np.float32(1))], "absent")
        bias = self.node("Mul", [absent, self.constant("large", np.float32(1e9))], "bias")
        self.node("Unsqueeze", [bias, self.constant("heads_and_queries", np.int64([1, 2]))], "mask_bias")
        x = self.embeddings()
        for layer in range(self.config["num_hidden_layers"]):
            x = self.layer(x, layer, f"layer{layer}.out")
        x = self.as_texts(x, "last_hidden_state")
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


def main(weights, out, mode):
    if mode not in ("fp32", "q8"):
        sys.exit(__doc__)
    weights, out = pathlib.Path(weights), pathlib.Path(out)
    config = json.loads((weights / "config.json").read_text())
    arrays = safetensors(weights / "model.safetensors")
    if mode == "q8":
        return Encoder(arrays, config, quantised=True).build().save(out / "model_q8.onnx")
    Encoder(arrays, config, quantised=False).build().save(out / "model.onnx")
    (out / "tokenizer.json").write_text(tokenizer(weights / "tokenizer.json"), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
