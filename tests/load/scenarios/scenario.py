"""What a scenario has to say; starting, measuring and reporting are the same for all."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from tests.load.goals import Figures, Goal
from tests.load.installation import Upstream
from tests.load.recording import Wave
from tests.load.result import Run, WaveResult

#: Most tasks and sockets of one run: more need more open files than a process may be given.
MOST = 20_000
#: A wave is given up when this much longer than its tasks take.
PATIENCE_SECONDS = 60.0


class Scenario(ABC):
    """One kind of load, made from its command line."""

    name: ClassVar[str]
    summary: ClassVar[str]
    #: Judged when the run had the size that they speak of.
    goals: ClassVar[tuple[Goal, ...]] = ()
    #: Users submit over a WebSocket each, opened before; else over REST.
    over_sockets: bool = True
    #: Worker processes, unless the command line says otherwise.
    workers: ClassVar[int] = 2

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    @staticmethod
    @abstractmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Its own options. The defaults are what its goals speak of."""

    @property
    @abstractmethod
    def users(self) -> int:
        """How many users, each with a key and, where sockets are used, a socket."""

    @property
    @abstractmethod
    def cap(self) -> int:
        """How many calls the provider allows at once."""

    @abstractmethod
    def upstream(self) -> Upstream:
        """How the simulated provider answers."""

    def environment(self) -> Mapping[str, str]:
        """Settings of the installation that are not the defaults."""
        return {}

    @property
    def wave(self) -> Wave:
        """What the generator sends, where one wave is all."""
        raise NotImplementedError

    def next_wave(self, done: list[WaveResult]) -> Wave | None:
        """What comes after the waves that are done; None ends the run."""
        return None if done else self.wave

    @abstractmethod
    def violations(self, run: Run) -> list[str]:
        """What was lost, doubled, out of order or wrong."""

    @abstractmethod
    def figures(self, run: Run) -> Figures:
        """What the run shows, beside CPU and memory. A name ends with its unit."""


def count(text: str) -> int:
    """argparse type: a number from 1 to MOST."""
    value = int(text)
    if not 1 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MOST}")
    return value
