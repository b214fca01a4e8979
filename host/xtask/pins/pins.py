#!/usr/bin/env python3
"""The pinned packages with the hash of each of their files that a platform may get. `cargo xtask pins` runs it.

    pins.py FOLDER    reads FOLDER/*.in, writes a .txt beside each, as pip's --require-hashes reads it

What is asked for is resolved once, by the interpreter that runs this; then pip is asked for each platform and each version of
Python which file it would take. Nothing is installed.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

VERSIONS = ("3.11", "3.12", "3.13")
PLATFORMS = {
    machine: [f"{tag}_{machine}" for tag in ("manylinux_2_28", "manylinux_2_26", "manylinux_2_17", "manylinux2014")]
    for machine in ("x86_64", "aarch64")
}

# These have no wheel: their source is pinned, and built here.
SOURCES = {"llama-cpp-python"}

# What is only unpacked needs nothing else.
ALONE = {"packages"}

# There is no wheel of these for these machines.
MISSING = {("onnxruntime-gpu", "aarch64")}


def report(*arguments):
    """What pip would install."""
    with tempfile.NamedTemporaryFile() as out:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", out.name]
        subprocess.run([*command, *arguments], check=True)
        return json.load(open(out.name))["install"]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def described(item):
    meta, hashes = item["metadata"], item["download_info"]["archive_info"]["hashes"]
    return canonical(meta["name"]), meta["version"], hashes["sha256"]


def resolved(source):
    """Name, version and hash of all that is asked for, and of what that needs."""
    arguments = ["--no-deps"] if source.stem in ALONE else []
    return sorted({described(item) for item in report(*arguments, "-r", str(source))})


def hashes(packages):
    """The hashes of each package's wheels, by its name."""
    found = {}
    with tempfile.TemporaryDirectory() as target:
        for machine, tags in PLATFORMS.items():
            platform = [word for tag in tags for word in ("--platform", tag)]
            wanted = [f"{name}=={version}" for name, version, _ in packages if (name, machine) not in MISSING]
            for python in VERSIONS:
                fixed = ["--no-deps", "--only-binary=:all:", "--python-version", python, "--target", target]
                for item in report(*fixed, *platform, *wanted):
                    name, _, digest = described(item)
                    found.setdefault(name, set()).add(digest)
    return found


def write(source):
    packages = resolved(source)
    wheels = hashes([package for package in packages if package[0] not in SOURCES])
    lines = [f"# Made of {source.name} by `cargo xtask pins`: do not edit.\n"]
    for name, version, digest in packages:
        digests = wheels.get(name, {digest})
        lines.append(f"{name}=={version}" + "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted(digests)) + "\n")
    source.with_suffix(".txt").write_text("".join(lines), "utf-8")


def main(folder):
    for source in sorted(pathlib.Path(folder).glob("*.in")):
        print(f"pins: {source.name}", file=sys.stderr)
        write(source)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
