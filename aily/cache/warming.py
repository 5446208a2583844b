"""The keyspaces that `manage.py warm_cache` fills; each app registers its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aily.cache.values import Cached


@dataclass(frozen=True, slots=True)
class Warmer:
    """A keyspace, and those of its keys that are likely to be read."""

    cached: Cached[Any, Any]
    keys: Callable[[], Iterable[Any]]


_warmers: dict[str, tuple[Warmer, ...]] = {}


def register_warmers(kind: str, *warmers: Warmer) -> None:
    """For `AppConfig.ready`. `kind` is the name that staff know it by."""
    _warmers[kind] = warmers


def all_warmers() -> dict[str, tuple[Warmer, ...]]:
    """Return the warmers by kind, in the order of registration."""
    return dict(_warmers)
