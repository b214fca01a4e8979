"""Triton's own client against a host: models, metadata, tensors of every type both ways, texts, errors.

open_inference_client.py ADDRESS MINILM_ONNX
"""

import json
import sys
import time

import ml_dtypes
import numpy as np
import onnxruntime
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

address, file = sys.argv[1:]
client = triton.InferenceServerClient(address)


def tensor(name, values, datatype, binary=True):
    given = triton.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def refused(status, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except InferenceServerException as error:
        assert error.status() == str(status), (error.status(), error.message())
        return error.message()
    raise AssertionError(f"{status} was expected")


# What there is.
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tensors", "1")
assert not client.is_model_ready("none") and not client.is_model_ready("tensors", "2")
server = client.get_server_metadata()
assert server["name"] == "selvedge" and {"binary_tensor_data", "statistics"} <= set(server["extensions"]), server
index = client.get_model_repository_index()
assert {"name": "tensors", "version": "1", "state": "READY", "reason": ""} in index, index

# The signature is that of the file.
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
metadata = client.get_model_metadata("tensors")
assert metadata["versions"] == ["1"] and metadata["platform"] == "onnx_onnxv1", metadata


def signature(ports):
    types = {"tensor(int64)": "INT64", "tensor(float)": "FP32"}
    shape = lambda port: [dim if isinstance(dim, int) else -1 for dim in port.shape]
    return [{"name": port.name, "datatype": types[port.type], "shape": shape(port)} for port in ports]


assert metadata["inputs"] == signature(session.get_inputs()), metadata
assert metadata["outputs"] == signature(session.get_outputs()), metadata
config = client.get_model_config("tensors")
assert [port["data_type"] for port in config["input"]] == ["TYPE_INT64"] * len(metadata["inputs"]), config

# MiniLM gives what ONNX Runtime gives, in binary and in JSON.
ids = np.array([[101, 7592, 2088, 102], [101, 7592, 102, 0]], dtype=np.int64)
feeds = {"input_ids": ids, "attention_mask": (ids != 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}
feeds = {port["name"]: feeds[port["name"]] for port in metadata["inputs"]}
names = [port["name"] for port in metadata["outputs"]]
expected = dict(zip(names, session.run(None, feeds)))
for binary in (True, False):
    inputs = [tensor(name, values, "INT64", binary) for name, values in feeds.items()]
    asked = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    for outputs in (asked, None):
        result = client.infer("tensors", inputs, outputs=outputs, request_id="42")
        response = result.get_response()
        assert (response["id"], response["model_name"], response["model_version"]) == ("42", "tensors", "1"), response
        for name in names:
            np.testing.assert_allclose(result.as_numpy(name), expected[name], rtol=1e-4, atol=1e-5)
            assert ("data" in result.get_output(name)) == (outputs is not None and not binary)
mixed = [tensor(name, values, "INT64", place == 0) for place, (name, values) in enumerate(feeds.items())]
result = client.infer("tensors", mixed, model_version="1", timeout=10_000_000, priority=1)
np.testing.assert_allclose(result.as_numpy(names[0]), expected[names[0]], rtol=1e-4, atol=1e-5)
for packed in ("gzip", "deflate"):
    result = client.infer("tensors", inputs, request_compression_algorithm=packed)
    np.testing.assert_allclose(result.as_numpy(names[0]), expected[names[0]], rtol=1e-4, atol=1e-5)
waiting = [client.async_infer("tensors", inputs) for _ in range(4)]
for one in waiting:
    np.testing.assert_allclose(one.get_result().as_numpy(names[0]), expected[names[0]], rtol=1e-4, atol=1e-5)

# The greatest values of each row.
vector = "sentence_embedding"
classes = client.infer("tensors", inputs, outputs=[triton.InferRequestedOutput(vector, class_count=3)]).as_numpy(vector)
best = np.argsort(-expected[vector], axis=1)[:, :3]
assert [[int(text.split(b":")[1]) for text in row] for row in classes] == best.tolist(), classes

# Every type comes back as it went, in binary; and those that JSON has a form for, in JSON.
KINDS = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16,
    "BF16": ml_dtypes.bfloat16, "FP32": np.float32, "FP64": np.float64,
}


def values(kind):
    if kind == "BYTES":
        return np.array([[b"plain", b""], ["ümlaut".encode(), b"x" * 300]], dtype=np.object_)
    type = KINDS[kind]
    if kind == "BOOL":
        return np.array([[True, False], [False, True]])
    if kind in ("FP16", "BF16", "FP32", "FP64"):
        return np.array([[0.1, -2.5], [1e-3, 3.0]]).astype(type)
    limits = np.iinfo(type)
    return np.array([[limits.min, limits.max], [0, 1]], dtype=type)


given = {kind: values(kind) for kind in [*KINDS, "BYTES"]}
for binary in (True, False):
    inputs = [tensor(f"in_{kind}", array, kind, binary or kind == "BF16") for kind, array in given.items()]
    outputs = [triton.InferRequestedOutput(f"out_{kind}", binary_data=binary or kind == "BF16") for kind in given]
    result = client.infer("echo", inputs, outputs=outputs)
    for kind, array in given.items():
        found = result.as_numpy(f"out_{kind}")
        if kind == "BYTES" and not binary:
            found = np.vectorize(str.encode, otypes=[np.object_])(found)
        np.testing.assert_array_equal(found, array, kind)
some = client.infer("echo", inputs, outputs=[triton.InferRequestedOutput("out_INT8")]).get_response()
assert [output["name"] for output in some["outputs"]] == ["out_INT8"], some
empty = np.zeros((0, 4), dtype=np.float32)
assert client.infer("floats", [tensor("in_values", empty, "FP32")]).as_numpy("out_values").shape == (0, 4)
nan = np.full((1, 4), np.nan, dtype=np.float32)
assert np.isnan(client.infer("floats", [tensor("in_values", nan, "FP32")]).as_numpy("out_values")).all()
in_json = [triton.InferRequestedOutput("out_values", binary_data=False)]
assert "binary_data" in refused(400, client.infer, "floats", [tensor("in_values", nan, "FP32")], outputs=in_json)

# Texts, through the endpoint's plugins.
spam = np.array([b"WINNER!! Claim your free prize now, call 09061701461"], dtype=np.object_)
verdict = client.infer("classify", [tensor("text", spam, "BYTES")]).as_numpy("json")
assert json.loads(verdict[0])["label"] == "SPAM", verdict
texts = np.array([b"a text", b"another"], dtype=np.object_)
for binary in (True, False):
    vectors = client.infer("embed", [tensor("text", texts, "BYTES", binary)]).as_numpy("embeddings")
    assert vectors.shape == (2, 384) and abs(np.linalg.norm(vectors[0]) - 1) < 1e-4
assert client.get_model_metadata("embed")["outputs"] == [{"name": "embeddings", "datatype": "FP32", "shape": [-1, 384]}]
bare = client.infer("bare", [tensor("text", np.array([*spam, b"See you at six"], dtype=np.object_), "BYTES")])
assert bare.as_numpy("labels").tolist() == [[b"spam", b"ham"], [b"ham", b"spam"]], bare.get_response()
assert bare.as_numpy("scores").dtype == np.float32 and (bare.as_numpy("scores")[:, 0] > 0.5).all()
top = client.infer("bare", [tensor("text", spam, "BYTES")], outputs=[triton.InferRequestedOutput("scores", class_count=1)])
assert top.as_numpy("scores")[0, 0].endswith(b":1:spam"), top.as_numpy("scores")
prompt = np.array([b"Once upon a time"], dtype=np.object_)
story = client.infer("assistant", [tensor("text_input", prompt, "BYTES")], parameters={"max_tokens": 8, "temperature": 0})
assert len(story.as_numpy("text_output")[0]) > 8, story.get_response()

# What was asked is counted, by endpoint.
(before,) = client.get_inference_statistics("bare", "1")["model_stats"]
assert (before["name"], before["version"], before["batch_stats"]) == ("bare", "1", []), before
assert before["execution_count"] > 0 and before["last_inference"] > 1_600_000_000_000, before
client.infer("bare", [tensor("text", texts, "BYTES")])
refused(400, client.infer, "bare", [tensor("text", texts, "BYTES")], outputs=[triton.InferRequestedOutput("nothing")])
for _ in range(100):
    # The last byte of an answer is read before it is counted.
    (after,) = client.get_inference_statistics("bare")["model_stats"]
    stats, stats_before = after["inference_stats"], before["inference_stats"]
    grown = {name: stats[name]["count"] - stats_before[name]["count"] for name in stats}
    if grown["success"] >= 1 and grown["fail"] >= 1:
        break
    time.sleep(0.05)
# Other tests may ask the same host.
assert all(grown[name] >= 1 for name in ("success", "fail", "queue", "compute_infer")), grown
assert after["inference_count"] - before["inference_count"] >= 2, (before, after)
assert stats["success"]["ns"] > 0 and stats["compute_infer"]["ns"] > 0, stats
assert stats["compute_output"] == stats["cache_hit"] == stats["cache_miss"] == {"count": 0, "ns": 0}, stats
everything = client.get_inference_statistics()["model_stats"]
assert {"bare", "assistant", "tensors", "echo"} <= {entry["name"] for entry in everything}, everything
assert "does not exist" in refused(404, client.get_inference_statistics, "none")
refused(404, client.get_inference_statistics, "bare", "2")

# What is wrong is said.
assert "does not exist" in refused(404, client.get_model_metadata, "none")
assert "only version is 1" in refused(404, client.infer, "tensors", inputs, model_version="2")
wrong = [tensor(name, array[0], "INT64") for name, array in feeds.items()]
assert "expected INT64 [-1, -1], got INT64 [4]" in refused(400, client.infer, "tensors", wrong)
floats = [tensor(name, array.astype(np.float32), "FP32") for name, array in feeds.items()]
assert "got FP32 [2, 4]" in refused(400, client.infer, "tensors", floats)
unknown = [triton.InferRequestedOutput("nothing")]
inputs = [tensor(name, array, "INT64") for name, array in feeds.items()]
assert "there is no output `nothing`" in refused(400, client.infer, "tensors", inputs, outputs=unknown)
assert "refused" in refused(501, client.load_model, "tensors", config="{}", files={"file:1/model.onnx": b"code"})
refused(501, client.load_model, "tensors")
refused(501, client.unload_model, "tensors")
refused(501, client.get_system_shared_memory_status)
refused(501, client.register_system_shared_memory, "region", "/key", 64)
assert "sequence_id" in refused(501, client.infer, "tensors", inputs, sequence_id=7, sequence_start=True)
shared = [triton.InferInput(name, list(array.shape), "INT64") for name, array in feeds.items()]
for one in shared:
    one.set_shared_memory("region", 64)
assert "shared memory" in refused(501, client.infer, "tensors", shared)
print("all is well")
