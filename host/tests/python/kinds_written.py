"""Files of kinds that people write, by name; indented as this file is."""

import json

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
