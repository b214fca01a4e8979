"""Makes a classifier's scores honest, and abstains where they are close: a post-processor. The core is in `scores`."""

import json

from scores import Calibration
from selvedge import failure, told
from wit_world import exports
from wit_world.exports.postprocessor import Action, Action_Replace, Completion, Output_Json, Output_Labels
from wit_world.imports.types import Request


class Configured:
    """What `configure` leaves to the requests."""

    calibration = Calibration()


class Lifecycle(exports.Lifecycle):
    @told
    def configure(self, config: str) -> None:
        Configured.calibration = Calibration(**json.loads(config))


class Postprocessor(exports.Postprocessor):
    @told
    def process(self, req: Request, done: Completion) -> Action:
        if not isinstance(done.output, Output_Labels):
            raise failure("wrong-output", "the model must be a classifier of texts")
        inputs = [[(label.name, label.score) for label in labels] for labels in done.output.value]
        answers = [Configured.calibration.answer(labels) for labels in inputs]
        # One text has one answer, as `label` has it.
        return Action_Replace(Output_Json(json.dumps(answers[0] if len(answers) == 1 else answers)))
