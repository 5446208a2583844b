"""What the figures should reach on the reference machine: 2 cores and 24 GiB with everything on it,
load generator and simulated provider included."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: Names and values of what a scenario found, CPU and memory included. A name ends with its unit.
Figures = dict[str, float | None]


@dataclass(frozen=True)
class Goal:
    """`figure` must be at most `bound`, or at least, in the figure's own unit."""

    text: str
    figure: str
    bound: float
    at_least: bool = False

    def judge(self, figures: Figures) -> str:
        """`hit`, `missed`, or `not measured`."""
        value = figures.get(self.figure)
        if value is None:
            return "not measured"
        is_hit = value >= self.bound if self.at_least else value <= self.bound
        return "hit" if is_hit else "missed"


def verdicts(goals: Iterable[Goal], figures: Figures) -> list[dict[str, Any]]:
    """For the JSON document."""
    return [
        {
            "goal": goal.text,
            "figure": goal.figure,
            "value": figures.get(goal.figure),
            "verdict": goal.judge(figures),
        }
        for goal in goals
    ]
