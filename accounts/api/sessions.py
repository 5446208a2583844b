"""REST: own sessions and own password. Only with a session: an API key has neither."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.http import Http404
from ninja import Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field, SecretStr

from accounts.authentication import AuthenticatedRequest
from accounts.models import User, UserSession
from accounts.sessions.attempts import is_own_password
from accounts.sessions.forms import MAX_PASSWORD_LENGTH
from accounts.sessions.passwords import change_password
from accounts.sessions.user_sessions import describe, end_sessions, other_sessions, sessions_of
from aily.problems import Conflict, Forbidden, InvalidRequest
from aily.rest.openapi import example
from aily.rest.pages import Page
from aily.rest.requests import RequestSchema

router = Router(tags=["accounts"])


class SessionOut(Schema):
    model_config = example(
        id=12,
        device="Firefox on Linux",
        user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        address="192.0.2.7",
        created_at="2026-01-31T12:00:00Z",
        last_used_at="2026-02-01T08:30:00Z",
        is_current=True,
    )

    id: int
    device: str
    user_agent: str
    address: str | None
    created_at: datetime
    last_used_at: datetime = Field(description="To the minute.")
    is_current: bool = Field(description="The one that asks.")


class EndedOut(Schema):
    model_config = example(ended=3)

    ended: int


class PasswordIn(RequestSchema):
    model_config = example(old_password="the one until now", new_password="a long sentence")  # noqa: S106

    old_password: SecretStr = Field(min_length=1, max_length=MAX_PASSWORD_LENGTH)
    new_password: SecretStr = Field(min_length=1, max_length=MAX_PASSWORD_LENGTH)


def _session_user(request: AuthenticatedRequest) -> User:
    """Return the logged-in user, with all fields. Raises Forbidden for a key."""
    if request.auth.api_key is not None:
        message = "An API key cannot do this. Log in."
        raise Forbidden(message, params={"rule": "not_by_key"})
    return User.objects.get(pk=request.auth.user.pk)


@router.get("/me/sessions", response=list[SessionOut], summary="Own sessions")
@paginate(Page)
def list_sessions(request: AuthenticatedRequest) -> list[dict[str, object]]:
    return [_as_out(request, row) for row in sessions_of(_session_user(request))]


def _as_out(request: AuthenticatedRequest, row: UserSession) -> dict[str, object]:
    fields = ("id", "user_agent", "address", "created_at", "last_used_at")
    return {
        **{name: getattr(row, name) for name in fields},
        "device": describe(row.user_agent),
        "is_current": row.session_key == request.session.session_key,
    }


@router.delete("/me/sessions", response=EndedOut, summary="End all other own sessions")
def end_other_sessions(request: AuthenticatedRequest) -> dict[str, int]:
    user = _session_user(request)
    others = list(other_sessions(user, request))
    end_sessions(user.pk, others)
    return {"ended": len(others)}


@router.delete("/me/sessions/{int:session_id}", response={204: None}, summary="End one own session")
def end_session(request: AuthenticatedRequest, session_id: int) -> Status[None]:
    user = _session_user(request)
    chosen = list(sessions_of(user).filter(pk=session_id))
    if not chosen:
        raise Http404
    if chosen[0].session_key == request.session.session_key:
        message = "This is the session that you are using. Log out instead."
        raise Conflict(message, params={"rule": "own_session"})
    end_sessions(user.pk, chosen)
    return Status(204, None)


@router.post("/me/password", response={204: None}, summary="Change one's own password")
def set_password(request: AuthenticatedRequest, payload: PasswordIn) -> Status[None]:
    """This session stays, under a new cookie; all others end."""
    user = _session_user(request)
    if not user.has_usable_password():
        message = "You log in by a login provider, and have no password here."
        raise Conflict(message, params={"rule": "no_password"})
    if not is_own_password(request, user, payload.old_password.get_secret_value()):
        params = {"rule": "wrong_password"}
        raise InvalidRequest("This is not your password.", field="old_password", params=params)
    password = payload.new_password.get_secret_value()
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise ValidationError({"new_password": error}) from None
    change_password(request, user, password)
    return Status(204, None)
