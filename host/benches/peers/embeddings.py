#!/usr/bin/env python3
"""`/v1/embeddings` at 64 connections: this host, a bare loop over the same file, and FastAPI with ONNX Runtime.

    cargo xtask bench peers [ROUNDS] [SECONDS] [TEXTS]

TEXTS is `keywords` (2 to 4 words, as people type into a search box), `queries`, or `all` (queries and passages; default).

Each server runs on core 0 with one thread for the model, the load generator on core 1; the three take turns, so that a slow
phase of the machine falls on all of them. Prints each round, then medians and ratios. Never asserts a time.
"""

import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv

ROOT = pathlib.Path(__file__).resolve().parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
RELEASE, CONNECTIONS = TARGET / "release", 64
SCHEMA = (
    '{ type = "object", required = ["model", "input"], properties = { model = { type = "string" }, '
    'input = { type = "string", minLength = 1 }, encoding_format = { enum = ["float", "base64"] } } }'
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def host_command(folder, port):
    config = folder / "bench.toml"
    config.write_text(
        f"""
[server]
listen = "127.0.0.1:{port}"
[state]
dir = "{TARGET}/state"
[models.minilm]
path = "{ROOT}/models/minilm"
threads = 1
device = "cpu"
[plugins.json-schema]
path = "{ROOT}/plugins/dist/json-schema.wasm"
[endpoints.embed]
model = "minilm"
plugins = [{{ use = "json-schema", config = {{ schema = {SCHEMA} }} }}]
"""
    )
    return [RELEASE / "selvedge", "serve", "--config", config]


def peer_command(port):
    folder = TARGET / "venv-peers"
    python = folder / "bin/python"
    if not python.exists():
        print("installing the peers", flush=True)
        venv.create(folder, with_pip=True)
        requirements = pathlib.Path(__file__).with_name("requirements.txt")
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
    return [python, pathlib.Path(__file__).with_name("fastapi_server.py"), ROOT / "models/minilm", str(port)]


def wait_for(port):
    """Until the server answers an embedding: one that listens may still be loading."""
    body = json.dumps({"model": "embed", "input": "ready?"}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/embeddings", body, {"content-type": "application/json"}
    )
    for _ in range(600):
        try:
            with urllib.request.urlopen(request):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing serves on {port}")


def serve_and_load(command, port, bodies, seconds):
    server = subprocess.Popen(["taskset", "-c", "0", *command], stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        load = [RELEASE / "examples/load", f"127.0.0.1:{port}", "/v1/embeddings", bodies, str(CONNECTIONS), str(seconds)]
        load = ["taskset", "-c", "1", *load]
        report = json.loads(subprocess.run(load, check=True, capture_output=True, text=True).stdout)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    print(f"    {report['requests_s']:7.1f} texts/s  p50 {report['p50_ms']:.0f} ms  p99 {report['p99_ms']:.0f} ms"
          f"  errors {report['errors']}  load generator {report['load_cpu_s']:.1f} CPU s", flush=True)
    return report["requests_s"]


def bare_loop(texts, seconds):
    command = ["taskset", "-c", "0", RELEASE / "examples/bare_loop", TARGET / "lib/libonnxruntime.so", ROOT / "models/minilm", texts, str(seconds)]
    rate = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"    {rate:7.1f} texts/s", flush=True)
    return rate


def texts_of(kind):
    entries = json.loads((ROOT / "models/minilm/reference/queries.json").read_text("utf-8"))
    if kind == "keywords":
        return [entry["name"].replace("-", " ") for entry in entries]
    keys = ("query",) if kind == "queries" else ("query", "passage")
    return [entry[key] for entry in entries for key in keys]


def main(rounds=3, seconds=10, kind="all"):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        texts, bodies = folder / "texts.json", folder / "bodies.json"
        texts.write_text(json.dumps(texts_of(kind)))
        bodies.write_text(json.dumps([{"model": "embed", "input": text, "encoding_format": "base64"} for text in texts_of(kind)]))
        rates = {"bare loop, batches of 32": [], "selvedge": [], "FastAPI": []}
        for round_number in range(rounds):
            for name, found in rates.items():
                print(f"round {round_number + 1}: {name}", flush=True)
                port = free_port()
                if name.startswith("bare"):
                    found.append(bare_loop(texts, seconds))
                else:
                    command = host_command(folder, port) if name == "selvedge" else peer_command(port)
                    found.append(serve_and_load(command, port, bodies, seconds))
    bare, ours, peer = (statistics.median(found) for found in rates.values())
    print(f"{kind}: medians: bare loop {bare:.0f}, selvedge {ours:.0f}, FastAPI {peer:.0f} texts/s")
    print(f"selvedge / bare loop {ours / bare:.3f}   selvedge / FastAPI {ours / peer:.2f}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]), *sys.argv[3:4])
