"""Runs whose scene offers tools: rows that wait for their user, and calls that are made once."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from accounts.models import User
from aily.database.threads import in_database
from aily.problems import Conflict
from chat.models import Run, RunRow, Status, Task, ToolCall
from chat.runner.runtime import Runtime
from chat.services.tool_approvals import approve
from tests.chat.conftest import StartWorker
from tests.chat.runs.conftest import Act, RunClient, turn, turns_until
from tests.chat.toolloop.conftest import service as service
from tests.chat.toolloop.service import ToolService
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def _file(*plans: str) -> bytes:
    """Rows whose model calls the tools of these plans."""
    texts = [f"[sim:tools={plan}]" if plan else "hello" for plan in plans]
    return "\n".join(json.dumps({"text": text}) for text in texts).encode()


def _started(runs: RunClient, *plans: str) -> str:
    made = runs.create(_file(*plans), "rows.jsonl", scene="office")
    turn()
    runs.post(made["id"], "start")
    turn()
    run_id: str = made["id"]
    return run_id


async def _counts(run_id: str, **wanted: int) -> None:
    """Take turns until the run has these counts."""

    def look() -> bool:
        turn()
        run = Run.objects.get(pk=run_id)
        return all(getattr(run, name) == count for name, count in wanted.items())

    await eventually(lambda: in_database(look), f"{wanted}")


async def _waiting(run_id: str, count: int) -> list[ToolCall]:
    """The calls of a run that wait for its owner, once there are so many."""
    calls = ToolCall.objects.filter(task__run_id=run_id, state="requires_action")

    async def all_are_asked() -> list[ToolCall]:
        found = await in_database(lambda: list(calls.order_by("task_id")))
        return found if len(found) == count else []

    return await eventually(all_are_asked, f"{count} questions") or []


async def test_rows_wait_for_their_owner_through_a_pause_and_end_with_a_cancel(
    runs: RunClient, service: ToolService, alice: User, worker: Runtime, act: Act
) -> None:
    run_id = await act(_started, runs, 'ask {"a": 1}', 'ask {"a": 2} ; add {"a": 3}', "")
    questions = await _waiting(run_id, 2)
    await _counts(run_id, open=2, succeeded=1)
    paused = await act(runs.post, run_id, "pause")
    assert (paused["state"], paused["counts"]["open"]) == ("paused", 2)
    assert [call.pk for call in await _waiting(run_id, 2)] == [call.pk for call in questions]

    # What is approved goes on to its end, and counts.
    await approve(alice.pk, questions[1].task_id, questions[1].pk)
    await _counts(run_id, open=1, succeeded=2)
    assert service.calls == [("ask", {"a": 2}), ("add", {"a": 3})]

    await act(runs.post, run_id, "resume")
    await act(turn)
    assert [call.pk for call in await _waiting(run_id, 1)] == [questions[0].pk]
    await act(runs.post, run_id, "cancel")
    run = await turns_until(run_id, "cancelled")
    assert (run.succeeded, run.cancelled, run.open, run.pending) == (2, 1, 0, 0)
    with pytest.raises(Conflict):
        await approve(alice.pk, questions[0].task_id, questions[0].pk)
    assert service.begun == {"ask": 1, "add": 1}


async def test_a_pause_takes_back_rows_that_have_not_begun(
    runs: RunClient, service: ToolService, start_worker: StartWorker, act: Act
) -> None:
    run_id = await act(_started, runs, 'add {"a": 1}', 'add {"a": 2}', 'add {"a": 3}')
    assert (await act(runs.get, run_id))["counts"]["open"] == 3
    paused = await act(runs.post, run_id, "pause")
    assert (paused["counts"]["open"], paused["counts"]["pending"]) == (0, 3)
    await act(runs.post, run_id, "resume")
    await start_worker()
    run = await turns_until(run_id, "done")
    assert run.succeeded == 3
    assert sorted(arguments["a"] for _, arguments in service.calls) == [1, 2, 3]


def _fail_for_now(task_id: UUID) -> None:
    """What the runner stores if the provider is away at a later step of the loop."""
    error = {"code": "provider_unreachable", "message": "The provider is away."}
    ended: dict[str, Any] = {"status": Status.FAILED, "error": error, "needs_settling": True}
    Task.objects.filter(pk=task_id).update(**ended)
    turn()


@pytest.mark.parametrize(("tool", "state"), [("add", "failed"), ("again", "pending")])
async def test_a_row_is_tried_again_only_if_its_tools_may_be_called_twice(
    runs: RunClient, service: ToolService, worker: Runtime, act: Act, tool: str, state: str
) -> None:
    run_id = await act(_started, runs, f'{tool} {{"a": 1}} ; ask {{"a": 2}}')
    [question] = await _waiting(run_id, 1)
    assert service.begun == {tool: 1}
    await act(_fail_for_now, question.task_id)
    row = await act(RunRow.objects.get, run_id=run_id)
    assert row.state == state
