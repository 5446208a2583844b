"""`POST /v1/responses`: what its fields do, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from django.core.management import call_command

from accounts.models import APIKey, User
from aily.database.threads import in_database
from chat.events import FRAME_BYTES
from chat.models import Lane, LLMModel, StoredResponse, Task
from chat.openai.responses.objects import task_id_of
from tests.chat.openai.conftest import V1
from tests.chat.openai.responses.client import ResponsesClient, deltas_of, text_of
from tests.clients.openai_schemas import check
from tests.subtests import subtested

PLAIN = {"model": "plain"}
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "Sunny"}
HELLO = {"role": "user", "content": "Hello"}


async def task_of(response: Any) -> Task:
    return await in_database(Task.objects.get, pk=task_id_of(response["id"]))


async def counts() -> tuple[int, int]:
    return await in_database(lambda: (Task.objects.count(), StoredResponse.objects.count()))


@pytest.fixture
def idle(alice_v1: httpx.AsyncClient, plain_model: LLMModel, settings: Any) -> ResponsesClient:
    """Without a worker: nothing is answered."""
    settings.OPENAI_WAIT_SECONDS = 0.5
    return ResponsesClient(alice_v1)


# --- Fields -------------------------------------------------------------------------------------
async def test_a_response_repeats_its_request(responses: ResponsesClient) -> None:
    fields: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 5_000,
        "metadata": {"order": "4711"},
        "parallel_tool_calls": False,
        "prompt_cache_key": "cache-1",
        "reasoning": {"effort": "low", "summary": None},
        "safety_identifier": "end-user-1",
        "temperature": 0.5,
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "tool_choice": "auto",
        "tools": [WEATHER],
        "top_p": 0.9,
        "truncation": "auto",
        "user": "end-user-1",
    }
    response = await responses.create("Hello", **fields)
    assert {name: response[name] for name in fields} == fields
    assert response["status"] == "completed"
    assert response["model"] == "deepseek-flash"
    assert abs(response["completed_at"] - response["created_at"]) < 60
    task = await task_of(response)
    assert task.metadata == {"order": "4711"}
    assert task.lane == Lane.INTERACTIVE
    assert task.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]
    wanted = {
        "temperature": 0.5,
        "max_tokens": 5_000,
        "verbosity": "low",
        "reasoning_effort": "low",
    }
    assert {name: task.params[name] for name in wanted} == wanted
    [tool] = task.params["tools"]
    assert tool["function"]["name"] == "weather"


async def test_items_become_messages(idle: ResponsesClient) -> None:
    items = [
        {"role": "developer", "content": "Speak English."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        CALL,
        {**CALL, "call_id": "call_2", "arguments": '{"city": "Rome"}'},
        OUTPUT,
        {**OUTPUT, "call_id": "call_2", "output": [{"type": "input_text", "text": "Rain"}]},
    ]
    response = await idle.create(items, background=True)
    task = await task_of(response)
    function = {"name": "weather", "arguments": "{}"}
    assert task.messages == [
        {"role": "system", "content": "Speak English."},
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hm",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": function},
                {
                    "id": "call_2",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
                },
            ],
        },
        {"role": "tool", "content": "Sunny", "tool_call_id": "call_1"},
        {"role": "tool", "content": "Rain", "tool_call_id": "call_2"},
    ]


async def test_parts_of_an_item_become_parts_of_a_message(idle: ResponsesClient) -> None:
    parts = [
        {"type": "input_text", "text": "And this?"},
        {"type": "input_image", "image_url": "https://example.org/a.png"},
    ]
    response = await idle.create([{"role": "user", "content": parts}], background=True)
    image = {"url": "https://example.org/a.png", "detail": "auto"}
    [message] = (await task_of(response)).messages
    assert message["content"] == [
        {"type": "text", "text": "And this?"},
        {"type": "image_url", "image_url": image},
    ]


async def test_a_schema_is_passed_on_in_its_nested_form(idle: ResponsesClient) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    form = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    response = await idle.create("As JSON", background=True, text={"format": form})
    assert response["text"]["format"] == form
    nested = {"name": "answer", "schema": schema, "strict": True}
    task = await task_of(response)
    assert task.params["response_format"] == {"type": "json_schema", "json_schema": nested}


@pytest.mark.parametrize(
    ("choice", "names", "sent"),
    [
        ("required", ["weather", "time"], "required"),
        (
            {"type": "function", "name": "time"},
            ["weather", "time"],
            {"type": "function", "function": {"name": "time"}},
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "time"}],
            },
            ["time"],
            "auto",
        ),
    ],
)
async def test_tools_are_chosen(
    idle: ResponsesClient, choice: Any, names: list[str], sent: Any
) -> None:
    tools = [WEATHER, {**WEATHER, "name": "time"}]
    response = await idle.create("Go", background=True, tools=tools, tool_choice=choice)
    assert response["tool_choice"] == choice
    task = await task_of(response)
    assert [tool["function"]["name"] for tool in task.params["tools"]] == names
    assert task.params["tool_choice"] == sent


@pytest.mark.parametrize(
    ("window", "lane", "seconds"),
    [("soonest", Lane.NORMAL, None), ("2h", Lane.BATCH, 7_200), ("8h", Lane.BATCH, 28_800)],
)
async def test_a_completion_window_is_a_lane_and_a_deadline(
    idle: ResponsesClient, window: str, lane: Lane, seconds: int | None
) -> None:
    options = {"completion_window": window, "continuation_id": "job-1"}
    response = await idle.create("Later", background=True, background_options=options)
    assert response["status"] == "queued"
    task = await task_of(response)
    assert task.lane == lane
    if seconds is None:
        assert task.deadline_at is None
    else:
        assert task.deadline_at is not None
        left = (task.deadline_at - task.created_at).total_seconds()
        assert abs(left - seconds) < 60


async def test_a_response_that_is_not_stored_cannot_be_found(responses: ResponsesClient) -> None:
    response = await responses.create("Forget me", store=False)
    assert response["status"] == "completed"
    answer = await responses.http.get(f"/responses/{response['id']}")
    assert answer.status_code == 404
    assert (await counts())[1] == 0


async def test_the_same_key_gives_the_same_response(responses: ResponsesClient) -> None:
    body = {"model": "plain", "input": "Once", "background": True}
    first = await responses.post(body, Idempotency_Key="k1")
    second = await responses.post(body, Idempotency_Key="k1")
    assert first.json()["id"] == second.json()["id"]
    other = await responses.post({**body, "background": False}, Idempotency_Key="k1")
    assert other.status_code == 409
    assert await counts() == (1, 1)


@pytest.mark.parametrize("fields", [{}, {"background": True}, {"stream": True}])
async def test_a_repeat_gets_its_response_though_the_one_before_is_gone(
    responses: ResponsesClient, fields: dict[str, Any]
) -> None:
    before = await responses.create("My name is Ada.", **PLAIN)
    body = {**PLAIN, "input": "Once", "previous_response_id": before["id"], **fields}
    first = await responses.post(body, Idempotency_Key="k1")
    assert (await responses.http.delete(f"/responses/{before['id']}")).status_code == 200
    again = await responses.post(body, Idempotency_Key="k1")
    assert again.status_code == 200
    task_id = first.headers["aily-task-id"]
    assert again.headers["aily-task-id"] == task_id
    if not fields:
        assert again.json()["output"] == first.json()["output"]
    for other, key in (({**body, "input": "Twice"}, "k1"), (body, "k2")):
        assert (await responses.post(other, Idempotency_Key=key)).status_code == 400
    assert await in_database(Task.objects.count) == 2


# --- Conversations ------------------------------------------------------------------------------
async def test_a_response_goes_on_from_the_one_before(responses: ResponsesClient) -> None:
    first = await responses.create("My name is Ada.", instructions="Be kind.", **PLAIN)
    second = await responses.create(
        "What is my name?", previous_response_id=first["id"], instructions="Be brief.", **PLAIN
    )
    assert second["previous_response_id"] == first["id"]
    assert (await task_of(second)).messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": text_of(first)},
        {"role": "user", "content": "What is my name?"},
    ]


async def test_the_outputs_of_tools_go_on_from_their_calls(responses: ResponsesClient) -> None:
    first = await responses.create("The weather? [sim:tool]", tools=[WEATHER])
    [call] = [item for item in first["output"] if item["type"] == "function_call"]
    output = {**OUTPUT, "call_id": call["call_id"]}
    second = await responses.create([output], previous_response_id=first["id"], tools=[WEATHER])
    assert second["status"] == "completed"
    asked, called, result = (await task_of(second)).messages
    assert called["tool_calls"][0]["id"] == call["call_id"] == result["tool_call_id"]
    assert called["reasoning_content"] != ""
    # Or all of it is sent along.
    third = await responses.create([HELLO, *first["output"], output], tools=[WEATHER])
    assert (await task_of(third)).messages[1:] == [called, result]
    # Or is referred to.
    references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    fourth = await responses.create([HELLO, *references, output], tools=[WEATHER])
    assert (await task_of(fourth)).messages == (await task_of(third)).messages
    assert asked["role"] == "user"


@pytest.mark.parametrize("items", [[CALL], [OUTPUT], [CALL, HELLO, OUTPUT], [CALL, OUTPUT, OUTPUT]])
async def test_calls_and_outputs_belong_together(idle: ResponsesClient, items: list[Any]) -> None:
    answer = await idle.post({"model": "plain", "input": [HELLO, *items]})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "input"
    assert "call_1" in error["message"]


async def test_a_long_input_is_refused_or_truncated(idle: ResponsesClient, settings: Any) -> None:
    settings.PROMPT_MAX_BYTES = 2_000
    items = [
        {"role": role, "content": f"{number} {'x' * 300}"}
        for number, role in enumerate(["user", "assistant"] * 5)
    ]
    items.append({"role": "user", "content": "The last"})
    body = {"model": "deepseek-flash", "input": items, "background": True}
    answer = await idle.post(body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert answer.json()["error"]["param"] == "input"
    instructions = "Be brief."
    response = await idle.create(
        items, background=True, truncation="auto", instructions=instructions
    )
    first, second, *_, last = (await task_of(response)).messages
    assert first == {"role": "system", "content": instructions}
    assert second["role"] == "user"
    assert last["content"] == "The last"
    assert len((await task_of(response)).messages) > 3
    too_long = await idle.post({**body, "input": "x" * 3_000, "truncation": "auto"})
    assert too_long.status_code == 400


# --- Refusals -----------------------------------------------------------------------------------
#: Fields, and the status, param and code of the error.
_BAD: list[Any] = [
    ({"model": None}, 400, "model", "missing_required_parameter"),
    ({"model": "nobody"}, 404, "model", "model_not_found"),
    ({"input": None}, 400, "input", "missing_required_parameter"),
    ({"input": []}, 400, "input", "missing_required_parameter"),
    ({"input": 5}, 400, "input", "invalid_type"),
    (
        {"input": [{"type": "message", "role": "king", "content": "x"}]},
        400,
        "input[0].role",
        "invalid_value",
    ),
    ({"input": [HELLO, {"role": "user"}]}, 400, "input[1].content", "missing_required_parameter"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
        400,
        "input[0].content[0].text",
        "missing_required_parameter",
    ),
    (
        {"input": [{"type": "computer_call", "id": "x"}]},
        400,
        "input[0].type",
        "unsupported_parameter",
    ),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, 404, "input", None),
    (
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        400,
        "input[0].content[0]",
        "unsupported_parameter",
    ),
    ({"temperature": 3}, 400, "temperature", "invalid_value"),
    ({"temperature": "hot"}, 400, "temperature", "invalid_type"),
    ({"store": "yes"}, 400, "store", "invalid_type"),
    ({"background": True, "store": False}, 400, "store", "invalid_value"),
    (
        {"background_options": {"completion_window": "2h"}},
        400,
        "background_options",
        "invalid_value",
    ),
    (
        {"background": True, "background_options": {"completion_window": "3h"}},
        400,
        "background_options.completion_window",
        "invalid_value",
    ),
    (
        {"background": True, "stream": True, "background_options": {"completion_window": "8h"}},
        400,
        "stream",
        "invalid_value",
    ),
    ({"metadata": {str(n): "x" for n in range(17)}}, 400, "metadata", "invalid_value"),
    ({"metadata": {"a": 1}}, 400, "metadata.a", "invalid_type"),
    ({"metadata": {"a": "x" * 513}}, 400, "metadata.a", "invalid_value"),
    ({"tools": [{"type": "web_search"}]}, 400, "tools", "unsupported_parameter"),
    ({"tools": [{"type": "function", "name": "a b"}]}, 400, "tools[0].name", "invalid_value"),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "time"}},
        400,
        "tool_choice.name",
        "invalid_value",
    ),
    (
        {"text": {"format": {"type": "json_schema", "name": "a"}}},
        400,
        "text.format.schema",
        "missing_required_parameter",
    ),
    (
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "b"}}}},
        400,
        "text.format.schema",
        None,
    ),
    (
        {"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}},
        400,
        "text.format.name",
        "invalid_value",
    ),
    ({"text": {"verbosity": "x" * 999}}, 400, "text.verbosity", "invalid_value"),
    ({"reasoning": {"effort": "x" * 999}}, 400, "reasoning.effort", "invalid_value"),
    ({"text": {"format": {"type": "xml"}}}, 400, "text.format.type", "invalid_value"),
    (
        {"previous_response_id": "resp_" + "0" * 32},
        400,
        "previous_response_id",
        "previous_response_not_found",
    ),
    (
        {"previous_response_id": "nonsense"},
        400,
        "previous_response_id",
        "previous_response_not_found",
    ),
    ({"conversation": "conv_1"}, 400, "conversation", "unsupported_parameter"),
    ({"top_logprobs": 21}, 400, "top_logprobs", "invalid_value"),
    ({"truncation": "some"}, 400, "truncation", "invalid_value"),
]


@subtested(("fields", "status", "param", "code"), _BAD)
async def test_bad_input_is_refused_by_name(
    idle: ResponsesClient, fields: dict[str, Any], status: int, param: str, code: str | None
) -> None:
    body = {"model": "deepseek-flash", "input": "Hello", **fields}
    answer = await idle.post(body)
    assert answer.status_code == status, answer.text
    check("ErrorResponse", answer.json())
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error"
    assert await counts() == (0, 0)


async def test_what_openai_adds_is_ignored(idle: ResponsesClient) -> None:
    fields = {
        "stream_options": {"include_obfuscation": False},
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_options": {"mode": "implicit"},
        "max_tool_calls": 3,
        "something_new": {"a": 1},
        "reasoning": None,
        "text": {"format": None},
        "tools": None,
        "metadata": None,
    }
    response = await idle.create("Hello", background=True, **fields)
    assert response["max_tool_calls"] == 3
    assert response["metadata"] == {}


async def test_a_scene_is_a_model(idle: ResponsesClient) -> None:
    await in_database(call_command, "seed_demo")
    response = await idle.create(
        "Briefly.",
        model="scene:translate",
        background=True,
        instructions="Be kind.",
        metadata={"text": "Good morning", "language": "German", "order": "1"},
    )
    assert response["model"] == "scene:translate"
    task = await task_of(response)
    assert task.metadata == {"order": "1"}
    *_, last = task.messages
    assert "Good morning" in str(task.messages)
    assert "Briefly." in last["content"]
    alone = await idle.post(
        {
            "model": "scene:translate",
            "background": True,
            "variables": {"text": "Hello", "language": "French"},
        }
    )
    assert alone.status_code == 200


async def test_a_large_answer_is_whole(responses: ResponsesClient) -> None:
    """Its last event in the log has not all of it."""
    prompt = "At length [sim:tokens=70000,tps=0]"
    whole = await responses.create(prompt, **PLAIN)
    assert len(text_of(whole)) > FRAME_BYTES
    events = await responses.stream(prompt, **PLAIN)
    assert deltas_of(events) == text_of(events[-1]["response"]) == text_of(whole)
    assert await responses.events(events[-1]["response"]["id"], 10) == events[11:]


async def test_a_failed_answer_is_an_error(responses: ResponsesClient) -> None:
    answer = await responses.post({"model": "plain", "input": "No [sim:status=400]"})
    assert answer.status_code == 400
    check("ErrorResponse", answer.json())


async def test_only_the_owner_goes_on(responses: ResponsesClient, v1: V1, bob: User) -> None:
    first = await responses.create("Mine", **PLAIN)
    _, secret = await in_database(APIKey.create, bob, "test")
    other = ResponsesClient(v1(secret))
    answer = await other.post(
        {"model": "plain", "input": "Yours?", "previous_response_id": first["id"]}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "previous_response_not_found"
    [item] = first["output"]
    reference = [{"type": "item_reference", "id": item["id"]}]
    answer = await other.post({"model": "plain", "input": reference})
    assert answer.status_code == 404


async def test_tokens_of_an_input_are_estimated(idle: ResponsesClient) -> None:
    body = {"model": "deepseek-flash", "input": "Hello, how are you?", "tools": [WEATHER]}
    answer = await idle.http.post("/responses/input_tokens", json=body)
    assert answer.status_code == 200
    assert answer.json()["object"] == "response.input_tokens"
    assert 10 < answer.json()["input_tokens"] < 200
    assert await counts() == (0, 0)


async def test_calls_may_come_without_their_reasoning(responses: ResponsesClient) -> None:
    """DeepSeek wants it back, and most clients have not kept it."""
    response = await responses.create([HELLO, CALL, OUTPUT], tools=[WEATHER])
    assert response["status"] == "completed"
