"""Files of many kinds against a host: each verdict is what magika's own library says of the same bytes.

filetype_client.py BASE_URL
"""

import pathlib
import sys
import tempfile

import httpx
import magika

from kinds_made import files

LABELS_MIN = 30
SCORE_TOLERANCE = 1e-3


def expected(detector, content):
    result = detector.identify_bytes(content)
    prediction, output = result.prediction, result.output
    asked = prediction.dl.label != "undefined"
    why = prediction.overwrite_reason.value.replace("_", "-")
    return {
        "label": str(output.label),
        "score": result.score,
        "mime_type": output.mime_type,
        "group": output.group,
        "is_text": output.is_text,
        "extensions": output.extensions,
        "model": {"label": str(prediction.dl.label), "score": result.score} if asked else None,
        "overwritten": None if why == "none" else why,
    }


def difference(found, expected):
    """What is not as expected; scores may differ a little."""
    close = lambda a, b: a is not None and abs(a - b) <= SCORE_TOLERANCE
    wrong = [key for key in expected if key not in ("score", "model") and found.get(key) != expected[key]]
    if not close(found.get("score"), expected["score"]):
        wrong.append("score")
    one, other = found.get("model"), expected["model"]
    if (one is None) != (other is None):
        wrong.append("model")
    elif one and (one["label"] != other["label"] or not close(one["score"], other["score"])):
        wrong.append("model")
    return [f"{key} {found.get(key)!r}, not {expected[key]!r}" for key in wrong]


def main(base):
    detector, labels, agreed, mismatches = magika.Magika(), set(), 0, 0
    with tempfile.TemporaryDirectory() as folder, httpx.Client(base_url=base, timeout=30) as client:
        folder = pathlib.Path(folder)
        for name, content in files(folder).items():
            path = folder / name
            path.write_bytes(content)
            with path.open("rb") as file:
                response = client.post("/filetype", files={"file": (name, file, "application/octet-stream")})
            if response.status_code != 200:
                wrong = [f"{response.status_code} {response.text}"]
            else:
                wanted = expected(detector, content)
                wrong = difference(response.json(), wanted)
            if wrong:
                mismatches += 1
                print(f"{name}: {'; '.join(wrong)}")
                continue
            agreed += 1
            labels.add(wanted["label"])
    print(f"{agreed} files of {len(labels)} labels agree")
    if mismatches or len(labels) < LABELS_MIN:
        sys.exit(1)


main(*sys.argv[1:])
