"""Answers with the best label, and whether the model was sure of it."""

import json

from selvedge import told
from wit_world import exports
from wit_world.exports.postprocessor import (
    Action,
    Action_Pass,
    Action_Replace,
    Completion,
    Output_Json,
    Output_Labels,
)
from wit_world.imports.types import Request


class Rule:
    """What an operator configures: the score from which on the model is sure. Its schema is in manifest.json."""

    threshold = 0.8


class Lifecycle(exports.Lifecycle):
    @told
    def configure(self, config: str) -> None:
        Rule.threshold = json.loads(config).get("threshold", Rule.threshold)


class Postprocessor(exports.Postprocessor):
    @told
    def process(self, req: Request, done: Completion) -> Action:
        inputs = done.output.value if isinstance(done.output, Output_Labels) else []
        # What has no labels, as a text that a model wrote, is the answer as it is.
        if not inputs or not inputs[0]:
            return Action_Pass()
        best = inputs[0][0]
        answer = {"label": best.name, "sure": best.score >= Rule.threshold}
        return Action_Replace(Output_Json(json.dumps(answer)))
