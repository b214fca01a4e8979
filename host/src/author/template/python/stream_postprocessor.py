"""One stream of text.

A plugin that looks for something longer than a character must hold back what might be its beginning: an empty `Action_Emit` does,
and `finish` gives the rest.
"""

from typing import List, Optional, Self

from selvedge import told
from wit_world.exports import stream_postprocessor
from wit_world.exports.stream_postprocessor import Action, Action_Emit, Chunk
from wit_world.imports.types import FinishReason, Request, Usage


class Shout:
    """What an operator configures: the characters that are changed; None for all. Its schema is in manifest.json."""

    only: Optional[str] = None

    @classmethod
    def of(cls, text: str) -> str:
        """A text, changed."""
        only = cls.only
        return "".join(letter.upper() if only is None or letter in only else letter for letter in text)


class Processor(stream_postprocessor.Processor):
    """What is to be known from one push to the next is kept here."""

    @classmethod
    @told
    def open(cls, req: Request) -> Self:
        return cls()

    @told
    def push(self, chunks: List[Chunk]) -> Action:
        return Action_Emit([Chunk(chunk.choice, Shout.of(chunk.text)) for chunk in chunks])

    @told
    def finish(self, reason: FinishReason, usage: Usage) -> List[Chunk]:
        return []
