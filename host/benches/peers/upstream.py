#!/usr/bin/env python3
"""Another server as a model: what requests that wait on it cost the node. Python's own library alone.

    python host/benches/peers/upstream.py [--requests 100] [--streams 2000]

Before it: `cargo build --release` and `cargo xtask plugins`. The script is the other server, in OpenAI's dialect, and the
clients too, all in one thread; the node has nothing but that server for a model, and no ONNX Runtime.

slow   All requests at once, streamed; the server takes 10 s for each, a token a second. Wall time until the last is answered
       in full, of the node and of the server asked directly; when first tokens came; the node's threads and its memory.
idle   So many streams of which each has told one word and waits: memory a stream, without a plugin, and with `redact`, which
       is an instance of its own for each of them; and what the node keeps when they have gone.

Memory is told in three ways. Resident counts the pages of a plugin's snapshot once for each instance, though they are there once;
anonymous is what a stream has for itself; parted counts a page that is mapped many times as that part of it each time. Both include the node's two connections for each request, but
not what the kernel keeps for them. Never asserts a time.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
NODE, PLUGIN = TARGET / "release/selvedge", ROOT / "plugins/dist/redact.wasm"
TOKENS, PAUSE = 10, 1.0
# A client, the server's side of the node's call, and some to spare.
FILES_MAX = 32768
# Connections that are being opened at once; a listener's backlog is bounded.
OPENING_MAX = 200


# ---- the other server


class Upstream:
    """Answers `/v1/chat/completions`: the model `slow` a token a second, `idle` one word and then nothing until it is let go."""

    def __init__(self):
        self.let_go = asyncio.Event()
        self.open = 0

    @contextlib.asynccontextmanager
    async def serve(self):
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0, backlog=4096)
        try:
            yield "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        finally:
            self.let_go.set()
            server.close()

    async def connection(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                target = head.split(b" ", 2)[1]
                body = await read_body(reader, head)
                if not target.endswith(b"/chat/completions"):
                    self.send_whole(writer, "404 Not Found", {"error": {"message": "there is no such path"}})
                    continue
                await self.answer(json.loads(body), writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The node has hung up, or the script ends.
        finally:
            writer.close()

    async def answer(self, request, writer):
        self.open += 1
        try:
            if not request.get("stream"):
                await asyncio.sleep(TOKENS * PAUSE)
                message = {"role": "assistant", "content": "token " * TOKENS}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                return self.send_whole(writer, "200 OK", self.chunk("chat.completion", choice))
            head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            writer.write(head.encode())
            for _ in range(TOKENS if request["model"] == "slow" else 1):
                await asyncio.sleep(PAUSE if request["model"] == "slow" else 0)
                # With the space behind it: a word that may go on would be held back by a plugin.
                self.send(writer, {"index": 0, "delta": {"role": "assistant", "content": "token, "}, "finish_reason": None})
                await writer.drain()
            if request["model"] == "idle":
                await self.let_go.wait()
            self.send(writer, {"index": 0, "delta": {}, "finish_reason": "stop"})
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            await writer.drain()
        finally:
            self.open -= 1

    def chunk(self, kind, choice):
        return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "m", "choices": [choice]}

    def send(self, writer, choice):
        event = f"data: {json.dumps(self.chunk('chat.completion.chunk', choice))}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))

    def send_whole(self, writer, status, value):
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)


async def read_body(reader, head):
    fields = dict(line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:] if b":" in line)
    if b"content-length" in fields:
        return await reader.readexactly(int(fields[b"content-length"]))
    parts = []
    while b"chunked" in fields.get(b"transfer-encoding", b""):
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        parts.append((await reader.readexactly(size + 2))[:size])
        if size == 0:
            break
    return b"".join(parts)


# ---- the node


class Node:
    def __init__(self, child, address):
        self.pid, self.address = child.pid, address

    def status(self):
        """Threads, and memory in MB: resident, of it anonymous, and with shared pages parted among those who share them."""
        lines = pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        resident, anonymous = (int(fields[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "RssAnon"))
        shares = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        parted = next(int(line.split()[1]) * 1024 / 1e6 for line in shares if line.startswith("Pss:"))
        return int(fields["Threads"]), resident, anonymous, parted

    async def watch(self, seen):
        """Notes the status time and again until it is cancelled."""
        while True:
            seen.append(self.status())
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def node(folder, upstream, model, streams_max):
    """The endpoint `plain`, and `redacted` with a plugin on the stream."""
    config, log = folder / "node.toml", folder / "node.log"
    config.write_text(
        f"""
