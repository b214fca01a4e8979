#!/usr/bin/env python3
"""SmolLM2 (or another plain llama) from GGUF to an ONNX decoder with a KV cache. numpy and onnx alone.

    convert.py FILE.gguf MODEL_DIR [q4|fp32|plain]    writes model.onnx, model.onnx.data, tokenizer.json, chat_template.jinja

in   input_ids [batch, sequence], attention_mask [batch, total] i64, right-padded; past_key_values.N.{key,value} f32
     [batch, 3, past, 64]; `plain` takes position_ids [batch, sequence] besides
out  logits f32 [batch, 1, 49152], of each row's last token (`plain`: of all tokens); present.N.{key,value}

q4     The file's own 4-bit weights. A Q4_1 weight is scale x number + offset; MatMulNBits wants the offset to be a whole
       number of scales. So it multiplies by scale x (number - 8), and what is missing, (offset + 8 scale) x the sum of the
       block's activations, is part of the same product: the sums stand behind the activations, three times, and their
       weights are the missing parts as a sum of three 4-bit numbers, each for what the one before left (what the third leaves
       is below 1/2700 of the largest). Numbers and scales are exact; activations and sums are rounded to 8 bits a block.
fp32   The same weights as floats, in the same graph.
plain  As fp32, with the attention written out in standard operators, the cache concatenated: what exporters write.
"""

import json
import pathlib
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
BLOCK = 32

# 4-bit numbers that stand for one offset: with two the text drifts from fp32 half as much again, with three no more than
# the rounding of activations makes it.
TERMS = 3


class Gguf:
    """Metadata and tensors of a GGUF file: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""

    BLOCKS = {0: ("F32", 1, 4), 3: ("Q4_1", BLOCK, 20), 8: ("Q8_0", BLOCK, 34)}  # weights and bytes of a block
    SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def __init__(self, path):
        self.bytes, self.at = np.memmap(path, np.uint8, "r"), 4
        if bytes(self.bytes[:4]) != b"GGUF":
            sys.exit(f"{path} is not a GGUF file")
        version, tensor_count, entry_count = self.number("I"), self.number("Q"), self.number("Q")
        if version not in (2, 3):
            sys.exit(f"{path} is GGUF of version {version}; 2 and 3 are known")
        self.meta = {self.text(): self.value(self.number("I")) for _ in range(entry_count)}
        places = [self.place() for _ in range(tensor_count)]
        alignment = self.meta.get("general.alignment", 32)
        start = -(-self.at // alignment) * alignment
        self.tensors = {name: self.tensor(start + offset, shape, kind) for name, shape, kind, offset in places}

    def number(self, kind):
        (found,) = struct.unpack_from("<" + kind, self.bytes, self.at)
        self.at += struct.calcsize(kind)
        return found

    def text(self):
        length = self.number("Q")
        self.at += length
        return bytes(self.bytes[self.at - length : self.at]).decode("utf-8")

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            kind, count = self.number("I"), self.number("Q")
            return [self.value(kind) for _ in range(count)]
        return self.number(self.SCALARS[kind])

    def place(self):
        name, shape = self.text(), [self.number("Q") for _ in range(self.number("I"))]
        return name, shape[::-1], self.number("I"), self.number("Q")

    def tensor(self, start, shape, kind):
        if kind not in self.BLOCKS:
            sys.exit(f"tensors of kind {kind} are not known; F32, Q4_1 and Q8_0 are")
        name, weights, size = self.BLOCKS[kind]
        count = int(np.prod(shape)) // weights * size
        return name, shape, self.bytes[start : start + count]


def halves(raw, first):
    """16-bit floats at a place of each block."""
    return raw[..., first : first + 2].copy().view(np.float16)[..., 0].astype(np.float32)


def unpack_q4_1(shape, raw):
    """Numbers 0 to 15 [rows, blocks, 32], and each block's scale and offset [rows, blocks]."""
    raw = np.ascontiguousarray(raw).reshape(shape[0], -1, 20)
    return np.concatenate([raw[..., 4:] & 15, raw[..., 4:] >> 4], -1), halves(raw, 0), halves(raw, 2)


def unpack_q8_0(shape, raw):
    """Numbers -128 to 127 [rows, blocks, 32], and each block's scale [rows, blocks]."""
    raw = np.ascontiguousarray(raw).reshape(shape[0], -1, 34)
    return raw[..., 2:].copy().view(np.int8), halves(raw, 0)


