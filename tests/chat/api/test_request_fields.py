"""What callers may send on to a provider: from REST and WebSocket to the bytes of the call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes as application
from chat.models import LLMModel, Message, Provider, Scene, Task
from chat.services.scenes import create_version, publish
from tests.chat.api.conftest import API, Api
from tests.chat.conftest import StartWorker, Submit
from tests.chat.llm.recorder import Recorder, running_recorder
from tests.communicators import WebsocketCommunicator
from tests.conftest import ClientOf
from tests.subtests import subtested

JSON = "application/json"
ASKED = [{"role": "user", "content": "hi"}]

#: Everything that OpenAI's chat completions take and one answer can have, and what others added.
FIELDS: dict[str, Any] = {
    "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "max_tokens": 100,
    "max_completion_tokens": 90, "n": 1, "seed": 7, "stop": ["a", "b"], "presence_penalty": -1.5,
    "frequency_penalty": 1, "repetition_penalty": 1.1, "logit_bias": {"50256": -100},
    "logprobs": True, "top_logprobs": 3, "response_format": {"type": "json_object"},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False,
    "functions": [{"name": "g"}], "function_call": "none", "thinking": {"type": "disabled"},
    "reasoning_effort": "high", "verbosity": "low", "modalities": ["text"], "store": False,
    "prediction": {"type": "content", "content": "x"}, "web_search_options": {},
    "service_tier": "flex", "prompt_cache_key": "k", "prompt_cache_retention": "24h",
    "safety_identifier": "s",
}  # fmt: skip
EXTRA = {"guided_json": {"type": "object"}, "chat_template_kwargs": {"thinking": False}}


@pytest.fixture
async def recorder(
    loop_services: None, model: LLMModel, start_worker: StartWorker
) -> AsyncIterator[Recorder]:
    """What a worker calls, as a provider that is not DeepSeek."""
    async with running_recorder() as recorder:
        await in_database(Provider.objects.update, base_url=f"{recorder.url}/v1", name="acme")
        await start_worker()
        yield recorder


async def sent(api: Api, recorder: Recorder, **fields: Any) -> dict[str, Any]:
    body = {"messages": ASKED, **fields}
    answer = await api.post(f"{API}/request?sync=true", body)
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded"), answer.content
    return recorder.last.body


async def test_every_field_reaches_the_provider_as_it_is(api: Api, recorder: Recorder) -> None:
    assert await sent(api, recorder, **FIELDS, user="end.user", extra_body=EXTRA) == {
        **FIELDS,
        **EXTRA,
        "model": "deepseek-flash",
        "messages": ASKED,
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": recorder.last.body["user"],
    }
    assert recorder.last.body["user"].endswith("-end_user")
    assert recorder.last.body["user"].startswith("u")


async def test_at_the_address_of_a_scene_as_well(api: Api, recorder: Recorder) -> None:
    def make_scene() -> None:
        scene = Scene.objects.create(slug="ask", title="Ask")
        params = {"temperature": 0, "max_tokens": 5, "top_p": 0.5}
        publish(create_version(scene, None, {"user_template": "{{ text }}", "params": params}))

    await in_database(make_scene)
    path = f"{API}/prompts/ask/api"
    given = {"variables": {"text": "hi"}, **FIELDS, "extra_body": EXTRA}
    answer = await api.post(f"{path}?sync=true", given)
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded"), answer.content
    assert recorder.last.body.items() >= {**FIELDS, **EXTRA, "messages": ASKED}.items()
    # A null takes the scene's own away; what is not named stays.
    answer = await api.post(
        f"{path}?sync=true", {"variables": {"text": "hi"}, "temperature": None, "max_tokens": 9}
    )
    assert answer.json()["status"] == "succeeded"
    body = recorder.last.body
    assert (body["max_tokens"], body["top_p"], "temperature" in body) == (9, 0.5, False)
    for field, value in (("temperature", 3), ("temprature", 1), ("tools", "x"), ("messages", [])):
        refused = await api.post(path, {"variables": {"text": "hi"}, field: value})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == field


async def test_over_a_websocket_as_well(alice: User, recorder: Recorder) -> None:
    _, secret = await in_database(APIKey.create, alice, "test")
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    await socket.connect()
    frame = {"type": "task.submit", "messages": ASKED, **FIELDS, "extra_body": EXTRA}
    await socket.send_json_to(frame)
    while (await socket.receive_json_from())["type"] != "task.completed":
        pass
    assert recorder.last.body.items() >= {**FIELDS, **EXTRA}.items()
    await socket.send_json_to({**frame, "extra_body": {"max_tokens": -1}})
    error = (await socket.receive_json_from())["error"]
    assert (error["code"], error["field"]) == ("invalid_request", "extra_body.max_tokens")
    await socket.disconnect()


MESSAGES: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
    {
        "role": "user",
        "name": "ann",
        "content": [
            {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
            {
                "type": "image_url",
                "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"},
            },
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:;base64,AAAA"}},
        ],
    },
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "42"},
    {"role": "assistant", "refusal": "No."},
    {"role": "user", "content": "And now?"},
]


async def test_messages_keep_their_form(api: Api, recorder: Recorder) -> None:
    assert (await sent(api, recorder, messages=MESSAGES))["messages"] == MESSAGES
    # A tool call as it is in a task's result has the provider's form when it is sent back.
    flat = {"role": "assistant", "tool_calls": [{"id": "c1", "name": "f", "arguments": {"a": 1}}]}
    messages = [ASKED[0], flat, MESSAGES[4]]
    [call] = (await sent(api, recorder, messages=messages))["messages"][1]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert (call["id"], call["type"]) == ("c1", "function")


async def test_a_question_in_parts_is_stored_as_its_text(api: Api, recorder: Recorder) -> None:
    made = await api.post("/api/conversations", {})
    conversation = made.json()["id"]
    await sent(api, recorder, messages=[MESSAGES[2]], conversation_id=conversation)
    question = await in_database(lambda: Message.objects.order_by("id").first())
    assert question is not None
    assert question.content == "What is this?\n[image]\n[audio]\n[file: a.pdf]"
    title = (await api.get(f"/api/conversations/{conversation}")).json()["title"]
    assert title.startswith("What is this? [image]")


async def test_all_parts_together_have_a_bound(api: Api, settings: Settings) -> None:
    settings.PROMPT_MAX_BYTES = 1000
    image = {"type": "image_url", "image_url": {"url": f"data:;base64,{'A' * 1000}"}}
    refused = await api.post(f"{API}/request", _part(**image))
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (413, "messages")


def _part(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [fields]}]}


def _message(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x", **fields}]}


@subtested(
    ("body", "field"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1.5}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"logit_bias": {str(token): 1 for token in range(1025)}}, "logit_bias"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"verbosity": "loud"}, "verbosity"),
        ({"stop": 5}, "stop"),
        ({"stop": ["x"] * 65}, "stop"),
        ({"stop": ["x", 5]}, "stop.1"),
        ({"tool_choice": []}, "tool_choice"),
        ({"modalities": ["audio"]}, "modalities.0"),
        ({"stream_options": {}}, "stream_options"),
        ({"user_id": "u1"}, "user_id"),
        ({"top_secret": 1}, "top_secret"),
        ({"extra_body": []}, "extra_body"),
        ({"extra_body": {"model": "other"}}, "extra_body"),
        ({"extra_body": {"models": ["other"]}}, "extra_body"),
        ({"extra_body": {"fallbacks": ["other"]}}, "extra_body"),
        ({"extra_body": {"messages": []}}, "extra_body"),
        ({"extra_body": {"stream": False}}, "extra_body"),
        ({"extra_body": {"stream_options": None}}, "extra_body"),
        ({"extra_body": {"user_id": "u1"}}, "extra_body"),
        ({"extra_body": {"n": 4}}, "extra_body.n"),
        ({"extra_body": {"max_tokens": 10**9}}, "extra_body.max_tokens"),
        ({"extra_body": {"x": "x" * 70_000}}, "extra_body"),
        ({"extra_body": {"x" * 65: 1}}, "extra_body"),
        (_message(role="robot"), "messages.0.role"),
        (_message(content=5), "messages.0.content"),
        (_message(content=[]), "messages.0.content"),
        (_message(content=None), "messages.0"),
        (_message(tool_call_id="c1"), "messages.0.tool_call_id"),
        (_message(role="tool"), "messages.0.tool_call_id"),
        (_message(tool_calls=[{"id": "c", "name": "f", "arguments": ""}]), "messages.0.tool_calls"),
        (_message(role="assistant", tool_calls=[{"id": "c"}]), "messages.0.tool_calls.0.function"),
        (
            _message(role="assistant", tool_calls=[{"id": "c", "name": "f", "arguments": 5}]),
            "messages.0.tool_calls.0.function.arguments",
        ),
        (_part(type="text"), "messages.0.content.0.text"),
        (_part(type="text", text="x", file={}), "messages.0.content.0.file"),
        (_part(type="hologram"), "messages.0.content.0.type"),
        (_part(text="x"), "messages.0.content.0.type"),
        (_part(type="image_url", image_url="https://x.example"), "messages.0.content.0.image_url"),
        (_part(type="image_url", image_url={}), "messages.0.content.0.image_url.url"),
        (_part(type="input_audio", input_audio={"data": "A"}),
         "messages.0.content.0.input_audio.format"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_path(
    alice: User, model: LLMModel, client_of: ClientOf, body: dict[str, Any], field: str
) -> None:
    refused = client_of(alice).post(
        f"{API}/request", {"messages": ASKED, **body}, content_type=JSON
    )
    assert refused.status_code == 422
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert not Task.objects.exists()


# --- Defaults -----------------------------------------------------------------------------------
def _defaults(scene: dict[str, Any], model: dict[str, Any]) -> None:
    LLMModel.objects.update(params=model)
    version = create_version(
        Scene.objects.create(slug="s", title="s"), None, {"user_template": "x", "params": scene}
    )
    publish(version)


async def test_null_takes_defaults_away(submit_as_alice: Submit) -> None:
    """A request's any, a model's (what it does not take) those of scenes."""
    await in_database(
        _defaults,
        {"temperature": 0.2, "top_p": 0.3, "seed": 1, "extra_body": {"x": 1, "y": 2}},
        {"temperature": None, "top_p": 0.5, "max_tokens": 9, "extra_body": {"y": 1, "z": None}},
    )

    async def params(**fields: Any) -> Any:
        task_id = await submit_as_alice("x", scene="s", **fields)
        return (await in_database(Task.objects.get, pk=task_id)).params

    assert await params() == {"top_p": 0.3, "max_tokens": 9, "seed": 1, "x": 1, "y": 2}
    nulls = {"seed": None, "max_tokens": None, "extra_body": {"y": None, "x": 5}}
    assert await params(**nulls) == {"top_p": 0.3, "x": 5}
    # What the model does not take by default, a caller may ask for by name.
    assert (await params(temperature=0.7))["temperature"] == 0.7


def test_a_scene_and_a_model_may_say_no_more_than_a_request(
    staff: User, model: LLMModel, client_of: ClientOf, client: Client
) -> None:
    client = client_of(staff)
    Scene.objects.create(slug="s", title="s")
    wrong = {
        "temperature": "hot", "top_secret": 1, "n": 2, "stream": False, "model": "other",
        "messages": [], "extra_body": {"stream": False},
    }  # fmt: skip
    for name, value in wrong.items():
        version = {"user_template": "x", "params": {name: value}}
        refused = client.post("/api/scenes/s/versions", version, content_type=JSON)
        assert refused.status_code in (400, 422), name
        assert f'"params.{name}' in refused.content.decode()
        refused = client.patch(
            f"/api/models/{model.name}", {"params": {name: value}}, content_type=JSON
        )
        assert refused.status_code in (400, 422), name
        assert f'"params.{name}' in refused.content.decode()
    right = {"params": {**FIELDS, "extra_body": EXTRA, "top_p": None}}
    version = {"user_template": "x", **right}
    assert client.post("/api/scenes/s/versions", version, content_type=JSON).status_code == 201
    changed = client.patch(f"/api/models/{model.name}", right, content_type=JSON)
    assert changed.json()["params"] == json.loads(json.dumps(right["params"]))
