"""Schemathesis against a node's own document, with requests that match it and requests that do not; the same ones each time.

openapi_fuzz.py BASE_URL PHASES EXAMPLES [PATH_REGEX [KEY]]
"""

import pathlib
import subprocess
import sys
import tempfile

base_url, phases, examples, *rest = sys.argv[1:]
program = pathlib.Path(sys.executable).parent / "schemathesis"
arguments = [
    "run", f"{base_url}/openapi.json", "--phases", phases, "--mode", "all",
    "--max-examples", examples, "--seed", "1", "--workers", "1", "--request-timeout", "20", "--max-failures", "20",
    "--continue-on-failure", "--no-color",
]
for option, value in zip(["--include-path-regex", "--header"], rest):
    arguments += [option, value if option != "--header" else f"Authorization: Bearer {value}"]
# That some answers are bytes, or JSON line by line, which it does not read, is no issue. Of the operations of tensors no schema says
# all: that a shape agrees with its data, and bytes with their header; and plugins see another body than is sent.
settings = """
warnings.display = ["missing_test_data", "validation_mismatch", "method_not_allowed", "unresolvable_reference"]

[[operations]]
include-path-regex = "^/v2/models/.*/(infer|generate|generate_stream)$"
checks.positive_data_acceptance.enabled = false
warnings = false
"""
# It leaves its own files where it runs.
with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, "schemathesis.toml").write_text(settings)
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, timeout=400)
print(done.stdout[-12000:], done.stderr[-4000:])
sys.exit(done.returncode)
