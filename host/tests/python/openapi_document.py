"""A node's own document: valid OpenAPI 3.1, whole, and true. Each of its examples is sent, and answered as it says.

openapi_document.py BASE_URL PATH... [-PREFIX...]

Each PATH must be there; operations of a path that begins with a PREFIX may be without an example.
"""

import json
import sys

import httpx
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

base_url, paths = sys.argv[1], [path for path in sys.argv[2:] if not path.startswith("-")]
bare = tuple(prefix[1:] for prefix in sys.argv[2:] if prefix.startswith("-"))
client = httpx.Client(base_url=base_url, timeout=60)
document = client.get("/openapi.json").json()
validate(document, cls=OpenAPIV31SpecValidator)
for path in paths:
    assert "post" in document["paths"][path], path
for name, schema in document["components"]["schemas"].items():
    Draft202012Validator.check_schema(schema)

registry = Registry().with_resource(
    "urn:document", Resource.from_contents(document, default_specification=DRAFT202012)
)


def check(value, pointer, about):
    """A value against the schema at a place of the document."""
    schema = {"$ref": f"urn:document{pointer}"}
    errors = [error.message[:300] for error in Draft202012Validator(schema, registry=registry).iter_errors(value)]
    assert not errors, (about, errors)


def within(pointer, *steps):
    for step in steps:
        step = step.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
        pointer = f"{pointer}/{step}"
    return pointer


def look(pointer):
    """What stands at a place, and where that is once references are followed."""
    here = document
    for step in pointer.split("/")[1:]:
        here = here[int(step) if isinstance(here, list) else step.replace("%7B", "{").replace("%7D", "}").replace("~1", "/").replace("~0", "~")]
    return look(here["$ref"]) if "$ref" in here else (here, pointer)


def check_answer(answer, method, path, operation):
    about = (method, path, answer.status_code, answer.text[:300])
    status = str(answer.status_code)
    declared = status if status in operation["responses"] else "4XX"
    assert declared in operation["responses"], about
    response, pointer = look(within("#/paths", path, method, "responses", declared))
    assert answer.headers["x-request-id"], about
    media_type = answer.headers["content-type"].split(";")[0]
    assert media_type in response["content"], about
    schema = within(pointer, "content", media_type, "schema")
    if media_type == "application/json":
        check(answer.json(), schema, about)
    elif media_type == "text/event-stream":
        events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        # A model that ends at once tells nothing there.
        assert events or path.endswith("/generate_stream"), about
        for event in events:
            check(event, within(schema, "properties", "data"), about)
            data, data_pointer = look(within(schema, "properties", "data"))
            # Where the last event is a word, the others are the first of two forms.
            if "anyOf" not in data:
                check(json.loads(event), within(data_pointer, "contentSchema"), about)
            elif event != data["anyOf"][1]["const"]:
                check(json.loads(event), within(data_pointer, "anyOf", "0", "contentSchema"), about)
    elif media_type == "application/x-ndjson":
        for line in answer.text.splitlines():
            check(json.loads(line), schema, about)
    else:
        check(answer.text, schema, about)


def form(path, method):
    """A form as the document has it: files where it says that they are binary, else texts."""
    schema, _ = look(within("#/paths", path, method, "requestBody", "content", "multipart/form-data", "schema"))
    is_file = {name: field.get("format") == "binary" for name, field in schema["properties"].items()}
    return {name: ("a.txt", b"a plain text\n", "text/plain") if is_file[name] else (None, "a text")
            for name in schema.get("required", [])}


sent = 0
identifiers = set()
for path, item in document["paths"].items():
    for method, operation in item.items():
        identifiers.add(operation["operationId"])
        url = path
        in_path = [parameter for parameter in operation.get("parameters", []) if parameter["in"] == "path"]
        for parameter in in_path:
            url = url.replace("{%s}" % parameter["name"], parameter["schema"]["enum"][0])
        if method == "get":
            answer = client.get(url)
            assert answer.status_code == 200, (path, answer.text)
            check_answer(answer, method, path, operation)
            continue
        contents = operation["requestBody"]["content"]
        if "multipart/form-data" in contents:
            answer = client.post(url, files=form(path, method))
            assert answer.status_code == 200, (path, answer.text)
            check_answer(answer, method, path, operation)
            for refused in [client.post(url, json={}), client.post(url, files={"nobody": ("a", b"b")})]:
                assert 400 <= refused.status_code < 500, (path, refused.text)
                check_answer(refused, method, path, operation)
            sent += 1
            continue
        content = contents["application/json"]
        examples = content.get("examples", {})
        assert examples or path.startswith(bare), f"{path} has no example"
        for name, example in examples.items():
            schema = within("#/paths", path, method, "requestBody", "content", "application/json", "schema")
            check(example["value"], schema, (path, name))
            answer = client.post(url, json=example["value"])
            assert answer.status_code == 200, (path, name, answer.text)
            check_answer(answer, method, path, operation)
            sent += 1
        for body in ["{", "[]", "7", '{"model": 7, "text": 7, "input": {}, "prompt": 7, "messages": "x"}']:
            answer = client.post(url, content=body, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500 or path not in paths, (path, body, answer.text)
            check_answer(answer, method, path, operation)
assert len(identifiers) == sum(len(item) for item in document["paths"].values())
print(f"all is well: {len(document['paths'])} paths, {sent} examples")
