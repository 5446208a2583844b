"""What was measured of each contender, and what the README says of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.load.comparison.calls import Calls
from tests.load.goals import Figures, Goal
from tests.load.measure import percentile
from tests.load.suite import medians

GOALS = (
    Goal("CPU a call, 50 at once ≤ Portkey's", "plain_50_cpu_of_portkeys", 1.0),
    Goal("CPU a call, 200 at once ≤ 1.5 × Portkey's", "plain_200_cpu_of_portkeys", 1.5),
    Goal("p50, 50 at once ≤ direct + 30 ms", "plain_50_overhead_p50_seconds", 0.03),
    Goal("p99, 50 at once ≤ direct + 100 ms", "plain_50_overhead_p99_seconds", 0.1),
    Goal("calls/s, 200 at once ≥ Portkey's", "plain_200_rate_of_portkeys", 1.0, at_least=True),
)


@dataclass(frozen=True)
class Measured:
    """One contender under one load, in one round."""

    contender: str
    mode: str
    at_once: int
    calls: Calls
    #: Of all its processes while it was measured, by part.
    cpu_seconds: dict[str, float]
    memory_bytes: int
    #: How much of the machine was busy, everybody together.
    busy_share: float

    @property
    def load(self) -> str:
        return f"{self.mode}_{self.at_once}"

    def figures(self, direct: Measured) -> Figures:
        """Beside the direct calls of the same round."""
        calls = max(len(self.calls.seconds), 1)
        return {
            "calls_per_second": len(self.calls.seconds) / self.calls.measured_seconds,
            "cpu_ms_per_call": sum(self.cpu_seconds.values()) * 1000 / calls,
            **{
                f"{part}_cpu_ms_per_call": used * 1000 / calls
                for part, used in self.cpu_seconds.items()
            },
            "p50_seconds": percentile(self.calls.seconds, 0.5),
            "p99_seconds": percentile(self.calls.seconds, 0.99),
            "overhead_p50_seconds": _over(self.calls.seconds, direct.calls.seconds, 0.5),
            "overhead_p99_seconds": _over(self.calls.seconds, direct.calls.seconds, 0.99),
            "first_text_overhead_p50_seconds": _over(
                self.calls.first_text_seconds, direct.calls.first_text_seconds, 0.5
            ),
            "memory_bytes": float(self.memory_bytes),
            "busy_share": self.busy_share,
        }


def _over(own: list[float], direct: list[float], share: float) -> float | None:
    """By how much the percentile lies over that of the direct calls."""
    high, low = percentile(own, share), percentile(direct, share)
    return None if high is None or low is None else high - low


def rows(rounds: Iterable[list[Measured]]) -> list[dict[str, Any]]:
    """One a load and contender: the medians over the rounds, and each round's figures."""
    found: dict[tuple[str, str], list[Figures]] = {}
    for measured in rounds:
        direct = {item.load: item for item in measured if item.contender == "direct"}
        for item in measured:
            figures = item.figures(direct[item.load])
            found.setdefault((item.load, item.contender), []).append(figures)
    return [
        {"load": load, "contender": contender, "figures": medians(each), "each": each}
        for (load, contender), each in found.items()
    ]


def goal_figures(table: list[dict[str, Any]]) -> Figures:
    """aily's own, and its ratios to Portkey's: those carry over to another machine."""
    by_row = {(row["load"], row["contender"]): row["figures"] for row in table}
    found: Figures = {}
    for (load, contender), figures in by_row.items():
        if contender != "aily":
            continue
        found |= {f"{load}_{name}": value for name, value in figures.items()}
        if portkey := by_row.get((load, "portkey")):
            found[f"{load}_cpu_of_portkeys"] = _ratio(figures, portkey, "cpu_ms_per_call")
            found[f"{load}_rate_of_portkeys"] = _ratio(figures, portkey, "calls_per_second")
    return found


def _ratio(own: Figures, other: Figures, name: str) -> float | None:
    above, below = own.get(name), other.get(name)
    return above / below if above is not None and below else None
