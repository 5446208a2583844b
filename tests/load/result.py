"""What a run of a scenario left behind, for the scenario to judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.journal import UpstreamRecord
from tests.load.installation import StoredTask
from tests.load.recording import Recording, TaskRecord, Wave


@dataclass(frozen=True)
class WaveResult:
    """One wave and what it cost, from its first submit to its last end.

    CPU in seconds by part; `machine_cpu_seconds` is everybody's.
    """

    wave: Wave
    recording: Recording
    cpu_seconds: dict[str, float]
    machine_cpu_seconds: float

    @property
    def ended(self) -> list[TaskRecord]:
        return [record for record in self.recording.tasks if record.ended_at is not None]

    @property
    def accept_seconds(self) -> list[float]:
        """From sending a task to reading that it was accepted."""
        return [
            record.accepted_at - record.sent_at
            for record in self.recording.tasks
            if record.accepted_at is not None
        ]

    def cpu_ms_per_task(self, *parts: str) -> float:
        tasks = max(len(self.recording.tasks), 1)
        return sum(self.cpu_seconds.get(part, 0.0) for part in parts) * 1000 / tasks


@dataclass(frozen=True)
class Connected:
    """What opening the sockets cost. `rss_bytes` is what the web processes grew by."""

    sockets: int
    #: Handshakes that had to be tried again.
    refused: int
    seconds: float
    cpu_seconds: dict[str, float]
    rss_bytes: int


@dataclass(frozen=True)
class Run:
    """One run of a scenario in an installation of its own."""

    waves: list[WaveResult]
    stored: dict[str, StoredTask]
    #: The bench's simulator's own counters at the end (GET /stats).
    simulator: dict[str, Any]
    #: Every call that it was sent, where the scenario asked for its journal.
    upstream: UpstreamRecord | None
    connected: Connected
    #: CPU seconds a second by part, before the sockets were opened, and while they were open and
    #: had nothing to do.
    idle_cpu_share_before: dict[str, float]
    idle_cpu_share: dict[str, float]
    peak_rss_bytes: dict[str, int]

    @property
    def wave(self) -> WaveResult:
        """The only one, or the last."""
        return self.waves[-1]

    @property
    def cpu_seconds(self) -> dict[str, float]:
        """By part, of all waves."""
        parts = {part for wave in self.waves for part in wave.cpu_seconds}
        return {part: sum(wave.cpu_seconds.get(part, 0.0) for wave in self.waves) for part in parts}

    @property
    def seconds(self) -> float:
        return sum(wave.recording.seconds for wave in self.waves)

    @property
    def tasks(self) -> list[TaskRecord]:
        return [record for wave in self.waves for record in wave.recording.tasks]
