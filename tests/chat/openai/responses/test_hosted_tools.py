"""Tools that aily calls for a response: their items and events, and the approval of calls."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from accounts.models import APIKey, User
from aily.database.threads import in_database
from chat.models import ToolCall
from tests.chat.openai.conftest import V1
from tests.chat.openai.responses.client import (
    Event,
    ResponsesClient,
    forget_log,
    numbers,
    text_of,
    types_of,
)
from tests.chat.toolloop.conftest import publish_scene
from tests.chat.toolloop.conftest import service as service
from tests.chat.toolloop.service import ToolService
from tests.clients.openai_schemas import check
from tests.subtests import subtested

OFFICE: dict[str, Any] = {"type": "mcp", "server_label": "office"}
FORMS = ["whole", "stream", "background"]


class Office:
    """Alice, who asks the scene that offers the service's tools."""

    def __init__(self, responses: ResponsesClient) -> None:
        self.responses = responses

    def fields(self, plan: str = "", **fields: Any) -> dict[str, Any]:
        """Without a plan: what goes on with a response has no variables."""
        variables = {"variables": {"text": f"[sim:tools={plan}]"}} if plan else {}
        return {"model": "scene:office", **variables, **fields}

    async def stream(self, plan: str = "", prompt: Any = "Go", **fields: Any) -> list[Event]:
        return await self.responses.stream(prompt, **self.fields(plan, **fields))

    async def ask(self, form: str, plan: str = "", prompt: Any = "Go", **fields: Any) -> Any:
        """The response as it is at its end, or where it waits, however it was asked for."""
        given = self.fields(plan, **fields)
        if form == "stream":
            return (await self.responses.stream(prompt, **given))[-1]["response"]
        response = await self.responses.create(prompt, **given, background=form == "background")
        return await self.responses.ended(response["id"]) if form == "background" else response

    async def refused(self, tool: Any, **fields: Any) -> Any:
        given = {**self.fields("add {}"), "input": "Go", "tools": [tool], **fields}
        answer = await self.responses.post(given)
        assert answer.status_code == 400, answer.text
        check("ErrorResponse", answer.json())
        return answer.json()["error"]


@pytest.fixture
def office(service: ToolService, responses: ResponsesClient) -> Office:
    return Office(responses)


def outputs(response: Any, *kinds: str) -> list[Any]:
    return [item for item in response["output"] if item["type"] in kinds]


def approval(response: Any, *, approve: bool = True, **fields: Any) -> dict[str, Any]:
    """The answer to the request at the end of a response."""
    request = response["output"][-1]
    assert request["type"] == "mcp_approval_request", response["output"]
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"]}
    return {**answer, "approve": approve, **fields}


# --- Which tools --------------------------------------------------------------------------------
@subtested(
    ("tool", "param", "words"),
    [
        ({"type": "mcp"}, "tools[0].server_label", "server_label"),
        ({"server_label": "elsewhere"}, "tools[0].server_label", "no tool server 'elsewhere'"),
        ({"server_url": "https://evil.example/mcp"}, "tools[0].server_url", "another URL"),
        ({"authorization": "secret"}, "tools[0].authorization", "credentials"),
        ({"headers": {"x-key": "secret"}}, "tools[0].headers", "credentials"),
        ({"connector_id": "connector_gmail"}, "tools[0].connector_id", "Connectors"),
        ({"allowed_tools": ["shred"]}, "tools[0].allowed_tools", "'shred'"),
        ({"allowed_tools": "add"}, "tools[0].allowed_tools", "list of names"),
        ({"allowed_tools": {"read_only": True}}, "tools[0].allowed_tools.read_only", "trusted"),
        ({"require_approval": "sometimes"}, "tools[0].require_approval", "always"),
        ({"require_approval": {"ask": []}}, "tools[0].require_approval", "always"),
        ({"require_approval": {"never": ["shred"]}}, "tools[0].require_approval.never", "'shred'"),
        (
            {"require_approval": {"always": {"read_only": True}}},
            "tools[0].require_approval.always.read_only",
            "trusted",
        ),
        (
            {"require_approval": {"always": ["add"], "never": ["add"]}},
            "tools[0].require_approval",
            "'add' is named twice",
        ),
    ],
)
async def test_only_registered_servers_are_called(
    office: Office, service: ToolService, tool: Any, param: str, words: str
) -> None:
    given = tool if "type" in tool else {**OFFICE, **tool}
    error = await office.refused(given)
    assert error["param"] == param
    assert words in error["message"]
    assert "secret" not in error["message"]
    assert service.calls == []


async def test_a_model_without_a_scene_offers_no_tools(office: Office) -> None:
    error = await office.refused(OFFICE, model="plain", variables=None)
    assert error["param"] == "tools[0].server_label"
    assert "scene:" in error["message"]


async def test_a_request_may_choose_that_no_tool_is_called(
    office: Office, service: ToolService
) -> None:
    response = await office.ask("response", 'add {"a": 1, "b": 2}', tool_choice="none")
    assert outputs(response, "mcp_call") == []
    assert service.calls == []


