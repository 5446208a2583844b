"""API keys as the cache holds them: who presents one is known without a query."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db.models import Q
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from accounts.models import KEY_MARK, APIKey, api_keys_revoked
from aily.cache import Cached, KnownRows, keys
from aily.concurrency.batching import Batcher, Pace
from aily.concurrency.loops import per_loop
from aily.database.threads import in_database
from aily.web.access_revocation import Access, check_access, revoke_access

#: `last_used_at` is at most this much behind, so that a busy key does not cost a write a request.
LAST_USED_PRECISION = timedelta(minutes=1)
#: Keys of which a process remembers when it noted their use.
MAX_NOTED = 100_000


class KeyRecord(msgspec.Struct, frozen=True):
    """A key that is not revoked."""

    pk: int
    owner_id: int
    expires_at: datetime | None
    requests_per_minute: int | None

    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


def _load(digests: Collection[str]) -> dict[str, KeyRecord]:
    rows = APIKey.objects.filter(digest__in=digests, revoked_at=None)
    return {
        key.digest: KeyRecord(key.pk, key.owner_id, key.expires_at, key.requests_per_minute)
        for key in rows.only("digest", "owner_id", "expires_at", "requests_per_minute")
    }


def _every_digest() -> list[str]:
    return list(APIKey.objects.filter(revoked_at=None).values_list("digest", flat=True))


KEYS: Cached[str, KeyRecord] = Cached(keys.API_KEYS, KeyRecord, _load, every_key=_every_digest)

KEY_IDS: KnownRows[int] = KnownRows(keys.KEY_IDS, APIKey, int, name="pk", owner="owner_id")


async def find_key(secret: str, *, check: bool = False) -> KeyRecord | None:
    """The usable key of this secret; its owner is not looked at. No query when warm.

    With `check` what this process remembers does not count.
    """
    if not secret.startswith(KEY_MARK):
        return None
    read = KEYS.acheck if check else KEYS.aget
    record = await read(APIKey.digest_of(secret))
    if record is None or record.is_expired():
        return None
    await _note_use(record.pk)
    return record


# --- Noting use ---------------------------------------------------------------------------------
#: When this process last noted the use of a key (monotonic).
_noted: dict[int, float] = {}


async def _note_use(pk: int) -> None:
    now = time.monotonic()
    if _noted.get(pk, 0) > now - LAST_USED_PRECISION.total_seconds():
        return
    if len(_noted) >= MAX_NOTED:
        _noted.clear()
    _noted[pk] = now
    await _noter().submit(pk)


@per_loop
def _noter() -> Batcher[int, None]:
    async def handle(pks: list[int]) -> Sequence[None]:
        await in_database(_write_use, pks)
        return [None] * len(pks)

    return Batcher(handle, pace=Pace())


def _write_use(pks: list[int]) -> None:
    now = timezone.now()
    # Of many processes that see a key at the same moment only the first one writes.
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_PRECISION)
    APIKey.objects.filter(stale, pk__in=pks).update(last_used_at=now)


# --- Forgetting ---------------------------------------------------------------------------------
def connect_signals() -> None:
    """Have every change of a key forget what is cached of it."""
    post_save.connect(_saved, sender=APIKey)
    post_delete.connect(_gone, sender=APIKey)
    api_keys_revoked.connect(_revoked)
    KEY_IDS.connect_signals()


def _saved(sender: Any, instance: APIKey, created: bool, **kwargs: Any) -> None:
    (KEYS.added if created else KEYS.invalidate)([instance.digest])
    if not created:
        # It may end at another time now.
        check_access(Access(instance.owner_id, api_key_id=instance.pk))


def _gone(sender: Any, instance: APIKey, **kwargs: Any) -> None:
    KEYS.invalidate([instance.digest])
    revoke_access(Access(instance.owner_id, api_key_id=instance.pk))


def _revoked(sender: Any, digests: list[str], **kwargs: Any) -> None:
    KEYS.invalidate(digests)
