"""A user's sessions: which there are, from where they are used, and ending them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import update_session_auth_hash
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import User, UserSession
from accounts.sessions.login_log import Origin
from aily.cache import unlink
from aily.concurrency.batching import Batcher, Pace
from aily.concurrency.loops import per_loop
from aily.database.threads import in_database
from aily.web.access_revocation import Access, revoke_access, session_hash

if TYPE_CHECKING:
    from django.contrib.sessions.backends.cached_db import SessionStore
else:
    SessionStore = import_module(settings.SESSION_ENGINE).SessionStore

logger = logging.getLogger(__name__)

#: `last_used_at` is written no more often than this.
LAST_USED_PRECISION = timedelta(minutes=1)
#: For how long noting a use waits for a row that another transaction holds.
LOCK_TIMEOUT = "200ms"
#: Sessions whose use this process remembers to have noted.
MAX_NOTED = 50_000
#: With one more the session that was not used for longest ends.
MAX_SESSIONS = 100


@dataclass(frozen=True, slots=True)
class Use:
    """A session was used, by its user, from there."""

    user_id: int
    session_key: str
    origin: Origin


# --- Noting use -----------------------------------------------------------------------------------
#: When this process last noted the use of a session (monotonic), by its hash.
_noted: dict[str, float] = {}

# The time limit holds before the first row is looked for: a row that a long transaction is changing
# must not hold up the other sessions of the statement.
_UPSERT = """
WITH bounded AS MATERIALIZED (SELECT set_config('lock_timeout', %(lock_timeout)s, true))
INSERT INTO accounts_usersession AS known
    (user_id, session_key, created_at, last_used_at, address, user_agent)
SELECT DISTINCT ON (session_key) user_id, session_key, %(created)s, %(now)s, address, user_agent
FROM unnest(%(users)s::bigint[], %(keys)s::text[], %(addresses)s::inet[], %(agents)s::text[])
    AS used(user_id, session_key, address, user_agent), bounded
ON CONFLICT (session_key) DO UPDATE
SET user_id = excluded.user_id, last_used_at = excluded.last_used_at, address = excluded.address,
    user_agent = excluded.user_agent
WHERE known.last_used_at < %(stale)s
   OR (known.user_id, known.address, known.user_agent)
      IS DISTINCT FROM (excluded.user_id, excluded.address, excluded.user_agent)
"""


async def note_use(user_id: int, session_key: str, origin_of: Callable[[], Origin]) -> None:
    """Note that a session is used, at most once a minute. Uses of a moment share a statement."""
    if _is_due(session_key):
        await _noter().submit(Use(user_id, session_key, origin_of()))


def note_use_in_thread(user_id: int, request: HttpRequest) -> None:
    """`note_use` for a page."""
    key = request.session.session_key
    if key is not None and _is_due(key):
        _write([Use(user_id, key, Origin.of(request))])


def _is_due(session_key: str) -> bool:
    now, name = time.monotonic(), session_hash(session_key)
    if _noted.get(name, float("-inf")) > now - LAST_USED_PRECISION.total_seconds():
        return False
    if len(_noted) >= MAX_NOTED:
        _noted.clear()
    _noted[name] = now
    return True


@per_loop
def _noter() -> Batcher[Use, None]:
    async def handle(uses: list[Use]) -> Sequence[None]:
        await in_database(_write, uses)
        return [None] * len(uses)

    return Batcher(handle, pace=Pace())


def _write(uses: Sequence[Use], created_at: datetime | None = None) -> None:
    """Of many processes that see a session at the same moment only the first one writes. One that
    is not known yet, as its key is new, is added."""
    now = timezone.now()
    columns: dict[str, Any] = {
        "users": [use.user_id for use in uses],
        "keys": [use.session_key for use in uses],
        "addresses": [use.origin.address or None for use in uses],
        "agents": [use.origin.user_agent for use in uses],
    }
    times = {"created": created_at or now, "now": now, "stale": now - LAST_USED_PRECISION}
    try:
        with connection.cursor() as cursor:
            cursor.execute(_UPSERT, {**columns, **times, "lock_timeout": LOCK_TIMEOUT})
    except DatabaseError as error:
        # What the session is used for can do without.
        logger.warning("the use of %d session(s) could not be noted: %s", len(uses), error)


# --- Beginning and keeping ------------------------------------------------------------------------
def remember_login(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Add the session that begins. For the signal of a log-in."""
    if (key := request.session.session_key) is None:
        return
    _write([Use(user.pk, key, Origin.of(request))])
    kept = UserSession.objects.filter(user=user).order_by("-last_used_at", "-pk")
    end_sessions(user.pk, list(kept[MAX_SESSIONS:]))
    _forget_dead(user)


@contextmanager
def kept_session(request: HttpRequest, user: User) -> Iterator[None]:
    """Let this session outlive the change of the user's session hash that is made within, under a
    new key."""
    known = UserSession.objects.filter(session_key=request.session.session_key)
    began_at = known.values_list("created_at", flat=True).first()
    # Read now: with another hash the session would be nobody's, and be emptied.
    if request.user != user:
        raise PermissionDenied
    yield
    update_session_auth_hash(request, user)
    if (key := request.session.session_key) is not None:
        _write([Use(user.pk, key, Origin.of(request))], created_at=began_at)


def _forget_dead(user: User) -> None:
    UserSession.objects.filter(user=user).exclude(pk__in=_alive(user).values("pk")).delete()


# --- Listing and ending ---------------------------------------------------------------------------
def _alive(user: User) -> QuerySet[UserSession]:
    stored = Session.objects.filter(
        session_key=OuterRef("session_key"), expire_date__gt=timezone.now()
    )
    return UserSession.objects.filter(Exists(stored), user=user)


def sessions_of(user: User) -> QuerySet[UserSession]:
    """Those that would let the user in, the last used one first."""
    return _alive(user).order_by("-last_used_at", "-pk")


def other_sessions(user: User, request: HttpRequest) -> QuerySet[UserSession]:
    """All but the one that this request came with."""
    return sessions_of(user).exclude(session_key=request.session.session_key)


def end_sessions(user_id: int, sessions: Sequence[UserSession]) -> None:
    """End these sessions of a user, and what is open with them, at once and everywhere."""
    keys = [session.session_key for session in sessions]
    if not keys:
        return
    UserSession.objects.filter(pk__in=[session.pk for session in sessions]).delete()
    Session.objects.filter(session_key__in=keys).delete()
    # Past the session store: what it cannot delete while the cache is away it leaves there.
    cache: Any = caches[settings.SESSION_CACHE_ALIAS]
    unlink(str(cache.make_key(f"{SessionStore.cache_key_prefix}{key}")) for key in keys)
    for key in keys:
        revoke_access(Access(user_id, session=session_hash(key)))


# --- What it was used with ------------------------------------------------------------------------
#: The first that a user agent names; browsers also name those that they are like.
_BROWSERS = ("Edg", "OPR", "Firefox", "Chrome", "Safari", "curl", "python")
_SYSTEMS = ("iPhone", "iPad", "Android", "Windows", "Mac OS X", "CrOS", "Linux")
_NAMES = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "python": "Python",
}


def describe(user_agent: str) -> str:
    """A user agent in few words, such as "Firefox on Linux"."""
    found = [
        next((_NAMES.get(name, name) for name in names if name in user_agent), None)
        for names in (_BROWSERS, _SYSTEMS)
    ]
    return " on ".join(name for name in found if name) or user_agent[:60] or "Unknown device"
