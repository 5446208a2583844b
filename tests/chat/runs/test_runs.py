"""A run from its file to its results, through the REST API, a real queue and a real worker."""

from __future__ import annotations

import csv
import io
import json

import pytest

from accounts.models import User
from chat.eventlog import get_hub
from chat.models import LedgerEntry, LLMModel, Run, Scene, StoredFile, Task
from chat.runner.runtime import Runtime
from chat.services.submission import CompositeRequest
from chat.services.submit import Submission, submit
from tests.chat.conftest import frames_of
from tests.chat.runs.conftest import Act, RunClient, turn, turns_until
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def narrow(model: LLMModel) -> None:
    """Before a worker starts, which reads the caps seldom: two calls at once."""
    LLMModel.objects.update(max_concurrency=2)


async def test_a_table_becomes_answers(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act
) -> None:
    table = "id,Body\n" + "".join(f"{number},Text {number}\n" for number in range(1, 31))
    made = await act(runs.create, table, scene="echo", mapping={"text": "Body"}, start="now")
    assert made["state"] == "validating"
    run = await turns_until(made["id"], "done")
    assert (run.total, run.succeeded, run.pending, run.open) == (30, 30, 0, 0)
    found = await act(runs.get, made["id"])
    assert found["columns"] == ["id", "Body"]
    assert found["counts"]["succeeded"] == 30
    assert found["prompt_tokens"] > 0
    lines = [json.loads(line) for line in (await runs.results(made["id"])).splitlines()]
    assert [line["row"] for line in lines] == list(range(1, 31))
    assert {line["state"] for line in lines} == {"succeeded"}
    assert [line["input"]["Body"] for line in lines] == [f"Text {n}" for n in range(1, 31)]
    assert all(line["result"]["text"] for line in lines)
    exported = await runs.results(made["id"], "?format=csv&bom=false")
    rows = list(csv.DictReader(io.StringIO(exported.decode())))
    assert len(rows) == 30
    assert rows[4]["id"] == "5"
    assert rows[4]["result"] == lines[4]["result"]["text"]
    assert await act(Task.objects.filter(run_id=made["id"]).count) == 30
    assert await act(StoredFile.objects.count) == 0


async def test_lines_are_whole_requests(runs: RunClient, worker: Runtime, act: Act) -> None:
    lines = [
        {
            "custom_id": f"row-{n}",
            "messages": [{"role": "user", "content": f"Say {n}"}],
            "max_tokens": n,
        }
        for n in range(1, 6)
    ]
    content = "\n".join(map(json.dumps, lines))
    made = await act(runs.create, content, "asks.jsonl", start="now")
    await turns_until(made["id"], "done")
    found = [json.loads(line) for line in (await runs.results(made["id"])).splitlines()]
    assert [line["key"] for line in found] == [f"row-{n}" for n in range(1, 6)]
    tasks = await act(lambda: list(Task.objects.filter(run_id=made["id"]).order_by("id")))
    assert [task.params["max_tokens"] for task in tasks] == [1, 2, 3, 4, 5]
    assert {task.lane for task in tasks} == {2}


async def test_bad_lines_are_told_and_the_others_run(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act
) -> None:
    good = [{"custom_id": str(n), "text": f"Text {n}"} for n in range(1, 4)]
    content = "\n".join(
        [json.dumps(good[0]), "{broken", json.dumps(good[1]), json.dumps(good[0]), "[1]", "",
         json.dumps({"custom_id": 7, "text": "x"}), json.dumps(good[2])]
    )  # fmt: skip
    made = await act(runs.create, content, "rows.jsonl", scene="echo", start="now")
    run = await turns_until(made["id"], "done")
    assert (run.total, run.succeeded, run.invalid) == (7, 3, 4)
    found = await act(runs.get, made["id"])
    assert [(error["line"], error["code"]) for error in found["errors"]] == [
        (2, "invalid_json"), (4, "duplicate_key"), (5, "invalid_json"), (7, "invalid_key"),
    ]  # fmt: skip
    groups = await act(runs.get, made["id"], "/errors")
    assert [(group["code"], group["rows"], group["numbers"]) for group in groups] == [
        ("invalid_json", 2, [2, 5]), ("duplicate_key", 1, [4]), ("invalid_key", 1, [6]),
    ]  # fmt: skip


