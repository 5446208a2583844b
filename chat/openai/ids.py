"""Ids as OpenAI writes them: a prefix, and here the hexadecimal digits of a UUID."""

from __future__ import annotations

from uuid import UUID

from chat.models.ids import is_own

FILE, BATCH = "file-", "batch_"
_HEX_CHARS = 32


def id_of(prefix: str, value: UUID) -> str:
    return f"{prefix}{value.hex}"


def uuid_of(prefix: str, name: str) -> UUID | None:
    """The UUID of an id with this prefix; None if no row can have it. May query the database."""
    digits = name.removeprefix(prefix)
    if not name.startswith(prefix) or len(digits) != _HEX_CHARS:
        return None
    try:
        value = UUID(hex=digits)
    except ValueError:
        return None
    return value if is_own(value) else None
