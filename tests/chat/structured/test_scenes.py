"""Scenes with a schema of answers; equal requests of them; models and how they are asked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.models import User
from aily.database.threads import in_database
from chat.exceptions import InvalidTemplate
from chat.models import LLMModel, Provider, Scene, SceneVersion, Status, Task
from chat.models.provider_fields import StructuredOutput
from chat.services import scenes
from chat.services.submission import CompositeRequest
from chat.services.submit import Submission, submit
from tests.chat.conftest import frames_of, row
from tests.chat.structured.conftest import Play
from tests.chat.structured.scripted import ADA, NOBODY, PERSON, Answer, error_of, format_of
from tests.conftest import ClientOf

#: In an order that no sorting makes.
ORDERED: dict[str, Any] = {
    "type": "object",
    "properties": {"thoughts": {"type": "string"}, "a": {"type": "string"}, "verdict": {}},
}


def publish(**fields: Any) -> Scene:
    scene, _ = Scene.objects.get_or_create(slug="who", title="Who")
    written = {"user_template": "Who is {{ name }}?", "output_schema": PERSON, **fields}
    scenes.publish(scenes.create_version(scene, None, written))
    return scene


async def ask(owner: User, **fields: Any) -> str:
    body = {"scene": "who", "variables": {"name": "Ada"}, **fields}
    request = CompositeRequest.model_validate(body)
    return (await submit(Submission(owner_id=owner.pk, request=request))).task_id


async def answered(owner: User, **fields: Any) -> Task:
    task_id = await ask(owner, **fields)
    await frames_of(task_id, owner)
    return await row(task_id)


# --- The schema of a scene ----------------------------------------------------------------------
async def test_answers_to_a_scene_fit_its_schema(alice: User, play: Play) -> None:
    await in_database(publish)
    provider = await play(NOBODY, ADA)
    task = await answered(alice)
    assert (task.status, task.text, task.attempt) == (Status.SUCCEEDED, ADA, 2)
    assert task.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "who", "schema": PERSON},
    }
    assert json.dumps(PERSON) in provider.bodies[0]["messages"][0]["content"]


@pytest.mark.parametrize("own", [None, {"type": "json_object"}], ids=["null", "JSON mode"])
async def test_a_request_may_say_that_it_wants_another_form(
    alice: User, play: Play, own: Any
) -> None:
    await in_database(publish)
    provider = await play("No.")
    task = await answered(alice, response_format=own)
    assert (task.status, task.text, task.response_format) == (Status.SUCCEEDED, "No.", None)
    assert provider.bodies[0].get("response_format") == own


async def test_a_worker_of_before_finds_the_format_among_the_parameters(
    alice: User, play: Play
) -> None:
    """It sends it on as it is, and stores whatever comes."""
    await in_database(publish)
    await play(ADA)
    task = await answered(alice)
    assert task.params["response_format"] == task.response_format
    task.text = "no JSON"
    assert task.result()["output"] is None


async def test_a_requests_schema_goes_before_its_scenes(alice: User, play: Play) -> None:
    await in_database(publish)
    await play('{"verdict": 1}')
    task = await answered(alice, response_format=format_of(ORDERED))
    assert (task.status, task.text) == (Status.SUCCEEDED, '{"verdict": 1}')


@pytest.mark.parametrize("where", ["scene", "model"])
async def test_a_schema_among_the_parameters_holds_as_well(
    alice: User, play: Play, where: str
) -> None:
    params = {"response_format": format_of()}
    of_scene = params if where == "scene" else {}
    await in_database(lambda: publish(output_schema=None, params=of_scene))
    if where == "model":
        await in_database(lambda: LLMModel.objects.update(params=params))
    await play("No.")
    task = await answered(alice)
    assert (task.status, error_of(task)["code"]) == (Status.FAILED, "invalid_output")


async def test_a_model_that_takes_no_format_is_told_the_schema_in_the_prompt(
    alice: User, play: Play
) -> None:
    await in_database(publish)
    await in_database(lambda: LLMModel.objects.update(params={"response_format": None}))
    provider = await play(ADA)
    assert (await answered(alice)).status == Status.SUCCEEDED
    assert "response_format" not in provider.bodies[0]


def test_a_version_has_one_schema_of_answers(transactional_db: None) -> None:
    with pytest.raises(InvalidTemplate) as refused:
        publish(params={"response_format": {"type": "json_object"}})
    assert refused.value.field == "params.response_format"


# --- Equal requests -----------------------------------------------------------------------------
async def test_requests_share_a_call_only_if_their_schemas_are_equal(
    alice: User, play: Play
) -> None:
    await in_database(lambda: publish(single_flight=True, output_schema=None))
    gate = asyncio.Event()
    provider = await play(Answer('{"a": "b"}', until=gate))
    turned = {**ORDERED, "properties": dict(reversed(ORDERED["properties"].items()))}
    asked = [format_of(ORDERED), format_of(ORDERED), format_of(turned), None]
    task_ids = [await ask(alice, response_format=response_format) for response_format in asked]
    gate.set()
    for task_id in task_ids:
        await frames_of(task_id, alice)
    tasks = [await row(task_id) for task_id in task_ids]
    assert [task.served_from for task in tasks] == ["provider", "flight", "provider", "provider"]
    assert len(provider.bodies) == 3
    assert tasks[1].result()["output"] == {"a": "b"}


async def test_tasks_that_share_an_answer_end_with_the_repaired_one(
    alice: User, bob: User, play: Play
) -> None:
    await in_database(lambda: publish(single_flight=True, cache_ttl_seconds=60))
    gate = asyncio.Event()
    provider = await play(Answer(NOBODY, until=gate), ADA)
    task_ids = [(await ask(owner), owner) for owner in (alice, bob)]
    gate.set()
    for task_id, owner in task_ids:
        frames = await frames_of(task_id, owner)
        assert frames.text == ADA
    # A kept answer is one that fits.
    kept = await answered(bob)
    assert (kept.served_from, kept.text, len(provider.bodies)) == ("cache", ADA, 2)
    assert kept.result()["output"] == json.loads(ADA)


async def test_an_answer_that_does_not_fit_is_not_kept(alice: User, play: Play) -> None:
    await in_database(lambda: publish(cache_ttl_seconds=60))
    provider = await play("No.")
    for calls in (2, 4):
        assert (await answered(alice)).status == Status.FAILED
        assert len(provider.bodies) == calls


# --- REST and admin -----------------------------------------------------------------------------
def test_a_schema_is_shown_as_it_was_written(
    staff: User, alice: User, client_of: ClientOf, transactional_db: None
) -> None:
    Scene.objects.create(slug="who", title="Who")
    editor = client_of(staff)
    body = {"user_template": "Who?", "output_schema": ORDERED}
    made = editor.post("/api/scenes/who/versions", body, content_type="application/json")
    assert made.status_code == 201
    version = editor.get("/api/scenes/who/versions/1").json()
    assert json.dumps(version["output_schema"]) == json.dumps(ORDERED)
    assert editor.get("/api/scenes/who").json()["output_schema"] is None
    editor.post("/api/scenes/who/versions/1/publish")
    shown = client_of(alice).get("/api/scenes/who").json()
    assert json.dumps(shown["output_schema"]) == json.dumps(ORDERED)


def test_a_draft_whose_schema_cannot_be_used_stays_as_it_was(
    staff: User, client_of: ClientOf
) -> None:
    scene = Scene.objects.create(slug="who", title="Who")
    scenes.create_version(scene, None, {"user_template": "Who?", "output_schema": PERSON})
    address = "/api/scenes/who/versions/1"
    body = {"output_schema": {"$ref": "https://example.com/"}}
    response = client_of(staff).patch(address, body, content_type="application/json")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "output_schema")
    assert SceneVersion.objects.get().output_schema == PERSON


def test_a_preview_says_what_is_wrong_with_the_schema(staff: User, client_of: ClientOf) -> None:
    Scene.objects.create(slug="who", title="Who")
    body = {"user_template": "Who?", "output_schema": {"type": "strng"}}
    address = "/api/scenes/who/preview"
    response = client_of(staff).post(address, body, content_type="application/json")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "output_schema")
    body["output_schema"] = ORDERED
    response = client_of(staff).post(address, body, content_type="application/json")
    assert response.json()["messages"]


def test_the_admins_form_has_the_schema_and_says_what_is_wrong_with_it(
    transactional_db: None,
) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="uprooted-3"))
    scene = Scene.objects.create(slug="who", title="Who")
    fields = {"scene": scene.pk, "user_template": "Who?", "cache_ttl_seconds": 0, "params": "{}"}
    fields |= {"fallback_models": "[]", "variables_schema": "{}"}
    address = "/admin/chat/sceneversion/add/"
    page = client.post(address, {**fields, "output_schema": '{"type": "strng"}'})
    assert "strng" in page.context["adminform"].form.errors["output_schema"][0]
    assert client.post(address, {**fields, "output_schema": json.dumps(ORDERED)}).status_code == 302
    assert json.dumps(SceneVersion.objects.get().output_schema) == json.dumps(ORDERED)
    shown = client.get(f"/admin/chat/sceneversion/{SceneVersion.objects.get().pk}/change/")
    assert b"&quot;thoughts&quot;" in shown.content


async def test_tasks_show_schema_output_and_the_first_answer(
    alice: User, client_of: ClientOf, play: Play
) -> None:
    await in_database(publish)
    await play(NOBODY, ADA)
    task = await answered(alice)

    def look() -> tuple[Any, str]:
        client = Client()
        client.force_login(User.objects.create_superuser("root", password="uprooted-3"))
        page = client.get(f"/admin/chat/task/{task.pk}/change/").content.decode()
        return client_of(alice).get(f"/api/llmchat/tasks/{task.pk}").json(), page

    shown, page = await in_database(look)
    assert shown["result"]["output"] == json.loads(ADA)
    assert shown["response_format"]["json_schema"]["schema"] == PERSON
    assert "thirty-six" in page
    assert "JSON Schema of the answer" in page


# --- How models are asked -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("provider", "model", "mode"),
    [
        ({"base_url": "https://api.deepseek.com/v1"}, {}, "json_object"),
        ({"base_url": "https://deepseek.com.example.org"}, {}, None),
        ({"base_url": "https://api.openai.com/v1"}, {}, "native"),
        ({"base_url": "http://vllm:8000/v1"}, {}, None),
        ({"base_url": "https://api.deepseek.com", "structured_output": "native"}, {}, "native"),
        ({"structured_output": "native"}, {"structured_output": "prompt"}, "prompt"),
        ({"request_fields": {"response_format": None}}, {}, "prompt"),
        ({"request_fields": {"response_format": "format"}}, {}, None),
        ({}, {"params": {"extra_body": {"response_format": None}}}, "prompt"),
    ],
)
def test_how_a_model_is_asked(
    provider: dict[str, Any], model: dict[str, Any], mode: str | None
) -> None:
    account = Provider(**{"name": "p", "base_url": "http://127.0.0.1:9", **provider})
    found = LLMModel(provider=account, name="m", **model).structured_output_at(account)
    assert found == (mode and StructuredOutput(mode))


def test_staff_say_how_a_model_is_asked(staff: User, client_of: ClientOf, model: LLMModel) -> None:
    client = client_of(staff)
    for address in ("/api/providers/simulator", f"/api/models/{model.name}"):
        body = {"structured_output": "prompt"}
        patched = client.patch(address, body, content_type="application/json")
        assert patched.json()["structured_output"] == "prompt"
        wrong = {"structured_output": "magic"}
        assert client.patch(address, wrong, content_type="application/json").status_code == 422
    assert client.get("/api/providers/simulator").json()["structured_output"] == "prompt"
    with pytest.raises(ValidationError):
        Provider(name="p", base_url="http://a", structured_output="magic").full_clean()
