"""`GET /v1/models`: what the caller may name, models and scenes."""

from __future__ import annotations

import time

import httpx

from accounts.models import APIKey, User
from aily.database.threads import in_database
from chat.models import LLMModel, Provider, Scene
from chat.services import scenes
from tests.chat.openai.conftest import V1
from tests.clients.openai_schemas import check

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


def make_scene(slug: str, *, is_live: bool = True, **fields: bool) -> None:
    scene = Scene.objects.create(slug=slug, title=slug.title(), **fields)
    version = scenes.create_version(
        scene, None, {"user_template": "{{ text }}", "variables_schema": SCHEMA}
    )
    if is_live:
        scenes.publish(version)


def make_rows(model: LLMModel) -> None:
    off = Provider.objects.create(name="off", base_url="http://127.0.0.1:9", is_enabled=False)
    create = LLMModel.objects.create
    create(provider=model.provider, name="org/with a slash")
    create(provider=model.provider, name="hidden", is_restricted=True)
    create(provider=model.provider, name="disabled", is_enabled=False)
    create(provider=off, name="of-a-disabled-provider")
    make_scene("open")
    make_scene("restricted", is_restricted=True)
    make_scene("closed", is_enabled=False)
    make_scene("draft", is_live=False)


async def test_models_are_those_that_the_caller_may_use(
    v1: V1, alice_v1: httpx.AsyncClient, model: LLMModel
) -> None:
    await in_database(make_rows, model)
    answer = await alice_v1.get("/models")
    assert answer.status_code == 200
    body = answer.json()
    check("ListModelsResponse", body)
    usable = {model.name, "org/with a slash", "scene:open"}
    assert {entry["id"] for entry in body["data"]} == usable
    assert all(abs(entry["created"] - time.time()) < 600 for entry in body["data"])
    root = await in_database(User.objects.create_superuser, "root")
    _, secret = await in_database(APIKey.create, root, "test")
    names = [entry["id"] for entry in (await v1(secret).get("/models")).json()["data"]]
    assert set(names) - usable == {"hidden", "scene:restricted"}


async def test_one_model(alice_v1: httpx.AsyncClient, model: LLMModel) -> None:
    await in_database(make_rows, model)
    for path in (model.name, "org/with%20a%20slash", "org%2Fwith%20a%20slash", "scene:open"):
        answer = await alice_v1.get(f"/models/{path}")
        assert answer.status_code == 200, path
        check("Model", answer.json())
    assert (await alice_v1.get("/models/scene%3Aopen")).json()["variables"] == SCHEMA


async def test_what_may_not_be_used_does_not_exist(
    alice_v1: httpx.AsyncClient, model: LLMModel
) -> None:
    await in_database(make_rows, model)
    for name in (
        *("none", "hidden", "disabled", "of-a-disabled-provider", "open", "x" * 3_000),
        *("scene:none", "scene:restricted", "scene:closed", "scene:draft", "scene:", "%00"),
    ):
        answer = await alice_v1.get(f"/models/{name}")
        assert answer.status_code == 404, name
        error = answer.json()["error"]
        check("ErrorResponse", answer.json())
        assert (error["param"], error["code"]) == ("model", "model_not_found") or name == "%00"
