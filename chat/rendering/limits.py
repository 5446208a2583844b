"""How much one rendering may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """`cpu_seconds` and `memory_bytes` hold in a rendering process, the others everywhere."""

    prompt_max_bytes: int
    variables_max_bytes: int
    variables_max_values: int
    variables_max_depth: int
    cpu_seconds: float
    memory_bytes: int

    @property
    def wall_seconds(self) -> float:
        """A rendering process has less than a whole core while the machine is busy."""
        return self.cpu_seconds * 5
