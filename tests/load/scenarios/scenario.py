"""What a scenario has to say; starting, measuring and reporting are the same for all."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from tests.load.installation import StoredTask, Upstream
from tests.load.recording import Load, Recording

#: Most tasks and sockets of one run: more need more open files than a process may be given.
MOST = 20_000

#: Names and values of what a scenario found, beside CPU and memory: seconds, counts, rates.
Figures = dict[str, float | None]


class Scenario(ABC):
    """One kind of load, made from its command line."""

    name: ClassVar[str]
    summary: ClassVar[str]

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    @staticmethod
    @abstractmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Its own options."""

    @property
    @abstractmethod
    def users(self) -> int:
        """How many users, each with a key and a socket."""

    @property
    @abstractmethod
    def cap(self) -> int:
        """How many calls the provider allows at once."""

    @abstractmethod
    def upstream(self) -> Upstream:
        """How the simulated provider answers."""

    @abstractmethod
    def load(self, url: str, keys: list[str]) -> Load:
        """What the generator does."""

    @abstractmethod
    def violations(self, recording: Recording, stored: Mapping[str, StoredTask]) -> list[str]:
        """What was lost, doubled, out of order or wrong."""

    @abstractmethod
    def figures(self, recording: Recording, stored: Mapping[str, StoredTask]) -> Figures:
        """What the run shows. A name ends with its unit."""


def count(text: str) -> int:
    """argparse type: a number from 1 to MOST."""
    value = int(text)
    if not 1 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MOST}")
    return value
