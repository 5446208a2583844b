"""`/v1/batches`: from a file of requests to the files of their answers."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.database.threads import in_database
from chat import retention
from chat.models import Batch, Budget, LLMModel, Run, RunRow, StoredFile, Task
from chat.models.files import FileWriter
from chat.models.vectors import TaskVectors, delete_older
from chat.openai.batches import output
from chat.openai.batches.kind import BatchRuns
from chat.runner.runtime import Runtime
from chat.runs import stepping
from tests.chat.openai.batches.conftest import (
    CHAT,
    EMBEDDINGS,
    RESPONSES,
    line,
    lines_of,
    make,
    turns_until,
    upload,
)
from tests.chat.openai.conftest import V1
from tests.chat.runs.conftest import turn
from tests.clients.openai_schemas import check
from tests.subtests import subtested
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


# --- Whole batches ------------------------------------------------------------------------------
async def test_every_line_gets_the_answer_of_its_endpoint(
    alice_v1: httpx.AsyncClient, worker: Runtime
) -> None:
    bad = [line(41, messages=None), line(42, temperature=99), line(43, stream=True)]
    content = "\n".join([*(line(n) for n in range(40)), *bad])
    made = await make(alice_v1, content, metadata={"job": "nightly"})
    assert (made["object"], made["status"], made["metadata"]) == (
        "batch",
        "validating",
        {"job": "nightly"},
    )
    assert made["expires_at"] - made["created_at"] == 86_400
    batch = await turns_until(alice_v1, made["id"], "completed")
    assert batch["request_counts"] == {"total": 43, "completed": 40, "failed": 3}
    check("Batch", batch)
    assert batch["model"] == "deepseek-flash"
    assert batch["usage"]["input_tokens"] > 0
    assert batch["usage"]["total_tokens"] == (
        batch["usage"]["input_tokens"] + batch["usage"]["output_tokens"]
    )
    moments = ("created_at", "in_progress_at", "finalizing_at", "completed_at")
    times = [batch[name] for name in moments]
    assert times == sorted(times)
    await check_answers(alice_v1, batch["output_file_id"])
    failed = await lines_of(alice_v1, batch["error_file_id"])
    assert [entry["custom_id"] for entry in failed] == ["line-41", "line-42", "line-43"]
    assert [entry["response"]["body"]["error"]["param"] for entry in failed] == [
        *("messages", "temperature", "stream")
    ]
    assert {entry["response"]["status_code"] for entry in failed} == {400}


async def check_answers(alice_v1: httpx.AsyncClient, file_id: str) -> None:
    """Of 40 lines, in order, and each as if it had been asked by itself."""
    answered = await lines_of(alice_v1, file_id)
    assert [entry["custom_id"] for entry in answered] == [f"line-{n}" for n in range(40)]
    assert len({entry["id"] for entry in answered}) == 40
    for entry in answered:
        assert (entry["error"], entry["response"]["status_code"]) == (None, 200)
        check("CreateChatCompletionResponse", entry["response"]["body"])
    single = await alice_v1.post("/chat/completions", json=json.loads(line(7))["body"])
    wanted, found = single.json(), answered[7]["response"]["body"]
    for body in (wanted, found):
        for name in ("id", "created"):
            body.pop(name)
    assert found == wanted


async def test_errors_of_lines_are_those_of_the_endpoint(
    alice_v1: httpx.AsyncClient, worker: Runtime
) -> None:
    asked: list[dict[str, Any]] = [
        {"messages": "hello"},
        {"n": 3},
        {"messages": [{"role": "user", "content": "[sim:status=400]"}]},
    ]
    batch = await make(alice_v1, "\n".join(line(n, **body) for n, body in enumerate(asked)))
    batch = await turns_until(alice_v1, batch["id"], "completed")
    assert "output_file_id" not in batch
    failed = await lines_of(alice_v1, batch["error_file_id"])
    for entry, body in zip(failed, asked, strict=True):
        single = await alice_v1.post("/chat/completions", json=json.loads(line(0, **body))["body"])
        assert entry["response"]["status_code"] == single.status_code
        assert entry["response"]["body"] == single.json()
    names = {entry["response"]["request_id"] for entry in failed}
    assert len(names) == 3
    assert all(name.startswith("req_") for name in names)


async def test_responses_come_whole(alice_v1: httpx.AsyncClient, worker: Runtime) -> None:
    content = "\n".join(
        [
            line("fine", url=RESPONSES, messages=None, input="Say it", instructions="Be short."),
            line("bad", url=RESPONSES, messages=None, input="x", background=True),
            line("gone", url=RESPONSES, messages=None, input="x", previous_response_id="resp_1"),
        ]
    )
    batch = await make(alice_v1, content, endpoint=RESPONSES)
    batch = await turns_until(alice_v1, batch["id"], "completed")
    [fine] = await lines_of(alice_v1, batch["output_file_id"])
    body = fine["response"]["body"]
    check("Response", body)
    assert (body["status"], body["store"], body["instructions"]) == (
        "completed",
        False,
        "Be short.",
    )
    assert body["output"][-1]["content"][0]["text"]
    failed = await lines_of(alice_v1, batch["error_file_id"])
    codes = [entry["response"]["body"]["error"]["code"] for entry in failed]
    assert codes == ["unsupported_parameter", "previous_response_not_found"]


@pytest.mark.parametrize("form", [None, "base64"])
async def test_embeddings_come_in_the_form_that_was_asked_for(
    alice_v1: httpx.AsyncClient,
    worker: Runtime,
    embeddings_model: LLMModel,
    form: str | None,
) -> None:
    name = embeddings_model.name
    fields = {"model": name, "messages": None, "encoding_format": form, "dimensions": 8}
    content = "\n".join(
        [
            line("one", url=EMBEDDINGS, input=["a cat", "a dog"], **fields),
            line("bad", url=EMBEDDINGS, input=[], **fields),
        ]
    )
    batch = await make(alice_v1, content, endpoint=EMBEDDINGS)
    batch = await turns_until(alice_v1, batch["id"], "completed")
    [one] = await lines_of(alice_v1, batch["output_file_id"])
    body = one["response"]["body"]
    single = await alice_v1.post("/embeddings", json=json.loads(content.splitlines()[0])["body"])
    assert body == single.json()
    assert len(body["data"]) == 2
    [bad] = await lines_of(alice_v1, batch["error_file_id"])
    assert bad["response"]["body"]["error"]["param"] == "input"
    assert batch["usage"]["input_tokens"] > 0


async def test_vectors_are_kept_until_their_batch_has_its_files(
    alice_v1: httpx.AsyncClient, worker: Runtime, embeddings_model: LLMModel
) -> None:
    fields = {"model": embeddings_model.name, "messages": None, "dimensions": 4}
    batch = await make(
        alice_v1, line("one", url=EMBEDDINGS, input="a cat", **fields), endpoint=EMBEDDINGS
    )
    later = timezone.now() + timedelta(days=2)

    async def has_vectors() -> bool:
        await in_database(stepping.step)
        return bool(await in_database(TaskVectors.objects.count))

    await eventually(has_vectors)
    assert await in_database(delete_older, later) == 0
    await turns_until(alice_v1, batch["id"], "completed")
    assert await in_database(delete_older, later) == 1


async def test_a_model_that_cannot_do_it_is_none(
    alice_v1: httpx.AsyncClient, worker: Runtime
) -> None:
    content = line("one", url=EMBEDDINGS, messages=None, input="x")
    batch = await make(alice_v1, content, endpoint=EMBEDDINGS)
    batch = await turns_until(alice_v1, batch["id"], "completed", "failed")
    assert batch["status"] == "failed"
    assert batch["errors"]["data"][0]["code"] == "model_not_found"


async def test_the_order_of_a_schemas_fields_is_kept(
    alice_v1: httpx.AsyncClient, worker: Runtime
) -> None:
    names = ["zebra", "ant", "mole"]
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }
    text = {"format": {"type": "json_schema", "name": "animals", "schema": schema, "strict": True}}
    content = line(1, url=RESPONSES, messages=None, input="Name three", text=text)
    batch = await make(alice_v1, content, endpoint=RESPONSES)
    batch = await turns_until(alice_v1, batch["id"], "completed")
    [entry] = await lines_of(alice_v1, batch["output_file_id"])
    body = entry["response"]["body"]
    assert list(body["text"]["format"]["schema"]["properties"]) == names
    assert set(json.loads(body["output"][-1]["content"][0]["text"])) == set(names)


@pytest.mark.parametrize(
    ("name", "value"), [("conversation_id", "0" * 32), ("webhook", 1), ("replaces", "1-1")]
)
async def test_a_line_has_nothing_that_makes_no_sense_in_many(
    alice_v1: httpx.AsyncClient, worker: Runtime, name: str, value: Any
) -> None:
    batch = await make(alice_v1, line(1, **{name: value}))
    batch = await turns_until(alice_v1, batch["id"], "completed")
    [entry] = await lines_of(alice_v1, batch["error_file_id"])
    assert entry["response"]["body"]["error"]["param"] == name


# --- Files that are refused ---------------------------------------------------------------------
GOOD = line(1)


@subtested(
    ("content", "errors"),
    [
        (f"{GOOD}\n{{broken", [("invalid_json_line", 2, None)]),
        (f"[1]\n{GOOD}", [("invalid_json_line", 1, None)]),
        (f"{GOOD}\n\n\n{GOOD}", [("duplicate_custom_id", 4, "custom_id")]),
        (
            GOOD.replace("POST", "GET") + "\n" + GOOD.replace("chat/completions", "embeddings"),
            [("invalid_method", 1, "method"), ("invalid_url", 2, "url")],
        ),
        (GOOD.replace("custom_id", "id"), [("missing_required_parameter", 1, "custom_id")]),
        (GOOD.replace('"line-1"', "17"), [("invalid_custom_id", 1, "custom_id")]),
        (GOOD.replace('"body"', '"params"'), [("missing_required_parameter", 1, "body")]),
        (line(1, model=None), [("missing_required_parameter", 1, "body.model")]),
        (f"{GOOD}\n{line(2, model='other')}", [("mismatched_model", 2, "body.model")]),
        (line(1, model="unknown"), [("model_not_found", 1, "body.model")]),
        ("\n \n", [("empty_file", None, None)]),
        (b"\xff\xfe\xff", [("invalid_encoding", 1, None)]),
        (f"{GOOD}\n".encode() + "数据".encode("gb18030"), [("invalid_encoding", 2, None)]),
        (gzip.compress(GOOD.encode()), [("packed_file", None, None)]),
        (GOOD.encode("utf-16-le"), [("invalid_encoding", 1, None)]),
        (GOOD.encode("utf-16"), [("invalid_encoding", 1, None)]),
        (f"{GOOD}\n{GOOD} and more", [("invalid_json_line", 2, None)]),
        (f"[{GOOD}]", [("invalid_json_line", 1, None)]),
        *(
            (GOOD.replace('"line-1"', key), [(code, 1, "custom_id")])
            for key, code in (
                (r'"\ud800"', "invalid_json_line"),
                (r'"a\u0000"', "invalid_json_line"),
                ('""', "invalid_custom_id"),
                (f'"{"x" * 513}"', "invalid_custom_id"),
                ("[]", "invalid_custom_id"),
            )
        ),
        *(
            (line(1, temperature=9).replace("9", number), [("invalid_json_line", 1, param)])
            for number, param in (
                ("1e999", "body.temperature"),
                ("NaN", "body.temperature"),
                ("8" * 5_000, None),
                ("[" * 10_000 + "]" * 10_000, None),
                ("[" * 200 + "]" * 200, None),
            )
        ),
    ],
)
async def test_a_file_is_refused_with_a_report_by_line(
    alice_v1: httpx.AsyncClient,
    worker: Runtime,
    content: str | bytes,
    errors: list[tuple[str, int | None, str | None]],
) -> None:
    batch = await make(alice_v1, content)
    batch = await turns_until(alice_v1, batch["id"], "failed", "completed")
    assert batch["status"] == "failed"
    found = batch["errors"]["data"]
    assert [(error["code"], error["line"], error["param"]) for error in found] == errors
    assert all(error["message"] for error in found)
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert "output_file_id" not in batch
    assert "error_file_id" not in batch
    assert batch["failed_at"] >= batch["created_at"]
    assert await in_database(RunRow.objects.count) == 0
    assert await in_database(Task.objects.count) == 0


async def test_a_mark_and_blank_lines_are_no_lines(
    alice_v1: httpx.AsyncClient, worker: Runtime
) -> None:
    content = "\ufeff\n" + line(1) + "\r\n\r\n" + line(2) + "\n\n"
    batch = await make(alice_v1, content)
    batch = await turns_until(alice_v1, batch["id"], "completed", "failed")
    assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert "error_file_id" not in batch


async def test_a_file_with_too_many_lines_is_refused(
    alice_v1: httpx.AsyncClient, worker: Runtime, settings: Settings
) -> None:
    settings.BATCH_MAX_LINES = 3
    batch = await make(alice_v1, "\n".join(line(n) for n in range(4)))
    batch = await turns_until(alice_v1, batch["id"], "failed")
    [error] = batch["errors"]["data"]
    assert (error["code"], error["line"]) == ("too_many_tasks", 4)


# --- Requests -----------------------------------------------------------------------------------
@subtested(
    ("fields", "status", "param"),
    [
        ({"endpoint": "/v1/completions"}, 400, "endpoint"),
        ({"endpoint": None}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"completion_window": None}, 400, "completion_window"),
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"input_file_id": 17}, 400, "input_file_id"),
        ({"input_file_id": "file-" + "0" * 32}, 404, "input_file_id"),
        ({"metadata": {"a": 1}}, 400, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, 400, "metadata"),
        ({"metadata": {"k" * 65: ""}}, 400, "metadata." + "k" * 65),
        ({"metadata": {"a": "x" * 513}}, 400, "metadata.a"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 60}},
            400,
            "output_expires_after.seconds",
        ),
        (
            {"output_expires_after": {"anchor": "now", "seconds": 3600}},
            400,
            "output_expires_after.anchor",
        ),
    ],
)
async def test_bad_fields_are_named(
    alice_v1: httpx.AsyncClient, fields: dict[str, Any], status: int, param: str
) -> None:
    file = await upload(alice_v1, line(1))
    asked = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h", **fields}
    answer = await alice_v1.post("/batches", json=asked)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert await in_database(Run.objects.count) == 0


async def test_a_file_of_another_purpose_is_refused(alice_v1: httpx.AsyncClient) -> None:
    file = await upload(alice_v1, line(1), "user_data")
    asked = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    answer = await alice_v1.post("/batches", json=asked)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input_file_id")


async def test_a_repeated_request_makes_one_batch(alice_v1: httpx.AsyncClient) -> None:
    file = await upload(alice_v1, line(1))
    asked = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    headers = {"Idempotency-Key": "nightly-1"}
    answers = [await alice_v1.post("/batches", json=asked, headers=headers) for _ in range(2)]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    changed = {**asked, "metadata": {"a": "b"}}
    answer = await alice_v1.post("/batches", json=changed, headers=headers)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")


async def test_batches_are_their_owners(alice_v1: httpx.AsyncClient, v1: V1, bob: User) -> None:
    bob_v1 = v1((await in_database(APIKey.create, bob, "test"))[1])
    batch = await make(alice_v1, line(1))
    path = f"/batches/{batch['id']}"
    for answer in (await bob_v1.get(path), await bob_v1.post(f"{path}/cancel")):
        assert answer.status_code == 404
    assert (await bob_v1.get("/batches")).json()["data"] == []
    asked = {
        "input_file_id": batch["input_file_id"],
        "endpoint": CHAT,
        "completion_window": "24h",
    }
    assert (await bob_v1.post("/batches", json=asked)).status_code == 404
    assert (await v1(None).get(path)).status_code == 401


async def test_batches_are_listed_a_page_at_a_time(alice_v1: httpx.AsyncClient) -> None:
    made = [(await make(alice_v1, line(n)))["id"] for n in range(5)]
    page = (await alice_v1.get("/batches", params={"limit": 2})).json()
    assert ([b["id"] for b in page["data"]], page["has_more"]) == ([made[4], made[3]], True)
    assert (page["first_id"], page["last_id"]) == (made[4], made[3])
    query: dict[str, Any] = {"limit": 20, "after": page["last_id"]}
    page = (await alice_v1.get("/batches", params=query)).json()
    assert ([b["id"] for b in page["data"]], page["has_more"]) == (made[2::-1], False)
    for wrong in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"after": "batch_1"}):
        answer = await alice_v1.get("/batches", params=wrong)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == next(iter(wrong))


# --- Cancelling, expiring, budgets --------------------------------------------------------------
SLOW = [{"role": "user", "content": "[sim:latency=30]"}]


async def test_a_cancelled_batch_keeps_what_it_has(
    alice_v1: httpx.AsyncClient, worker: Runtime
) -> None:
    content = "\n".join([line(0), line(1), *(line(n, messages=SLOW) for n in range(2, 20))])
    batch = await make(alice_v1, content)

    async def are_two_completed() -> bool:
        found = await turns_until(alice_v1, batch["id"], "in_progress", "validating")
        return bool(found["request_counts"]["completed"] == 2)

    await eventually(are_two_completed)
    cancelled = (await alice_v1.post(f"/batches/{batch['id']}/cancel")).json()
    assert cancelled["status"] == "cancelling"
    assert cancelled["cancelling_at"] >= cancelled["created_at"]
    again = (await alice_v1.post(f"/batches/{batch['id']}/cancel")).json()
    assert again["cancelling_at"] == cancelled["cancelling_at"]
    ended = await turns_until(alice_v1, batch["id"], "cancelled")
    assert ended["request_counts"] == {"total": 20, "completed": 2, "failed": 18}
    answered = await lines_of(alice_v1, ended["output_file_id"])
    assert [entry["custom_id"] for entry in answered] == ["line-0", "line-1"]
    failed = await lines_of(alice_v1, ended["error_file_id"])
    assert len(failed) == 18
    assert {entry["error"]["code"] for entry in failed} == {"batch_cancelled"}
    assert {entry["response"] for entry in failed} == {None}
    assert (await alice_v1.post(f"/batches/{batch['id']}/cancel")).json()["status"] == "cancelled"


async def test_a_batch_is_cancelled_while_it_is_validated(alice_v1: httpx.AsyncClient) -> None:
    batch = await make(alice_v1, line(1))
    cancelled = (await alice_v1.post(f"/batches/{batch['id']}/cancel")).json()
    assert cancelled["status"] in ("cancelling", "cancelled")
    ended = await turns_until(alice_v1, batch["id"], "cancelled")
    assert ended["cancelled_at"] >= ended["created_at"]
    assert "output_file_id" not in ended


async def test_an_ended_batch_is_not_cancelled(
    alice_v1: httpx.AsyncClient, worker: Runtime
) -> None:
    batch = await make(alice_v1, line(1))
    await turns_until(alice_v1, batch["id"], "completed")
    answer = await alice_v1.post(f"/batches/{batch['id']}/cancel")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")


async def test_an_expired_batch_has_what_was_answered(
    alice_v1: httpx.AsyncClient, worker: Runtime, settings: Settings
) -> None:
    settings.RUN_WINDOW = 1
    batch = await make(alice_v1, "\n".join(line(n) for n in range(30)))

    async def has_answer() -> bool:
        found = await turns_until(alice_v1, batch["id"], "in_progress", "validating")
        return bool(found["request_counts"]["completed"])

    await eventually(has_answer)
    past = timezone.now() - timedelta(seconds=1)
    await in_database(lambda: Run.objects.update(deadline_at=past))
    ended = await turns_until(alice_v1, batch["id"], "expired")
    answered = await lines_of(alice_v1, ended["output_file_id"])
    failed = await lines_of(alice_v1, ended["error_file_id"])
    assert len(answered) + len(failed) == 30
    counts = {"total": 30, "completed": len(answered), "failed": len(failed)}
    assert ended["request_counts"] == counts
    assert {entry["error"]["code"] for entry in failed} == {"batch_expired"}
    assert ended["expired_at"] >= ended["in_progress_at"]


async def test_a_budget_that_is_used_up_holds_the_batch(
    alice_v1: httpx.AsyncClient, worker: Runtime, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchRuns, "halt_seconds", 0.0)
    budget = await in_database(
        lambda: Budget.objects.create(user=alice, name="tiny", period="total", limit_tokens=1)
    )
    batch = await make(alice_v1, "\n".join(line(n) for n in range(3)))
    await turns_until(alice_v1, batch["id"], "in_progress")
    for _ in range(5):
        await in_database(turn)
    assert await in_database(Task.objects.count) == 0
    found = (await alice_v1.get(f"/batches/{batch['id']}")).json()
    assert (found["status"], found["request_counts"]["failed"]) == ("in_progress", 0)
    await in_database(budget.delete)
    ended = await turns_until(alice_v1, batch["id"], "completed")
    assert ended["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


# --- Deaths -------------------------------------------------------------------------------------
async def test_a_death_while_files_are_written_leaves_nothing_half(
    alice_v1: httpx.AsyncClient, worker: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await make(alice_v1, "\n".join(line(n) for n in range(6)))
    whole = output._link

    def die(*args: object) -> None:
        monkeypatch.setattr(output, "_link", whole)
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "_link", die)
    monkeypatch.setattr(FileWriter, "discard", lambda self: None)
    with pytest.raises(KeyboardInterrupt):
        await turns_until(alice_v1, batch["id"], "completed")
    found = (await alice_v1.get(f"/batches/{batch['id']}")).json()
    assert (found["status"], found.get("output_file_id")) == ("finalizing", None)
    files = (await alice_v1.get("/files")).json()["data"]
    assert [file["purpose"] for file in files] == ["batch"]
    ended = await turns_until(alice_v1, batch["id"], "completed")
    assert len(await lines_of(alice_v1, ended["output_file_id"])) == 6
    assert await in_database(Task.objects.count) == 6


async def test_a_death_between_validating_and_start_does_not_stop_a_batch(
    alice_v1: httpx.AsyncClient, worker: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await make(alice_v1, line(1))
    with monkeypatch.context() as patch:
        patch.setattr(stepping, "_start_by_itself", lambda run: None)
        await in_database(turn)
    assert (await in_database(Run.objects.get)).state == "ready"
    await turns_until(alice_v1, batch["id"], "completed")


# --- What is kept -------------------------------------------------------------------------------
async def test_rows_and_tasks_go_when_their_batch_has_ended(
    alice_v1: httpx.AsyncClient, worker: Runtime
) -> None:
    batch = await make(alice_v1, "\n".join(line(n) for n in range(3)))
    await in_database(turn)
    later = timezone.now() + timedelta(days=1)
    ended = await turns_until(alice_v1, batch["id"], "completed")
    await in_database(BatchRuns().purge)
    assert await in_database(RunRow.objects.count) == 0
    assert await in_database(retention.ended_before(later).count) == 3
    await in_database(retention.ended_before(later).delete)
    assert len(await lines_of(alice_v1, ended["output_file_id"])) == 3
    assert (await alice_v1.get(f"/batches/{batch['id']}")).json()["status"] == "completed"


async def test_output_files_expire_when_they_were_asked_to(
    alice_v1: httpx.AsyncClient, worker: Runtime
) -> None:
    batch = await make(
        alice_v1,
        line(1),
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    ended = await turns_until(alice_v1, batch["id"], "completed")
    file = (await alice_v1.get(f"/files/{ended['output_file_id']}")).json()
    assert (file["purpose"], file["filename"]) == ("batch_output", f"{batch['id']}_output.jsonl")
    assert abs(file["expires_at"] - file["created_at"] - 3600) <= 1
    past = timezone.now() - timedelta(seconds=1)
    await in_database(lambda: StoredFile.objects.update(expires_at=past))
    assert (await alice_v1.get(f"/files/{ended['output_file_id']}")).status_code == 404
    await in_database(BatchRuns().purge)
    assert await in_database(StoredFile.objects.count) == 0


async def test_the_queue_of_people_is_first(
    alice_v1: httpx.AsyncClient, worker: Runtime, model: LLMModel
) -> None:
    """Whatever a line says: its tasks are of lane batch."""
    batch = await make(alice_v1, line(1, service_tier="priority"))
    await turns_until(alice_v1, batch["id"], "completed")
    task = await in_database(Task.objects.get)
    assert task.lane == 2
    assert (await in_database(Batch.objects.get)).run_id == task.run_id
