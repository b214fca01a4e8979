#!/usr/bin/env python3
"""Record what the reference library makes of queries.json. Needs sentence-transformers, which the project does not install.

    record.py WEIGHTS_DIR    writes vectors.f32: queries, then passages, each 384 little-endian float32

The tests compare the host's vectors, and the nearest passages of each query, with this recording.
"""

import json
import pathlib
import sys

import sentence_transformers

HERE = pathlib.Path(__file__).parent


def main(weights):
    entries = json.loads((HERE / "queries.json").read_text("utf-8"))
    texts = [entry["query"] for entry in entries] + [entry["passage"] for entry in entries]
    model = sentence_transformers.SentenceTransformer(weights, device="cpu")
    model.max_seq_length = 256
    vectors = model.encode(texts, batch_size=1, normalize_embeddings=True).astype("<f4")
    (HERE / "vectors.f32").write_bytes(vectors.tobytes())
    print(f"sentence-transformers {sentence_transformers.__version__}: {vectors.shape}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