async def test_the_request_narrows_what_the_scene_offers(
    office: Office, service: ToolService
) -> None:
    tools = [{**OFFICE, "allowed_tools": ["add"]}]
    response = await office.ask("whole", 'add {"a": 1} | again {"a": 2}', tools=tools)
    assert [name for name, _ in service.calls] == ["add"]
    [listed] = outputs(response, "mcp_list_tools")
    assert (listed["server_label"], [tool["name"] for tool in listed["tools"]]) == (
        "office",
        ["add"],
    )
    assert listed["tools"][0]["input_schema"]["required"] == ["a"]
    assert response["tools"][0]["allowed_tools"] == ["add"]
    done, refused = outputs(response, "mcp_call")
    assert (done["status"], refused["status"]) == ("completed", "failed")


# --- Calls --------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMS)
async def test_calls_are_items_before_the_answer(
    office: Office, service: ToolService, form: str
) -> None:
    response = await office.ask(form, 'add {"a": 1} | again {"a": 2} ; broken {"a": 3}')
    calls = outputs(response, "mcp_call")
    assert [call["name"] for call in calls] == ["add", "again", "broken"]
    assert {call["server_label"] for call in calls} == {"office"}
    assert [call["arguments"] for call in calls] == ['{"a": 1}', '{"a": 2}', '{"a": 3}']
    assert [call["status"] for call in calls] == ["completed", "completed", "failed"]
    assert '"a": 1' in calls[0]["output"]
    assert calls[2]["output"] is None
    assert calls[2]["error"]
    assert response["output"][-1]["type"] == "message"
    assert "add" in text_of(response)
    assert response["status"] == "completed"
    assert await office.responses.get(response["id"]) == response


async def test_the_events_of_calls_are_the_same_for_every_reader(
    office: Office, service: ToolService
) -> None:
    events = await office.stream('add {"a": 1} | again {"a": 2} ; add {"a": 3}', tools=[OFFICE])
    assert types_of(events)[:6] == [
        "created",
        "in_progress",
        "output_item.added",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "output_item.done",
    ]
    begun = [event for event in events if event["type"] == "response.mcp_call.in_progress"]
    ended = [event for event in events if event["type"] == "response.mcp_call.completed"]
    assert len(begun) == len(ended) == 3
    assert numbers(events) == list(range(len(events)))
    response = events[-1]["response"]
    for event in events:
        if event["type"] == "response.output_item.done":
            assert response["output"][event["output_index"]] == event["item"]
    assert await office.responses.events(response["id"]) == events
    assert await office.responses.events(response["id"], after=7) == events[8:]
    forget_log(response["id"])
    assert await office.responses.events(response["id"]) == events


# --- Approval -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("required", "waiting"),
    [
        (None, ["ask"]),
        ("never", ["ask"]),
        ("always", ["add", "again", "ask"]),
        ({"always": {"tool_names": ["add"]}}, ["add", "ask"]),
        ({"never": {"tool_names": ["add", "ask"]}}, ["again", "ask"]),
        (
            {"always": {"tool_names": ["again"]}, "never": {"tool_names": ["add"]}},
            ["again", "ask"],
        ),
    ],
)
async def test_a_request_may_have_more_calls_wait_and_none_fewer_than_staff_say(
    office: Office, service: ToolService, required: Any, waiting: list[str]
) -> None:
    plan = 'add {"a": 1} | again {"a": 2} | ask {"a": 3}'
    response = await office.ask("whole", plan, tools=[{**OFFICE, "require_approval": required}])
    requests = outputs(response, "mcp_approval_request")
    assert [request["name"] for request in requests] == waiting
    assert sorted(service.begun) == sorted({"add", "again", "ask"}.difference(waiting))
    assert response["tools"][0]["require_approval"] == required


@pytest.mark.parametrize("form", FORMS)
async def test_a_response_waits_for_its_user_and_goes_on(
    office: Office, service: ToolService, form: str
) -> None:
    waiting = await office.ask(form, 'add {"a": 1} ; ask {"a": 2} ; add {"a": 3}')
    assert waiting["status"] == "completed"
    [request] = outputs(waiting, "mcp_approval_request")
    assert (request["name"], request["server_label"]) == ("ask", "office")
    assert request["arguments"] == '{"a": 2}'
    assert service.begun == {"add": 1}
    assert await office.responses.get(waiting["id"]) == waiting
    input_items = [approval(waiting)]
    done = await office.ask(form, prompt=input_items, previous_response_id=waiting["id"])
    assert done["id"] == waiting["id"]
    whole = await office.responses.ended(waiting["id"])
    names = [item["type"] for item in whole["output"] if item["type"] != "reasoning"]
    assert names == ["mcp_call", "mcp_approval_request", "mcp_call", "mcp_call", "message"]
    approved = outputs(whole, "mcp_call")[1]
    assert (approved["name"], approved["approval_request_id"]) == ("ask", request["id"])
    if form != "background":
        # What came before the decision is not said again.
        later = [item["type"] for item in done["output"] if item["type"] != "reasoning"]
        assert later == ["mcp_call", "mcp_call", "message"]
        assert text_of(done) == text_of(whole)
    assert service.finished == {"add": 2, "ask": 1}


