#!/usr/bin/env python3
"""Generated text: this host, llama.cpp and a bare loop of ONNX Runtime, on the same 4-bit weights, greedy, threads alike.

    PYTHON host/benches/peers/generation.py [--rounds 3] [--threads 2] [--gguf FILE] [FIGURE ..]

PYTHON's environment holds llama-cpp-python[server]==0.3.36, onnxruntime==1.31.1 and numpy; pip compiles llama.cpp, which
takes 6 to 20 minutes. Before it: `cargo xtask setup`, `cargo xtask plugins`, `cargo build --release`. It is one file, though
a long one, since the peers and the figures are of use to each other alone. FIGURE, default all of them:

stream   one prompt of 128 tokens, 128 answered: tokens a second from the first to the last that the client sees
eight    eight such at once: all tokens from the first request to the last token; and while all eight are being written
first    time to the first token of a prompt of 256 tokens that begins like none before it
prefix   time to the first token behind a system prompt of 512 tokens that the node has read before; with no prefixes kept
plugin   `redact` on the stream against none: tokens a second of one stream and of eight, the reading of prompts included
decode   `decode-regex` with patterns that let the same text through, one of a single state and one of 4,000, of which 512 are worked
         out beforehand: tokens a second of one stream and of eight
beside   time to the first token of a short prompt while another request's 1,500 tokens are read; what a running stream feels
memory   resident memory of node and server when they have loaded, and at the end

The peers:

server   llama.cpp's server as its Python package has it: OpenAI's dialect, one request at a time.
batch    Eight sequences in llama.cpp's own batched decoding, called from Python, without HTTP. That package does not ship
         `llama-server`, whose slots run on the same calls: what is printed is the most that it could reach.
bare     ONNX Runtime from Python on the host's very file, keys and values bound in place, without HTTP or text. It reads a
         prompt in one run, where the host reads chunks of 64 tokens; its threads spin while they wait, as is that library's
         default.

`batch` and `bare` do not stop at an end token. The servers' prompts are prose that goes on, and how many tokens came is
printed. Rounds are taken in turn; medians and ratios. Never asserts a time.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import http.client
import importlib.metadata
import importlib.util
import io
import itertools
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

ROOT = pathlib.Path(__file__).resolve().parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
MODEL, PLUGIN = ROOT / "models/smollm2", ROOT / "plugins/dist/redact.wasm"
DECODE = ROOT / "plugins/dist/decode-regex.wasm"
# The weights that models/smollm2 is made of, as `cargo xtask models` leaves them.
GGUF = TARGET / "models/smollm2.gguf"
PROMPT, ANSWER, SLOTS, CONTEXT = 128, 128, 8, 2048

NAMES = (
    "Anna Boris Clara David Emma Felix Greta Hugo Ida Jonas Karin Lukas Maria Nina Oscar Paula Robert Sarah Thomas Victor"
).split()
STORY = (
    "lived in a small house at the edge of a village by the sea, where the wind never quite stopped and the gulls woke "
    "everybody before the sun did. Every morning they walked down to the harbour to see what the boats had brought home. "
    "Some days there was herring, some days there was cod, and once there was a wooden chest with no lock and no lid that "
    "nobody could explain. The old fisherman said that it came from a ship that had gone down when his grandfather was a "
    "boy. The teacher said that it was a box for books. They carried it up the hill, put it beside the stove, and waited "
    "for the long winter evening when somebody would tell them the rest of the story. Then one night, when the snow lay so "
    "deep that no door in the village would open, there was a knock. "
)


# ---- what is asked


class Prompts:
    """Prose of so many tokens. No two begin with the same three names, and hardly two in a row with the same one."""

    def __init__(self, gguf):
        import llama_cpp

        # It has an opinion on contexts even where nothing but the vocabulary is loaded.
        with contextlib.redirect_stderr(io.StringIO()):
            self.vocabulary = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
        self.names = itertools.permutations(NAMES, 3)

    def tokens(self, count):
        third, second, first = next(self.names)
        text = f"{first}, {second} and {third} " + "They ".join([STORY] * (1 + count // PROMPT))
        return self.vocabulary.tokenize(text.encode(), add_bos=False, special=False)[:count]

    def text(self, count):
        return self.vocabulary.detokenize(self.tokens(count)).decode()


class Answer:
    """When what arrived, and how much it was."""

    def __init__(self, sent, events, tokens_max):
        chunks = [(at, json.loads(line[6:])) for at, line in events]
        choices = [(at, choice) for at, chunk in chunks for choice in chunk.get("choices", ())]
        said = lambda choice: choice.get("text") or choice.get("delta", {}).get("content")
        self.sent, self.at = sent, [at for at, choice in choices if said(choice)]
        if not self.at:
            sys.exit(f"an answer without text: {events}")
        usage = next((chunk["usage"] for _, chunk in reversed(chunks) if chunk.get("usage")), {})
        at_limit = any(choice.get("finish_reason") == "length" for _, choice in choices)
        # llama.cpp's Python server counts nothing while it streams; an event of it is a token.
        self.tokens = usage.get("completion_tokens", tokens_max if at_limit else len(self.at))
        self.first, self.last = self.at[0], self.at[-1]

    def first_ms(self):
        return (self.first - self.sent) * 1e3

    def decode_rate(self):
        return (self.tokens - 1) / (self.last - self.first)


def ask(address, tokens_max, endpoint="plain", seen=None, **prompt):
    """One streamed request; `prompt` is prompt= or messages=. Events are read as they come and parsed afterwards."""
    body = {"model": endpoint, "max_tokens": tokens_max, "temperature": 0, "stream": True, **prompt}
    path = "/v1/chat/completions" if "messages" in prompt else "/v1/completions"
    body = json.dumps(body | {"stream_options": {"include_usage": True}}).encode()
    connection = http.client.HTTPConnection(address, timeout=600)
    try:
        sent = time.perf_counter()
        connection.request("POST", path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            sys.exit(f"{address}: {response.status} {response.read().decode()}")
        events = []
        for line in response:
            if line.startswith(b"data: {"):
                events.append((time.perf_counter(), line))
                if seen:
                    seen(len(events))
        return Answer(sent, events, tokens_max)
    finally:
        connection.close()


def ask_together(address, texts, endpoint="plain"):
    with concurrent.futures.ThreadPoolExecutor(len(texts)) as pool:
        asked = [pool.submit(ask, address, ANSWER, endpoint, prompt=text) for text in texts]
        return [future.result() for future in asked]


def total_rate(answers):
    since, until = min(answer.sent for answer in answers), max(answer.last for answer in answers)
    return sum(answer.tokens for answer in answers) / (until - since)


def shared_rate(answers):
    """Tokens a second between the last one's first token and the first one's last; none where they do not overlap."""
    since, until = max(answer.first for answer in answers), min(answer.last for answer in answers)
    if since >= until:
        return None
    count = sum(sum(since < at <= until for at in answer.at) * answer.tokens / len(answer.at) for answer in answers)
    return count / (until - since)


# ---- who is asked


@contextlib.contextmanager
def process(command, log):
    """A process that ends with the block; what it says goes to a file."""
    with open(log, "wb") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_until(child, log, ready):
    for _ in range(600):
        if found := ready():
            return found
        if child.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"a server does not start:\n{log.read_text(errors='replace')[-2000:]}")


class Server:
    def __init__(self, address, child):
        self.address, self.pid = address, child.pid

    def memory(self):
        lines = pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return tuple(int(fields[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "RssAnon"))


@contextlib.contextmanager
def node(folder, name, threads, prefix_tokens_max=None):
    """This host: the endpoint `plain`, `redacted` with a plugin on the stream, `any` and `counted` with one that decides tokens."""
    prefixes = "" if prefix_tokens_max is None else f"prefix_tokens_max = {prefix_tokens_max}"
    config, log = folder / f"{name}.toml", folder / f"{name}.log"
    config.write_text(
        f"""
