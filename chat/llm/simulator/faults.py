"""Decides what goes wrong with a request: what its prompt asks for, or what the rates give."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from random import Random

from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.directives import Directives, parse_directives

MAX_PROMPTS = 10_000


class FaultPlanner:
    """Keeps the count of `times=` for the latest prompts, and the dice for the rates."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._rng = Random(config.seed)  # noqa: S311 chance only
        self._seen: OrderedDict[str, int] = OrderedDict()

    def plan(self, prompt: str) -> Directives:
        """The directives that hold for this request. Raises ValueError at a bad one."""
        asked = parse_directives(prompt)
        if asked.times is not None and self._count(prompt) > asked.times:
            return asked.without_faults()
        return asked if asked.faulty else self._by_chance(asked)

    def latency_seconds(self) -> float:
        """The configured wait before the first token."""
        return self._rng.uniform(*self._config.latency_seconds)

    def _count(self, prompt: str) -> int:
        count = self._seen.pop(prompt, 0) + 1
        self._seen[prompt] = count
        if len(self._seen) > MAX_PROMPTS:
            self._seen.popitem(last=False)
        return count

    def _by_chance(self, asked: Directives) -> Directives:
        config, rng = self._config, self._rng
        if rng.random() < config.error_rate:
            return replace(asked, status=rng.choice((500, 503)))
        if rng.random() < config.truncate_rate:
            return replace(asked, truncate=True)
        if rng.random() < config.stall_rate:
            return replace(asked, stall="middle", stall_seconds=config.stall_seconds)
        return asked
