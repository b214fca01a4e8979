"""Files of many kinds against a host: each verdict is what magika's own library says of the same bytes.

filetype_client.py BASE_URL
"""

import base64
import bz2
import email.message
import gzip
import io
import json
import lzma
import pathlib
import pickle
import random
import sqlite3
import struct
import sys
import tarfile
import tempfile
import textwrap
import wave
import zipfile
import zlib

import httpx
import magika
import numpy as np
import onnx
from onnx import TensorProto, helper

LABELS_MIN = 30
SCORE_TOLERANCE = 1e-3

chance = random.Random(7)


# Files that programs read.


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


# Files that people write.

TEXTS = {
    "program.py": '''
        """Counts words."""
        import collections
        import sys


        def count(lines):
            words = collections.Counter()
            for line in lines:
                words.update(line.split())
            return words


        if __name__ == "__main__":
            for word, number in count(sys.stdin).most_common(10):
                print(f"{number:6} {word}")
    ''',
    "program.js": '''
        'use strict';
        const fs = require('fs');

        function count(text) {
          const words = new Map();
          for (const word of text.split(/\\s+/)) {
            words.set(word, (words.get(word) || 0) + 1);
          }
          return words;
        }

        module.exports = { count };
        console.log([...count(fs.readFileSync(0, 'utf8'))].slice(0, 10));
    ''',
    "program.ts": '''
        import { Injectable } from '@angular/core';
        import { Observable } from 'rxjs';

        export interface Fruit { readonly id: number; name: string; weight?: number }

        @Injectable({ providedIn: 'root' })
        export class Basket {
          private fruits: Fruit[] = [];
          add(fruit: Fruit): void { this.fruits.push(fruit); }
          find<T extends keyof Fruit>(key: T, value: Fruit[T]): Fruit | undefined {
            return this.fruits.find((fruit: Fruit): boolean => fruit[key] === value);
          }
        }
    ''',
    "page.html": '''
        <!DOCTYPE html>
        <html lang="en">
        <head><meta charset="utf-8"><title>Fruit</title><link rel="stylesheet" href="style.css"></head>
        <body>
          <h1>Fruit</h1>
          <ul><li>Apple</li><li>Pear</li></ul>
          <p>See <a href="more.html">more</a>.</p>
        </body>
        </html>
    ''',
    "style.css": '''
        body { margin: 0 auto; max-width: 60rem; font-family: serif; color: #222; }
        h1, h2 { line-height: 1.2; }
        ul > li:hover { background-color: rgba(0, 0, 0, .05); }
        @media (max-width: 40rem) { body { padding: 1rem; } }
    ''',
    "data.json": json.dumps({"fruits": [{"id": n, "name": f"fruit {n}", "ripe": n % 2 == 0} for n in range(20)]}, indent=2),
    "data.jsonl": "\n".join(json.dumps({"id": n, "name": f"fruit {n}", "weight": n / 4}) for n in range(40)),
    "data.xml": '''
        <?xml version="1.0" encoding="UTF-8"?>
        <fruits>
          <fruit id="1"><name>Apple</name><weight unit="g">150</weight></fruit>
          <fruit id="2"><name>Pear</name><weight unit="g">170</weight></fruit>
        </fruits>
    ''',
    "drawing.svg": '''
        <?xml version="1.0" encoding="UTF-8"?>
        <svg xmlns="http://www.w3.org/2000/svg" width="100" height="100" viewBox="0 0 100 100">
          <circle cx="50" cy="50" r="40" fill="none" stroke="black" stroke-width="2"/>
          <path d="M 10 10 L 90 90" stroke="red"/>
        </svg>
    ''',
    "data.yaml": '''
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: basket
          labels: {app: basket}
        spec:
          replicas: 2
          template:
            spec:
              containers:
                - name: basket
                  image: example/basket:1.0
                  ports:
                    - containerPort: 8080
    ''',
    "data.toml": '''
        [package]
        name = "basket"
        version = "0.1.0"
        edition = "2024"

        [dependencies]
        serde = { version = "1", features = ["derive"] }
        toml = "0.9"

        [profile.release]
        lto = true
    ''',
    "settings.ini": '''
        ; settings of the shop
        [server]
        host=127.0.0.1
        port=8080

        [basket]
        size=10
        colour=green
    ''',
    "data.csv": "\n".join(["id,name,weight,ripe", *(f"{n},fruit {n},{n / 4},{n % 2 == 0}" for n in range(60))]),
    "data.tsv": "\n".join(["id\tname\tweight\tripe", *(f"{n}\tfruit {n}\t{n / 4}\t{n % 2 == 0}" for n in range(60))]),
    "notes.md": '''
        # Fruit

        A list of *fruit*, with **weights**. See [the catalogue](https://example.org/catalogue).

        ## Kinds

        - apple: `150 g`
        - pear: `170 g`

        ```sh
        basket add apple
        ```

        | name | weight |
        |------|--------|
        | apple | 150 |
    ''',
    "notes.rst": '''
        Fruit
        =====

        .. contents:: Table of Contents
           :depth: 2

        A list of *fruit*, see :ref:`catalogue`.

        Kinds
        -----

        .. code-block:: python

           basket.add("apple")

        .. note:: Pears are heavier.
    ''',
    "paper.tex": '''
        \\documentclass[11pt]{article}
        \\usepackage{amsmath}
        \\title{On Fruit}
        \\author{A. Author}
        \\begin{document}
        \\maketitle
        \\section{Introduction}
        A fruit weighs $w = \\sum_i \\rho_i v_i$; see \\cite{pear}.
        \\begin{equation} \\int_0^1 x^2 \\, dx = \\frac{1}{3} \\end{equation}
        \\end{document}
    ''',
    "program.c": '''
        #include <stdio.h>
        #include <stdlib.h>

        static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

        int main(int argc, char **argv) {
            int *numbers = malloc(sizeof(int) * (size_t)argc);
            for (int i = 1; i < argc; i++) numbers[i - 1] = atoi(argv[i]);
            qsort(numbers, argc - 1, sizeof(int), compare);
            printf("%d\\n", numbers[0]);
            free(numbers);
            return 0;
        }
    ''',
    "program.cpp": '''
        #include <algorithm>
        #include <iostream>
        #include <memory>
        #include <vector>

        namespace basket {
        template <typename T> class Basket {
         public:
          void add(std::unique_ptr<T> fruit) { fruits_.push_back(std::move(fruit)); }
          auto size() const noexcept { return fruits_.size(); }
         private:
          std::vector<std::unique_ptr<T>> fruits_;
        };
        }  // namespace basket

        int main() {
          basket::Basket<int> basket;
          basket.add(std::make_unique<int>(3));
          std::cout << basket.size() << std::endl;
        }
    ''',
    "header.h": '''
        #ifndef BASKET_H
        #define BASKET_H
        #include <stddef.h>
        #ifdef __cplusplus
        extern "C" {
        #endif
        typedef struct basket basket_t;
        basket_t *basket_new(size_t size);
        void basket_free(basket_t *basket);
        #ifdef __cplusplus
        }
        #endif
        #endif /* BASKET_H */
    ''',
    "Basket.java": '''
        package org.example.basket;

        import java.util.ArrayList;
        import java.util.List;

        public final class Basket {
            private final List<String> fruits = new ArrayList<>();

            public void add(String fruit) {
                if (fruit == null) throw new IllegalArgumentException("no fruit");
                fruits.add(fruit);
            }

            @Override
            public String toString() { return "Basket" + fruits; }
        }
    ''',
    "Basket.cs": '''
        using System;
        using System.Collections.Generic;
        using System.Linq;

        namespace Example.Basket
        {
            public sealed class Basket
            {
                private readonly List<string> _fruits = new();
                public int Count => _fruits.Count;
                public void Add(string fruit) => _fruits.Add(fruit ?? throw new ArgumentNullException(nameof(fruit)));
                public static void Main(string[] args) { Console.WriteLine(args.Select(a => a.Length).Sum()); }
            }
        }
    ''',
    "program.go": '''
        package main

        import (
        \t"fmt"
        \t"os"
        )

        type basket struct{ fruits []string }

        func (b *basket) add(fruit string) error {
        \tif fruit == "" {
        \t\treturn fmt.Errorf("no fruit")
        \t}
        \tb.fruits = append(b.fruits, fruit)
        \treturn nil
        }

        func main() {
        \tb := &basket{}
        \tfor _, fruit := range os.Args[1:] {
        \t\t_ = b.add(fruit)
        \t}
        \tfmt.Println(len(b.fruits))
        }
    ''',
    "program.rs": '''
        use std::collections::HashMap;

        #[derive(Debug, Default)]
        pub struct Basket {
            fruits: HashMap<String, u32>,
        }

        impl Basket {
            pub fn add(&mut self, fruit: &str) -> Option<u32> {
                let count = self.fruits.entry(fruit.to_owned()).or_insert(0);
                *count += 1;
                Some(*count)
            }
        }

        fn main() {
            let mut basket = Basket::default();
            println!("{:?}", basket.add("apple"));
        }
    ''',
    "program.sh": '''
        #!/bin/sh
        set -eu
        folder="${1:-.}"
        for file in "$folder"/*.txt; do
          [ -f "$file" ] || continue
          if grep -q apple "$file"; then
            echo "$file: $(wc -l < "$file")"
          fi
        done
    ''',
    "program.pl": '''
        #!/usr/bin/perl
        use strict;
        use warnings;

        my %count;
        while (my $line = <STDIN>) {
            chomp $line;
            $count{$_}++ foreach split /\\s+/, $line;
        }
        printf "%6d %s\\n", $count{$_}, $_ for sort { $count{$b} <=> $count{$a} } keys %count;
    ''',
    "program.rb": '''
        require 'set'

        module Basket
          class Fruit
            attr_reader :name, :weight

            def initialize(name, weight = 0)
              @name, @weight = name, weight
            end

            def to_s = "#{@name}: #{@weight} g"
          end
        end

        fruits = %w[apple pear].map { |name| Basket::Fruit.new(name, 150) }
        fruits.each do |fruit|
          puts fruit unless fruit.weight.zero?
        end
    ''',
    "page.php": '''
        <?php
        declare(strict_types=1);

        namespace Example;

        final class Basket
        {
            private array $fruits = [];

            public function add(string $fruit): void
            {
                $this->fruits[] = $fruit;
            }
        }

        $basket = new Basket();
        $basket->add($_GET['fruit'] ?? 'apple');
        echo htmlspecialchars(print_r($basket, true));
    ''',
    "program.lua": '''
        local Basket = {}
        Basket.__index = Basket

        function Basket.new()
          return setmetatable({ fruits = {} }, Basket)
        end

        function Basket:add(fruit)
          table.insert(self.fruits, fruit)
          if #self.fruits > 10 then
            error("the basket is full")
          end
        end

        local basket = Basket.new()
        for _, fruit in ipairs({ "apple", "pear" }) do basket:add(fruit) end
        print(#basket.fruits)
    ''',
    "query.sql": '''
        CREATE TABLE fruit (
            id INTEGER PRIMARY KEY,
            name VARCHAR(40) NOT NULL,
            weight DECIMAL(8, 2) DEFAULT 0
        );
        INSERT INTO fruit (id, name, weight) VALUES (1, 'apple', 150.00), (2, 'pear', 170.00);
        SELECT name, SUM(weight) FROM fruit WHERE weight > 100 GROUP BY name ORDER BY 2 DESC;
    ''',
    "Makefile": '''
        CC = gcc
        CFLAGS = -O2 -Wall
        OBJECTS = main.o basket.o

        all: basket

        basket: $(OBJECTS)
        \t$(CC) $(CFLAGS) -o $@ $^

        %.o: %.c
        \t$(CC) $(CFLAGS) -c $<

        clean:
        \trm -f basket $(OBJECTS)

        .PHONY: all clean
    ''',
    "Dockerfile": '''
        FROM debian:bookworm-slim AS build
        RUN apt-get update && apt-get install -y --no-install-recommends gcc make && rm -rf /var/lib/apt/lists/*
        WORKDIR /src
        COPY . .
        RUN make all

        FROM debian:bookworm-slim
        COPY --from=build /src/basket /usr/local/bin/basket
        EXPOSE 8080
        ENTRYPOINT ["basket"]
    ''',
    "change.diff": '''
        diff --git a/basket.c b/basket.c
        index 83db48f..bf2a1c9 100644
        --- a/basket.c
        +++ b/basket.c
        @@ -1,5 +1,6 @@
         #include <stdio.h>
        -#include <string.h>
        +#include <stdlib.h>
        +#include <stddef.h>

         int main(void) {
             return 0;
    ''',
    "event.ics": '''
        BEGIN:VCALENDAR
        VERSION:2.0
        PRODID:-//Example//Fruit//EN
        BEGIN:VEVENT
        UID:1@example.org
        DTSTAMP:20261103T100000Z
        DTSTART:20261104T090000Z
        DTEND:20261104T100000Z
        SUMMARY:Weighing of pears
        END:VEVENT
        END:VCALENDAR
    ''',
    "card.vcf": '''
        BEGIN:VCARD
        VERSION:3.0
        N:Lovelace;Ada;;;
        FN:Ada Lovelace
        EMAIL;TYPE=INTERNET:ada@example.org
        TEL;TYPE=CELL:+44 20 7946 0000
        END:VCARD
    ''',
    "letter.rtf": '''
        {\\rtf1\\ansi\\ansicpg1252\\deff0{\\fonttbl{\\f0\\fswiss\\fcharset0 Arial;}}
        {\\colortbl ;\\red255\\green0\\blue0;}
        \\viewkind4\\uc1\\pard\\f0\\fs20 A letter with \\b bold\\b0  words.\\par
        }
    ''',
    "film.srt": "\n".join(f"{n}\n00:00:{n:02},000 --> 00:00:{n + 1:02},500\nLine {n} of a film.\n" for n in range(1, 30)),
    "run.bat": '''
        @echo off
        setlocal enabledelayedexpansion
        set FOLDER=%~dp0
        if not exist "%FOLDER%out" mkdir "%FOLDER%out"
        for %%f in (*.txt) do (
          echo %%f
          copy /y "%%f" "%FOLDER%out" >nul
        )
        endlocal
        exit /b 0
    ''',
    "run.ps1": '''
        [CmdletBinding()]
        param([Parameter(Mandatory = $true)][string]$Folder)

        function Get-Fruit {
            param([string]$Path)
            Get-ChildItem -Path $Path -Filter *.txt | Where-Object { $_.Length -gt 0 } | ForEach-Object {
                Write-Output ("{0}: {1}" -f $_.Name, $_.Length)
            }
        }

        $ErrorActionPreference = 'Stop'
        Get-Fruit -Path $Folder
    ''',
    "words.txt": "It was a bright day in April, and the clocks of the town struck one after the other.\n" * 12,
}


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