[server]
listen = "127.0.0.1:0"
drain_timeout = "1s"
[state]
dir = "{TARGET}/state"
[models.smollm2]
path = "{MODEL}"
threads = {threads}
device = "cpu"
[models.smollm2.generate]
slots = {SLOTS}
context_max = {CONTEXT}
{prefixes}
[plugins.redact]
path = "{PLUGIN}"
[plugins.decode-regex]
path = "{DECODE}"
[endpoints.plain]
model = "smollm2"
[endpoints.redacted]
model = "smollm2"
plugins = [{{ use = "redact", config = {{ builtin = ["email"] }} }}]
[endpoints.any]
model = "smollm2"
plugins = [{{ use = "decode-regex", config = {{ pattern = '(?s:.)*' }} }}]
[endpoints.counted]
model = "smollm2"
plugins = [{{ use = "decode-regex", config = {{ pattern = '(?s-u:[\\x01-\\x7F]){{0,4000}}' }} }}]
"""
    )

    def address():
        found = [line for line in log.read_text(errors="replace").splitlines() if "listening on http://" in line]
        return found and found[0].split("listening on http://")[1].strip()

    with process([TARGET / "release/selvedge", "serve", "--config", config], log) as child:
        yield Server(wait_until(child, log, address), child)


@contextlib.contextmanager
def llama_server(folder, gguf, threads):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    options = {
        "model": gguf,
        "host": "127.0.0.1",
        "port": address.split(":")[1],
        "n_ctx": CONTEXT,
        "n_threads": threads,
        "n_threads_batch": threads,
        "flash_attn": True,
        # Else a request ends the one before it.
        "interrupt_requests": False,
    }
    command = [sys.executable, "-m", "llama_cpp.server"]
    command += [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    log = folder / "llama.log"

    def ready():
        with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection(address, timeout=5)) as probe:
            probe.request("GET", "/v1/models")
            return probe.getresponse().status == 200

    with process(command, log) as child:
        wait_until(child, log, ready)
        yield Server(address, child)


class Loops:
    """`batch` and `bare`: each run is a process of its own, so that nothing of it is left in the next."""

    def __init__(self, folder, gguf, threads):
        self.folder, self.files, self.threads = folder, {"batch": str(gguf), "bare": str(MODEL)}, threads

    def run(self, name, prompts, answer=ANSWER):
        order = {"file": self.files[name], "threads": self.threads, "prompts": prompts, "answer": answer}
        log = self.folder / f"{name}.log"
        with open(log, "wb") as out:
            command = [sys.executable, __file__, "--loop", name]
            done = subprocess.run(command, input=json.dumps(order).encode(), stdout=subprocess.PIPE, stderr=out)
        if done.returncode:
            sys.exit(f"the loop `{name}` failed:\n{log.read_text(errors='replace')[-2000:]}")
        return json.loads(done.stdout)


# ---- the loops without a server; in a process of their own


class BareLoop:
    """Keys and values of all rows in one buffer a part, bound as past and present at once."""

    def __init__(self, path, threads, rows):
        import numpy
        import onnxruntime

        self.numpy, options = numpy, onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.session = onnxruntime.InferenceSession(f"{path}/model.onnx", options, providers=["CPUExecutionProvider"])
        parts = [part for part in self.session.get_inputs() if part.name.startswith("past_key_values")]
        self.vocabulary = self.session.get_outputs()[0].shape[2]
        self.cache = {
            part.name: numpy.zeros((rows, part.shape[1], CONTEXT, part.shape[3]), numpy.float32) for part in parts
        }

    def bind(self, first, count):
        binding, logits = self.session.io_binding(), self.numpy.zeros((count, 1, self.vocabulary), self.numpy.float32)
        at = lambda array: ("cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, buffer in self.cache.items():
            binding.bind_input(name, *at(buffer[first : first + count]))
            binding.bind_output(name.replace("past_key_values", "present"), *at(buffer[first : first + count]))
        binding.bind_output("logits", *at(logits))
        return binding, logits

    def step(self, bound, tokens, lengths):
        """The likeliest next token of each row; `lengths` counts these tokens."""
        binding, logits = bound
        mask = self.numpy.arange(max(lengths))[None] < self.numpy.array(lengths)[:, None]
        binding.bind_cpu_input("input_ids", self.numpy.array(tokens, self.numpy.int64))
        binding.bind_cpu_input("attention_mask", mask.astype(self.numpy.int64))
        self.session.run_with_iobinding(binding)
        return logits[:, 0].argmax(-1).tolist()

    def prefill(self, row, prompt):
        return self.step(self.bind(row, 1), [prompt], [len(prompt)])[0]

    def decode(self, last, lengths, count):
        bound = self.bind(0, len(last))
        for done in range(1, count + 1):
            last = self.step(bound, [[token] for token in last], [length + done for length in lengths])


class BatchLoop:
    """llama.cpp's batches: a token of each sequence in every call."""

    def __init__(self, path, threads, rows):
        import llama_cpp
        import numpy

        self.numpy, self.library = numpy, llama_cpp
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        options = llama_cpp.llama_context_default_params()
        # As `llama-server --parallel` has it: a cache for each sequence, of one length.
        options.n_ctx, options.n_seq_max, options.kv_unified = rows * CONTEXT, rows, False
        options.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        options.n_threads = options.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(CONTEXT, 0, 1)

    def step(self, entries, wanted):
        """Runs (token, place, sequence)s; the likeliest next token behind the wanted entries."""
        self.batch.n_tokens = len(entries)
        for at, (token, place, sequence) in enumerate(entries):
            self.batch.token[at], self.batch.pos[at] = token, place
            self.batch.n_seq_id[at], self.batch.seq_id[at][0] = 1, sequence
            self.batch.logits[at] = at in wanted
        if self.library.llama_decode(self.context, self.batch):
            sys.exit("llama_decode failed")
        logits = lambda at: self.library.llama_get_logits_ith(self.context, at)
        return [int(self.numpy.ctypeslib.as_array(logits(at), (self.vocabulary,)).argmax()) for at in wanted]

    def prefill(self, row, prompt):
        self.library.llama_memory_seq_rm(self.library.llama_get_memory(self.context), row, -1, -1)
        return self.step([(token, place, row) for place, token in enumerate(prompt)], [len(prompt) - 1])[0]

    def decode(self, last, lengths, count):
        rows = range(len(last))
        for done in range(count):
            last = self.step([(last[row], lengths[row] + done, row) for row in rows], list(rows))


