#!/usr/bin/env python3
"""magika's model as its package holds it, and the facts that go with it as the configuration of the plugin `filetype`.

    convert.py PACKAGE_DIR MODEL_DIR    writes model.onnx and filetype.json

in   bytes         i32 [batch, 2048]   beginning and end of a file
out  target_label  f32 [batch, 214]    a probability for each label

filetype.json has the labels in the output's order, what is said of each, and how sure the model must be of it. Labels that no
answer can have are left out.
"""

import json
import pathlib
import shutil
import sys

MODEL = "models/standard_v3_3"

# What a file is called that the model was not asked about, or is not sure of.
GENERIC = ("empty", "txt", "unknown")

# What the package takes where it says none, by whether the label's files are text.
MEDIA_TYPES = {True: "text/plain", False: "application/octet-stream"}


def configuration(model, known):
    if model["mid_size"] or model["use_inputs_at_offsets"] or model["version_major"] != 3:
        sys.exit("the model takes more of a file than its beginning and its end")
    labels, overwrite = model["target_labels_space"], model["overwrite_map"]
    answered = dict.fromkeys([*labels, *overwrite.values(), *GENERIC])
    return {
        "window": {
            "begin_size": model["beg_size"],
            "end_size": model["end_size"],
            "block_size": model["block_size"],
            "padding_token": model["padding_token"],
            "size_min": model["min_file_size_for_dl"],
        },
        "threshold": model["medium_confidence_threshold"],
        "thresholds": model["thresholds"],
        "overwrite": overwrite,
        "labels": labels,
        "types": {label: described(known[label]) for label in answered},
    }


def described(type):
    return {
        "mime_type": type["mime_type"] or MEDIA_TYPES[type["is_text"]],
        "group": type["group"] or "unknown",
        "is_text": type["is_text"],
        "extensions": type["extensions"],
    }


def main(package, out):
    package, out = pathlib.Path(package), pathlib.Path(out)
    model = json.loads((package / MODEL / "config.min.json").read_text("utf-8"))
    known = json.loads((package / "config/content_types_kb.min.json").read_text("utf-8"))
    shutil.copyfile(package / MODEL / "model.onnx", out / "model.onnx")
    (out / "filetype.json").write_text(json.dumps(configuration(model, known), indent=1) + "\n", "utf-8")


main(*sys.argv[1:])
