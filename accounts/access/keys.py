"""API keys as the cache holds them: a request with one is authenticated without a query."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from math import inf

import msgspec
from django.db.models import Q
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from accounts.last_use import LAST_USED_PRECISION, LastUse
from accounts.models import KEY_MARK, APIKey, api_keys_revoked
from aily.cache import Cached, KnownRows, keys
from aily.web.access_revocation import Access, check_access, revoke_access

#: Keys of which a process remembers when it wrote their use.
MAX_REMEMBERED = 100_000


class KeyRecord(msgspec.Struct, frozen=True):
    """A key that is not revoked."""

    pk: int
    owner_id: int
    expires_at: datetime | None
    requests_per_minute: int | None
    #: Of tasks whose request names none; empty: by the way in which it is made.
    lane: str = ""

    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def valid_seconds(self) -> float:
        """How long the key is valid unless revoked."""
        return (
            inf if self.expires_at is None else (self.expires_at - timezone.now()).total_seconds()
        )


def _load(digests: Collection[str]) -> dict[str, KeyRecord]:
    rows = APIKey.objects.filter(digest__in=digests, revoked_at=None)
    return {
        key.digest: KeyRecord(
            key.pk, key.owner_id, key.expires_at, key.requests_per_minute, key.lane
        )
        for key in rows.only("digest", "owner_id", "expires_at", "requests_per_minute", "lane")
    }


def _every_digest() -> list[str]:
    return list(APIKey.objects.filter(revoked_at=None).values_list("digest", flat=True))


KEYS: Cached[str, KeyRecord] = Cached(keys.API_KEYS, KeyRecord, _load, every_key=_every_digest)

KEY_IDS: KnownRows[int] = KnownRows(keys.KEY_IDS, APIKey, int, name="pk", owner="owner_id")


async def find_key(secret: str, *, check: bool = False) -> KeyRecord | None:
    """Return the usable key of this secret. No query when cached. The caller checks the owner.

    `check`: bypass this process's copies.
    """
    if not secret.startswith(KEY_MARK):
        return None
    read = KEYS.acheck if check else KEYS.aget
    record = await read(APIKey.digest_of(secret))
    if record is None or record.is_expired():
        return None
    if _last_use.is_due(record.pk):
        await _last_use.write(record.pk)
    return record


# --- Noting use ---------------------------------------------------------------------------------
def _write_use(pks: list[int]) -> None:
    now = timezone.now()
    # Of many processes that see a key at the same moment only the first one writes.
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_PRECISION)
    APIKey.objects.filter(stale, pk__in=pks).update(last_used_at=now)


_last_use: LastUse[int, int] = LastUse(_write_use, MAX_REMEMBERED)


# --- Invalidating ---------------------------------------------------------------------------------
def connect_signals() -> None:
    """Invalidate the cached key at each of its changes."""
    post_save.connect(_saved, sender=APIKey)
    post_delete.connect(_gone, sender=APIKey)
    api_keys_revoked.connect(_revoked)
    KEY_IDS.connect_signals()


def _saved(sender: object, instance: APIKey, created: bool, **kwargs: object) -> None:
    (KEYS.added if created else KEYS.invalidate)([instance.digest])
    if not created:
        # Its end may have changed.
        check_access(Access(instance.owner_id, api_key_id=instance.pk))


def _gone(sender: object, instance: APIKey, **kwargs: object) -> None:
    KEYS.invalidate([instance.digest])
    revoke_access(Access(instance.owner_id, api_key_id=instance.pk))


def _revoked(sender: object, digests: list[str], **kwargs: object) -> None:
    KEYS.invalidate(digests)
