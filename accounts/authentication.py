"""Who is asking: turns an API key or a session into an Identity, for REST and WebSocket alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.contrib.auth import get_user
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import timezone
from ninja.errors import AuthenticationError, AuthorizationError
from ninja.security import APIKeyCookie, HttpBearer

from accounts.limits import count_request
from accounts.models import KEY_MARK, APIKey, User
from aily.database import in_database
from aily.rates import Rate
from aily.sockets import Access, session_hash

if TYPE_CHECKING:
    from django.contrib.sessions.backends.cached_db import SessionStore
else:
    SessionStore = import_module(settings.SESSION_ENGINE).SessionStore

#: `last_used_at` is at most this much behind, so that a busy key does not cost a write a request.
LAST_USED_PRECISION = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, and the key they came with (None: a session, named by its hash)."""

    user: User
    api_key: APIKey | None = None
    session: str | None = None

    @property
    def access(self) -> Access:
        """What a socket of theirs is opened with."""
        return Access(self.user.pk, self.api_key.pk if self.api_key else None, self.session)


class AuthenticatedRequest(HttpRequest):
    """What an endpoint behind BearerAuth or SessionAuth is given."""

    auth: Identity
    #: Where the caller's rate stands, for the headers of the answer to a POST.
    rate: Rate | None


def identify_key(secret: str) -> Identity | None:
    """The owner of a usable API key. One query, and at most one UPDATE a minute."""
    if not secret.startswith(KEY_MARK):
        return None
    digest = APIKey.digest_of(secret)
    key = APIKey.objects.usable().select_related("owner").filter(digest=digest).first()
    if key is None:
        return None
    _note_use(key)
    return Identity(user=key.owner, api_key=key)


def _note_use(key: APIKey) -> None:
    now = timezone.now()
    before = now - LAST_USED_PRECISION
    if key.last_used_at is None or key.last_used_at < before:
        # Of many requests at the same moment only the first one writes.
        stale = Q(last_used_at=None) | Q(last_used_at__lt=before)
        APIKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)


class _ReadOnlySession(SessionStore):
    """A session that a WebSocket handshake may look at but not renew: it can send no cookie."""

    def cycle_key(self) -> None:
        pass

    def flush(self) -> None:
        pass


def identify_session(session_key: str) -> Identity | None:
    """The user of a session, checked as Django checks it (backend, session auth hash, active)."""
    request = HttpRequest()
    request.session = _ReadOnlySession(session_key)
    user = get_user(request)
    if not isinstance(user, User):
        return None
    return Identity(user=user, session=session_hash(session_key))


def _session_user(request: HttpRequest) -> Identity | None:
    # Reading is_authenticated makes Django's lazy user load its rows, here on a database thread.
    user = request.user
    return Identity(user=user) if user.is_authenticated else None


async def _count(request: HttpRequest, identity: Identity) -> None:
    """Count a POST, as whatever creates something is one. Raises RateLimited."""
    if request.method == "POST":
        rate = await count_request(identity.user.pk, identity.api_key, wants_rate=True)
        cast("AuthenticatedRequest", request).rate = rate


class BearerAuth(HttpBearer):
    """`Authorization: Bearer <key>`. A key that does not work is refused, session or not."""

    async def authenticate(self, request: HttpRequest, token: str) -> Identity:
        identity = await in_database(identify_key, token)
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
        return identity