async def test_a_call_is_rejected_with_a_reason(office: Office, service: ToolService) -> None:
    waiting = await office.ask("whole", 'ask {"a": 1}')
    answer = approval(waiting, approve=False, reason="Not on Mondays")
    done = await office.ask("whole", prompt=[answer])
    assert "Not on Mondays" in text_of(done)
    assert outputs(done, "mcp_call") == []
    assert service.calls == []


async def test_several_calls_are_answered_one_after_the_other(
    office: Office, service: ToolService
) -> None:
    waiting = await office.ask("stream", 'ask {"a": 1} | ask {"a": 2} | add {"a": 3}')
    first, second = outputs(waiting, "mcp_approval_request")
    answer = {"type": "mcp_approval_response", "approve": True}
    still = await office.ask("stream", prompt=[{**answer, "approval_request_id": second["id"]}])
    assert [item["id"] for item in outputs(still, "mcp_approval_request")] == [first["id"]]
    assert [call["arguments"] for call in outputs(still, "mcp_call")] == ['{"a": 2}']
    done = await office.ask("stream", prompt=[{**answer, "approval_request_id": first["id"]}])
    assert text_of(done)
    events = await office.responses.events(waiting["id"])
    forget_log(waiting["id"])
    assert await office.responses.events(waiting["id"]) == events
    assert len(set(numbers(events))) == len(events)


async def test_answers_count_once(office: Office, service: ToolService) -> None:
    waiting = await office.ask("whole", 'ask {"a": 1}')
    answer = approval(waiting)
    done = await office.ask("whole", prompt=[answer])
    # As a client sends it again that has lost the connection.
    assert text_of(await office.ask("whole", prompt=[answer])) == text_of(done)
    refused = await office.responses.post(
        {"model": "scene:office", "input": [{**answer, "approve": False}]}
    )
    assert refused.status_code == 400
    assert "already" in refused.json()["error"]["message"]
    assert service.finished == {"ask": 1}


async def test_nobody_else_decides(office: Office, service: ToolService, v1: V1, bob: User) -> None:
    waiting = await office.ask("whole", 'ask {"a": 1}')
    bob_v1: httpx.AsyncClient = v1((await in_database(APIKey.create, bob, "test"))[1])
    bobs = ResponsesClient(bob_v1)
    for request_id in (approval(waiting)["approval_request_id"], f"mcpr_{'0' * 32}", "nonsense"):
        item = {**approval(waiting), "approval_request_id": request_id}
        answer = await bobs.post({"model": "scene:office", "input": [item]})
        assert (answer.status_code, answer.json()["error"]["param"]) == (
            404,
            "input[0].approval_request_id",
        )
    [call] = await in_database(lambda: list(ToolCall.objects.all()))
    assert call.state == "requires_action"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"approve": None}, "input[0].approve"),
        ({"approve": "yes"}, "input[0].approve"),
        ({"approval_request_id": None}, "input[0].approval_request_id"),
        ({"reason": 7}, "input[0].reason"),
        ({"reason": "x" * 2_000}, "input[0].reason"),
    ],
)
async def test_a_bad_answer_is_refused_by_its_place(
    office: Office, change: dict[str, Any], param: str
) -> None:
    waiting = await office.ask("whole", 'ask {"a": 1}')
    item = {**approval(waiting), **change}
    answer = await office.responses.post({"model": "scene:office", "input": [item]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


# --- Earlier responses as input -----------------------------------------------------------------
async def test_calls_of_earlier_responses_are_part_of_the_prompt(
    office: Office, service: ToolService
) -> None:
    before = await office.ask("whole", 'add {"a": 1}', store=False, tools=[OFFICE])
    asked = {"role": "user", "content": "And now?"}
    for fields in (
        {"prompt": [*before["output"], asked]},
        {"prompt": [*before["output"], approval_of_before(before), asked]},
    ):
        done = await office.responses.create(fields["prompt"], model="plain")
        assert text_of(done)


def approval_of_before(response: Any) -> dict[str, Any]:
    call = outputs(response, "mcp_call")[0]
    name = f"mcpr_{call['id'].removeprefix('mcp_')}"
    return {"type": "mcp_approval_response", "approval_request_id": name, "approve": True}


async def test_a_next_response_goes_on_from_the_results(
    office: Office, service: ToolService
) -> None:
    before = await office.ask("whole", 'add {"a": 1}')
    done = await office.responses.create("So?", model="plain", previous_response_id=before["id"])
    assert text_of(done)


async def test_a_scene_that_offers_nothing_is_as_before(
    office: Office, service: ToolService
) -> None:
    await in_database(publish_scene, "quiet", [])
    response = await office.responses.create("Go", model="scene:quiet", variables={"text": "Hi"})
    assert text_of(response)
