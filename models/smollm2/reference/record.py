#!/usr/bin/env python3
"""Records what the reference library writes: greedy, 64 tokens at most, in fp32. Needs torch, transformers, accelerate, gguf.

    record.py FILE.gguf    writes greedy.json beside this file from prompts.json: for each prompt its token ids and the text's
"""

import json
import pathlib
import sys

import torch
import transformers

HERE = pathlib.Path(__file__).parent
TOKENS_MAX = 64


def main(file):
    file = pathlib.Path(file)
    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**place)
    model = transformers.AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32).eval()
    recorded = []
    for prompt in json.loads((HERE / "prompts.json").read_text("utf-8")):
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.no_grad():
            written = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS_MAX, do_sample=False, eos_token_id=2, pad_token_id=2
            )
        tokens = written[0, ids.shape[1] :].tolist()
        recorded.append({"prompt": prompt, "prompt_tokens": ids[0].tolist(), "tokens": tokens, "text": tokenizer.decode(tokens)})
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    content = {"file": file.name, "versions": versions, "recorded": recorded}
    (HERE / "greedy.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
