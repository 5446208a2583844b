"""Who is asking: turns an API key or a session into an Identity, for REST and WebSocket alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user,
    load_backend,
)
from django.contrib.auth.backends import ModelBackend
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from ninja.errors import AuthenticationError, AuthorizationError
from ninja.security import APIKeyCookie, HttpBearer

from accounts.access.grants import USERS, UserGrants
from accounts.access.keys import KeyRecord, find_key
from accounts.access.limits import count_request
from accounts.models import APIKey, User
from accounts.repeats import is_repeat
from accounts.sessions.login_log import Origin
from accounts.sessions.totp import lacks_second_factor
from accounts.sessions.user_sessions import note_use
from aily.database.threads import in_database
from aily.problems import Forbidden, RateLimited
from aily.redis.rates import Rate
from aily.web.access_revocation import Access, session_hash

if TYPE_CHECKING:
    from django.contrib.sessions.backends.cached_db import SessionStore
else:
    SessionStore = import_module(settings.SESSION_ENGINE).SessionStore


Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, and the key they came with (None: a session, named by its hash)."""

    user: User
    api_key: APIKey | None = None
    session: str | None = None

    @property
    def access(self) -> Access:
        """What a socket or stream of theirs is opened with."""
        return Access(self.user.pk, self.api_key.pk if self.api_key else None, self.session)

    @property
    def holds_seconds(self) -> float:
        """For how long these credentials hold if nobody takes them away, as far as is known."""
        if self.api_key is None:
            # When a session ends is in its row: not later than this, unless it is renewed.
            return float(settings.SESSION_COOKIE_AGE)
        end: datetime | None = self.api_key.expires_at
        return inf if end is None else (end - timezone.now()).total_seconds()


class AuthenticatedRequest(HttpRequest):
    """What an endpoint behind BearerAuth or SessionAuth is given."""

    auth: Identity
    #: Where the caller's rate stands, for the headers of the answer to a POST.
    rate: Rate | None


async def identify_key(secret: str, *, check: bool = False) -> Identity | None:
    """The owner of a usable API key. No query when both are cached.

    With `check` what this process remembers does not count: an access that was taken away before
    is refused.
    """
    record = await find_key(secret, check=check)
    if record is None:
        return None
    owner = await (USERS.acheck if check else USERS.aget)(record.owner_id)
    if owner is None or not owner.is_active:
        return None
    return Identity(_user(record.owner_id, owner), _api_key(record))


# The rows as far as the cache knows them; asked for more, they read the database.
def _user(pk: int, grants: UserGrants) -> User:
    known = {name: getattr(grants, name) for name in grants.__struct_fields__}
    return _row(User, {**known, "id": pk})


def _api_key(record: KeyRecord) -> APIKey:
    known = msgspec.structs.asdict(record)
    return _row(APIKey, {**known, "id": record.pk})


def _row(model: type[Row], known: dict[str, Any]) -> Row:
    names = [field.attname for field in model._meta.concrete_fields if field.attname in known]  # noqa: SLF001
    return model.from_db(None, names, [known[name] for name in names])


def _known_user(session: SessionBase, *, check: bool = False) -> User | None:
    """Whoever this session is of, by what the cache holds of them.

    None where that does not let them in: Django then has the last word, and asks the database.
    """
    try:
        pk, backend = int(session[SESSION_KEY]), session[BACKEND_SESSION_KEY]
        given = session[HASH_SESSION_KEY]
    except (KeyError, ValueError):
        return None
    if not _is_plain(backend):
        return None
    grants = (USERS.check if check else USERS.get)(pk)
    if grants is None or not grants.is_active:
        return None
    return _user(pk, grants) if constant_time_compare(given, grants.session_hash) else None


def _is_plain(backend: str) -> bool:
    """Whether it lets in every active user: another one may judge by what is not cached."""
    return (
        backend in settings.AUTHENTICATION_BACKENDS
        and type(load_backend(backend)).get_user is ModelBackend.get_user
    )


class _ReadOnlySession(SessionStore):
    """A session that a WebSocket handshake may look at but not renew: it can send no cookie."""

    @property
    def key_salt(self) -> str:
        # Django's has the name of the class in it: rows are signed with that of the base.
        return f"django.contrib.sessions.{SessionStore.__qualname__}"

    def cycle_key(self) -> None:
        pass

    def flush(self) -> None:
        pass


def identify_session(session_key: str, *, check: bool = False) -> Identity | None:
    """The user of a session, checked as Django checks it (backend, session auth hash, active).

    `check`: as for `identify_key`. No query when session and user are cached.
    """
    request = HttpRequest()
    request.session = _ReadOnlySession(session_key)
    user = _known_user(request.session, check=check) or get_user(request)
    if not isinstance(user, User) or lacks_second_factor(user, request.session):
        return None
    return Identity(user=user, session=session_hash(session_key))


def _session_user(request: HttpRequest) -> Identity | None:
    # Reading is_authenticated makes Django's lazy user load its rows, here on a database thread.
    user = _known_user(request.session) or request.user
    if not user.is_authenticated:
        return None
    if lacks_second_factor(user, request.session):
        raise Forbidden("Set up a second factor first, at /account/totp/.")
    return Identity(user=user, session=_session_of(request))


def _session_of(request: HttpRequest) -> str | None:
    session_key = request.session.session_key
    return None if session_key is None else session_hash(session_key)


async def identify_again(request: AuthenticatedRequest, *, check: bool) -> Identity | None:
    """Who made this request, if its key or session still lets them in; `check`: as above."""
    if request.auth.api_key is not None:
        _, _, secret = request.headers["Authorization"].partition(" ")
        return await identify_key(secret, check=check)
    session_key = request.session.session_key
    if session_key is None:
        return None
    return await in_database(identify_session, session_key, check=check)


async def _count(request: HttpRequest, identity: Identity) -> None:
    """Count a POST, as whatever creates something is one. Raises RateLimited, but not where the
    request's idempotency key was used before."""
    if request.method != "POST":
        return
    try:
        rate = await count_request(identity.user.pk, identity.api_key)
    except RateLimited:
        if not await is_repeat(identity.user.pk, request.headers.get("Idempotency-Key")):
            raise
    else:
        cast("AuthenticatedRequest", request).rate = rate


class BearerAuth(HttpBearer):
    """`Authorization: Bearer <key>`. A key that does not work is refused, session or not."""

    async def authenticate(self, request: HttpRequest, token: str) -> Identity:
        identity = await identify_key(token)
        if identity is None:
            raise AuthenticationError(message="This API key is unknown, revoked or expired.")
        await _count(request, identity)
        return identity


class _CSRFCheck(CsrfViewMiddleware):
    """Django's check, for views that ninja exempts from the middleware as keys need no token."""

    def check(self, request: HttpRequest) -> None:
        """Raise AuthorizationError when the token is missing or wrong."""
        self.process_request(request)
        self.process_view(request, HttpResponse, (), {})

    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        raise AuthorizationError(message=reason)


_csrf = _CSRFCheck(lambda request: HttpResponse())


class SessionAuth(APIKeyCookie):
    """Django's session cookie, with CSRF protection on unsafe methods."""

    param_name = settings.SESSION_COOKIE_NAME

    def _get_key(self, request: HttpRequest) -> str | None:
        return request.COOKIES.get(self.param_name)

    async def authenticate(self, request: HttpRequest, key: str | None) -> Identity | None:
        identity = await in_database(_session_user, request) if key else None
        if identity is not None:
            _csrf.check(request)
            await _count(request, identity)
            if session_key := request.session.session_key:
                await note_use(identity.user.pk, session_key, partial(Origin.of, request))
        return identity
