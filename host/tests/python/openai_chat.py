"""OpenAI's own client against a host that generates: whole answers and streams, parameters, errors.

openai_chat.py BASE_URL "rows are alike"|"rows differ"
"""

import json
import sys
import typing

import openai
import pydantic

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
FRUITS = [{"role": "user", "content": "List three fruits."}]


def chat(messages=FRUITS, model="assistant", **arguments):
    return client.chat.completions.create(model=model, messages=messages, temperature=0, **arguments)


whole = chat(max_tokens=24)
choice = whole.choices[0]
assert choice.message.role == "assistant" and "Bananas" in choice.message.content, choice
assert choice.finish_reason == "length" and whole.usage.completion_tokens == 24, whole.usage
assert whole.usage.total_tokens == whole.usage.prompt_tokens + 24

chunks = list(chat(max_tokens=24, stream=True, stream_options={"include_usage": True}))
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == choice.message.content, text
assert chunks[0].choices[0].delta.role == "assistant"
assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 24
assert len({chunk.id for chunk in chunks}) == 1 and len(chunks) > 8
assert all(chunk.usage is None for chunk in chat(max_tokens=2, stream=True))

assert chat(max_tokens=64, stop=["Bananas"]).choices[0].message.content.endswith("1. ")
parts = [{"role": "user", "content": [{"type": "text", "text": "List three"}, {"type": "text", "text": " fruits."}]}]
assert chat(parts, max_tokens=24).choices[0].message.content == choice.message.content

several = client.chat.completions.create(
    model="assistant", messages=FRUITS, max_tokens=12, n=3, seed=7, temperature=1.5, stream=True
)
texts = {}
for chunk in several:
    texts[chunk.choices[0].index] = texts.get(chunk.choices[0].index, "") + (chunk.choices[0].delta.content or "")
again = client.chat.completions.create(
    model="assistant", messages=FRUITS, max_tokens=12, n=3, seed=7, temperature=1.5
)
drawn = [choice.message.content for choice in again.choices]
assert len(set(texts.values())) > 1 and sorted(texts) == [0, 1, 2] and len(drawn) == 3, (texts, drawn)
# What the processor's kernels give: the three are in each other's company for as long as they please.
assert sys.argv[2] == "rows differ" or [texts[index] for index in range(3)] == drawn, (texts, drawn)

tokens = chat(model="plain", max_tokens=4, logprobs=True, top_logprobs=2).choices[0].logprobs.content
assert len(tokens) == 4 and all(len(token.top_logprobs) == 2 for token in tokens), tokens
assert "".join(token.token for token in tokens) == chat(max_tokens=4).choices[0].message.content
assert all(token.logprob == token.top_logprobs[0].logprob <= 0 for token in tokens)

completion = client.completions.create(model="assistant", prompt="Once upon a time, in a small village,", temperature=0)
assert completion.usage.completion_tokens == 16 and completion.choices[0].text, completion
streamed = client.completions.create(
    model="assistant", prompt="Once upon a time, in a small village,", temperature=0, stream=True
)
assert "".join(chunk.choices[0].text for chunk in streamed) == completion.choices[0].text


class Pet(pydantic.BaseModel, extra="forbid"):
    name: typing.Annotated[str, pydantic.Field(max_length=20)]
    kind: typing.Literal["cat", "dog"]
    legs: typing.Annotated[int, pydantic.Field(ge=0, le=8)]


STORY = [{"role": "user", "content": "Tell me a long story about a cat called Tom."}]
parsed = client.chat.completions.parse(model="plain", messages=STORY, response_format=Pet, temperature=0)
assert isinstance(parsed.choices[0].message.parsed, Pet) and parsed.choices[0].finish_reason == "stop", parsed
schema = {"type": "json_schema", "json_schema": {"name": "pet", "schema": Pet.model_json_schema(), "strict": True}}
for model in ("plain", "assistant"):
    streamed = chat(STORY, model=model, response_format=schema, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert Pet.model_validate_json(text), text
several = client.chat.completions.create(
    model="plain", messages=STORY, response_format=schema, n=3, seed=5, temperature=1.2
)
assert all(Pet.model_validate_json(choice.message.content) for choice in several.choices), several
free = chat(STORY, model="plain", response_format={"type": "json_object"}, max_tokens=8).choices[0]
assert free.message.content.lstrip().startswith("{"), free


def refused(kind, param=None, **arguments):
    try:
        client.chat.completions.create(**{"model": "assistant", "messages": FRUITS, **arguments})
    except kind as error:
        assert param is None or error.param == param, (error.param, param)
        return error
    raise AssertionError(f"{kind.__name__} was expected of {arguments}")


bad = openai.BadRequestError
assert refused(openai.NotFoundError, model="none").code == "model_not_found"
refused(bad, "model", model="embed")
refused(bad, "messages", messages=[])
refused(bad, "messages.0.role", messages=[{"role": "king", "content": "x"}])
picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
refused(bad, "messages.0.content.0", messages=[{"role": "user", "content": picture}])
for name, value in [
    ("max_tokens", 0), ("max_tokens", -1), ("temperature", 3), ("stop", list("abcde")), ("logit_bias", {"x": 1}),
    ("n", 9), ("logprobs", True), ("tools", [{"type": "function", "function": {"name": "f"}}]),
]:
    refused(bad, name, **{name: value})
for schema, said in [({"type": "nothing"}, "nothing"), ({"$ref": "https://example.com/x"}, "example.com"), (7, "object")]:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    error = refused(bad, "response_format", response_format=wanted)
    assert error.code == "invalid_json_schema" and said in error.message, error
refused(bad, "response_format", response_format={"type": "xml"})
long = refused(bad, messages=[{"role": "user", "content": "word " * 3000}])
assert long.code == "context_length_exceeded" and "2048" in long.message and "30" in long.message, long
assert chat(max_tokens=10**9, stop=["\n"]).choices[0].finish_reason == "stop", "a huge limit is the context's"
# A plugin is on the stream of "assistant", and none on that of "plain".
prompt = "Contact us: info@example.com\n" * 2 + "Contact us:"
said = {
    (model, stream): client.completions.create(
        model=model, prompt=prompt, max_tokens=24, temperature=0, stream=stream
    )
    for model in ("plain", "assistant")
    for stream in (False, True)
}
for (model, stream), answer in said.items():
    text = "".join(chunk.choices[0].text for chunk in answer) if stream else answer.choices[0].text
    assert ("info@example.com" in text) == (model == "plain"), (model, stream, text)
    assert ("[REDACTED]" in text) == (model == "assistant") and ("@" in text) == (model == "plain"), (model, stream, text)
print("all is well")
