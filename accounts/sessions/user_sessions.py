"""A user's sessions: noting where they are used, listing and ending them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth import update_session_auth_hash
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.last_use import LAST_USED_PRECISION, LastUse
from accounts.models import User, UserSession
from accounts.sessions.login_log import Origin
from aily.cache import unlink
from aily.web.access_revocation import Access, revoke_access, session_hash

if TYPE_CHECKING:
    from django.contrib.sessions.backends.cached_db import SessionStore
else:
    SessionStore = import_module(settings.SESSION_ENGINE).SessionStore

logger = logging.getLogger(__name__)

#: How long noting a use waits for a row that another transaction has locked.
LOCK_TIMEOUT = "200ms"
#: Sessions of which this process remembers when it wrote their use.
MAX_REMEMBERED = 50_000
#: Of one user. A further login ends the session that was not used for longest.
MAX_SESSIONS = 100


@dataclass(frozen=True, slots=True)
class Use:
    """A use of a session, and where it came from."""

    user_id: int
    session_key: str
    origin: Origin


# --- Noting use -----------------------------------------------------------------------------------
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
    if _last_use.is_due(session_hash(session_key)):
        await _last_use.write(Use(user_id, session_key, origin_of()))


def note_use_in_thread(user_id: int, request: HttpRequest) -> None:
    """`note_use` for a synchronous view."""
    key = request.session.session_key
    if key is not None and _last_use.is_due(session_hash(key)):
        _write([Use(user_id, key, Origin.of(request))])


def _write(uses: Sequence[Use], created_at: datetime | None = None) -> None:
    """Write uses of sessions, and add the sessions that have no row yet.

    Of many processes that see a session at the same moment only the first one writes.
    """
    now = timezone.now()
    columns: dict[str, list[int] | list[str] | list[str | None]] = {
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
        # The request itself does not depend on it.
        logger.warning("the use of %d session(s) could not be noted: %s", len(uses), error)


# By their hashes: a dump of this process's memory should not list session keys.
_last_use: LastUse[str, Use] = LastUse(_write, MAX_REMEMBERED)


# --- Beginning and keeping ------------------------------------------------------------------------
def remember_login(sender: object, request: HttpRequest, user: User, **kwargs: object) -> None:
    """Add the session that begins. Receiver of Django's `user_logged_in`."""
    if (key := request.session.session_key) is None:
        return
    _write([Use(user.pk, key, Origin.of(request))])
    kept = UserSession.objects.filter(user=user).order_by("-last_used_at", "-pk")
    end_sessions(user.pk, list(kept[MAX_SESSIONS:]))
    _delete_dead(user)


@contextmanager
def kept_session(request: HttpRequest, user: User) -> Iterator[None]:
    """Keep this session, under a new key, while the block changes the user's session hash."""
    known = UserSession.objects.filter(session_key=request.session.session_key)
    began_at = known.values_list("created_at", flat=True).first()
    # Load the lazy user now: once the hash has changed Django would flush the session.
    if request.user != user:
        raise PermissionDenied
    yield
    update_session_auth_hash(request, user)
    if (key := request.session.session_key) is not None:
        _write([Use(user.pk, key, Origin.of(request))], created_at=began_at)


def _delete_dead(user: User) -> None:
    UserSession.objects.filter(user=user).exclude(pk__in=_alive(user).values("pk")).delete()


# --- Listing and ending ---------------------------------------------------------------------------
def _alive(user: User) -> QuerySet[UserSession]:
    stored = Session.objects.filter(
        session_key=OuterRef("session_key"), expire_date__gt=timezone.now()
    )
    return UserSession.objects.filter(Exists(stored), user=user)


def sessions_of(user: User) -> QuerySet[UserSession]:
    """Return the user's sessions that are valid, the last used one first."""
    return _alive(user).order_by("-last_used_at", "-pk")


def other_sessions(user: User, request: HttpRequest) -> QuerySet[UserSession]:
    """Return the user's valid sessions other than that of this request."""
    return sessions_of(user).exclude(session_key=request.session.session_key)


def end_sessions(user_id: int, sessions: Sequence[UserSession]) -> None:
    """End these sessions of a user, and close their sockets and streams in all processes."""
    keys = [session.session_key for session in sessions]
    if not keys:
        return
    UserSession.objects.filter(pk__in=[session.pk for session in sessions]).delete()
    Session.objects.filter(session_key__in=keys).delete()
    # Not through the session store: while the cache is away it would leave them there for good.
    cache = caches[settings.SESSION_CACHE_ALIAS]
    unlink(str(cache.make_key(f"{SessionStore.cache_key_prefix}{key}")) for key in keys)
    for key in keys:
        revoke_access(Access(user_id, session=session_hash(key)))


# --- User agents ----------------------------------------------------------------------------------
#: In this order, as browsers also name the ones that they resemble.
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
    """Return a user agent in few words, such as "Firefox on Linux"."""
    browser, system = (
        next((_NAMES.get(name, name) for name in names if name in user_agent), "")
        for names in (_BROWSERS, _SYSTEMS)
    )
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or system or user_agent[:60] or _("Unknown device")
