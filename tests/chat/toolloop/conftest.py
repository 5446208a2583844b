"""A scene that offers the tools of a service, on the loop of a test's workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from auditlog.context import disable_auditlog

from accounts.models import User
from aily.database.threads import in_database
from chat.models import LLMModel, Scene, SceneVersion, Status, Task, ToolCall
from chat.runner.runtime import Runtime
from chat.services import scenes
from chat.services.submission import CompositeRequest
from chat.services.submit import Submission, submit
from tests.chat.api.conftest import alice_key as alice_key
from tests.chat.api.conftest import api as api
from tests.chat.api.conftest import bob_api as bob_api
from tests.chat.api.conftest import bob_key as bob_key
from tests.chat.api.conftest import queries as queries
from tests.chat.conftest import eventually, row
from tests.chat.toolloop.service import ToolService, add_tools, tool_service

ALL_TOOLS = ["add", "again", "ask", "broken", "large"]
#: Submits a plan of tool calls for alice and gives the task's id; keywords are other fields.
Plan = Callable[..., Awaitable[str]]


@pytest.fixture
async def service(loop_services: None, model: LLMModel) -> AsyncIterator[ToolService]:
    async with tool_service() as service:
        await in_database(add_tools, service.url)
        await in_database(publish_scene)
        yield service


def publish_scene(slug: str = "office", tools: list[str] | None = None, **fields: Any) -> Scene:
    written = {"user_template": "{{ text }}", **fields}
    with disable_auditlog():
        scene, _ = Scene.objects.get_or_create(slug=slug, title=slug)
        version = scenes.create_version(scene, None, written)
        SceneVersion.objects.filter(pk=version.pk).update(
            tools=ALL_TOOLS if tools is None else tools
        )
        version.refresh_from_db()
        scenes.publish(version)
    return scene


@pytest.fixture
def submit_plan(alice: User, service: ToolService) -> Plan:
    async def submit_it(plan: str, **fields: Any) -> str:
        body = {"scene": "office", "variables": {"text": f"[sim:tools={plan}]"}, **fields}
        request = CompositeRequest.model_validate(body)
        return (await submit(Submission(owner_id=alice.pk, request=request))).task_id

    return submit_it


async def calls_of(task_id: str) -> list[ToolCall]:
    return await in_database(lambda: list(ToolCall.objects.filter(task_id=task_id)))


async def no_calls(worker: Runtime, tools: int = 0) -> None:
    """Wait until the worker has no call of a model, and so many of tools. It gives a slot back a
    moment after the row is stored."""

    async def are_gone() -> bool:
        return (len(worker.calls), len(worker.tools)) == (0, tools)

    await eventually(are_gone, "the end of the worker's calls")


async def ended(task_id: str) -> Task:
    async def has_ended() -> bool:
        return Status((await row(task_id)).status).is_terminal

    await eventually(has_ended, "the end of the task")
    return await row(task_id)


async def asked(task_id: str) -> ToolCall:
    """The first call of a task that waits for its user."""

    async def is_asked() -> bool:
        return (await row(task_id)).status == Status.REQUIRES_ACTION

    await eventually(is_asked, "a question to the user")
    waiting = ToolCall.objects.filter(task_id=task_id, state="requires_action").order_by("place")
    call = await in_database(waiting.first)
    assert call is not None
    return call
