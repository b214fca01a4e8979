#!/usr/bin/env python3
"""Train the SPAM/HAM classifier on the SMS Spam Collection and export it to ONNX. Deterministic; numpy and onnx alone.

    train.py DATA_DIR MODEL_DIR        DATA_DIR holds spam_collection.csv somewhere below it

in   text           u8  [batch, length]   UTF-8 bytes, padded with zeros, at most 1024 count
out  probabilities  f32 [batch, 2]        ham, spam
     label          i64 [batch]

Byte n-grams of 1 to 5 are hashed inside the graph, so there is no tokenizer: score = sum of weights / sqrt(count) + bias.
One- and two-grams see the case of letters, longer ones do not. Prints the figures that stand in model.toml.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NGRAMS = (1, 2, 3, 4, 5)
BUCKETS = 65521  # a prime; one table for each n
BYTES_MAX = 1024
CASE_SENSITIVE_MAX = 2
FOLDS = 5
STEPS, RATE, DECAY = 300, 0.3, 1e-5


def load(folder):
    """Texts with label (1 is spam) and fold. Duplicates are dropped: they would leak from training into the test."""
    (path,) = pathlib.Path(folder).rglob("spam_collection.csv")
    seen, rows = set(), []
    for line in path.read_text("utf-8").splitlines():
        label, tab, text = line.partition("\t")
        key = " ".join(text.lower().split())
        if tab and key and key not in seen:
            seen.add(key)
            fold = int(hashlib.sha256(key.encode()).hexdigest(), 16) % FOLDS
            rows.append((text.strip(), int(label == "spam"), fold))
    return rows


def features(text):
    """The weights that a text uses, by index: the same arithmetic as the graph's."""
    raw = np.frombuffer(text.encode()[:BYTES_MAX], np.uint8).astype(np.int64)
    lower = np.where((raw >= ord("A")) & (raw <= ord("Z")), raw + 32, raw)
    found = [np.zeros(0, np.int64)]
    for table, n in enumerate(NGRAMS):
        text_bytes = raw if n <= CASE_SENSITIVE_MAX else lower
        count = len(text_bytes) - n + 1
        if count > 0:
            code = sum(text_bytes[k : k + count] * 256**k for k in range(n))
            found.append(code % BUCKETS + table * BUCKETS)
    return np.concatenate(found)


def train(rows):
    """Logistic regression by Adam over all rows at once; the rarer class weighs more."""
    used = [features(text) for text, _, _ in rows]
    labels = np.array([label for _, label, _ in rows], np.float64)
    columns = np.concatenate(used)
    owners = np.repeat(np.arange(len(used)), [len(u) for u in used])
    values = (1 / np.sqrt(np.maximum([len(u) for u in used], 1)))[owners]
    share = labels.mean()
    weight = np.sqrt(np.where(labels == 1, 0.5 / share, 0.5 / (1 - share)))
    bias = BUCKETS * len(NGRAMS)
    w = np.zeros(bias + 1)
    first, second = np.zeros_like(w), np.zeros_like(w)
    for step in range(1, STEPS + 1):
        logits = np.bincount(owners, w[columns] * values, len(used)) + w[bias]
        error = weight * (1 / (1 + np.exp(-logits)) - labels) / len(used)
        gradient = np.bincount(columns, error[owners] * values, bias + 1) + DECAY * w
        gradient[bias] = error.sum()
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient * gradient
        rate = RATE * (1 - 0.9 * step / STEPS)
        w -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return w


def predict(w, texts):
    scores = []
    for text in texts:
        used = features(text)
        scores.append(w[used].sum() / np.sqrt(max(len(used), 1)) + w[-1])
    return 1 / (1 + np.exp(-np.array(scores)))


def quality(probabilities, labels):
    guess = probabilities >= 0.5
    hits, false = (guess & (labels == 1)).sum(), (guess & (labels == 0)).sum()
    missed = (~guess & (labels == 1)).sum()
    ranks = np.empty(len(labels))
    ranks[np.argsort(probabilities)] = np.arange(1, len(labels) + 1)
    spam, ham = (labels == 1).sum(), (labels == 0).sum()
    figures = {
        "accuracy": (guess == labels).mean(),
        "precision": hits / (hits + false),
        "recall": hits / (hits + missed),
        "auc": (ranks[labels == 1].sum() - spam * (spam + 1) / 2) / (spam * ham),
    }
    return {name: round(float(figure), 4) for name, figure in figures.items()}


