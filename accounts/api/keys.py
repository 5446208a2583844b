"""REST: my API keys."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime
from typing import Literal

from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field, field_validator

from accounts.access.keys import KEY_IDS
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from accounts.models import APIKey, APIKeyQuerySet
from aily.rest.etags import if_match
from aily.rest.openapi import example
from aily.rest.pages import Page, matching, ordered
from aily.rest.requests import CreatedBetween, Moment, RequestSchema
from aily.rest.schema_rules import refused_value
from aily.rest.writes import change

router = Router(tags=["accounts"])


class KeyPatch(RequestSchema):
    """Not its end: a key that could put off its own end would have none."""

    model_config = example(name="laptop", lane="batch")

    name: str = Field("", max_length=100)
    lane: Literal["", "interactive", "normal", "batch"] = Field(
        "", description="Of tasks whose request names none; empty: by the way it is made."
    )


class KeyIn(KeyPatch):
    model_config = example(name="laptop", lane="batch", expires_at="2099-12-31T23:59:59Z")

    name: str = Field(min_length=1, max_length=100)
    expires_at: Moment | None = None

    @field_validator("expires_at")
    @classmethod
    def _in_the_future(cls, value: datetime | None) -> datetime | None:
        if value is not None and value <= timezone.now():
            raise refused_value("This must lie in the future.", {"rule": "future_time"})
        return value


class KeyOut(Schema):
    model_config = example(
        id=7,
        name="laptop",
        prefix="aily_Zk3xQ0v",
        lane="batch",
        created_at="2026-01-31T12:00:00Z",
        last_used_at="2026-02-01T08:30:00Z",
        expires_at="2099-12-31T23:59:59Z",
        revoked_at=None,
    )

    id: int
    name: str
    prefix: str
    lane: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyOut(KeyOut):
    secret: str = Field(
        description="The key itself. Shown this once.", examples=["aily_Zk3xQ0v..."]
    )


class KeyFilter(CreatedBetween):
    search: str = Field("", max_length=100, description="Part of the name.")
    usable: bool = Field(False, description="Leave out revoked and expired keys.")
    ordering: Literal["created_at", "-created_at", "name", "-name"] = "-created_at"


def _own_keys(request: AuthenticatedRequest) -> APIKeyQuerySet:
    keys: APIKeyQuerySet = APIKey.objects.filter(owner=request.auth.user)
    return keys


def _own_key(request: AuthenticatedRequest, key_id: int) -> APIKey:
    if not KEY_IDS.may_exist(key_id, request.auth.user.pk):
        raise Http404
    return get_object_or_404(_own_keys(request), pk=key_id)


@router.get("/keys", response=list[KeyOut], summary="Own API keys")
@paginate(Page)
def list_keys(request: AuthenticatedRequest, filters: Query[KeyFilter]) -> QuerySet[APIKey]:
    keys = matching(_own_keys(request), **filters.created())
    if filters.search:
        keys = keys.filter(name__icontains=filters.search)
    return ordered(keys.usable() if filters.usable else keys, filters.ordering)


@router.post("/keys", response={201: NewKeyOut}, summary="Make an API key")
@idempotent(NewKeyOut, has_secret=True)
def create_key(request: AuthenticatedRequest, payload: KeyIn) -> Status[object]:
    """For yourself, and with a session: an API key makes no keys."""
    key, secret = APIKey.create(
        request.auth.user, payload.name, payload.expires_at, lane=payload.lane
    )
    out = KeyOut.from_orm(key).dict()
    return Status(201, NewKeyOut(**out, secret=secret))


@router.get("/keys/{int:key_id}", response=KeyOut, summary="One API key")
def get_key(request: AuthenticatedRequest, key_id: int) -> APIKey:
    return _own_key(request, key_id)


@router.patch("/keys/{int:key_id}", response=KeyOut, summary="Change an API key")
@if_match(KeyOut, get_key)
def change_key(request: AuthenticatedRequest, key_id: int, payload: KeyPatch) -> APIKey:
    key = get_key(request, key_id)
    # A change of nothing is a mistake, and is refused at the name.
    change(key, payload.dict(exclude_unset=True) or {"name": ""})
    return key


@router.delete("/keys/{int:key_id}", response={204: None}, summary="Revoke an API key")
@if_match(KeyOut, get_key)
def revoke_key(request: AuthenticatedRequest, key_id: int) -> Status[None]:
    key = _own_key(request, key_id)
    _own_keys(request).filter(pk=key.pk).revoke()
    return Status(204, None)
