"""Primary keys that sort by time, so that indexes grow at one end.

Ids that users send (of tasks, conversations) have a tag: most made-up ids are recognised without a
query.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from uuid import UUID

from django.apps.registry import Apps
from django.db import DEFAULT_DB_ALIAS, models

from aily.database.threads import in_database

#: One made-up id in 65,536 has the right tag, and costs a query.
TAG_BYTES = 2
KEY_BYTES = 16
#: After an upgrade from a version without tags its processes may make ids for so long.
UPGRADE_SECONDS = 86_400

#: Random numbers drawn in advance: a system call releases the GIL, and a database thread would get
#: it back only when the event loop is idle, up to 5 ms a task.
_spare: deque[int] = deque()
_DRAWN = 512
os.register_at_fork(after_in_child=_spare.clear)


def _random_62_bits() -> int:
    try:
        return _spare.popleft() >> 2
    except IndexError:
        _spare.extend(memoryview(os.urandom(_DRAWN * 8)).cast("Q"))
        return _random_62_bits()


def uuid7() -> UUID:
    """A UUIDv7 with its time in steps of 1/4096 ms (RFC 9562, section 6.2, method 3).

    Whole milliseconds, as in other libraries, would not order a question after the answer before
    it: a worker makes one and a web process the other, in the same millisecond.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | _random_62_bits()
    return UUID(int=value)


def first_id(at: datetime) -> UUID:
    """The lower bound of keys made at this moment or later; all earlier keys are less."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


# --- Tags ---------------------------------------------------------------------------------------
class IdKey(models.Model):
    """The key that tags of ids are made with: one row, in the same database as these ids.

    Not SECRET_KEY, which may change while ids stay, as when a backup is restored. An attacker with
    this key can cause queries that find nothing, and no more.
    """

    key = models.BinaryField()
    tagged_since = models.DateTimeField(help_text="Ids from before may have no tag.")

    objects: ClassVar[models.Manager[IdKey]] = models.Manager()

    def __str__(self) -> str:
        return f"ids since {self.tagged_since}"


def make_id_key(apps: Apps, **kwargs: object) -> None:
    """Receiver of `post_migrate`: make the key of a database that has none."""
    try:
        model = apps.get_model("chat", "IdKey")
    except LookupError:
        return
    now = datetime.now(UTC)
    # Without users there are no ids.
    is_new = not apps.get_model("accounts", "User").objects.exists()
    since = datetime.fromtimestamp(0, UTC) if is_new else now + timedelta(seconds=UPGRADE_SECONDS)
    defaults = {"key": secrets.token_bytes(KEY_BYTES), "tagged_since": since}
    model.objects.get_or_create(pk=1, defaults=defaults)


@dataclass(frozen=True, slots=True)
class _Tagger:
    key: bytes
    #: Every id from here on has a tag.
    first_tagged: UUID

    def tagged(self, value: UUID) -> UUID:
        body = value.bytes[:-TAG_BYTES]
        return UUID(bytes=body + self._tag(body))

    def may_have_made(self, value: UUID) -> bool:
        body, tag = value.bytes[:-TAG_BYTES], value.bytes[-TAG_BYTES:]
        return hmac.compare_digest(tag, self._tag(body)) or value < self.first_tagged

    def _tag(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self.key, digest_size=TAG_BYTES).digest()


_tagger: _Tagger | None = None


def _load_tagger() -> _Tagger:
    """The tagger of this process, loaded by one query."""
    global _tagger
    if _tagger is None:
        row = IdKey.objects.using(DEFAULT_DB_ALIAS).get()
        _tagger = _Tagger(bytes(row.key), first_id(row.tagged_since))
    return _tagger


def tagged_id() -> UUID:
    """A `uuid7` whose last two bytes are its tag, which takes 3 µs."""
    return _load_tagger().tagged(uuid7())


def is_own(value: UUID) -> bool:
    """False for an id that `tagged_id` cannot have made: no row has it."""
    return value.version == 7 and _load_tagger().may_have_made(value)


async def ais_own(value: UUID) -> bool:
    """`is_own` on an event loop."""
    return is_own(value) if _tagger is not None else await in_database(is_own, value)
