"""`GET /v1/models`: the models that a caller may name."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from accounts.access.permissions import permission_sets
from aily.database.threads import in_database
from chat.models import LLMModel
from chat.openai.callers import caller_of
from chat.openai.errors import JSON_TYPE
from chat.services.restrictions import USE_MODEL


async def list_models(request: Request) -> Response:
    """The enabled models that the caller may use."""
    caller = await caller_of(request)
    models = await in_database(_usable, caller.owner_id)
    body = {"object": "list", "data": [_model(model) for model in models]}
    return Response(json.dumps(body), media_type=JSON_TYPE)


def _usable(owner_id: int) -> list[LLMModel]:
    permissions = permission_sets([owner_id])[owner_id]
    models = LLMModel.objects.filter(is_enabled=True).select_related("provider")
    return [
        model
        for model in models
        if not model.is_restricted or permissions.allows(USE_MODEL, model.pk)
    ]


def _model(model: LLMModel) -> dict[str, object]:
    # aily does not store when a model was added; clients want a number.
    return {"id": model.name, "object": "model", "created": 0, "owned_by": model.provider.name}
