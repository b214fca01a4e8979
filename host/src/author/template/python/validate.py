"""Refuses texts that are too long."""

import json

from selvedge import body, told
from wit_world import exports
from wit_world.exports.validator import Verdict, Verdict_Accept, Verdict_Reject
from wit_world.imports.types import LocItem_Key, Problem, Rejection, Request


class Rule:
    """What an operator configures; its schema is in manifest.json."""

    length_max = 1000


class Lifecycle(exports.Lifecycle):
    @told
    def configure(self, config: str) -> None:
        Rule.length_max = json.loads(config).get("length_max", Rule.length_max)


class Validator(exports.Validator):
    @told
    def validate(self, req: Request) -> Verdict:
        # What is wrong with a body otherwise is for others to say.
        asked = body(req)
        text = asked.get("text") if isinstance(asked, dict) else None
        if not isinstance(text, str) or len(text) <= Rule.length_max:
            return Verdict_Accept()
        message = f"String should have at most {Rule.length_max} characters"
        problem = Problem("string_too_long", [LocItem_Key("text")], message)
        return Verdict_Reject(Rejection(422, "text-too-long", message, [problem]))
