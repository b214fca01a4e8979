"""Puts an instruction before the text."""

import json
from typing import Optional

from selvedge import body, failure, told
from wit_world import exports
from wit_world.exports.templater import Prompt_Messages, Rendered
from wit_world.imports.types import Message, Request


class Prompt:
    """What an operator configures; its schema is in manifest.json."""

    instruction = "Summarise the text."


class Lifecycle(exports.Lifecycle):
    @told
    def configure(self, config: str) -> None:
        Prompt.instruction = json.loads(config).get("instruction", Prompt.instruction)


class Templater(exports.Templater):
    @told
    def render(self, req: Request, so_far: Optional[Rendered]) -> Rendered:
        # A validator before this plugin should have refused a body without a text.
        asked = body(req)
        text = asked.get("text") if isinstance(asked, dict) else None
        if not isinstance(text, str):
            raise failure("no-text", "the body has no `text`")
        turns = [Message("system", Prompt.instruction), Message("user", text)]
        return Rendered(Prompt_Messages(turns), None)
