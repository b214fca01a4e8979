"""Counts the requests that took too long, in the background."""

import json
from typing import List

from selvedge import told
from wit_world import exports
from wit_world.exports.observer import Event
from wit_world.imports import logging, metrics


class Watch:
    """What an operator configures: milliseconds from which on a request is slow. Its schema is in manifest.json."""

    slow_ms = 1000


class Lifecycle(exports.Lifecycle):
    @told
    def configure(self, config: str) -> None:
        Watch.slow_ms = json.loads(config).get("slow_ms", Watch.slow_ms)


class Observer(exports.Observer):
    @told
    def observe(self, events: List[Event]) -> None:
        # Events come in batches, and perhaps twice. A failure would have all of them given again.
        for event in events:
            micros = sum(timing.micros for timing in event.timings)
            if micros >= Watch.slow_ms * 1000:
                metrics.counter_add("slow", 1)
                logging.log(logging.Level.WARN, "a request took long", [("id", event.request_id)])
