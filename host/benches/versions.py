#!/usr/bin/env python3
"""Binaries of several versions or profiles, in turn, on the demo's configuration.

    python3 host/benches/versions.py [--rounds 5] [--seconds 5] NAME=BINARY [NAME=BINARY ..]

For example `before=/tmp/selvedge release=target/release/selvedge quick=target/quick/selvedge`. Before it: `cargo xtask setup`,
`cargo xtask plugins`, `cargo build --release --package selvedge --examples`. Python's own library is all it needs. The binaries take
turns within a round, so that a slow phase of the machine falls on all of them. Prints, for each: median, least and greatest of

cold start, warm start   seconds until `/readyz` answers 200, with an empty folder of compiled plugins and with a full one
classify, embeddings     requests a second of 64 connections, and the node's processor time of a request
streams                  words a second of one streamed chat, and of eight at a time
memory                   resident, once it is ready and after the load
size                     of the binary

and the ratio of its median to the first binary's. The load generator shares the machine's cores with the node: processor time says
more than requests a second. Never asserts a time.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
LOAD = TARGET / "release/examples/load"
CONNECTIONS, STREAMS, WORDS = 64, 8, 96
LOADS = {
    "classify": ("/classify", {"text": "WINNER!! Claim your free prize now, call 09061701461"}),
    "embeddings": ("/v1/embeddings", {"model": "embed", "input": "The quick brown fox jumps over the lazy dog, and the dog sleeps on."}),
}
CHAT = {
    "model": "assistant",
    "stream": True,
    "temperature": 0,
    "max_tokens": WORDS,
    "messages": [{"role": "user", "content": "Write a long story about a dragon and a knight."}],
}


class Node:
    """A started binary, in a folder that keeps its state from one start to the next."""

    def __init__(self, binary, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # Beside the demo's, whose paths are relative to it.
        file = tempfile.NamedTemporaryFile("w", suffix=".toml", dir=ROOT / "configs", delete=False)
        self.file, self.log = pathlib.Path(file.name), pathlib.Path(folder, "log")
        demo = (ROOT / "configs/demo.toml").read_text()
        with file:
            file.write(demo.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}").replace("../target/state", f"{folder}/state"))
        self.began = time.monotonic()
        library = os.environ.get("ORT_DYLIB_PATH", TARGET / "lib/libonnxruntime.so")
        with open(self.log, "w") as log:
            environment = {**os.environ, "ORT_DYLIB_PATH": str(library)}
            self.child = subprocess.Popen([binary, "serve", "--config", self.file], stderr=log, env=environment)

    def wait_until_ready(self):
        """Seconds from its start."""
        while not self.is_ready():
            if self.child.poll() is not None:
                sys.exit(f"the node ended:\n{self.log.read_text()}")
            time.sleep(0.02)
        return time.monotonic() - self.began

    def is_ready(self):
        with contextlib.suppress(OSError, urllib.error.URLError):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz") as answer:
                return answer.status == 200
        return False

    def memory_mib(self):
        status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))

    def processor_seconds(self):
        fields = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.child.terminate()
        self.child.wait()
        self.file.unlink()


@contextlib.contextmanager
def node(binary, folder):
    started = Node(binary, folder)
    try:
        yield started
    finally:
        started.end()


def load(target, name, seconds, folder):
    """Requests a second, and microseconds of the node's processor time for each."""
    path, body = LOADS[name]
    bodies = pathlib.Path(folder, f"{name}.json")
    bodies.write_text(json.dumps([body]))
    before, began = target.processor_seconds(), time.monotonic()
    command = [LOAD, f"127.0.0.1:{target.port}", path, bodies, str(CONNECTIONS), str(seconds)]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if report["errors"]:
        sys.exit(f"{name}: {report['errors']} requests failed")
    # The whole time counts, though the rate is of what follows the first fifth.
    requests = report["requests_s"] * (time.monotonic() - began)
    return report["requests_s"], (target.processor_seconds() - before) / requests * 1e6


def stream(port):
    """Pieces of one streamed answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", "/v1/chat/completions", json.dumps(CHAT), {"content-type": "application/json"})
    return sum(1 for line in connection.getresponse() if line.startswith(b"data: {"))


def streams(port, count):
    """Pieces a second of so many streams at a time."""
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        pieces = sum(pool.map(lambda _: stream(port), range(count)))
    return pieces / (time.monotonic() - began)


def round_of(binary, seconds):
    """A figure by its name."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        with node(binary, folder) as target:
            found["cold start, s"] = target.wait_until_ready()
        with node(binary, folder) as target:
            found["warm start, s"] = target.wait_until_ready()
            found["memory when ready, MiB"] = target.memory_mib()
            for name in LOADS:
                load(target, name, 1, folder)
                found[f"{name}, requests/s"], found[f"{name}, us of CPU"] = load(target, name, seconds, folder)
            found["1 stream, words/s"] = streams(target.port, 1)
            found[f"{STREAMS} streams, words/s"] = streams(target.port, STREAMS)
            found["memory after the load, MiB"] = target.memory_mib()
    found["size, MB"] = pathlib.Path(binary).stat().st_size / 1e6
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("binaries", nargs="+", metavar="NAME=BINARY")
    arguments = parser.parse_args()
    binaries = dict(argument.split("=", 1) for argument in arguments.binaries)
    rounds = {name: [] for name in binaries}
    for number in range(arguments.rounds):
        for name, binary in binaries.items():
            rounds[name].append(round_of(binary, arguments.seconds))
        print(f"round {number + 1}, load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"{'':27}" + "".join(f"{name:>34}" for name in binaries))
    first = next(iter(binaries))
    for figure in rounds[first][0]:
        values = {name: [found[figure] for found in rounds[name]] for name in binaries}
        base, cells = statistics.median(values[first]), []
        for found in values.values():
            median = statistics.median(found)
            cells.append(f"{median:.2f} [{min(found):.2f}-{max(found):.2f}] x{median / base:.2f}")
        print(f"{figure:27}" + "".join(f"{cell:>34}" for cell in cells))


if __name__ == "__main__":
    main()
