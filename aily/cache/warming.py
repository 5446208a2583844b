"""What `manage.py warm_cache` fills the cache with: each app says it for its own keyspaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aily.cache.values import Cached


@dataclass(frozen=True, slots=True)
class Warmer:
    """A keyspace, and which of its keys are likely to be asked for."""

    cached: Cached[Any, Any]
    keys: Callable[[], Iterable[Any]]


_warmers: dict[str, tuple[Warmer, ...]] = {}


def register_warmers(kind: str, *warmers: Warmer) -> None:
    """For `AppConfig.ready`. `kind` is the name that staff know it by."""
    _warmers[kind] = warmers


def all_warmers() -> dict[str, tuple[Warmer, ...]]:
    """By kind, in the order of registration."""
    return dict(_warmers)
