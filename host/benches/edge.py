#!/usr/bin/env python3
"""The edge of a node under load: reloads, idle connections, memory.

    python3 host/benches/edge.py [--seconds 5] [FIGURE ..]

Before it: `cargo xtask setup`, `cargo xtask plugins`, `cargo build --release`. Python's own library is all it needs. FIGURE, default
all of them:

reload   64 connections that ask without a pause: failed requests, and the time that 50 and 99 of 100 take, with no reload and with
         one a second
growth   resident memory over 200 reloads under load
idle     resident memory of 10,000 connections that have had one answer and say nothing; 1,000 over TLS
cost     requests a second and processor time of a request, with keys, limits and a line in the log, and with none of it

The client shares the machine's cores with the node, so times are those of both. Never asserts a time.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SELVEDGE = TARGET / "release/selvedge"
CONNECTIONS, RELOADS, IDLE, IDLE_TLS = 64, 200, 10_000, 1_000
BODY = json.dumps({"text": "WINNER!! Claim your free prize now, call 09061701461"}).encode()

CONFIG = """
[server]
listen = "127.0.0.1:0"
connections_max = 20000
idle_timeout = "10m"
header_timeout = "10m"
{server}
[admin]
listen = "127.0.0.1:0"
[state]
dir = "{target}/state"
[models.spam]
path = "{root}/models/spam"
[plugins.json-schema]
path = "{root}/plugins/dist/json-schema.wasm"
[plugins.label]
path = "{root}/plugins/dist/label.wasm"
{extra}
[endpoints.classify]
path = "/classify"
model = "spam"
plugins = [
  {{ use = "json-schema", config = {{ schema = {{ type = "object", required = ["text"] }} }} }},
  {{ use = "label", config = {{ labels = {{ spam = "SPAM", ham = "HAM" }} }} }},
]
"""


# ---- the node


class Node:
    def __init__(self, child, public, admin, file):
        self.child, self.public, self.admin, self.file = child, public, admin, file

    def resident(self):
        status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    def processor_seconds(self):
        fields = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def reload(self):
        request = urllib.request.Request(f"http://{self.admin[0]}:{self.admin[1]}/admin/reload", method="POST")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def address(line):
    host, port = line.split("://")[1].strip().rsplit(":", 1)
    return host, int(port)


@contextlib.contextmanager
def node(server="", extra="", log=True):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "node.toml")
        file.write_text(CONFIG.format(root=ROOT, target=TARGET, server=server, extra=extra))
        told = open(pathlib.Path(folder, "log"), "w+")
        level = "info" if log else "info,access=off"
        child = subprocess.Popen([SELVEDGE, "serve", "--config", file], stderr=told, env={**os.environ, "RUST_LOG": level})
        try:
            found = {}
            while len(found) < 2:
                if child.poll() is not None:
                    sys.exit(f"the node ended:\n{pathlib.Path(told.name).read_text()}")
                time.sleep(0.05)
                for line in pathlib.Path(told.name).read_text().splitlines():
                    for word in (" listening on ", "operators' listener on "):
                        if word in line:
                            found[word] = address(line.split(word)[1])
            yield Node(child, found[" listening on "], found["operators' listener on "], file)
        finally:
            child.terminate()
            child.wait()


# ---- the load


def request(headers=""):
    head = f"POST /classify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{headers}content-length: {len(BODY)}\r\n\r\n"
    return head.encode() + BODY


async def answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def ask(target, until, sent, took, failed):
    reader, writer = await asyncio.open_connection(*target)
    while time.perf_counter() < until:
        began = time.perf_counter()
        try:
            writer.write(sent)
            if await answer(reader) != 200:
                failed.append("status")
        except (OSError, asyncio.IncompleteReadError) as error:
            failed.append(repr(error))
            reader, writer = await asyncio.open_connection(*target)
        took.append(time.perf_counter() - began)
    writer.close()


async def load(target, seconds, headers="", beside=None):
    """Times in milliseconds, failures, and what `beside` did meanwhile."""
    took, failed, until = [], [], time.perf_counter() + seconds
    asking = [ask(target, until, request(headers), took, failed) for _ in range(CONNECTIONS)]
    done = asyncio.get_running_loop().run_in_executor(None, beside, until) if beside else None
    await asyncio.gather(*asking)
    return [1000 * one for one in took], failed, await done if done else None


def quantiles(took):
    cuts = statistics.quantiles(took, n=100)
    return cuts[49], cuts[98]


# ---- the figures


def reload(seconds):
    def again(until):
        count = 0
        while time.perf_counter() < until:
            served.reload()
            count += 1
            time.sleep(1)
        return count

    with node(log=False) as served:
        asyncio.run(load(served.public, 1))
        calm, failed, _ = asyncio.run(load(served.public, seconds))
        stirred, failed_too, count = asyncio.run(load(served.public, seconds, beside=again))
    (p50, p99), (p50_too, p99_too) = quantiles(calm), quantiles(stirred)
    print(f"no reload      {len(calm):7} requests  {len(failed)} failed  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms")
    print(f"{count:4} reloads   {len(stirred):7} requests  {len(failed_too)} failed  p50 {p50_too:6.2f} ms  p99 {p99_too:6.2f} ms")
    print(f"p99 with reloads / without {p99_too / p99:.2f}")


def growth(seconds):
    def again(until):
        told = []
        for count in range(RELOADS):
            served.reload()
            if count in (19, RELOADS - 1):
                told.append(served.resident())
        return told

    with node(log=False) as served:
        *_, told = asyncio.run(load(served.public, max(seconds, 20), beside=again))
    print(f"resident after 20 reloads {told[0] / 1000:.1f} MB, after {RELOADS} {told[1] / 1000:.1f} MB")


def idle(_seconds):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def opened(served, count, wrap):
        before, sockets = served.resident(), []
        for _ in range(count):
            one = wrap(socket.create_connection(served.public))
            one.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            one.recv(4096)
            sockets.append(one)
        return (served.resident() - before) / count

    with node(log=False) as served:
        print(f"{IDLE} idle connections: {opened(served, IDLE, lambda one: one):.1f} kB each")
    with tempfile.TemporaryDirectory() as folder:
        import ssl

        pair = [f"{folder}/{name}.pem" for name in ("cert", "key")]
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=a".split()
        made = subprocess.run([*command, "-out", pair[0], "-keyout", pair[1]], capture_output=True, check=False)
        if made.returncode:
            return print("over TLS: not measured, there is no openssl")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with node(server=f'tls = {{ cert = "{pair[0]}", key = "{pair[1]}" }}', log=False) as served:
            print(f"{IDLE_TLS} of them over TLS: {opened(served, IDLE_TLS, context.wrap_socket):.1f} kB each")


def cost(seconds):
    limits = "[limits]\n" + "".join(
        f'{of} = {{ requests = 10000000, tokens = 4000000000, per = "1s", concurrent = 1000 }}\n' for of in ("address", "key")
    )
    sides = {"without": [], "with": []}
    with node(log=False) as plain, node(extra=f'[auth]\nmode = "keys"\n{limits}') as edged:
        made = [SELVEDGE, "key", "create", "--scope", "classify", "--json", "--config", edged.file]
        key = json.loads(subprocess.run(made, capture_output=True, check=True).stdout)["key"]
        time.sleep(1.5)
        for _ in range(5):
            for name, served, headers in (("without", plain, ""), ("with", edged, f"authorization: Bearer {key}\r\n")):
                before = served.processor_seconds()
                took, failed, _ = asyncio.run(load(served.public, seconds / 2, headers))
                assert not failed, failed[0]
                sides[name].append((served.processor_seconds() - before) / len(took) * 1e6)
    for name, micros in sides.items():
        print(f"{name:8} {statistics.median(micros):6.1f} us of processor time a request  of", *(f"{one:.0f}" for one in micros))
    print(f"the edge: {statistics.median(sides['with']) - statistics.median(sides['without']):.1f} us")


FIGURES = {"reload": reload, "growth": growth, "idle": idle, "cost": cost}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []])
    arguments = parser.parse_args()
    for name in arguments.figures or FIGURES:
        FIGURES[name](arguments.seconds)


if __name__ == "__main__":
    main()
