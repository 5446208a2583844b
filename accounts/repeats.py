"""Whether a request repeats an earlier one of its owner, by its idempotency key.

A repeated request is let through even where a limit is used up: otherwise the client could not get
the response to its first one.
"""

from __future__ import annotations

from collections.abc import Callable

from accounts.models import IdempotencyRecord
from aily.database.threads import in_database

#: From an owner's id and a key: whether the owner has used the key.
KeyLookup = Callable[[int, str], bool]
MAX_KEY_CHARS = 255


def _is_recorded(owner_id: int, key: str) -> bool:
    return IdempotencyRecord.objects.filter(owner_id=owner_id, key=key).exists()


_lookups: list[KeyLookup] = [_is_recorded]


def register_key_lookup(lookup: KeyLookup) -> None:
    """Add the look-up of an app that keeps keys of its own to `is_repeat`."""
    _lookups.append(lookup)


def bare_key(header: str) -> str:
    """Return the key of an Idempotency-Key header, which may be a structured-field string."""
    return header.strip().removeprefix('"').removesuffix('"')


async def is_repeat(owner_id: int, header: str | None) -> bool:
    """Return whether the owner has used this Idempotency-Key. One query of one row for each app."""
    key = bare_key(header or "")
    if not 1 <= len(key) <= MAX_KEY_CHARS or not key.isprintable():
        return False
    return await in_database(lambda: any(lookup(owner_id, key) for lookup in _lookups))
