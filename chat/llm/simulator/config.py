"""How the simulated provider behaves when a request does not ask for anything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DEFAULT_ANSWER_TOKENS = (80, 240)

STRUCTURED_OUTPUTS = ("native", "json_object", "prompt")

#: A decoded JSON object. `parse_request` has checked the fields of a request that are read.
JsonObject = dict[str, Any]


@dataclass(frozen=True)
class SimulatorConfig:
    """Rates are shares of requests from 0 to 1. Raises ValueError naming a bad field."""

    host: str = "127.0.0.1"
    port: int = 8999  # 0 takes a free one
    seed: int = 0
    latency_seconds: tuple[float, float] = (0.3, 1.0)  # before the first token
    tokens_per_second: float = 60.0  # of one answer; 0 sends it all at once
    answer_tokens: tuple[int, int] = DEFAULT_ANSWER_TOKENS  # without the reasoning
    concurrency: int = 0  # requests of one model at once, further ones get 429; 0 sets no cap
    error_rate: float = 0.0
    truncate_rate: float = 0.0
    stall_rate: float = 0.0
    stall_seconds: float = 30.0
    keep_alive_seconds: float = 5.0
    # One write carries the tokens of this time; with very many streams at once it grows, so
    # that all of them together stay below `writes_per_second`.
    write_seconds: float = 0.05
    writes_per_second: float = 10_000
    # native, json_object (as DeepSeek: json_schema is refused) or prompt (so is json_object).
    structured_output: str = "json_object"
    api_key: str | None = None  # None accepts every caller
    journal: str | None = None  # file that a line is added to for every begin and end of a call

    def __post_init__(self) -> None:
        if self.structured_output not in STRUCTURED_OUTPUTS:
            raise ValueError(f"structured_output must be one of {', '.join(STRUCTURED_OUTPUTS)}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        bounds = {"error_rate": 1, "truncate_rate": 1, "stall_rate": 1, "port": 65_535}
        for name, limit in bounds.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"{name} must be from 0 to {limit}")
        for name in ("latency_seconds", "answer_tokens"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} must be MIN:MAX with 0 <= MIN <= MAX")
        if self.answer_tokens[0] < 1:
            raise ValueError("answer_tokens must be at least 1")
        for name in ("tokens_per_second", "concurrency", "stall_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("keep_alive_seconds", "write_seconds", "writes_per_second"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
