#!/usr/bin/env python3
"""A Python wheel of a tree of files, made the same each time. `cargo xtask dist` runs it.

    wheel.py TREE VERSION TAG OUT      writes OUT/selvedge-VERSION-py3-none-TAG.whl

What is in TREE/bin becomes the wheel's scripts; all else lies under the environment's own folder, as it lies in TREE. Times are
those of SOURCE_DATE_EPOCH. The format: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

import base64
import hashlib
import os
import pathlib
import sys
import time
import zipfile

METADATA = """\
Metadata-Version: 2.4
Name: selvedge
Version: {version}
Summary: An HTTP host for edge nodes: ONNX models natively, sandboxed WebAssembly plugins around them
License-Expression: Apache-2.0
License-File: LICENSE
License-File: THIRD-PARTY-NOTICES.txt
Requires-Python: >=3.8
Description-Content-Type: text/markdown

{description}"""

WHEEL = """\
Wheel-Version: 1.0
Generator: selvedge
Root-Is-Purelib: false
Tag: py3-none-{tag}
"""

# Documents that belong to the wheel itself.
LICENCES = ("LICENSE", "THIRD-PARTY-NOTICES.txt")


def main() -> None:
    tree, version, tag, out = sys.argv[1:]
    tree = pathlib.Path(tree)
    documents = tree / "share/doc/selvedge"
    data, info = f"selvedge-{version}.data", f"selvedge-{version}.dist-info"
    files = {}
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree)
        if path.is_dir() or (path.parent == documents and path.name in LICENCES):
            continue
        kind = f"scripts/{name.name}" if name.parts[0] == "bin" else f"data/{name}"
        files[f"{data}/{kind}"] = path.read_bytes()
    for licence in LICENCES:
        files[f"{info}/licenses/{licence}"] = (documents / licence).read_bytes()
    description = (documents / "install.md").read_text()
    files[f"{info}/METADATA"] = METADATA.format(version=version, description=description).encode()
    files[f"{info}/WHEEL"] = WHEEL.format(tag=tag).encode()

    record = f"{info}/RECORD"
    lines = [f"{name},sha256={digest(content)},{len(content)}\n" for name, content in files.items()]
    files[record] = "".join([*lines, f"{record},,\n"]).encode()
    # What the format asks for: the description of the wheel comes last.
    write(pathlib.Path(out) / f"selvedge-{version}-py3-none-{tag}.whl", files, f"{data}/scripts/")


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def write(wheel: pathlib.Path, files: dict, scripts: str) -> None:
    # A zip knows no time before 1980.
    epoch = max(int(os.environ["SOURCE_DATE_EPOCH"]), 315532800)
    moment = time.gmtime(epoch)[:6]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, moment)
            entry.create_system = 3
            mode = 0o100755 if name.startswith(scripts) else 0o100644
            entry.external_attr = mode << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    main()
