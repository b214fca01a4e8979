"""Writes generated text in capital letters, as it comes. A stream's state is in `stream_postprocessor`, named as its interface is."""

import json

import stream_postprocessor
from selvedge import told
from wit_world import exports


class Lifecycle(exports.Lifecycle):
    @told
    def configure(self, config: str) -> None:
        stream_postprocessor.Shout.only = json.loads(config).get("only")


class StreamPostprocessor(exports.StreamPostprocessor):
    pass