def run_loop(name):
    order = json.load(sys.stdin)
    prompts, answer = order["prompts"], order["answer"]
    loop = {"batch": BatchLoop, "bare": BareLoop}[name](order["file"], order["threads"], len(prompts))
    lengths = [len(prompt) for prompt in prompts]
    # Once to warm up, and once for the clock.
    for count in (4, answer - 1):
        began = time.perf_counter()
        last = [loop.prefill(row, prompt) for row, prompt in enumerate(prompts)]
        read = time.perf_counter()
        loop.decode(last, lengths, count)
        ended = time.perf_counter()
    tokens = len(prompts) * answer
    found = {
        "first_ms": (read - began) * 1e3 / len(prompts),
        "decode": (tokens - len(prompts)) / (ended - read) if answer > 1 else None,
        "total": tokens / (ended - began),
    }
    # Without the libraries' farewells: what they hold goes with the process.
    print(json.dumps(found), flush=True)
    os._exit(0)


# ---- the figures


class Bench:
    def __init__(self, ours, llama, loops, prompts, rounds, forgetful):
        self.ours, self.llama, self.loops, self.prompts = ours, llama, loops, prompts
        self.rounds, self.forgetful, self.answered = rounds, forgetful, []

    def in_turns(self, title, unit, peers):
        """Each peer once a round; a peer gives a number, or several by name. Prints medians, and ratios to the first."""
        found, self.answered = {}, []
        for _, (name, measure) in itertools.product(range(self.rounds), peers.items()):
            numbers = measure()
            for part, number in (numbers if isinstance(numbers, dict) else {"": numbers}).items():
                found.setdefault(part, {}).setdefault(name, []).append(number)
        for part, by_name in found.items():
            print(f"{title}{', ' * bool(part)}{part} ({unit})")
            medians = {}
            for name, numbers in by_name.items():
                if None in numbers:
                    print(f"    {name:34} -")
                    continue
                medians[name] = statistics.median(numbers)
                shown = " ".join(f"{number:.1f}" for number in numbers)
                print(f"    {name:34} {medians[name]:8.1f}   of {shown}")
            first, *others = medians
            ratios = [f"{first} / {other} {medians[first] / medians[other]:.3f}" for other in others]
            print("    " + "   ".join(ratios), flush=True)
        if self.answered:
            counts = sorted(collections.Counter(self.answered).items(), reverse=True)
            told = ", ".join(f"{count} of {tokens}" for tokens, count in counts)
            print(f"    tokens of the servers' answers: {told}", flush=True)

    def stream(self):
        def over_http(server):
            answer = ask(server.address, ANSWER, prompt=self.prompts.text(PROMPT))
            self.answered.append(answer.tokens)
            return answer.decode_rate()

        peers = {
            "selvedge": lambda: over_http(self.ours),
            "llama.cpp, server": lambda: over_http(self.llama),
            "llama.cpp, batch of one": lambda: self.loops.run("batch", [self.prompts.tokens(PROMPT)])["decode"],
            "bare loop": lambda: self.loops.run("bare", [self.prompts.tokens(PROMPT)])["decode"],
        }
        self.in_turns("one stream, decoding", "tokens/s", peers)

    def eight(self):
        def over_http(server):
            answers = ask_together(server.address, [self.prompts.text(PROMPT) for _ in range(SLOTS)])
            self.answered += [answer.tokens for answer in answers]
            return {"all": total_rate(answers), "while all are written": shared_rate(answers)}

        def looped(name):
            found = self.loops.run(name, [self.prompts.tokens(PROMPT) for _ in range(SLOTS)])
            return {"all": found["total"], "while all are written": found["decode"]}

        peers = {
            "selvedge": lambda: over_http(self.ours),
            "llama.cpp, batch": lambda: looped("batch"),
            "bare loop": lambda: looped("bare"),
            "llama.cpp, server, one by one": lambda: over_http(self.llama),
        }
        self.in_turns("eight streams", "tokens/s", peers)

    def first(self):
        over_http = lambda server: ask(server.address, 1, prompt=self.prompts.text(256)).first_ms()
        peers = {
            "selvedge": lambda: over_http(self.ours),
            "llama.cpp, server": lambda: over_http(self.llama),
            "bare loop": lambda: self.loops.run("bare", [self.prompts.tokens(256)], 1)["first_ms"],
        }
        self.in_turns("first token behind 256", "ms", peers)

    def prefix(self):
        def behind(server):
            system = {"role": "system", "content": self.prompts.text(512)}
            chat = lambda said: [system, {"role": "user", "content": said}]
            asked = {"read anew": "Who knocked?", "read before": "What was in the chest?"}
            return {name: ask(server.address, 1, messages=chat(said)).first_ms() for name, said in asked.items()}

        peers = {"prefixes kept": lambda: behind(self.ours), "none kept": lambda: behind(self.forgetful)}
        self.in_turns("first token behind a system prompt of 512", "ms", peers)

    def rates(self, endpoint):
        one, *eight = (self.prompts.text(PROMPT) for _ in range(1 + SLOTS))
        one, eight = ([one], eight)
        alone, together = (ask_together(self.ours.address, texts, endpoint) for texts in (one, eight))
        self.answered += [answer.tokens for answer in alone + together]
        return {"one stream": total_rate(alone), "eight": total_rate(together)}

    def plugin(self):
        peers = {"redact on the stream": lambda: self.rates("redacted"), "no plugin": lambda: self.rates("plain")}
        self.in_turns("what a plugin costs", "tokens/s", peers)

    def decode(self):
        peers = {"no plugin": "plain", "any text": "any", "4,000 states": "counted"}
        peers = {name: lambda endpoint=endpoint: self.rates(endpoint) for name, endpoint in peers.items()}
        self.in_turns("what deciding tokens costs", "tokens/s", peers)

    def beside(self):
        address = self.ours.address
        short = lambda: ask(address, 1, prompt=self.prompts.text(16)).first_ms()
        long = lambda pool: pool.submit(ask, address, 1, prompt=self.prompts.text(1500))

        def short_beside_long():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                reading = long(pool)
                time.sleep(0.1)
                return {"short prompt": short(), "long prompt": reading.result().first_ms()}

        def alone():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                return {"short prompt": short(), "long prompt": long(pool).result().first_ms()}

        self.in_turns("first token", "ms", {"beside each other": short_beside_long, "alone": alone})

        def gaps():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                started = []
                begin = lambda events: events == 32 and started.append((time.perf_counter(), long(pool)))
                stream = ask(address, ANSWER, seen=begin, prompt=self.prompts.text(PROMPT))
                since, reading = started[0]
                until = reading.result().first
            pairs = list(itertools.pairwise(stream.at))
            during = [after - before for before, after in pairs if since < after and before < until]
            quiet = [after - before for before, after in pairs if after <= since]
            return {"median": statistics.median(during) * 1e3, "longest": max(during) * 1e3}, statistics.median(quiet) * 1e3

        found = [gaps() for _ in range(self.rounds)]
        print("a running stream, between two tokens, while 1,500 tokens are read (ms)")
        for name in ("median", "longest"):
            print(f"    {name:34} {statistics.median(round[name] for round, _ in found):8.1f}")
        print(f"    {'median before':34} {statistics.median(quiet for _, quiet in found):8.1f}", flush=True)

    def memory(self, when):
        print(f"resident memory {when} (MB; of it anonymous)")
        for name, server in {"selvedge": self.ours, "llama.cpp, server": self.llama}.items():
            resident, anonymous = server.memory()
            print(f"    {name:34} {resident:8.1f} {anonymous:8.1f}", flush=True)


