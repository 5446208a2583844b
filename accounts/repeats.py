"""Whether a request's idempotency key was used before, as far as its owner's are concerned.

Where a limit is used up, a request that only repeats another is let through all the same: the
client would otherwise not get to know what its first one made.
"""

from __future__ import annotations

from collections.abc import Callable

from accounts.models import IdempotencyRecord
from aily.database.threads import in_database

#: Tells, of an owner's id and a key, whether that owner has used the key.
KeyLookup = Callable[[int, str], bool]
MAX_KEY_CHARS = 255


def _is_recorded(owner_id: int, key: str) -> bool:
    return IdempotencyRecord.objects.filter(owner_id=owner_id, key=key).exists()


_lookups: list[KeyLookup] = [_is_recorded]


def register_key_lookup(lookup: KeyLookup) -> None:
    """Have `is_repeat` ask an app that keeps keys of its own as well."""
    _lookups.append(lookup)


def bare_key(header: str) -> str:
    """The key of an Idempotency-Key header, which may be a structured-field string."""
    return header.strip().removeprefix('"').removesuffix('"')


async def is_repeat(owner_id: int, header: str | None) -> bool:
    """Whether the owner has used this Idempotency-Key. A query for each app, of one row."""
    key = bare_key(header or "")
    if not 1 <= len(key) <= MAX_KEY_CHARS or not key.isprintable():
        return False
    return await in_database(lambda: any(lookup(owner_id, key) for lookup in _lookups))
