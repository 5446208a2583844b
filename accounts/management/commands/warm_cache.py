"""Fills the cache with what every reconnect asks for, so that a burst of them asks no database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from rich.console import Console
from rich.progress import Progress

from accounts.grants import ROLES, USERS
from accounts.keys import KEYS
from accounts.menus import ALL, MENU
from accounts.models import APIKey, Role, User
from aily.cache import Cached, store
from aily.redis import RedisAway

#: Values built with one query of each table.
BATCH_SIZE = 500


class Command(BaseCommand):
    help = "Fill the cache with menus, permissions and API keys. May be run any time."

    def add_arguments(self, parser: CommandParser) -> None:
        kinds = ",".join(_WARMERS)
        parser.add_argument("--only", default=kinds, help=f"Some of {kinds}.")

    def handle(self, *args: Any, only: str, **options: Any) -> None:
        kinds = [kind for kind in only.split(",") if kind]
        if unknown := set(kinds) - _WARMERS.keys():
            raise CommandError(f"There is no {min(unknown)!r}: choose of {', '.join(_WARMERS)}.")
        try:
            store.client().ping()
            for kind in kinds:
                self._warm(kind)
        except RedisAway as error:
            # It fills by itself once it is back.
            self.stderr.write(f"The cache is away, nothing was put into it: {error}")

    def _warm(self, kind: str) -> None:
        started = time.monotonic()
        number = 0
        steps = [(cached, list(keys())) for cached, keys in _WARMERS[kind]]
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


def _digests() -> QuerySet[Any]:
    usable: QuerySet[Any] = APIKey.objects.usable().values_list("digest", flat=True)
    return usable


def _ids(rows: QuerySet[Any]) -> Callable[[], QuerySet[Any]]:
    return lambda: rows.values_list("pk", flat=True)


_WARMERS: dict[str, list[tuple[Cached[Any, Any], Callable[[], Any]]]] = {
    "menus": [(MENU, lambda: [ALL])],
    "permissions": [
        (ROLES, _ids(Role.objects.all())),
        (USERS, _ids(User.objects.filter(is_active=True))),
    ],
    "keys": [(KEYS, _digests)],
}
