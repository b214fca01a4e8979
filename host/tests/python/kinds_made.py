"""Files of kinds that programs write, made here so that nobody's files have to be kept; and `files`, those of all kinds."""

import base64
import bz2
import email.message
import gzip
import io
import lzma
import pathlib
import pickle
import random
import sqlite3
import struct
import sys
import tarfile
import textwrap
import wave
import zipfile
import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper

from kinds_written import TEXTS

chance = random.Random(7)


def png():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    width, height = 64, 48
    rows = b"".join(b"\0" + chance.randbytes(3 * width) for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def gif():
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    control = b"\x21\xf9\x04\x01\0\0\0\0"
    return head + control + b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3b"


def bmp():
    width, height = 32, 32
    pixels = chance.randbytes(3 * width * height)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + head + pixels


def ico():
    picture = png()
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 64, 48, 0, 0, 1, 24, len(picture), 22) + picture


def wav():
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(struct.pack("<4000h", *(chance.randrange(-9000, 9000) for _ in range(4000))))
    return file.getvalue()


def midi():
    notes = b"".join(bytes([0, 0x90, note, 64, 96, 0x80, note, 0]) for note in range(60, 72))
    track = notes + b"\0\xff\x2f\0"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 96) + b"MTrk" + struct.pack(">I", len(track)) + track


def zipped(files, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, content in files.items():
            out.writestr(name, content)
    return file.getvalue()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as out:
        for name, content in {"notes/one.txt": b"first\n" * 40, "notes/two.txt": b"second\n" * 40}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def sqlite(folder):
    path = folder / "made.db"
    with sqlite3.connect(path) as base:
        base.execute("create table fruit (id integer primary key, name text, weight real)")
        base.executemany("insert into fruit (name, weight) values (?, ?)", [(f"fruit {n}", n / 3) for n in range(200)])
    base.close()
    return path.read_bytes()


def npy():
    file = io.BytesIO()
    np.save(file, np.arange(512, dtype=np.float32).reshape(16, 32))
    return file.getvalue()


def npz():
    file = io.BytesIO()
    np.savez(file, weights=np.ones((8, 8)), bias=np.zeros(8))
    return file.getvalue()


def onnx_model():
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]) for name in ("x", "y")]
    weights = helper.make_tensor("w", TensorProto.FLOAT, [8, 8], [chance.random() for _ in range(64)])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    graph = helper.make_graph(nodes, "layers", ports[:1], ports[1:], [weights])
    return helper.make_model(graph, producer_name="a test").SerializeToString()


def pdf():
    words = b"BT /F1 24 Tf 72 720 Td (A page of words.) Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(words), words),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(out)
    return out + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer


def office(main, media_type, document):
    """A document of one part, as Open Packaging Conventions have it."""
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    links = "http://schemas.openxmlformats.org/package/2006/relationships"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    return zipped(
        {
            "[Content_Types].xml": f'{head}<Types xmlns="{types}"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" '
            f'ContentType="application/xml"/><Override PartName="/{main}" ContentType="{media_type}"/></Types>',
            "_rels/.rels": f'{head}<Relationships xmlns="{links}"><Relationship Id="rId1" Type="{office}" '
            f'Target="{main}"/></Relationships>',
            main: head + document,
        }
    )


def docx():
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    paragraphs = "".join(f"<w:p><w:r><w:t>Paragraph {n}.</w:t></w:r></w:p>" for n in range(40))
    document = f'<w:document xmlns:w="{space}"><w:body>{paragraphs}</w:body></w:document>'
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    return office("word/document.xml", kind, document)


def xlsx():
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    document = f'<workbook xmlns="{space}"><sheets><sheet name="One" sheetId="1"/></sheets></workbook>'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    return office("xl/workbook.xml", kind, document)


def java_class():
    """`class A {}`, compiled."""
    text = lambda word: b"\x01" + struct.pack(">H", len(word)) + word
    pool = [b"\x07\0\x02", text(b"A"), b"\x07\0\x04", text(b"java/lang/Object"), text(b"SourceFile"), text(b"A.java")]
    head = b"\xca\xfe\xba\xbe" + struct.pack(">HHH", 0, 52, len(pool) + 1) + b"".join(pool)
    return head + struct.pack(">HHHHHHH", 0x20, 1, 3, 0, 0, 0, 1) + struct.pack(">HIH", 5, 2, 6)


