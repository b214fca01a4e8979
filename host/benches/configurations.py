#!/usr/bin/env python3
"""Many configurations of one plugin: the time of a cold and of a warm start, and the memory of a further configuration.

    python3 host/benches/configurations.py [--binary target/release/selvedge] [COUNT ..]

Before it: `cargo xtask setup`, `cargo xtask plugins`, `cargo build --release`. Python's own library is all it needs. COUNT, default
1 and 1000: endpoints of a node, each with `json-schema` and a schema of its own. A cold start has an empty folder of compiled
plugins; a warm one has what the cold one left. Times run from the start of the process until `/readyz` answers 200. Never asserts a
time.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

CONFIG = """
[server]
listen = "127.0.0.1:0"
[state]
dir = "{folder}/state"
[models.spam]
path = "{root}/models/spam"
[plugins.json-schema]
path = "{root}/plugins/dist/json-schema.wasm"
"""

ENDPOINT = """
[endpoints.e{number}]
path = "/e{number}"
model = "spam"
plugins = [{{ use = "json-schema", config = {{ schema = {{ type = "object", required = ["text", "field{number}"], \
properties = {{ text = {{ type = "string", minLength = {length} }}, field{number} = {{ enum = ["a{number}", "b"] }} }} }} }} }}]
"""


@contextlib.contextmanager
def node(binary, folder):
    """Starts a node; yields the process, and the seconds until it was ready."""
    log = pathlib.Path(folder, "log")
    began = time.monotonic()
    with open(log, "w") as file:
        child = subprocess.Popen([binary, "serve", "--config", pathlib.Path(folder, "node.toml")], stderr=file)
    try:
        while not is_ready(log):
            if child.poll() is not None:
                sys.exit(f"the node ended:\n{log.read_text()}")
            time.sleep(0.02)
        yield child, time.monotonic() - began
    finally:
        child.terminate()
        child.wait()


def is_ready(log):
    addresses = [line.split(" listening on ")[1].strip() for line in log.read_text().splitlines() if " listening on " in line]
    if not addresses:
        return False
    with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(addresses[0] + "/readyz") as answer:
        return json.load(answer)["status"] == "ready"
    return False


def memory_mib(child):
    """Resident memory, and the part of it that is no file's, in MiB."""
    lines = pathlib.Path(f"/proc/{child.pid}/status").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Rss") or line.startswith("VmRSS")}
    return sizes["VmRSS"], sizes["RssAnon"]


def measure(binary, count):
    with tempfile.TemporaryDirectory() as folder:
        endpoints = "".join(ENDPOINT.format(number=number, length=1 + number % 50) for number in range(count))
        pathlib.Path(folder, "node.toml").write_text(CONFIG.format(root=ROOT, folder=folder) + endpoints)
        for start in ("cold", "warm"):
            with node(binary, folder) as (child, seconds):
                resident, anonymous = memory_mib(child)
            load = os.getloadavg()[0]
            print(f"{count:6} {start:5} {seconds:8.2f} s {resident:9.1f} MiB {anonymous:9.1f} MiB   load {load:.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=TARGET / "release/selvedge")
    parser.add_argument("counts", nargs="*", type=int, default=[1, 1000])
    arguments = parser.parse_args()
    print(f"{'count':>6} start    ready in      resident     anonymous")
    for count in arguments.counts or [1, 1000]:
        measure(arguments.binary, count)


if __name__ == "__main__":
    main()
