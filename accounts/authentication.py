"""Authentication: turns an API key or a session into an Identity, for REST and WebSocket."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, TypeVar, cast

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
    """A user, with the API key of the request, or else the hash of its session key."""

    user: User
    api_key: APIKey | None = None
    session: str | None = None

    @property
    def access(self) -> Access:
        """The access that a socket or stream is opened with, by which it can be revoked."""
        return Access(self.user.pk, self.api_key.pk if self.api_key else None, self.session)

    @property
    def lane(self) -> str:
        """The API key's lane of tasks whose request names none; empty: it has none."""
        return self.api_key.lane if self.api_key is not None else ""

    @property
    def valid_seconds(self) -> float:
        """How long the credentials are valid unless revoked; for a session, how long at most."""
        if self.api_key is None:
            # Its exact end is in its row. Unless it is renewed it is not later than this.
            return float(settings.SESSION_COOKIE_AGE)
        end: datetime | None = self.api_key.expires_at
        return inf if end is None else (end - timezone.now()).total_seconds()


class AuthenticatedRequest(HttpRequest):
    """The request that an endpoint behind BearerAuth or SessionAuth gets."""

    auth: Identity
    #: The caller's rate limit and what is left of it, for the headers of the response to a POST.
    rate: Rate | None


async def identify_key(secret: str, *, check: bool = False) -> Identity | None:
    """Return the identity of a usable API key, else None. No query when key and owner are cached.

    `check`: bypass this process's copies, so that a key revoked before the call is refused.
    """
    record = await find_key(secret, check=check)
    if record is None:
        return None
    owner = await (USERS.acheck if check else USERS.aget)(record.owner_id)
    if owner is None or not owner.is_active:
        return None
    return Identity(_user(record.owner_id, owner), _api_key(record))


# Rows made of cached columns. The others are deferred: reading one costs a query.
def _user(pk: int, grants: UserGrants) -> User:
    return _row(User, pk, grants)


def _api_key(record: KeyRecord) -> APIKey:
    return _row(APIKey, record.pk, record)


def _row(model: type[Row], pk: int, record: msgspec.Struct) -> Row:
    names = _columns_of(model, type(record))
    values = [pk, *(getattr(record, name) for name in names[1:])]
    return model.from_db(None, names, values)


@cache
def _columns_of(model: type[Model], record: type[msgspec.Struct]) -> list[str]:
    """Return the model's columns that are fields of the record, in order, after the primary key."""
    columns = [field.attname for field in model._meta.concrete_fields]  # noqa: SLF001 - documented
    return ["id", *(name for name in columns if name in record.__struct_fields__)]


def _known_user(session: SessionBase, *, check: bool = False) -> User | None:
    """Return the user of this session by what the cache holds.

    Returns None if the cache cannot authenticate; the caller falls back to Django.
    """
    try:
        pk, backend = int(session[SESSION_KEY]), session[BACKEND_SESSION_KEY]
        session_hash = session[HASH_SESSION_KEY]
    except (KeyError, ValueError):
        return None
    if not _admits_active_users(backend):
        return None
    grants = (USERS.check if check else USERS.get)(pk)
    if grants is None or not grants.is_active:
        return None
    return _user(pk, grants) if constant_time_compare(session_hash, grants.session_hash) else None


def _admits_active_users(backend: str) -> bool:
    """Return whether the backend admits every active user: others may check what is not cached."""
    return (
        backend in settings.AUTHENTICATION_BACKENDS
        and type(load_backend(backend)).get_user is ModelBackend.get_user
    )


class _ReadOnlySession(SessionStore):
    """The session of a WebSocket handshake: it cannot be renewed, as no cookie can be sent."""

    @property
    def key_salt(self) -> str:
        # Django derives it from the class name: rows are signed with that of the base class.
        return f"django.contrib.sessions.{SessionStore.__qualname__}"

    def cycle_key(self) -> None:
        pass

    def flush(self) -> None:
        pass


def identify_session(session_key: str, *, check: bool = False) -> Identity | None:
    """Return the identity of a session, checked as by Django (backend, session hash, active user).

    `check`: as for `identify_key`. No query when session and user are cached. Blocks.
    """
    request = HttpRequest()
    request.session = _ReadOnlySession(session_key)
    user = _known_user(request.session, check=check) or get_user(request)
    if not isinstance(user, User) or lacks_second_factor(user, request.session):
        return None
    return Identity(user=user, session=session_hash(session_key))


def _session_user(request: HttpRequest) -> Identity | None:
    # is_authenticated loads Django's lazy user: this runs on a database thread.
    user = _known_user(request.session) or request.user
    if not user.is_authenticated:
        return None
    if lacks_second_factor(user, request.session):
        message = "Set up a second factor first, at /account/totp/."
        raise Forbidden(message, params={"rule": "second_factor"})
    return Identity(user=user, session=_session_of(request))


def _session_of(request: HttpRequest) -> str | None:
    session_key = request.session.session_key
    return None if session_key is None else session_hash(session_key)


async def identify_again(request: AuthenticatedRequest, *, check: bool) -> Identity | None:
    """Return the identity of a request anew, None if its access has ended; `check`: as above."""
    if request.auth.api_key is not None:
        _, _, secret = request.headers["Authorization"].partition(" ")
        return await identify_key(secret, check=check)
    session_key = request.session.session_key
    if session_key is None:
        return None
    return await in_database(identify_session, session_key, check=check)


async def _count(request: HttpRequest, identity: Identity) -> None:
    """Count a POST against the rate limits. Raises RateLimited unless it repeats an earlier request
    (Idempotency-Key)."""
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
    """Django's CSRF check for sessions: ninja exempts its views from the middleware, for keys."""

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

    def __init__(self) -> None:
        # ninja's own check raises another error.
        super().__init__(csrf=False)

    async def authenticate(self, request: HttpRequest, key: str | None) -> Identity | None:
        identity = await in_database(_session_user, request) if key else None
        if identity is not None:
            if request.content_type == "multipart/form-data":
                # It looks for a token in the form, which may be a large file.
                await in_database(_csrf.check, request)
            else:
                _csrf.check(request)
            await _count(request, identity)
            if session_key := request.session.session_key:
                await note_use(identity.user.pk, session_key, partial(Origin.of, request))
        return identity