[server]
listen = "127.0.0.1:0"
request_timeout = "10m"
drain_timeout = "1s"
[state]
dir = "{TARGET}/state"
[sandbox]
instances_max = 4096
[models.far]
upstream = {{ kind = "openai", url = "http://{upstream}", model = "{model}", calls_max = {max(streams_max, 256)} }}
[plugins.redact]
path = "{PLUGIN}"
[endpoints.plain]
model = "far"
[endpoints.redacted]
model = "far"
plugins = [{{ use = "redact", config = {{ builtin = ["email"] }} }}]
"""
    )
    with open(log, "wb") as out:
        command = [NODE, "serve", "--config", config]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        for _ in range(300):
            text = log.read_text(errors="replace")
            if "listening on http://" in text or child.poll() is not None:
                break
            await asyncio.sleep(0.1)
        _, found, rest = text.partition("listening on http://")
        if not found:
            sys.exit(f"the node does not start:\n{text[-2000:]}")
        yield Node(child, rest.split()[0])
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


# ---- the clients


class Stream:
    """A streamed request. `first` waits for its first word, `rest` for its end."""

    def __init__(self, address, model):
        self.address, self.model = address, model
        self.words, self.writer = 0, None

    async def first(self):
        host, port = self.address.split(":")
        reader, self.writer = await asyncio.open_connection(host, port)
        body = {"model": self.model, "stream": True, "messages": [{"role": "user", "content": "Go on."}]}
        body = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {self.address}\r\ncontent-type: application/json\r\n"
        self.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        status = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in status.split(b"\r\n")[0]:
            self.writer.close()
            raise RuntimeError(status.decode() + (await reader.read(1000)).decode(errors="replace"))
        self.lines = self.events(reader)
        await anext(self.lines)
        self.at = time.perf_counter()
        return self

    async def events(self, reader):
        """Each event that has text; returns behind `[DONE]`, and raises where the answer breaks off."""
        # Chunks are not taken apart: an event is found by its line.
        while True:
            line = await reader.readuntil(b"\n")
            if line.startswith(b"data: [DONE]"):
                return
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                if "error" in event:
                    raise RuntimeError(line.decode())
                texts = [choice["delta"].get("content") for choice in event["choices"]]
                if any(texts):
                    self.words += sum(text.count("token") for text in texts if text)
                    yield

    async def rest(self):
        async for _ in self.lines:
            pass
        self.close()

    def close(self):
        if self.writer:
            self.writer.close()


async def ask_together(address, model, count):
    """Wall time, times to the first token, and what went wrong."""
    streams = [Stream(address, model) for _ in range(count)]

    async def whole(stream):
        await stream.first()
        await stream.rest()

    began = time.perf_counter()
    ended = await asyncio.gather(*map(whole, streams), return_exceptions=True)
    wall = time.perf_counter() - began
    faults = [repr(error) for error in ended if error]
    faults += [f"{stream.words} tokens" for stream, error in zip(streams, ended) if not error and stream.words != TOKENS]
    return wall, [stream.at - began for stream in streams if stream.words], faults


def tell_faults(faults):
    if faults:
        print(f"    {len(faults)} failed, one with {faults[0]}", flush=True)


# ---- the figures

STATUS = ("threads", "MB resident", "MB anonymous", "MB parted")


async def slow(folder, count):
    print(f"{count} requests at once, {TOKENS * PAUSE:.0f} s each")
    upstream = Upstream()
    async with upstream.serve() as address:
        wall, _, faults = await ask_together(address, "slow", count)
        print(f"    asked directly      {wall:6.2f} s")
        tell_faults(faults)
        for endpoint in ("plain", "redacted"):
            async with node(folder, address, "slow", count) as found:
                seen = [found.status()]
                watch = asyncio.create_task(found.watch(seen))
                wall, firsts, faults = await ask_together(found.address, endpoint, count)
                watch.cancel()
                seen.append(found.status())
                first = f"{statistics.median(firsts):.2f} s, the last {max(firsts):.2f} s" if firsts else "never"
                print(f"    through {endpoint:10}  {wall:6.2f} s; first tokens after {first}")
                for unit, numbers in zip(STATUS, zip(*seen)):
                    print(f"        {unit:12} {numbers[0]:5.4g} before, {max(numbers):5.4g} at most, {numbers[-1]:5.4g} after", flush=True)
                tell_faults(faults)


async def idle(folder, count):
    print(f"{count} idle streams")
    for endpoint in ("plain", "redacted"):
        upstream = Upstream()
        async with upstream.serve() as address, node(folder, address, "idle", count + 1) as found:
            opening = asyncio.Semaphore(OPENING_MAX)

            async def opened():
                async with opening:
                    return await Stream(found.address, endpoint).first()

            # What the first request brings with it is not a stream's.
            streams = [await opened()]
            await asyncio.sleep(1)
            before = found.status()
            began = time.perf_counter()
            told = await asyncio.gather(*(opened() for _ in range(count)), return_exceptions=True)
            took = time.perf_counter() - began
            new = [stream for stream in told if isinstance(stream, Stream)]
            streams += new
            await asyncio.sleep(2)
            during, still = found.status(), upstream.open - 1
            for stream in streams:
                stream.close()
            upstream.let_go.set()
            await asyncio.sleep(3)
            after = found.status()
            print(f"    {endpoint:10} opened in {took:.1f} s; then {still} are open, and the node has {during[0]} threads")
            for unit, first, most, last in zip(STATUS[1:], before[1:], during[1:], after[1:]):
                each = (most - first) * 1e3 / max(len(new), 1)
                print(f"        {unit:12} {first:5.4g} before, {most:5.4g} while open, {last:5.4g} after: {each:.0f} kB a stream", flush=True)
            tell_faults([repr(error) for error in told if not isinstance(error, Stream)])


def allow_files():
    """More open files, for the node as well, which inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (FILES_MAX, hard):
        with contextlib.suppress(ValueError, OSError):
            return resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--requests", type=int, default=100, help="0: not measured")
    options.add_argument("--streams", type=int, default=2000, help="0: not measured; at most 4000")
    given = options.parse_args()
    for path, command in {NODE: "cargo build --release", PLUGIN: "cargo xtask plugins"}.items():
        if not path.exists():
            sys.exit(f"{path} is missing: {command}")
    # So that the node ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    allow_files()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if given.requests:
            asyncio.run(slow(folder, given.requests))
        if given.streams:
            asyncio.run(idle(folder, given.streams))


if __name__ == "__main__":
    main()