def expected(detector, content):
    result = detector.identify_bytes(content)
    prediction, output = result.prediction, result.output
    asked = prediction.dl.label != "undefined"
    why = prediction.overwrite_reason.value.replace("_", "-")
    return {
        "label": str(output.label),
        "score": result.score,
        "mime_type": output.mime_type,
        "group": output.group,
        "is_text": output.is_text,
        "extensions": output.extensions,
        "model": {"label": str(prediction.dl.label), "score": result.score} if asked else None,
        "overwritten": None if why == "none" else why,
    }


def difference(found, expected):
    """What is not as expected; scores may differ a little."""
    close = lambda a, b: a is not None and abs(a - b) <= SCORE_TOLERANCE
    wrong = [key for key in expected if key not in ("score", "model") and found.get(key) != expected[key]]
    if not close(found.get("score"), expected["score"]):
        wrong.append("score")
    one, other = found.get("model"), expected["model"]
    if (one is None) != (other is None):
        wrong.append("model")
    elif one and (one["label"] != other["label"] or not close(one["score"], other["score"])):
        wrong.append("model")
    return [f"{key} {found.get(key)!r}, not {expected[key]!r}" for key in wrong]


def main(base):
    detector, labels, agreed, mismatches = magika.Magika(), set(), 0, 0
    with tempfile.TemporaryDirectory() as folder, httpx.Client(base_url=base, timeout=30) as client:
        folder = pathlib.Path(folder)
        for name, content in files(folder).items():
            path = folder / name
            path.write_bytes(content)
            with path.open("rb") as file:
                response = client.post("/filetype", files={"file": (name, file, "application/octet-stream")})
            if response.status_code != 200:
                wrong = [f"{response.status_code} {response.text}"]
            else:
                wanted = expected(detector, content)
                wrong = difference(response.json(), wanted)
            if wrong:
                mismatches += 1
                print(f"{name}: {'; '.join(wrong)}")
                continue
            agreed += 1
            labels.add(wanted["label"])
    print(f"{agreed} files of {len(labels)} labels agree")
    if mismatches or len(labels) < LABELS_MIN:
        sys.exit(1)


main(*sys.argv[1:])