def jar():
    manifest = "Manifest-Version: 1.0\r\nCreated-By: a test\r\nMain-Class: A\r\n\r\n"
    return zipped({"META-INF/": "", "META-INF/MANIFEST.MF": manifest, "A.class": java_class()})


def wasm():
    """A module that exports `add`."""
    sections = [
        (1, b"\x01\x60\x02\x7f\x7f\x01\x7f"),
        (3, b"\x01\0"),
        (7, b"\x01\x03add\0\0"),
        (10, b"\x01\x07\0\x20\0\x20\x01\x6a\x0b"),
    ]
    return b"\0asm\x01\0\0\0" + b"".join(bytes([kind, len(data)]) + data for kind, data in sections)


def pem():
    return armour("PRIVATE KEY", b"\x30\x82\x04\xbe\x02\x01\0\x30\x0d\x06\x09" + chance.randbytes(1200))


def armour(name, data):
    lines = textwrap.wrap(base64.b64encode(data).decode(), 64)
    return "\n".join([f"-----BEGIN {name}-----", *lines, f"-----END {name}-----", ""])


def eml():
    letter = email.message.EmailMessage()
    letter["From"], letter["To"] = "Ada <ada@example.org>", "Grace <grace@example.org>"
    letter["Subject"], letter["Message-ID"] = "Minutes of Tuesday", "<1@example.org>"
    letter["Date"] = "Tue, 03 Nov 2026 10:00:00 +0000"
    letter["Received"] = "from mail.example.org by mx.example.org with ESMTP; Tue, 03 Nov 2026 10:00:01 +0000"
    letter.set_content("Dear Grace,\n\nthe minutes are attached.\n\nAda\n")
    return letter.as_bytes()


def files(folder):
    """Contents by file name."""
    words = TEXTS["words.txt"].encode()
    made = {name: textwrap.dedent(text).lstrip("\n").encode() for name, text in TEXTS.items()}
    made |= {
        "picture.png": png(),
        "picture.gif": gif(),
        "picture.bmp": bmp(),
        "picture.ico": ico(),
        "sound.wav": wav(),
        "song.mid": midi(),
        "archive.zip": zipped({"one.txt": words, "two.txt": words}),
        "archive.tar": tar(),
        "words.txt.gz": gzip.compress(words, mtime=0),
        "words.txt.bz2": bz2.compress(words),
        "words.txt.xz": lzma.compress(words),
        "words.z": zlib.compress(words),
        "base.sqlite": sqlite(folder),
        "object.pickle": pickle.dumps({"fruits": [("apple", 150, 0.5), ("pear", 170, 0.25)] * 20, "n": list(range(300))}),
        "array.npy": npy(),
        "arrays.npz": npz(),
        "model.onnx": onnx_model(),
        "program": pathlib.Path(sys.executable).resolve().read_bytes()[:200_000],
        "page.pdf": pdf(),
        "letter.docx": docx(),
        "sheet.xlsx": xlsx(),
        "A.class": java_class(),
        "basket.jar": jar(),
        "add.wasm": wasm(),
        "key.pem": pem().encode(),
        "letter.eml": eml(),
        # Where the model is not asked, or not believed, and the edges of what it sees of a file.
        "empty": b"",
        "one": b"a",
        "seven": b"abcdefg",
        "seven.bin": b"\xff\xfe\0\1\2\3\4",
        "eight": b"abcdefgh",
        "white": b" \t\r\n\x0b\x0c" * 30,
        "white_long": b"\n" * 9000,
        "white_and_few": b" " * 5000 + b"abc",
        "white_and_some": b"\n" * 4090 + b"#!/bin/sh\necho apple\n",
        "cut_character": b" " * 4095 + "ä".encode() * 2,
        "block": (words * 10)[:4096],
        "block_and_one": (words * 10)[:4097],
        "spaced.py": b"\n \n" + made["program.py"] + b"\n" * 2000,
        "random": chance.randbytes(5000),
        "zeros": bytes(3000),
        "latin1.txt": ("L'été dernier, le château était fermé; la forêt, déserte.\n" * 60).encode("latin-1"),
        "utf16.txt": ("The clocks of the town struck one after the other. " * 40).encode("utf-16"),
        "large.bin": chance.randbytes(1_200_000),
        "large.csv": b"id,name,weight\n" + b"".join(b"%d,fruit %d,%d\n" % (n, n, n % 97) for n in range(80_000)),
    }
    return made