async def test_a_pause_withdraws_what_waits_and_resuming_repeats_nothing(
    runs: RunClient, scene: Scene, narrow: None, worker: Runtime, act: Act
) -> None:
    table = "text\n" + "".join(f"Text {number} [sim:latency=0.05]\n" for number in range(60))
    made = await act(runs.create, table, scene="echo", start="now")

    def some_ended() -> bool:
        turn()
        return Run.objects.get(pk=made["id"]).succeeded >= 4

    await eventually(lambda: act(some_ended))
    paused = await act(runs.post, made["id"], "pause")
    assert paused["state"] == "paused"
    waiting = Task.objects.filter(run_id=made["id"], status="queued")
    assert await act(waiting.count) == 0
    await eventually(lambda: act(lambda: not Task.objects.active().exists()))
    await act(turn)
    found = await act(runs.get, made["id"])
    assert found["counts"]["open"] == 0
    assert found["counts"]["cancelled"] == 0
    assert found["counts"]["pending"] == 60 - found["counts"]["succeeded"]
    calls = await act(LedgerEntry.objects.usage().filter(kind="settle").count)
    await act(turn)
    assert await act(Task.objects.active().count) == 0
    assert (await act(runs.post, made["id"], "pause"))["state"] == "paused"

    assert (await act(runs.post, made["id"], "resume"))["state"] == "running"
    run = await turns_until(made["id"], "done")
    assert run.succeeded == 60
    paid = await act(LedgerEntry.objects.usage().filter(kind="settle").count)
    assert paid == 60
    assert calls == found["counts"]["succeeded"]


async def test_cancelling_ends_all_and_keeps_results(
    runs: RunClient, scene: Scene, narrow: None, worker: Runtime, act: Act
) -> None:
    table = "text\n" + "".join(f"Text {n} [sim:latency=0.05]\n" for n in range(600))
    made = await act(runs.create, table, scene="echo", start="now")

    def some_ended() -> bool:
        turn()
        return Run.objects.get(pk=made["id"]).succeeded >= 2

    await eventually(lambda: act(some_ended))
    await act(runs.post, made["id"], "cancel")
    run = await turns_until(made["id"], "cancelled")
    assert run.open == run.pending == 0
    assert run.succeeded >= 2
    assert run.cancelled == 600 - run.succeeded
    assert not await act(Task.objects.active().exists)
    await act(runs.post, made["id"], "cancel")
    again = await act(runs.post, made["id"], "retry-failed")
    assert again["state"] == "running"
    assert again["counts"]["pending"] == 600 - run.succeeded


async def test_rows_are_not_pushed_to_every_socket_of_their_owner(
    runs: RunClient, alice: User, scene: Scene, worker: Runtime, act: Act
) -> None:
    async with get_hub().user_feed(alice.pk, skip=lambda task_id: False) as feed:
        made = await act(runs.create, "text\n" + "x\n" * 20, scene="echo", start="now")
        await turns_until(made["id"], "done")
        assert feed.is_empty
        # An ordinary task is.
        request = CompositeRequest.model_validate({"messages": [{"role": "user", "content": "x"}]})
        await submit(Submission(owner_id=alice.pk, request=request))
        assert await feed.next(20) is not None


async def test_a_row_can_be_followed_all_the_same(
    runs: RunClient, alice: User, scene: Scene, worker: Runtime, act: Act
) -> None:
    slow = "a [sim:latency=0.3]"
    made = await act(runs.create, f"text\n{slow}\n", scene="echo", start="now")
    await act(turn)
    await act(turn)
    task = await act(lambda: Task.objects.get(run_id=made["id"]))
    frames = await frames_of(str(task.pk), alice)
    assert frames.types[-1] == "task.completed"
