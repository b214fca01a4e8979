"""Temperature scaling of scores, and when to abstain. Knows nothing of WIT."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class Calibration:
    """What an operator configures; its schema is in manifest.json."""

    temperature: float = 1.0
    margin: float = 0.0

    def answer(self, labels: list[tuple[str, float]]) -> dict[str, Any]:
        """The best label with its score after scaling, and none where the next one is too close."""
        scaled = self.scaled(labels)
        if not scaled:
            return {"label": None, "score": 0.0, "runner_up": None}
        best, *others = sorted(scaled, key=lambda label: -label[1])
        second = others[0] if others else (None, 0.0)
        is_sure = best[1] - second[1] >= self.margin
        return {"label": best[0] if is_sure else None, "score": round(best[1], 4), "runner_up": second[0]}

    def scaled(self, labels: list[tuple[str, float]]) -> list[tuple[str, float]]:
        """Scores to the power of one through the temperature, so that they add up to one (Guo et al. 2017, on the softmax)."""
        logs = [(name, math.log(max(score, 1e-12)) / self.temperature) for name, score in labels]
        # The greatest becomes 1, so that a low temperature leaves more than zeros.
        greatest = max((log for _, log in logs), default=0.0)
        powers = [(name, math.exp(log - greatest)) for name, log in logs]
        total = sum(power for _, power in powers)
        return [(name, power / total) for name, power in powers]
