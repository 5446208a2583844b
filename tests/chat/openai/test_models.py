"""`GET /v1/models`."""

from __future__ import annotations

import httpx

from aily.database.threads import in_database
from chat.models import LLMModel


async def test_models_are_those_that_the_caller_may_use(
    alice_v1: httpx.AsyncClient, model: LLMModel
) -> None:
    others = (("hidden", {"is_restricted": True}), ("off", {"is_enabled": False}))
    for name, fields in others:
        await in_database(LLMModel.objects.create, provider=model.provider, name=name, **fields)
    answer = await alice_v1.get("/models")
    assert answer.status_code == 200
    body = answer.json()
    assert body["object"] == "list"
    assert [(entry["id"], entry["object"]) for entry in body["data"]] == [(model.name, "model")]
