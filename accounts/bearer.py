"""The caller of a request that presents an API key, for the applications beside Django's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from django.conf import settings
from django.http import parse_cookie

from accounts.access.grants import USERS
from accounts.access.keys import KeyRecord, find_key
from aily.database.outages import AWAY
from aily.web.access_revocation import Access

_SCHEME = "bearer"
#: Django's session keys have 32.
MAX_SESSION_CHARS = 64


@dataclass(frozen=True, slots=True)
class KeyCaller:
    """An active user, known by an API key that works.

    The same checks as `accounts.authentication.identify_key`, without rows of Django's models.
    """

    owner_id: int
    key: KeyRecord
    secret: str = field(repr=False)

    @classmethod
    async def identify(cls, secret: str, *, check: bool = False) -> Self | None:
        """Return the caller with this key, else None. No query when key and owner are cached.

        `check`: bypass this process's copies, so that a key revoked before the call is refused.
        """
        key = await find_key(secret, check=check)
        if key is None:
            return None
        owner = await (USERS.acheck if check else USERS.aget)(key.owner_id)
        return cls(key.owner_id, key, secret) if owner is not None and owner.is_active else None

    @property
    def access(self) -> Access:
        """The access by which a stream of this caller can be revoked."""
        return Access(self.owner_id, self.key.pk)

    @property
    def valid_seconds(self) -> float:
        return self.key.valid_seconds

    async def identify_again(self, *, check: bool) -> KeyCaller | None:
        """Return the caller anew, None if the access has ended; `check`: as for `identify`."""
        return await KeyCaller.identify(self.secret, check=check)


async def counted_name(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the name under which the requests of a caller are counted: that of the user of a key,
    one for all keys that do not work, or that of a session. None without either.

    No query when key and user are cached.
    """
    headers = list(headers)
    if (secret := bearer_secret(headers)) is not None:
        try:
            caller = await KeyCaller.identify(secret)
        except AWAY:
            return None
        return f"user:{caller.owner_id}" if caller is not None else "unknown"
    cookies = "; ".join(value.decode("latin1") for name, value in headers if name == b"cookie")
    session = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME)
    return f"session:{session[:MAX_SESSION_CHARS]}" if session else None


def bearer_secret(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the secret of `Authorization: Bearer <key>`; None without such a header."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, secret = value.decode("latin1").partition(" ")
            return secret if scheme.lower() == _SCHEME else None
    return None
