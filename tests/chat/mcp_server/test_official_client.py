"""The official Python client against `/mcp`, in both worlds of the protocol."""

from __future__ import annotations

from functools import partial

import pytest
from mcp.types import ElicitRequestParams, ElicitResult, TextContent

from aily.database.threads import in_database
from chat.models import Scene, Status
from chat.runner.runtime import Runtime
from tests.chat.conftest import row
from tests.chat.mcp_server.conftest import LEGACY, MODERN, Connect, publish
from tests.chat.toolloop.conftest import service as service
from tests.chat.toolloop.service import ToolService

REVISIONS = pytest.mark.parametrize("revision", [MODERN, LEGACY])


@REVISIONS
async def test_scenes_are_tools(connect: Connect, key: str, scene: Scene, revision: str) -> None:
    await in_database(partial(publish, "hidden", is_restricted=True))
    await in_database(publish, "get_task")
    async with connect(key, revision) as client:
        listed = (await client.list_tools()).tools
    assert [tool.name for tool in listed] == ["get_task", "cancel_task", "echo", "scene.get_task"]
    assert listed[2].title == "About echo"
    assert listed[2].input_schema["required"] == ["text"]


@REVISIONS
async def test_a_call_is_a_task(
    connect: Connect, key: str, scene: Scene, worker: Runtime, revision: str
) -> None:
    seen: list[tuple[float, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message))

    async with connect(key, revision) as client:
        result = await client.call_tool("echo", {"text": "Hello"}, progress_callback=note)
    assert not result.is_error
    assert result.meta is not None
    task = await row(result.meta["aily/task_id"])
    (content,) = result.content
    assert (task.status, content) == (Status.SUCCEEDED, TextContent(text=task.text))
    assert [progress for progress, _ in seen] == sorted({progress for progress, _ in seen})
    messages = [message for _, message in seen]
    assert str(messages[0]).startswith("Waiting")
    assert messages[-1] == f"{len(task.text)} characters."
    assert "Running." in messages


async def test_a_client_that_can_ask_answers_what_the_task_asks(
    connect: Connect, key: str, service: ToolService, worker: Runtime
) -> None:
    asked: list[str] = []

    async def answer(_: object, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"approve": len(asked) == 1})

    async with connect(key, MODERN, elicitation_callback=answer) as client:
        plan = 'ask {"a": 1} ; ask {"a": 2}'
        result = await client.call_tool("office", {"text": f"[sim:tools={plan}]"})
    assert not result.is_error
    assert ['"a": 1' in asked[0], '"a": 2' in asked[1]] == [True, True]
    assert service.begun == {"ask": 1}
