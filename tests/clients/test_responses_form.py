"""Responses as bytes: fields, events, background, items, and each way to be wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.clients import openai_schemas
from tests.clients.conftest import Installation
from tests.clients.raw import MODEL, error_of, events_of
from tests.waiting import wait_until

_TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
_ENDED = ("completed", "failed", "incomplete", "cancelled")
_SLOW = "Hello [sim:tokens=40,tps=40]"
_ENDLESS = "Hello [sim:tokens=9000,tps=20]"
#: What Open Responses and OpenAI ask of every response, together.
_FIELDS = {
    *("id", "object", "created_at", "completed_at", "status", "error", "incomplete_details"),
    *("instructions", "metadata", "model", "output", "parallel_tool_calls", "temperature"),
    *("tool_choice", "tools", "top_p", "previous_response_id", "truncation", "text", "user"),
    *("presence_penalty", "frequency_penalty", "top_logprobs", "reasoning", "usage", "store"),
    *("max_output_tokens", "max_tool_calls", "background", "service_tier", "safety_identifier"),
    "prompt_cache_key",
}


@pytest.fixture
def ask(api: httpx.Client) -> Callable[..., httpx.Response]:
    def post(prompt: Any = "Hello", /, **fields: Any) -> httpx.Response:
        return api.post("/responses", json={"model": MODEL, "input": prompt, **fields})

    return post


Ask = Callable[..., httpx.Response]


def _ended(api: httpx.Client, response_id: str) -> Any:
    def found() -> Any:
        response = api.get(f"/responses/{response_id}").json()
        return response if response["status"] in _ENDED else None

    return wait_until(found, f"the end of {response_id}")


def _text(response: Any) -> str:
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for message in messages for part in message["content"])


# --- Fields ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 1}, "model"),
        ({"input": 1}, "input"),
        ({"input": []}, "input"),
        ({"input": [1]}, "input"),
        ({"input": [{"type": "nothing"}]}, "input"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "nothing"}]}]}, "input"),
        ({"input": [{"type": "function_call_output", "output": "1"}]}, "input"),
        ({"instructions": 1}, "instructions"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tools": [{"type": "function", "name": "not a name", "parameters": {}}]}, "tools"),
        ({"tools": [_TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": "x"}, "stream_options"),
        ({"input": [{"role": "user", "content": []}]}, "input"),
        ({"background": "yes"}, "background"),
        ({"background": True, "store": False}, "store"),
        ({"store": "yes"}, "store"),
        ({"truncation": "sometimes"}, "truncation"),
        ({"text": {"format": {"type": "xml"}}}, "text"),
        ({"text": "plain"}, "text"),
        ({"metadata": {f"key{n}": "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"x" * 65: "x"}}, "metadata"),
        ({"metadata": {"key": "x" * 513}}, "metadata"),
        ({"metadata": {"key": 1}}, "metadata"),
        ({"reasoning": "much"}, "reasoning"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"previous_response_id": 1}, "previous_response_id"),
        (
            {"background": True, "background_options": {"completion_window": "1y"}},
            "background_options",
        ),
    ],
)
def test_a_bad_field_is_named(ask: Ask, fields: dict[str, Any], param: str) -> None:
    error = error_of(ask(**fields), 400)
    assert error["type"] == "invalid_request_error"
    assert str(error["param"]).split(".")[0].split("[")[0] == param, error


@pytest.mark.parametrize(
    "fields",
    [
        {"input": [{"role": "user", "content": "Hello"}]},
        {"input": [{"type": "message", "role": "user", "content": "Hello"}]},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]},
        {
            "input": [
                {"role": "developer", "content": "Be brief."},
                {
                    "type": "message",
                    "role": "assistant",
                    "id": "msg_1",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
                },
                {"role": "user", "content": "Hello"},
            ]
        },
        {
            "tools": [_TOOL],
            "input": [
                {"role": "user", "content": "Hello"},
                {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "1"},
            ],
        },
        {
            "user": "",
            "input": [
                {"role": "user", "content": "Hello"},
                {"type": "message", "role": "assistant", "id": "msg_1", "content": []},
                {"role": "user", "content": "Hello again"},
            ],
        },
        {"instructions": "Be brief."},
        {"tool_choice": "none"},
        {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "input_image",
                            "image_url": "data:image/png;base64,aGk=",
                            "detail": "original",
                        }
                    ],
                }
            ]
        },
        {"reasoning": {"effort": "low", "summary": "auto"}},
        {"text": {"format": {"type": "text"}, "verbosity": "low"}},
        {"metadata": {"key": "value"}},
        {"store": False},
        {"truncation": "auto"},
        {"include": ["reasoning.encrypted_content"]},
        {"service_tier": "flex", "user": "x", "safety_identifier": "x", "prompt_cache_key": "k"},
        {"max_output_tokens": 1000, "parallel_tool_calls": False, "top_logprobs": 0},
        {"temperature": None, "top_p": None, "tools": None, "metadata": None, "stream": None},
        {"of_the_future": [1]},
    ],
)
def test_what_clients_send_is_answered(ask: Ask, fields: dict[str, Any]) -> None:
    response = ask(**fields)
    assert response.status_code == 200, response.text
    body = response.json()
    openai_schemas.check("Response", body)
    assert body["status"] == "completed"
    assert set(body) >= _FIELDS, _FIELDS - set(body)


def test_a_response_says_what_was_asked(ask: Ask) -> None:
    fields = {
        "instructions": "Be brief.",
        "metadata": {"key": "value"},
        "temperature": 0.5,
        "max_output_tokens": 300,
        "truncation": "auto",
        "prompt_cache_retention": "24h",
        "tools": [{**_TOOL, "strict": False}],
    }
    body = ask(**fields).json()
    openai_schemas.check("Response", body)
    assert body["tools"][0]["name"] == "f"
    del fields["tools"]
    assert {name: body[name] for name in fields} == fields
    assert body["object"] == "response"
    assert body["id"].startswith("resp_")
    for name in ("created_at", "completed_at"):
        assert isinstance(body[name], int)
        assert abs(body[name] - time.time()) < 60
    assert body["usage"]["total_tokens"] == (
        body["usage"]["input_tokens"] + body["usage"]["output_tokens"]
    )


def test_an_answer_cut_short_is_incomplete(ask: Ask) -> None:
    body = ask("Hello", max_output_tokens=20).json()
    assert body["status"] == "incomplete"
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}


# --- Events ---------------------------------------------------------------------------------------
def _events(response: httpx.Response) -> list[dict[str, Any]]:
    events = [event for event in events_of(response) if event != "[DONE]"]
    for event in events:
        openai_schemas.check("ResponseStreamEvent", event)
    return events


def test_events_come_in_order_and_are_numbered(ask: Ask) -> None:
    events = _events(ask(stream=True))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    assert {event["response"]["id"] for event in events if "response" in event} == {
        events[0]["response"]["id"]
    }
    open_items: set[int] = set()
    for event in events:
        if event["type"] == "response.output_item.added":
            open_items.add(event["output_index"])
        elif event["type"] == "response.output_item.done":
            open_items.remove(event["output_index"])
        elif "output_index" in event:
            assert event["output_index"] in open_items
    assert not open_items
    deltas = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    (done,) = (e["text"] for e in events if e["type"] == "response.output_text.done")
    assert "".join(deltas) == done == _text(events[-1]["response"])


def test_each_line_of_a_stream_names_its_event(ask: Ask) -> None:
    blocks = [block for block in ask(stream=True).text.split("\n\n") if block]
    for block in blocks:
        lines = block.split("\n")
        if lines[0].startswith(":") or lines == ["data: [DONE]"]:
            continue
        assert len(lines) == 2
        event = json.loads(lines[1].removeprefix("data:"))
        assert lines[0] == f"event: {event['type']}"


def test_calls_of_functions_are_streamed(ask: Ask) -> None:
    events = _events(ask("Hello [sim:tool]", stream=True, tools=[_TOOL]))
    kinds = [event["type"] for event in events]
    assert "response.function_call_arguments.delta" in kinds
    (done,) = (e for e in events if e["type"] == "response.function_call_arguments.done")
    json.loads(done["arguments"])
    calls = [i for i in events[-1]["response"]["output"] if i["type"] == "function_call"]
    assert [call["name"] for call in calls] == ["f"]
    assert calls[0]["call_id"]


def test_a_fault_in_the_middle_fails_the_response(ask: Ask) -> None:
    events = _events(ask("Hello [sim:error=middle]", stream=True))
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["status"] == "failed"
    assert set(events[-1]["response"]["error"]) >= {"code", "message"}


# --- Stored ---------------------------------------------------------------------------------------
def test_a_response_is_read_and_deleted(api: httpx.Client, ask: Ask) -> None:
    body = ask().json()
    assert api.get(f"/responses/{body['id']}").json() == body
    deleted = api.delete(f"/responses/{body['id']}").json()
    assert deleted == {"id": body["id"], "object": deleted["object"], "deleted": True}
    error_of(api.get(f"/responses/{body['id']}"), 404)
    error_of(api.delete(f"/responses/{body['id']}"), 404)
    error_of(ask(previous_response_id=body["id"]), 400)


@pytest.mark.parametrize("response_id", ["resp_nothing", "nothing", "resp_" + "0" * 32, "x" * 500])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")],
)
def test_an_unknown_response_is_404(
    api: httpx.Client, method: str, path: str, response_id: str
) -> None:
    error = error_of(api.request(method, f"/responses/{response_id}{path}"), 404)
    assert error["type"] == "invalid_request_error"


def test_anothers_response_is_unknown(
    installation: Installation, api: httpx.Client, ask: Ask
) -> None:
    path = f"/responses/{ask().json()['id']}"
    headers = {"Authorization": f"Bearer {installation.bob}"}
    error_of(api.get(path, headers=headers), 404)
    error_of(api.delete(path, headers=headers), 404)
    error_of(api.get(f"{path}/input_items", headers=headers), 404)
    error_of(api.post(f"{path}/cancel", headers=headers), 404)
    body = {"model": MODEL, "input": "Hi", "previous_response_id": path.rpartition("/")[2]}
    error_of(api.post("/responses", json=body, headers=headers), 400)
    assert api.get(path).status_code == 200


def test_what_is_not_stored_is_not_found(api: httpx.Client, ask: Ask) -> None:
    body = ask(store=False).json()
    assert body["store"] is False
    error_of(api.get(f"/responses/{body['id']}"), 404)
    error = error_of(ask(previous_response_id=body["id"]), 400)
    assert error["code"] == "previous_response_not_found"


def test_turns_follow_each_other_but_for_instructions(api: httpx.Client, ask: Ask) -> None:
    first = ask("Hello", instructions="Speak like a pirate.").json()
    second = ask("And again", previous_response_id=first["id"]).json()
    assert second["previous_response_id"] == first["id"]
    assert second["instructions"] is None
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"] - 10


def test_input_items_are_paged(api: httpx.Client, ask: Ask) -> None:
    texts = ["One", "Two", "Three"]
    response_id = ask([{"role": "user", "content": text} for text in texts]).json()["id"]
    path = f"/responses/{response_id}/input_items"

    def page(**query: Any) -> Any:
        body = api.get(path, params=query).json()
        openai_schemas.check("ResponseItemList", body)
        return body

    def texts_of(body: Any) -> list[str]:
        return [item["content"][0]["text"] for item in body["data"]]

    assert texts_of(page()) == texts[::-1]
    assert texts_of(page(order="asc")) == texts
    first = page(order="asc", limit=2)
    assert (texts_of(first), first["has_more"]) == (texts[:2], True)
    assert (first["first_id"], first["last_id"]) == (first["data"][0]["id"], first["data"][1]["id"])
    rest = page(order="asc", limit=2, after=first["last_id"])
    assert (texts_of(rest), rest["has_more"]) == (texts[2:], False)
    assert page(include=["message.output_text.logprobs"])["data"]
    for query in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"order": "up"}):
        error = error_of(api.get(path, params=query), 400)
        assert error["param"] == next(iter(query))


# --- Background -----------------------------------------------------------------------------------
def test_a_response_in_the_background_is_polled(api: httpx.Client, ask: Ask) -> None:
    body = ask(_SLOW, background=True).json()
    assert body["status"] in ("queued", "in_progress")
    assert body["background"] is True
    assert body["completed_at"] is None
    openai_schemas.check("Response", body)
    assert _ended(api, body["id"])["status"] == "completed"


@pytest.mark.parametrize("window", ["soonest", "2h", "8h"])
def test_windows_of_completion_are_lanes(api: httpx.Client, ask: Ask, window: str) -> None:
    body = ask(background=True, background_options={"completion_window": window}).json()
    assert _ended(api, body["id"])["status"] == "completed"


def test_a_stream_is_resumed_from_any_number(api: httpx.Client, ask: Ask) -> None:
    whole = _events(ask(background=True, stream=True))
    path = f"/responses/{whole[0]['response']['id']}"
    assert _events(api.get(path, params={"stream": "true"})) == whole
    for number in (0, 3, len(whole) - 2):
        rest = _events(api.get(path, params={"stream": "true", "starting_after": number}))
        assert rest == whole[number + 1 :]
    after_end = api.get(path, params={"stream": "true", "starting_after": len(whole) - 1})
    assert _events(after_end) == []


@pytest.mark.parametrize("number", ["x", "-2", "1.5", "9" * 30])
def test_a_number_that_is_none_is_400(api: httpx.Client, ask: Ask, number: str) -> None:
    path = f"/responses/{ask().json()['id']}"
    response = api.get(path, params={"stream": "true", "starting_after": number})
    assert error_of(response, 400)["param"] == "starting_after"


def test_a_response_in_the_background_is_cancelled_once(api: httpx.Client, ask: Ask) -> None:
    path = f"/responses/{ask(_ENDLESS, background=True).json()['id']}"
    for _ in range(2):
        response = api.post(f"{path}/cancel")
        assert response.status_code == 200, response.text
        assert response.json()["status"] == "cancelled"
    assert api.get(path).json()["status"] == "cancelled"


def test_a_plain_response_cannot_be_cancelled(api: httpx.Client, ask: Ask) -> None:
    error_of(api.post(f"/responses/{ask().json()['id']}/cancel"), 400)


def test_a_stream_of_a_cancelled_response_ends(api: httpx.Client, ask: Ask) -> None:
    response_id = ask(_ENDLESS, background=True).json()["id"]
    api.post(f"/responses/{response_id}/cancel")
    events = _events(api.get(f"/responses/{response_id}", params={"stream": "true"}))
    assert events[0]["type"] == "response.created"
    assert "response.completed" not in [event["type"] for event in events]


def test_a_dropped_stream_in_the_background_goes_on(api: httpx.Client, ask: Ask) -> None:
    body = {"model": MODEL, "input": _SLOW, "background": True, "stream": True}
    with api.stream("POST", "/responses", json=body) as response:
        line = next(line for line in response.iter_lines() if line.startswith("data:"))
    response_id = json.loads(line.removeprefix("data:"))["response"]["id"]
    assert _ended(api, response_id)["status"] == "completed"


# --- WebSocket ------------------------------------------------------------------------------------
@contextmanager
def _socket(
    installation: Installation, key: str, path: str = "/responses"
) -> Iterator[ClientConnection]:
    url = installation.base_url.replace("http", "ws", 1) + path
    headers = {"Authorization": f"Bearer {key}"}
    with connect(url, additional_headers=headers, compression=None) as socket:
        yield socket


def _read(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(timeout=20))


def _until_end(socket: ClientConnection) -> list[Any]:
    events = [_read(socket)]
    while events[-1]["type"] not in ("response.completed", "response.failed", "error"):
        events.append(_read(socket))
    return events


def test_a_socket_answers_one_after_the_other(installation: Installation) -> None:
    with _socket(installation, installation.alice) as socket:
        previous = None
        for text in ("Hello", "Again"):
            create = {"type": "response.create", "model": MODEL, "input": text, "store": False}
            socket.send(json.dumps({**create, "previous_response_id": previous}))
            events = _until_end(socket)
            assert events[0]["type"] == "response.created"
            assert events[-1]["type"] == "response.completed"
            assert text in _text(events[-1]["response"])
            previous = events[-1]["response"]["id"]


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[]",
        "null",
        '{"type": 1}',
        '{"type": "nothing"}',
        '{"type": "response.create"}',
        '{"type": "response.create", "model": "nobody", "input": "Hello"}',
        '{"type": "response.create", "model": "deepseek-flash", "input": 1}',
        '{"type": "response.create", "model": "deepseek-flash", "input": "\\ud800"}',
        '{"type": "response.create", "model": "x", "previous_response_id": "resp_nothing"}',
        "[" * 50_000,
    ],
    ids=lambda frame: frame[:60],
)
def test_a_bad_frame_is_an_error_and_the_socket_stays_open(
    installation: Installation, frame: str
) -> None:
    with _socket(installation, installation.alice) as socket:
        socket.send(frame)
        error = _read(socket)
        assert error["type"] == "error"
        assert 400 <= error["status"] < 500
        assert set(error["error"]) >= {"type", "code", "message", "param"}
        create = {"type": "response.create", "model": MODEL, "input": "Hello"}
        socket.send(json.dumps(create))
        assert _until_end(socket)[-1]["type"] == "response.completed"


def test_streams_of_one_socket_have_their_names(installation: Installation) -> None:
    create = {"type": "response.create", "model": MODEL, "input": "Hello", "stream_id": "s1"}
    with _socket(installation, installation.alice) as socket:
        socket.send(json.dumps(create))
        assert {event["stream_id"] for event in _until_end(socket)} == {"s1"}


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/responses", "nobody", 401),
        ("/nothing", "", 404),
        ("/chat/completions", "", 404),
    ],
)
def test_a_refused_handshake_has_a_status(
    installation: Installation, path: str, key: str, status: int
) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        _socket(installation, key or installation.alice, path),
    ):
        pass
    assert refused.value.response.status_code in (status, 403)