class Graph:
    """Nodes and constants by name; each node is named for what it gives."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def constant(self, name, value):
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


def lower_case(g):
    """The bytes with A to Z made small, and the bytes as they are, as i64 with room for the longest n-gram at the end."""
    longest = max(NGRAMS) - 1
    room = g.constant("room", np.int64([0, 0, 0, longest]))
    raw = g.node("Pad", [g.node("Cast", ["text"], "bytes", to=TensorProto.INT64), room], "raw")
    from_a = g.node("Greater", [raw, g.constant("before_a", np.int64(64))], "from_a")
    to_z = g.node("Less", [raw, g.constant("after_z", np.int64(91))], "to_z")
    capital = g.node("Cast", [g.node("And", [from_a, to_z], "capital")], "capital64", to=TensorProto.INT64)
    shift = g.node("Mul", [capital, g.constant("case", np.int64(32))], "shift")
    return raw, g.node("Add", [raw, shift], "lower")


def ngram(g, text_bytes, n, weights):
    """Weight and presence of each n-gram, [batch, length]; what reaches into the padding counts for nothing."""
    code = last = None
    for k in range(n):
        start, end = g.constant(f"from{k}", np.int64([k])), k - (max(NGRAMS) - 1)
        stop = g.constant(f"to{k}", np.int64([end if end < 0 else 2**31 - 1]))
        last = g.node("Slice", [text_bytes, start, stop, "axis"], f"n{n}_byte{k}")
        if k == 0:
            code = last
        else:
            high = g.node("Mul", [last, g.constant(f"times{k}", np.int64(256**k))], f"n{n}_high{k}")
            code = g.node("Add", [code, high], f"n{n}_code{k}")
    bucket = g.node("Mod", [code, g.constant("buckets", np.int64(BUCKETS))], f"n{n}_bucket")
    table = g.constant(f"n{n}_weights", weights.astype(np.float32))
    found = g.node("Gather", [table, bucket], f"n{n}_found")
    present = g.node("Greater", [last, g.constant("zero", np.int64(0))], f"n{n}_present")
    present = g.node("Cast", [present], f"n{n}_count", to=TensorProto.FLOAT)
    return g.node("Mul", [found, present], f"n{n}_score"), present


def export(w, path):
    g = Graph()
    g.constant("axis", np.int64([1]))
    one = g.constant("one", np.float32(1))
    raw, lower = lower_case(g)
    scores, counts = [], []
    for table, n in enumerate(NGRAMS):
        text_bytes = raw if n <= CASE_SENSITIVE_MAX else lower
        score, count = ngram(g, text_bytes, n, w[table * BUCKETS : (table + 1) * BUCKETS])
        scores.append(score)
        counts.append(count)
    score = g.node("ReduceSum", [g.node("Sum", scores, "scores"), "axis"], "score", keepdims=1)
    count = g.node("ReduceSum", [g.node("Sum", counts, "counts"), "axis"], "count", keepdims=1)
    length = g.node("Sqrt", [g.node("Max", [count, one], "at_least_one")], "length")
    bias = g.constant("bias", np.float32(w[-1]))
    logit = g.node("Add", [g.node("Div", [score, length], "mean"), bias], "logit")
    spam = g.node("Sigmoid", [logit], "spam")
    g.node("Concat", [g.node("Sub", [one, spam], "ham"), spam], "probabilities", axis=1)
    g.node("ArgMax", ["probabilities"], "label", axis=1, keepdims=0)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        g.nodes,
        "spam",
        [value("text", TensorProto.UINT8, ["batch", "length"])],
        [value("probabilities", TensorProto.FLOAT, ["batch", 2]), value("label", TensorProto.INT64, ["batch"])],
        list(g.constants.values()),
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="selvedge"
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main(data, out):
    rows = load(data)
    labels, folds = (np.array([row[k] for row in rows]) for k in (1, 2))
    held_out = folds == 0
    w = train([row for row in rows if row[2] != 0])
    figures = quality(predict(w, [row[0] for row in rows if row[2] == 0]), labels[held_out])
    path = pathlib.Path(out) / "model.onnx"
    export(w, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(json.dumps({"rows": len(rows), "held_out": int(held_out.sum()), **figures, "sha256": digest}, indent=1))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
