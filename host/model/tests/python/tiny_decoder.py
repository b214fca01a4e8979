"""Makes two small decoders of the same random weights, as `models/smollm2/convert.py` makes large ones: `fp32` and `plain`.

tiny_decoder.py DIR    writes DIR/fp32 and DIR/plain, each with a card
"""

import json
import pathlib
import shutil
import sys

import numpy as np

SMOLLM2 = pathlib.Path(__file__).resolve().parents[4] / "models" / "smollm2"
sys.path.insert(0, str(SMOLLM2))
import convert  # noqa: E402

LAYERS, WIDTH, HEADS, KV_HEADS, INNER = 2, 64, 4, 2, 96
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# The printable characters of ASCII as byte-level BPE writes them, so that every text is whole characters.
TOKENS = CONTROL + [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]


class Random:
    """What the converter reads of a GGUF file."""

    def __init__(self):
        self.meta = {
            "general.architecture": "llama",
            "llama.block_count": LAYERS,
            "llama.embedding_length": WIDTH,
            "llama.context_length": 8192,
            "llama.attention.head_count": HEADS,
            "llama.attention.head_count_kv": KV_HEADS,
            "llama.attention.layer_norm_rms_epsilon": 1e-5,
            "llama.rope.freq_base": 10000.0,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.tokens": TOKENS,
            "tokenizer.ggml.token_type": [3] * len(CONTROL) + [1] * (len(TOKENS) - len(CONTROL)),
            "tokenizer.ggml.merges": [],
            "tokenizer.chat_template": "{% for message in messages %}{{ message.content }}{% endfor %}",
        }
        self.random = np.random.default_rng(1)
        kv_width = WIDTH // HEADS * KV_HEADS
        # The last token is not what says the next: its embedding is small beside what the layers add.
        self.tensors = {"token_embd.weight": self.weights(len(TOKENS), WIDTH, 0.1), "output_norm.weight": self.gain()}
        for layer in range(LAYERS):
            of = lambda name, rows, columns: self.tensors.update({f"blk.{layer}.{name}.weight": self.weights(rows, columns, 2 / columns**0.5)})
            of("attn_q", WIDTH, WIDTH)
            of("attn_k", kv_width, WIDTH)
            of("attn_v", kv_width, WIDTH)
            of("attn_output", WIDTH, WIDTH)
            of("ffn_gate", INNER, WIDTH)
            of("ffn_up", INNER, WIDTH)
            of("ffn_down", WIDTH, INNER)
            self.tensors[f"blk.{layer}.attn_norm.weight"] = self.gain()
            self.tensors[f"blk.{layer}.ffn_norm.weight"] = self.gain()

    def weights(self, rows, columns, deviation):
        return "F32", (rows, columns), self.random.normal(0, deviation, (rows, columns)).astype(np.float32)

    def gain(self):
        return "F32", (WIDTH,), np.ones(WIDTH, np.float32)


def main(out):
    gguf = Random()
    for mode in ("fp32", "plain"):
        folder = pathlib.Path(out) / mode
        folder.mkdir(parents=True, exist_ok=True)
        convert.Decoder(gguf, mode).build().save(folder / "model.onnx")
        (folder / "tokenizer.json").write_text(json.dumps(convert.tokenizer(gguf.meta), ensure_ascii=False), "utf-8")
        (folder / "chat_template.jinja").write_text(gguf.meta["tokenizer.chat_template"], "utf-8")
        shutil.copy(SMOLLM2 / "reference" / f"{mode}.toml", folder / "model.toml")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