class Decoder:
    """Builds the graph."""

    def __init__(self, gguf, mode):
        self.meta, self.tensors, self.mode = gguf.meta, gguf.tensors, mode
        self.nodes, self.constants = [], {}
        if self.meta["general.architecture"] != "llama":
            sys.exit(f"the architecture is {self.meta['general.architecture']}; llama is known")
        of = lambda key: self.meta[f"llama.{key}"]
        self.layers, self.width, self.context = of("block_count"), of("embedding_length"), of("context_length")
        self.heads, self.kv_heads = of("attention.head_count"), of("attention.head_count_kv")
        self.head_width = self.width // self.heads
        self.epsilon, self.base = of("attention.layer_norm_rms_epsilon"), of("rope.freq_base")
        self.vocabulary = len(self.meta["tokenizer.ggml.tokens"])
        self.sums, self.shapes = {}, set()

    def constant(self, name, value):
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def integers(self, *values):
        return self.constant("int." + ".".join(map(str, values)), np.int64(values))

    def node(self, kind, inputs, outputs, domain="", **attributes):
        outputs = [outputs] if isinstance(outputs, str) else outputs
        name = f"{outputs[0]}/{kind}"
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]

    def dense(self, name):
        kind, shape, raw = self.tensors[name]
        if kind == "F32":
            return raw.view(np.float32).reshape(shape)
        if kind == "Q8_0":
            numbers, scale = unpack_q8_0(shape, raw)
            return (numbers * scale[..., None]).reshape(shape)
        numbers, scale, offset = unpack_q4_1(shape, raw)
        return (numbers * scale[..., None] + offset[..., None]).reshape(shape)

    def in_rope_order(self, rows, name):
        """GGUF has the rows of queries and keys in pairs; the rotation here is of halves."""
        if not name.endswith(("attn_q.weight", "attn_k.weight")):
            return rows
        heads = len(rows) // self.head_width
        pairs = rows.reshape(heads, self.head_width // 2, 2, *rows.shape[1:])
        return pairs.swapaxes(1, 2).reshape(rows.shape)

    def matmul(self, x, names, output):
        """x times the weights of some tensors, one below the other; their rows are the outputs."""
        if self.mode != "q4":
            weights = np.concatenate([self.in_rope_order(self.dense(name), name) for name in names])
            return self.node("MatMul", [x, self.constant(f"{output}.w", weights.T)], output)
        parts = [[self.in_rope_order(part, name) for part in unpack_q4_1(*self.tensors[name][1:])] for name in names]
        numbers, scale, offset = (np.concatenate(part) for part in zip(*parts))
        left = self.padded(offset + 8 * scale)
        numbers, scales = [numbers], [scale]
        for _ in range(TERMS):
            step = np.abs(left).max(-1) / 7
            step[step == 0] = 1
            term = np.clip(np.rint(left / step[..., None]), -8, 7)
            left = left - term * step[..., None]
            numbers.append((term + 8).astype(np.uint8))
            scales.append(step)
        numbers, scales = np.concatenate(numbers, 1), np.concatenate(scales, 1)
        packed = self.constant(f"{output}.q", numbers[..., 0::2] | (numbers[..., 1::2] << 4))
        rows, blocks = scales.shape
        shape = {"K": blocks * BLOCK, "N": rows, "bits": 4, "block_size": BLOCK, "accuracy_level": 4}
        inputs = [self.with_sums(x, scale.shape[1]), packed, self.constant(f"{output}.s", scales)]
        return self.node("MatMulNBits", inputs, output, MICROSOFT, **shape)

    @staticmethod
    def padded(offsets):
        """[rows, blocks] filled up with zeros and cut into blocks of their own."""
        rows, blocks = offsets.shape
        whole = np.zeros((rows, -(-blocks // BLOCK) * BLOCK), np.float32)
        whole[:, :blocks] = offsets
        return whole.reshape(rows, -1, BLOCK)

    def with_sums(self, x, blocks):
        """x, and behind it the sum of each block of 32, zeros up to a whole block, once for each term."""
        if x not in self.sums:
            ones = np.repeat(self.padded(np.eye(blocks)).reshape(blocks, -1), BLOCK, 0)
            sums = self.node("MatMul", [x, self.constant(f"sums.{blocks}", ones)], f"{x}.sums")
            self.sums[x] = self.node("Concat", [x] + [sums] * TERMS, f"{x}.with_sums", axis=-1)
        return self.sums[x]

    def embedding(self):
        if self.mode != "q4":
            return self.node("Gather", [self.constant("embedding", self.dense("token_embd.weight")), "input_ids"], "embedded")
        numbers, scale = unpack_q8_0(*self.tensors["token_embd.weight"][1:])
        table = (numbers.astype(np.int16) + 128).astype(np.uint8).reshape(self.vocabulary, self.width)
        inputs = [self.constant("embedding.q", table), "input_ids", self.constant("embedding.s", scale)]
        layout = {"bits": 8, "block_size": BLOCK, "quantize_axis": 1, "gather_axis": 0}
        return self.node("GatherBlockQuantized", inputs, "embedded", MICROSOFT, **layout)

    def head(self, x):
        """The embedding's weights again."""
        if self.mode == "plain":
            turned = self.node("Transpose", ["embedding"], "embedding.turned", perm=[1, 0])
            return self.node("MatMul", [x, turned], "logits")
        if self.mode == "fp32":
            return self.node("FusedMatMul", [x, "embedding"], "logits", MICROSOFT, transB=1)
        blocks = self.node("Reshape", ["embedding.q", self.integers(self.vocabulary, self.width // BLOCK, BLOCK)], "head.q")
        shape = {"K": self.width, "N": self.vocabulary, "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
        return self.node("MatMulNBits", [x, blocks, "embedding.s"], "logits", MICROSOFT, **shape)

    def norm(self, x, name):
        gain = self.constant(name, self.dense(f"{name}.weight"))
        if self.mode != "plain":
            return self.node("SimplifiedLayerNormalization", [x, gain], f"{name}.out", epsilon=self.epsilon, stash_type=1)
        square = self.node("Mul", [x, x], f"{name}.square")
        mean = self.node("ReduceMean", [square, self.integers(-1)], f"{name}.mean", keepdims=1)
        above = self.node("Add", [mean, self.constant("epsilon", np.float32(self.epsilon))], f"{name}.above")
        scaled = self.node("Div", [x, self.node("Sqrt", [above], f"{name}.root")], f"{name}.scaled")
        return self.node("Mul", [scaled, gain], f"{name}.out")

    def add_norm(self, x, y, name, output):
        """The sum, and it normalised."""
        if self.mode == "plain":
            return self.node("Add", [x, y], output), self.norm(output, name)
        gain = self.constant(name, self.dense(f"{name}.weight"))
        outputs = [f"{name}.out", "", "", output]
        self.node("SkipSimplifiedLayerNormalization", [x, y, gain], outputs, MICROSOFT, epsilon=self.epsilon)
        return output, f"{name}.out"

    def flat(self, x):
        """[batch, sequence, width] to [tokens, width], which all but the attention works on."""
        return self.node("Reshape", [x, self.integers(-1, self.width)], f"{x}.flat")

    def deep(self, x, width):
        if f"shape.{width}" not in self.shapes:
            self.shapes.add(self.node("Concat", ["tokens", self.integers(width)], f"shape.{width}", axis=0))
        return self.node("Reshape", [x, f"shape.{width}"], f"{x}.deep")

    def rotations(self):
        """Cosines and sines [context, 32]. https://arxiv.org/abs/2104.09864"""
        steps = 1 / self.base ** (np.arange(0, self.head_width, 2, dtype=np.float64) / self.head_width)
        angles = np.outer(np.arange(self.context), steps)
        self.constant("cosines", np.cos(angles).astype(np.float32))
        self.constant("sines", np.sin(angles).astype(np.float32))

    def lengths(self):
        """What GroupQueryAttention wants: each row's last position, and the longest row."""
        total = self.node("ReduceSum", ["attention_mask", self.integers(1)], "row_lengths", keepdims=0)
        self.node("Sub", [total, self.constant("one", np.int64(1))], "row_last")
        self.node("Cast", ["row_last"], "row_last32", to=TensorProto.INT32)
        longest = self.node("Shape", ["attention_mask"], "mask_width", start=1, end=2)
        self.node("Cast", [self.node("Squeeze", [longest], "longest")], "longest32", to=TensorProto.INT32)

    def fused_attention(self, qkv, layer, output):
        cache = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        inputs = [qkv, "", "", *cache, "row_last32", "longest32", "cosines", "sines"]
        shape = {"num_heads": self.heads, "kv_num_heads": self.kv_heads, "scale": self.head_width**-0.5}
        return self.node("GroupQueryAttention", inputs, [output, *present], MICROSOFT, do_rotary=1, **shape)

    def last_tokens(self, x):
        """Of each row only its last token of this call: rows are right-padded, and a past comes before."""
        sequence = self.node("Shape", ["input_ids"], "sequence", start=1, end=2)
        past = self.node("Sub", ["mask_width", sequence], "past")
        one = self.node("Equal", [sequence, self.integers(1)], "is_one")
        place = self.node("Where", [one, self.integers(0), self.node("Sub", ["row_last", past], "place")], "last_place")
        index = self.node("Unsqueeze", [place, self.integers(1)], "last_index")
        last = self.node("GatherND", [x, index], "last_rows", batch_dims=1)
        return self.node("Unsqueeze", [last, self.integers(1)], "last")

    def positions(self):
        """For the written-out attention: rotations of each token, and which keys a token may see."""
        for name in ("cosines", "sines"):
            found = self.node("Gather", [name, "position_ids"], f"{name}.found")
            twice = self.node("Concat", [found, found], f"{name}.twice", axis=-1)
            self.node("Unsqueeze", [twice, self.integers(1)], f"{name}.here")
        length = lambda tensor: self.node("Shape", [tensor], f"{tensor}.length", start=1, end=2)
        total, sequence = length("attention_mask"), length("input_ids")
        scalar = lambda x: self.node("Squeeze", [x], f"{x}.scalar")
        zero, one = self.constant("zero", np.int64(0)), self.constant("one", np.int64(1))
        begin, end = scalar(self.node("Sub", [total, sequence], "first")), scalar(total)
        keys, queries = self.node("Range", [zero, end, one], "keys"), self.node("Range", [begin, end, one], "queries")
        column = self.node("Unsqueeze", [queries, self.integers(1)], "queries.column")
        causal = self.node("LessOrEqual", [keys, column], "causal")
        real = self.node("Cast", ["attention_mask"], "real", to=TensorProto.BOOL)
        real = self.node("Unsqueeze", [real, self.integers(1, 2)], "real.wide")
        self.node("And", [causal, real], "visible")

    def heads_first(self, x, count, output):
        cut = self.node("Reshape", [x, self.integers(0, 0, count, self.head_width)], f"{output}.cut")
        return self.node("Transpose", [cut], output, perm=[0, 2, 1, 3])

    def rotated(self, x, output):
        half = self.head_width // 2
        self.node("Split", [x, self.integers(half, half)], [f"{output}.a", f"{output}.b"], axis=-1)
        turned = self.node("Concat", [self.node("Neg", [f"{output}.b"], f"{output}.minus"), f"{output}.a"], f"{output}.turned", axis=-1)
        along = self.node("Mul", [x, "cosines.here"], f"{output}.along")
        return self.node("Add", [along, self.node("Mul", [turned, "sines.here"], f"{output}.across")], output)

    def cached(self, x, layer, part):
        """The cache and what is new; each key and value head serves three query heads."""
        present = self.node("Concat", [f"past_key_values.{layer}.{part}", x], f"present.{layer}.{part}", axis=2)
        apart = self.node("Unsqueeze", [present, self.integers(2)], f"{present}.apart")
        group = self.heads // self.kv_heads
        each = self.node("Expand", [apart, self.integers(1, 1, group, 1, 1)], f"{present}.each")
        return self.node("Reshape", [each, self.integers(0, self.heads, -1, self.head_width)], f"{present}.all")

    def plain_attention(self, qkv, layer, output):
        kv_width, name = self.kv_heads * self.head_width, f"layer{layer}"
        parts = [f"{name}.{part}" for part in ("q", "k", "v")]
        self.node("Split", [qkv, self.integers(self.width, kv_width, kv_width)], parts, axis=-1)
        query = self.rotated(self.heads_first(parts[0], self.heads, f"{name}.q.heads"), f"{name}.q.rotated")
        key = self.rotated(self.heads_first(parts[1], self.kv_heads, f"{name}.k.heads"), f"{name}.k.rotated")
        value = self.cached(self.heads_first(parts[2], self.kv_heads, f"{name}.v.heads"), layer, "value")
        turned = self.node("Transpose", [self.cached(key, layer, "key")], f"{name}.k.turned", perm=[0, 1, 3, 2])
        scores = self.node("MatMul", [query, turned], f"{name}.scores")
        scaled = self.node("Mul", [scores, self.constant("scale", np.float32(self.head_width**-0.5))], f"{name}.scaled")
        never = self.constant("never", np.float32(-3e38))
        weights = self.node("Softmax", [self.node("Where", ["visible", scaled, never], f"{name}.masked")], f"{name}.weights", axis=-1)
        mixed = self.node("Transpose", [self.node("MatMul", [weights, value], f"{name}.mixed")], f"{name}.back", perm=[0, 2, 1, 3])
        return self.node("Reshape", [mixed, self.integers(0, 0, self.width)], output)

    def feed_forward(self, x, prefix):
        names, (gate, up) = [f"{prefix}.ffn_{part}.weight" for part in ("gate", "up")], (f"{prefix}.gate", f"{prefix}.up")
        both = self.matmul(x, names, f"{prefix}.gate_up")
        self.node("Split", [both], [gate, up], axis=-1, num_outputs=2)
        if self.mode == "plain":
            active = self.node("Mul", [gate, self.node("Sigmoid", [gate], f"{prefix}.sigmoid")], f"{prefix}.silu")
        else:
            active = self.node("QuickGelu", [gate], f"{prefix}.silu", MICROSOFT, alpha=1.0)
        wide = self.node("Mul", [active, up], f"{prefix}.wide")
        return self.matmul(wide, [f"{prefix}.ffn_down.weight"], f"{prefix}.down")

    def build(self):
        self.rotations()
        if self.mode == "plain":
            self.positions()
        else:
            self.lengths()
        attention = self.plain_attention if self.mode == "plain" else self.fused_attention
        self.node("Shape", ["input_ids"], "tokens")
        x = self.flat(self.embedding())
        normed = self.norm(x, "blk.0.attn_norm")
        for layer in range(self.layers):
            prefix = f"blk.{layer}"
            names = [f"{prefix}.attn_{part}.weight" for part in ("q", "k", "v")]
            qkv = self.deep(self.matmul(normed, names, f"{prefix}.qkv"), self.width + 2 * self.kv_heads * self.head_width)
            mixed = self.flat(attention(qkv, layer, f"{prefix}.attention"))
            mixed = self.matmul(mixed, [f"{prefix}.attn_output.weight"], f"{prefix}.o")
            x, normed = self.add_norm(x, mixed, f"{prefix}.ffn_norm", f"{prefix}.middle")
            after = f"blk.{layer + 1}.attn_norm" if layer + 1 < self.layers else "output_norm"
            x, normed = self.add_norm(x, self.feed_forward(normed, prefix), after, f"{prefix}.out")
        x = self.deep(normed, self.width)
        self.head(x if self.mode == "plain" else self.last_tokens(x))
        return self

    def save(self, path):
        value = helper.make_tensor_value_info
        tokens = {"input_ids": ["batch", "sequence"], "attention_mask": ["batch", "total"]}
        if self.mode == "plain":
            tokens["position_ids"] = ["batch", "sequence"]
        cache = lambda name, length: [
            value(f"{name}.{layer}.{part}", TensorProto.FLOAT, ["batch", self.kv_heads, length, self.head_width])
            for layer in range(self.layers)
            for part in ("key", "value")
        ]
        inputs = [value(name, TensorProto.INT64, shape) for name, shape in tokens.items()] + cache("past_key_values", "past")
        logits = ["batch", "sequence" if self.mode == "plain" else 1, self.vocabulary]
        outputs = [value("logits", TensorProto.FLOAT, logits)] + cache("present", "present")
        graph = helper.make_graph(self.nodes, "decoder", inputs, outputs, list(self.constants.values()))
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="selvedge")
        data = f"{path.name}.data"
        (path.parent / data).unlink(missing_ok=True)
        # Weights in a file of their own are mapped, not copied, when the model is loaded.
        onnx.save_model(model, path, save_as_external_data=True, location=data, size_threshold=1024)


def tokenizer(meta):
    """The byte-level BPE of the metadata, as the tokenizers library reads it."""
    of = lambda key: meta[f"tokenizer.ggml.{key}"]
    if of("model") != "gpt2" or of("pre") != "smollm":
        sys.exit(f"the tokenizer is {of('model')} with {of('pre')}; gpt2 with smollm is known")
    special = [(place, text) for place, (text, kind) in enumerate(zip(of("tokens"), of("token_type"))) if kind in (3, 4)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bytes_of = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    model = {
        "type": "BPE",
        "vocab": {text: place for place, text in enumerate(of("tokens"))},
        "merges": [merge.split(" ", 1) for merge in of("merges")],
    }
    return {
        "version": "1.0",
        "added_tokens": [{"id": place, "content": text, **flags} for place, text in special],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, bytes_of]},
        "decoder": {**bytes_of, "add_prefix_space": True},
        "model": model,
    }


def main(source, out, mode="q4"):
    if mode not in ("q4", "fp32", "plain"):
        sys.exit(__doc__)
    gguf, out = Gguf(source), pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    Decoder(gguf, mode).build().save(out / "model.onnx")
    (out / "tokenizer.json").write_text(json.dumps(tokenizer(gguf.meta), ensure_ascii=False), "utf-8")
    (out / "chat_template.jinja").write_text(gguf.meta["tokenizer.chat_template"], "utf-8")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
