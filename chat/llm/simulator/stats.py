"""The simulated provider's counters."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Stats:
    """Counts since the start or the last reset. `in_flight` holds requests that were let in
    and whose response is not complete, whatever the model."""

    requests: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    rejected_429: int = 0
    client_disconnects: int = 0
    errors: int = 0  # answers with an error status, the 429s among them
    completed: int = 0
    tokens: int = 0
    in_flight_by_model: dict[str, int] = field(default_factory=dict)

    def enter(self, model: str) -> None:
        """A request is let in."""
        self.in_flight += 1
        self.in_flight_by_model[model] = self.in_flight_by_model.get(model, 0) + 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def leave(self, model: str) -> None:
        """Its response is complete, or will never be."""
        self.in_flight -= 1
        self.in_flight_by_model[model] -= 1
        if not self.in_flight_by_model[model]:
            del self.in_flight_by_model[model]

    def reset(self) -> None:
        """Start counting anew; what is in flight stays so."""
        self.requests = self.rejected_429 = self.client_disconnects = 0
        self.errors = self.completed = self.tokens = 0
        self.max_in_flight = self.in_flight

    def as_dict(self) -> dict[str, Any]:
        """The counters by name."""
        return asdict(self)
