#!/usr/bin/env python3
"""Third-party notices of a package: who wrote what is in it, and their licences' texts. `cargo xtask dist` runs it.

    notices.py PROJECT TRIPLE ONNXRUNTIME PLUGIN,.. OUT

PROJECT is the project's folder, TRIPLE what the binary is built for, ONNXRUNTIME the unpacked wheel that its library is from, and
PLUGIN the names of the plugins that come along. Cargo tells which crates are linked; each brings its licences in its package.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys

LICENCE = re.compile(r"^(licen[sc]e|copying|copyright|notice|unlicense)", re.IGNORECASE)

# Other people's sources that a crate brings along have their licences in folders of their own, so deep.
DEPTH = 3

# Texts for crates that forgot theirs, in the documentation that comes with Rust.
STANDARD = "share/doc/rust/licenses"

# Interpreters within plugins, which no list of crates has: the plugin, what is in it, its copyright, and the licence's file, which is
# Rust's own, or is looked for in Python.
INTERPRETERS = {
    "crm": ("QuickJS", "Copyright (c) 2017-2024 Fabrice Bellard, Charlie Gordon, Ben Noordhuis, Saúl Ibarra Corretgé", "MIT"),
    "calibrate": ("CPython", "Copyright (c) 2001 Python Software Foundation", "Python"),
}


def main() -> None:
    project, triple, onnxruntime, plugins, out = sys.argv[1:]
    project, plugins = pathlib.Path(project), plugins.split(",")
    crates = linked(project / "Cargo.toml", triple, {"selvedge"})
    crates |= linked(project / "plugins/Cargo.toml", "wasm32-wasip2", set(plugins))
    sections = [
        "Third-party notices\n\nSelvedge's packages hold software of others. Each is listed with its licence; the texts follow it.",
        *other_parts(pathlib.Path(onnxruntime) / "onnxruntime", plugins),
        *by_text(crates),
    ]
    pathlib.Path(out).write_text(("\n\n" + "=" * 100 + "\n\n").join(sections) + "\n")


def linked(manifest: pathlib.Path, triple: str, roots: set) -> set:
    """The packages of other people that end up in what is built of `roots`: (name, version, licence, repository, folder)."""
    told = run("cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={triple}", f"--manifest-path={manifest}")
    metadata = json.loads(told)
    packages = {package["id"]: package for package in metadata["packages"]}
    dependencies = {node["id"]: node["deps"] for node in metadata["resolve"]["nodes"]}
    todo = [key for key, package in packages.items() if package["name"] in roots and not package["source"]]
    found = set()
    while todo:
        key = todo.pop()
        # What a procedural macro is made of stays on the machine that builds.
        if key in found or any("proc-macro" in target["kind"] for target in packages[key]["targets"]):
            continue
        found.add(key)
        todo += [one["pkg"] for one in dependencies[key] if any(kind["kind"] is None for kind in one["dep_kinds"])]
    return {
        (one["name"], one["version"], one["license"] or "", one["repository"] or "", str(pathlib.Path(one["manifest_path"]).parent))
        for one in map(packages.get, found)
        if one["source"]
    }


def other_parts(onnxruntime: pathlib.Path, plugins: list) -> list:
    """What no crate is."""
    texts = [(onnxruntime / name).read_text(errors="replace").strip() for name in ("LICENSE", "ThirdPartyNotices.txt")]
    parts = ["ONNX Runtime: MIT\n\n" + texts[0], "Third-party notices of ONNX Runtime\n\n" + texts[1]]
    parts.append("The Rust standard library: MIT OR Apache-2.0\nCopyright (c) The Rust Project contributors\n\n" + standard("MIT"))
    for plugin in sorted(set(plugins) & set(INTERPRETERS)):
        name, copyright, licence = INTERPRETERS[plugin]
        text = python_licence() if licence == "Python" else standard(licence)
        parts.append(f"{name}, in the plugin {plugin}: {licence}\n{copyright}\n\n{text}")
    return parts


def by_text(crates: set) -> list:
    """Each text of a licence once, below the packages that bring it."""
    users = collections.defaultdict(set)
    siblings = collections.defaultdict(set)
    without = []
    for crate in sorted(crates):
        own = texts(pathlib.Path(crate[4]))
        for text in own:
            users[text].add(crate[:3])
            siblings[crate[2:4]].add(text)
        if not own:
            without.append(crate)
    for crate in without:
        # Crates of one repository have one licence, of which some forget the text.
        for text in siblings[crate[2:4]] or {standard(word) for word in choice(crate[2])}:
            users[text].add(crate[:3])
    listed = sorted((sorted(names), text) for text, names in users.items())
    return ["\n".join(f"{name} {version}: {licence}" for name, version, licence in names) + "\n\n" + text for names, text in listed]


def texts(folder: pathlib.Path) -> set:
    files = (path for depth in range(DEPTH) for path in folder.glob("*/" * depth + "*"))
    found = {path for path in files if LICENCE.match(path.name) and path.is_file() and path.suffix not in (".rs", ".c", ".h")}
    read = (path.read_text(errors="replace").strip() for path in sorted(found))
    # Where the GNU licence is one of two to choose from, the other one is taken; no crate has it alone.
    return {text for text in read if not text.startswith("GNU GENERAL PUBLIC LICENSE")}


def choice(expression: str) -> list:
    """Licences that are enough for an SPDX expression: the first of each choice."""
    return [re.split(r" OR |/", part)[0].strip("() ") for part in expression.replace(" WITH ", " AND ").split(" AND ")]


def standard(licence: str) -> str:
    file = pathlib.Path(run("rustc", "--print", "sysroot").strip()) / STANDARD / f"{licence}.txt"
    if not file.is_file():
        sys.exit(f"there is no text of the licence {licence} in {file.parent}: a crate brings none either")
    return file.read_text().strip()


def python_licence() -> str:
    library = pathlib.Path(json.__file__).parents[1]
    places = [library / "LICENSE.txt", *sorted(pathlib.Path("/usr/share/doc").glob("python3.*/copyright"))]
    for place in places:
        if place.is_file():
            return place.read_text(errors="replace").strip()
    sys.exit(f"Python's licence is in none of {', '.join(map(str, places))}")


def run(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


if __name__ == "__main__":
    main()
