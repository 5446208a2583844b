"""Schemas that the endpoints of users and roles share."""

from __future__ import annotations

from ninja import Schema
from pydantic import Field

from aily.rest.openapi import example
from aily.rest.requests import RequestSchema

Count = int | None


class LimitsPatch(RequestSchema):
    """Limits in place of the installation's. Null: a role's most generous, else the setting."""

    model_config = example(requests_per_minute=1200, max_tasks_in_flight=500, max_tasks_queued=None)

    requests_per_minute: Count = Field(None, ge=1, le=2_147_483_647)
    max_tasks_in_flight: Count = Field(None, ge=1, le=2_147_483_647)
    max_tasks_queued: Count = Field(None, ge=1, le=2_147_483_647)


NO_LIMITS = LimitsPatch.model_validate({})


class LimitsOut(Schema):
    model_config = example(requests_per_minute=1200, max_tasks_in_flight=500, max_tasks_queued=None)

    requests_per_minute: Count
    max_tasks_in_flight: Count
    max_tasks_queued: Count


class RoleRef(Schema):
    model_config = example(id=3, name="editors")

    id: int
    name: str


class ObjectPermission(RequestSchema):
    """A permission on one object, which goes by its name in the API, such as a scene's slug."""

    model_config = example(permission="chat.use_scene", object="summarize")

    permission: str = Field(max_length=200)
    object: str = Field(max_length=200)
