"""OpenAI's own client against a host: embeddings, their neighbours, models, errors.

openai_client.py BASE_URL REFERENCE_DIR
"""

import json
import pathlib
import sys

import numpy as np
import openai

base_url, reference = sys.argv[1], pathlib.Path(sys.argv[2])
client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)

assert [model.id for model in client.models.list()] == ["assistant", "classify", "embed"]
assert client.models.retrieve("embed").object == "model"

entries = json.loads((reference / "queries.json").read_text("utf-8"))
recorded = np.frombuffer((reference / "vectors.f32").read_bytes(), "<f4").reshape(-1, 384)
texts = [entry["query"] for entry in entries] + [entry["passage"] for entry in entries]
response = client.embeddings.create(model="embed", input=texts)
ours = np.array([item.embedding for item in response.data])
assert ours.shape == recorded.shape, ours.shape
assert response.usage.prompt_tokens == response.usage.total_tokens > 1000


def nearest(vectors):
    queries, passages = vectors[: len(entries)], vectors[len(entries) :]
    return np.argsort(-(queries @ passages.T), axis=1)[:, :3]


for entry, found, expected in zip(entries, nearest(ours), nearest(recorded)):
    assert list(found) == list(expected), (entry["name"], found, expected)

floats = client.embeddings.create(model="embed", input="x", encoding_format="float").data[0].embedding
assert np.allclose(floats, client.embeddings.create(model="embed", input="x").data[0].embedding, atol=1e-6)
assert len(client.embeddings.create(model="embed", input="x", dimensions=16).data[0].embedding) == 16
tokens = client.embeddings.create(model="embed", input=[[101, 7592, 2088, 102]])
assert tokens.usage.prompt_tokens == 4


def refused(kind, **arguments):
    try:
        client.embeddings.create(**arguments)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected of {arguments}")


error = refused(openai.NotFoundError, model="none", input="x")
assert error.code == "model_not_found" and error.request_id, error
assert refused(openai.BadRequestError, model="embed", input=[]).param == "input"
assert refused(openai.BadRequestError, model="classify", input="x").param == "model"
print(f"{len(entries)} queries have the recorded neighbours")
