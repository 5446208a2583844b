"""The caller of a request that presents an API key, for the applications beside Django's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from accounts.access.grants import USERS
from accounts.access.keys import KeyRecord, find_key
from aily.web.access_revocation import Access

_SCHEME = "bearer"


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


def bearer_secret(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the secret of `Authorization: Bearer <key>`; None without such a header."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, secret = value.decode("latin1").partition(" ")
            return secret if scheme.lower() == _SCHEME else None
    return None
