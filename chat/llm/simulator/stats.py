"""The simulated provider's counters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from chat.llm.simulator.config import JsonObject

_LATE_STEP_SECONDS = 0.001


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
    #: Streams by how much later than planned they ended, in steps of a millisecond: what a caller
    #: must not be blamed for.
    late: Counter[int] = field(default_factory=Counter)

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

    def note_late(self, seconds: float) -> None:
        """A stream has ended so much later than planned."""
        self.late[max(0, round(seconds / _LATE_STEP_SECONDS))] += 1

    def late_seconds(self, share: float) -> float | None:
        """What `share` (0 to 1) of all streams were not later than; None before the first."""
        left = share * self.late.total()
        for step, count in sorted(self.late.items()):
            left -= count
            if left <= 0:
                return step * _LATE_STEP_SECONDS
        return None

    def reset(self) -> None:
        """Start counting anew; what is in flight stays so."""
        self.requests = self.rejected_429 = self.client_disconnects = 0
        self.errors = self.completed = self.tokens = 0
        self.max_in_flight = self.in_flight
        self.late.clear()

    def as_dict(self) -> JsonObject:
        """The counters by name."""
        counters = {name: value for name, value in vars(self).items() if name != "late"}
        late = {f"late_p{share}_seconds": self.late_seconds(share / 100) for share in (50, 99)}
        return counters | late
