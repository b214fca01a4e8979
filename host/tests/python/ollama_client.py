"""Ollama's own client against a host: chat, generate, embed, models, errors.

ollama_client.py HOST
"""

import json
import sys

import ollama

client = ollama.Client(host=sys.argv[1])
FRUITS = [{"role": "user", "content": "List three fruits."}]
GREEDY = {"temperature": 0, "num_predict": 24}

whole = client.chat("assistant", messages=FRUITS, options=GREEDY)
assert whole.message.role == "assistant" and "Bananas" in whole.message.content, whole
assert whole.done and whole.done_reason == "length" and whole.eval_count == 24, whole
assert whole.total_duration >= whole.prompt_eval_duration > 0 and whole.eval_duration > 0

lines = list(client.chat("assistant:latest", messages=FRUITS, options=GREEDY, stream=True))
assert "".join(line.message.content for line in lines) == whole.message.content
assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True] and len(lines) > 8
assert lines[-1].prompt_eval_count == whole.prompt_eval_count > 20

generated = client.generate("assistant", prompt="List three fruits.", options=GREEDY)
assert generated.response == whole.message.content, generated
story = client.generate("assistant", prompt="Once upon a time,", raw=True, options=GREEDY, stream=True)
assert len("".join(line.response for line in story)) > 20
assert client.generate("assistant").done_reason == "load"
stopped = client.generate("assistant", prompt="List three fruits.", options={"temperature": 0, "stop": ["Bananas"]})
assert stopped.response.endswith("1. ") and stopped.done_reason == "stop", stopped

schema = {
    "type": "object",
    "properties": {"kind": {"enum": ["cat", "dog"]}, "legs": {"type": "integer", "minimum": 0, "maximum": 8}},
    "required": ["kind", "legs"],
    "additionalProperties": False,
}
STORY = [{"role": "user", "content": "Tell me a long story about a cat called Tom."}]
shaped = json.loads(client.chat("assistant", messages=STORY, format=schema, options={"temperature": 0}).message.content)
assert shaped["kind"] in ("cat", "dog") and 0 <= shaped["legs"] <= 8, shaped
lines = client.generate("assistant", prompt="A cat.", format=schema, options={"temperature": 0}, stream=True)
assert set(json.loads("".join(line.response for line in lines))) == {"kind", "legs"}
assert client.generate("assistant", prompt="A cat.", format="json", options=GREEDY).response.lstrip().startswith("{")

vectors = client.embed("embed", input=["a", "b"], dimensions=16).embeddings
assert len(vectors) == 2 and len(vectors[0]) == 16 and abs(sum(x * x for x in vectors[0]) - 1) < 1e-4

assert [model.model for model in client.list().models] == ["assistant:latest", "classify:latest", "embed:latest"]
assert [model.model for model in client.ps().models] == ["assistant:latest", "classify:latest", "embed:latest"]
shown = client.show("assistant")
assert shown.capabilities == ["completion"] and shown.license == "Apache-2.0", shown


def refused(status, call):
    try:
        call()
    except ollama.ResponseError as error:
        assert error.status_code == status, (error.status_code, error)
        return str(error)
    raise AssertionError(f"{status} was expected")


assert "does not exist" in refused(404, lambda: client.chat("none", messages=FRUITS))
assert "options.temperature" in refused(400, lambda: client.chat("assistant", messages=FRUITS, options={"temperature": 3}))
assert "options.num_predict" in refused(400, lambda: client.chat("assistant", messages=FRUITS, options={"num_predict": 0}))
assert "2048" in refused(400, lambda: client.generate("assistant", prompt="word " * 3000))
assert "tools" in refused(400, lambda: client.chat("assistant", messages=FRUITS, tools=[{"type": "function", "function": {"name": "f"}}]))
assert "JSON Schema" in refused(400, lambda: client.chat("assistant", messages=FRUITS, format={"type": "nothing"}))
refused(400, lambda: client.chat("embed", messages=FRUITS))
refused(400, lambda: client.embed("assistant", input="x"))
# The demo's validator wants `input`, which the older path does not send.
assert "input" in refused(400, lambda: client.embeddings("embed", prompt="a"))
print("all is well")