# ---- what is needed


def check_needs(gguf):
    packages = {"llama_cpp": "llama-cpp-python[server]==0.3.36", "uvicorn": "llama-cpp-python[server]==0.3.36"}
    packages |= {"onnxruntime": "onnxruntime==1.31.1", "numpy": "numpy"}
    missing = {package for module, package in packages.items() if not importlib.util.find_spec(module)}
    if missing:
        asked = " ".join(f"'{package}'" for package in sorted(missing))
        sys.exit(f"this Python lacks something: {sys.executable} -m pip install {asked}")
    for path, command in {
        TARGET / "release/selvedge": "cargo build --release",
        MODEL / "model.onnx": "cargo xtask models",
        gguf: "cargo xtask models, or give --gguf",
        PLUGIN: "cargo xtask plugins",
        DECODE: "cargo xtask plugins",
    }.items():
        if not path.exists():
            sys.exit(f"{path} is missing: {command}")


FIGURES = ("stream", "eight", "first", "prefix", "plugin", "decode", "beside", "memory")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("figures", nargs="*", metavar="FIGURE")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--gguf", type=pathlib.Path, default=GGUF, help="default: %(default)s")
    options.add_argument("--loop", choices=("batch", "bare"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if unknown := set(given.figures) - set(FIGURES):
        options.error(f"no figure is called {', '.join(sorted(unknown))}; {', '.join(FIGURES)} are")
    if given.loop:
        return run_loop(given.loop)
    # So that the servers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    check_needs(given.gguf)
    gguf, wanted = given.gguf, given.figures or FIGURES
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("llama-cpp-python", "onnxruntime")]
    print(f"{', '.join(versions)}; {given.threads} threads, {given.rounds} rounds", flush=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as servers:
        folder = pathlib.Path(folder)
        ours = servers.enter_context(node(folder, "node", given.threads))
        llama = servers.enter_context(llama_server(folder, gguf, given.threads))
        forgetful = "prefix" in wanted and servers.enter_context(node(folder, "forgetful", given.threads, 0))
        loops, prompts = Loops(folder, gguf, given.threads), Prompts(gguf)
        bench = Bench(ours, llama, loops, prompts, given.rounds, forgetful)
        if "memory" in wanted:
            bench.memory("after loading")
        for server in filter(None, (ours, llama, forgetful)):
            ask(server.address, 16, prompt=prompts.text(PROMPT))
        for figure in wanted:
            if figure != "memory":
                getattr(bench, figure)()
        if "memory" in wanted:
            bench.memory("at the end")


if __name__ == "__main__":
    main()
