"""Fills the cache with what every reconnect asks for, so that a burst of them asks no database."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress

from aily.cache import store
from aily.cache.warming import Warmer, all_warmers
from aily.management.operator_command import OperatorCommand
from aily.redis.errors import RedisUnavailable

#: Values built with one query of each table.
BATCH_SIZE = 500


class Command(OperatorCommand):
    help = "Fill the cache with menus, permissions, API keys and scenes. May be run any time."

    def add_arguments(self, parser: CommandParser) -> None:
        kinds = ",".join(all_warmers())
        parser.add_argument("--only", default=kinds, help=f"Some of {kinds}.")

    def handle(self, *args: Any, only: str, **options: Any) -> None:
        kinds = [kind for kind in only.split(",") if kind]
        warmers = all_warmers()
        if unknown := set(kinds) - warmers.keys():
            raise CommandError(f"There is no {min(unknown)!r}: choose of {', '.join(warmers)}.")
        try:
            store.client().ping()
            for kind in kinds:
                self._warm(kind, warmers[kind])
        except RedisUnavailable as error:
            message = f"The cache cannot be used (CACHE_URL), nothing was put into it: {error}"
            raise CommandError(message, returncode=2) from None

    def _warm(self, kind: str, warmers: Sequence[Warmer]) -> None:
        started = time.monotonic()
        number = 0
        steps = [(warmer.cached, list(warmer.keys())) for warmer in warmers]
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(kind, total=sum(len(keys) for _, keys in steps))
            for cached, keys in steps:
                for batch in _batches(keys):
                    number += len(cached.get_many(batch))
                    bar.advance(task, len(batch))
        seconds = time.monotonic() - started
        self.stdout.write(f"{kind}: {number:,} values in {seconds:.1f} s")


def _batches(keys: list[Any]) -> Iterator[list[Any]]:
    return (keys[start : start + BATCH_SIZE] for start in range(0, len(keys), BATCH_SIZE))
