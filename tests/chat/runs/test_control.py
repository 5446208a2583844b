"""Runs under control: who may do what, repeats, failures, and processes that die."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from chat import retention, settlement
from chat.models import (
    Delivery,
    LedgerEntry,
    LLMModel,
    Run,
    RunRow,
    Scene,
    StoredFile,
    Task,
    WebhookEndpoint,
)
from chat.runner.runtime import Runtime
from chat.runs import feeding, progress, stepping, submitting
from chat.runs.export import CSVEncoder, read_page
from chat.runs.retention import purge_scheduled
from chat.services.scenes import create_version, publish
from chat.services.submit import submit_many
from tests.chat.runs.conftest import Act, Json, RunClient, prompts_of, turn, turns_until
from tests.conftest import ClientOf
from tests.subtests import subtested
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
FEW = "text\none\ntwo\nthree\n"


@pytest.fixture
def bobs(bob: User, client_of: ClientOf, model: LLMModel) -> RunClient:
    return RunClient(client_of(bob))


# --- Owners, repeats, versions ------------------------------------------------------------------
def test_a_run_is_its_owners_alone(runs: RunClient, bobs: RunClient, scene: Scene) -> None:
    made = runs.create(FEW, scene="echo")
    turn()
    for path in ("", "/rows", "/errors", "/results"):
        bobs.get(made["id"], path, status=404)
    for action in ("estimate", "try", "start", "pause", "resume", "cancel", "retry-failed"):
        bobs.post(made["id"], action, status=404)
    bobs.patch(made["id"], {"name": "mine"}, status=404)
    assert bobs.client.delete(f"/api/llmchat/runs/{made['id']}").status_code == 404
    assert bobs.client.get("/api/llmchat/runs").json() == {"items": [], "count": 0}
    assert [run["id"] for run in runs.client.get("/api/llmchat/runs").json()["items"]] == [
        made["id"]
    ]


def test_a_repeated_upload_makes_one_run(runs: RunClient, scene: Scene) -> None:
    first = runs.create(FEW, scene="echo", idempotency_key="k1")
    again = runs.create(FEW, scene="echo", idempotency_key="k1", status=200)
    assert again["id"] == first["id"]
    problem = runs.create(FEW + "four\n", scene="echo", idempotency_key="k1", status=422)
    assert problem["code"] == "idempotency_mismatch"
    assert (Run.objects.count(), StoredFile.objects.count()) == (1, 1)


def test_a_change_of_a_stale_run_is_refused(runs: RunClient, scene: Scene) -> None:
    made = runs.create(FEW, scene="echo")
    turn()
    response = runs.client.get(f"/api/llmchat/runs/{made['id']}")
    etag = response.headers["ETag"]
    changed = runs.patch(made["id"], {"name": "first"}, if_match=etag)
    assert changed["name"] == "first"
    problem = runs.patch(made["id"], {"name": "second"}, status=412, if_match=etag)
    assert problem["code"] == "precondition_failed"


@subtested(
    ("form", "status", "field"),
    [
        ({"scene": "nowhere"}, 404, "scene"),
        ({"scene": "echo", "mapping": {"text": 5}}, 400, "mapping.text"),
        ({"scene": "echo", "mapping": "{broken"}, 400, "mapping"),
        ({"scene": "echo", "options": {"model": "nowhere"}}, 400, "model"),
        ({"scene": "echo", "options": {"temperature": 9}}, 400, "options.temperature"),
        ({"scene": "echo", "options": {"conversation_id": "x"}}, 400, "options.conversation_id"),
        ({"scene": "echo", "webhook": 4711}, 400, "webhook"),
        ({"scene": "echo", "start": "at"}, 400, "start_at"),
        ({"scene": "echo", "deadline_at": "2020-01-01T00:00:00Z"}, 400, "deadline_at"),
        ({"scene": "echo", "max_cost": "-1"}, 422, "max_cost"),
        ({"scene": "echo", "lane": "fast"}, 422, "lane"),
        ({"scene": "echo", "misspelt": "1"}, 400, "misspelt"),
        ({"start": "now"}, 400, "scene"),
    ],
)
def test_what_a_run_cannot_be_is_refused_by_its_field(
    runs: RunClient, scene: Scene, form: Json, status: int, field: str
) -> None:
    problem = runs.create(FEW, status=status, **form)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert not Run.objects.exists()
    assert not StoredFile.objects.exists()


@subtested("name", ["simulated-embeddings", "nobody"])
@pytest.mark.parametrize("form", [{"name": "rows.csv", "scene": "echo"}, {"name": "rows.jsonl"}])
@pytest.mark.parametrize("option", ["model", "fallbacks"])
def test_a_model_for_all_rows_that_cannot_answer_is_refused(
    runs: RunClient, scene: Scene, embeddings_model: LLMModel, name: str, form: Json, option: str
) -> None:
    options = {option: [name] if option == "fallbacks" else name}
    problem = runs.create(FEW, status=400, options=options, **form)
    assert problem["errors"][0]["field"].split(".")[0] == option
    assert not Run.objects.exists()
    assert not StoredFile.objects.exists()


def test_a_file_of_no_known_kind_is_asked_for(runs: RunClient) -> None:
    problem = runs.create(FEW, "rows.dat", status=400)
    assert problem["errors"][0]["field"] == "format"
    runs.create(FEW, "rows.dat", format="csv")


def test_a_column_that_is_not_there_is_told_before_the_start(runs: RunClient, scene: Scene) -> None:
    made = runs.create("id,Body\n1,x\n", scene="echo", mapping={"text": "Bodi"}, start="now")
    turn()
    found = runs.get(made["id"])
    assert (found["state"], found["start"]) == ("ready", "")
    assert "mapping.text" in found["message"]
    problem = runs.post(made["id"], "start", status=400)
    assert problem["errors"][0]["field"] == "mapping.text"
    runs.patch(made["id"], {"mapping": {"text": "Body"}})
    assert runs.post(made["id"], "start")["state"] == "running"
    # Once more is harmless.
    assert runs.post(made["id"], "start")["state"] == "running"


def test_a_variable_without_a_column_is_told_before_the_start(
    runs: RunClient, scene: Scene
) -> None:
    made = runs.create("id,Body\n1,x\n", scene="echo")
    turn()
    problem = runs.post(made["id"], "start", status=422)
    assert problem["code"] == "invalid_variable"
    assert not Task.objects.exists()
    runs.patch(made["id"], {"mapping": {"text": {"value": "a constant"}}})
    runs.post(made["id"], "start")
    turn()
    assert prompts_of(made["id"]) == ["a constant"]


#: Files, each with the fields of its run. None of the rows but the last can be sent.
_BAD_FIRST: dict[str, tuple[str, str, Json]] = {
    "models": (
        "rows.jsonl",
        "\n".join(
            json.dumps({"model": name, "messages": [{"role": "user", "content": "b"}]})
            for name in ("simulated-embeddings", "nobody", "deepseek-flash")
        ),
        {},
    ),
    "variables": ("rows.csv", "text,other\n" + "x" * 100 + ",1\n,2\nb,3\n", {"scene": "short"}),
}


@pytest.fixture(params=list(_BAD_FIRST))
def bad_first(request: pytest.FixtureRequest, runs: RunClient, embeddings_model: LLMModel) -> str:
    """The id of a run that is ready, of `_BAD_FIRST`."""
    scene = Scene.objects.create(slug="short", title="Short")
    text = {"type": "string", "minLength": 1, "maxLength": 10}
    schema = {"type": "object", "properties": {"text": text}, "required": ["text"]}
    version = {"user_template": "{{ text }}", "variables_schema": schema}
    publish(create_version(scene, None, version))
    name, content, form = _BAD_FIRST[request.param]
    run_id: str = runs.create(content, name, **form)["id"]
    turn()
    return run_id


def test_rows_that_cannot_be_sent_fail_alone_wherever_they_stand(
    runs: RunClient, bad_first: str
) -> None:
    assert runs.post(bad_first, "start")["state"] == "running"
    runs.post(bad_first, "pause")
    assert runs.post(bad_first, "resume")["state"] == "running"
    turn()
    counts = runs.get(bad_first)["counts"]
    assert (counts["failed"], counts["open"]) == (2, 1)
    assert prompts_of(bad_first) == ["b"]


def test_rows_are_tried_though_the_first_of_them_cannot_be_sent(
    runs: RunClient, bad_first: str
) -> None:
    assert runs.post(bad_first, "try", {"rows": 3}, status=202)["numbers"] == [1, 2, 3]
    assert prompts_of(bad_first) == ["b"]


def test_a_user_has_so_many_runs_at_once(runs: RunClient, scene: Scene, settings: Settings) -> None:
    settings.RUNS_MAX_PER_USER = 2
    made = [runs.create(FEW, scene="echo") for _ in range(2)]
    problem = runs.create(FEW, scene="echo", status=429)
    assert problem["limit"] == {"name": "runs_max_per_user", "value": 2}
    runs.post(made[0]["id"], "cancel")
    runs.create(FEW, scene="echo")


def test_a_cancelled_run_has_no_pending_rows(runs: RunClient, scene: Scene) -> None:
    validating, ready = runs.create(FEW, scene="echo"), runs.create(FEW, scene="echo")
    assert runs.post(validating["id"], "cancel")["counts"]["total"] == 0
    assert not RunRow.objects.filter(run=validating["id"]).exists()
    turn()
    runs.post(ready["id"], "cancel")
    turn()
    found = runs.get(ready["id"])
    assert (found["state"], found["counts"]["pending"], found["counts"]["cancelled"]) == (
        "cancelled", 0, 3,
    )  # fmt: skip
    assert StoredFile.objects.count() == 0
    assert runs.client.delete(f"/api/llmchat/runs/{ready['id']}").status_code == 204
    assert not RunRow.objects.exists()


def test_a_full_disk_takes_no_file(runs: RunClient, scene: Scene, settings: Settings) -> None:
    settings.MIN_FREE_DISK_BYTES = 2**60
    assert runs.create(FEW, scene="echo", status=503)["code"] == "storage_full"
    assert not StoredFile.objects.exists()


def test_rows_come_in_pages(runs: RunClient, scene: Scene) -> None:
    made = runs.create("text\n" + "".join(f"{n}\n" for n in range(25)), scene="echo")
    turn()
    numbers: list[int] = []
    after: int | None = 0
    while after is not None:
        page = runs.get(made["id"], f"/rows?limit=10&after={after}")
        numbers += [row["number"] for row in page["items"]]
        after = page["next"]
    assert numbers == list(range(1, 26))
    assert runs.get(made["id"], "/rows?state=failed")["items"] == []


async def test_rows_show_the_beginnings_of_their_answers(
    runs: RunClient, scene: Scene, model: LLMModel, worker: Runtime, act: Act
) -> None:
    table = 'text\nShort [sim:tokens=5]\n"Long [sim:tokens=600,tps=0]"\nNone [sim:status=400]\n'
    made = await act(runs.create, table, scene="echo")
    await turns_until(made["id"], "ready")
    changed = await act(runs.patch, made["id"], {"lane": "normal"})
    assert (changed["lane"], changed["model"]) == ("normal", None)
    assert (await act(runs.post, made["id"], "start"))["model"] == model.name
    await turns_until(made["id"], "done")
    page = await act(runs.get, made["id"], "/rows")
    [short, long, none] = [row["text"] for row in page["items"]]
    texts = await act(lambda: dict(Task.objects.values_list("pk", "text")))
    whole = [texts.get(UUID(row["task_id"])) for row in page["items"][:2]]
    assert [short, long, none] == [whole[0], (whole[1] or "")[:500], None]
    assert len(long) == 500


# --- Failures -----------------------------------------------------------------------------------
async def test_a_provider_that_answers_429_to_most_ends_no_row(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act, settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings.TASK_RETRY_SECONDS = 0.01
    settings.TASK_MAX_FAILURES = 2
    monkeypatch.setattr("chat.runs.results.FIRST_WAIT_SECONDS", 0.05)
    # Each is refused three times: more often than one task is tried.
    table = "text\n" + "".join(f'"Row {n} [sim:status=429,times=3]"\n' for n in range(3))
    made = await act(runs.create, table, scene="echo", start="now")
    run = await turns_until(made["id"], "done")
    assert (run.succeeded, run.failed) == (3, 0)
    tries = await act(lambda: set(RunRow.objects.values_list("tries", flat=True)))
    assert tries == {1}


async def test_what_passes_is_tried_so_often_and_no_more(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act, settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings.TASK_MAX_FAILURES = 1
    settings.RUN_ROW_TRIES = 3
    monkeypatch.setattr("chat.runs.results.FIRST_WAIT_SECONDS", 0.01)
    made = await act(runs.create, "text\nfine\nbad [sim:status=429]\n", scene="echo", start="now")
    run = await turns_until(made["id"], "done")
    assert (run.succeeded, run.failed) == (1, 1)
    assert await act(Task.objects.filter(run_id=made["id"], status="failed").count) == 3
    groups = await act(runs.get, made["id"], "/errors")
    assert [(group["code"], group["numbers"]) for group in groups] == [
        ("provider_rate_limited", [2])
    ]
    again = await act(runs.post, made["id"], "retry-failed")
    assert (again["counts"]["pending"], again["counts"]["failed"]) == (1, 0)
    run = await turns_until(made["id"], "done")
    assert (run.succeeded, run.failed) == (1, 1)
    assert await act(Task.objects.filter(run_id=made["id"], status="succeeded").count) == 1


async def test_an_error_that_every_row_has_pauses_the_run(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "MAX_STREAK", 3)
    table = "text\n" + "Row [sim:status=401]\n" * 30
    made = await act(runs.create, table, scene="echo", start="now", max_open=5)
    run = await turns_until(made["id"], "paused")
    found = await act(runs.get, made["id"])
    assert found["reason"] == "provider_auth"
    assert (found["params"]["rule"], int(found["params"]["count"])) == (
        "rows_failed", run.failing_streak,
    )  # fmt: skip
    assert run.failed < 30


async def test_rows_that_cannot_be_sent_fail_alone(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act
) -> None:
    lines: list[Json] = [{"text": f"Row {n}"} for n in range(30)]
    lines[3] = {"other": "x"}
    lines[7] = {"text": ["a", "list"]}
    content = "\n".join(map(json.dumps, lines))
    made = await act(runs.create, content, "rows.jsonl", scene="echo", start="now")
    run = await turns_until(made["id"], "done")
    assert (run.succeeded, run.failed) == (28, 2)
    page = await act(runs.get, made["id"], "/rows?state=failed")
    assert [(row["number"], row["error"]["code"]) for row in page["items"]] == [
        (4, "invalid_variable"), (8, "invalid_variable"),
    ]  # fmt: skip


async def test_a_disabled_model_pauses_the_run_and_fails_no_row(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act
) -> None:
    made = await act(runs.create, FEW, scene="echo")
    await turns_until(made["id"], "ready")
    await act(runs.post, made["id"], "start")
    await act(LLMModel.objects.update, is_enabled=False)
    run = await turns_until(made["id"], "paused")
    assert (run.reason, run.pending) == ("model_disabled", 3)
    await act(LLMModel.objects.update, is_enabled=True)
    await act(runs.post, made["id"], "resume")
    assert (await turns_until(made["id"], "done")).succeeded == 3


async def test_a_disabled_owner_spends_nothing_further(
    runs: RunClient, alice: User, scene: Scene, act: Act
) -> None:
    made = await act(runs.create, FEW, scene="echo", start="now")
    await act(stepping.step)
    await act(User.objects.filter(pk=alice.pk).update, is_active=False)
    run = await turns_until(made["id"], "paused")
    assert (run.reason, run.pending) == ("owner_disabled", 3)
    assert run.reason_params == {"rule": "owner_disabled"}


def test_another_scene_does_not_keep_the_version(
    runs: RunClient, alice: User, scene: Scene
) -> None:
    """A version that one may name of one scene is no right to a draft of another."""
    made = runs.create(FEW, scene="echo")
    turn()
    Run.objects.update(scene_version=1)
    other = Scene.objects.create(slug="other", title="Other")
    publish(create_version(other, None, {"user_template": "{{ text }}"}))
    assert runs.patch(made["id"], {"scene": "other"})["version"] is None
    problem = runs.patch(made["id"], {"version": 1}, status=403)
    assert problem["code"] == "forbidden"


def test_a_paused_run_that_starts_later_still_does(runs: RunClient, scene: Scene) -> None:
    at = (timezone.now() + timedelta(hours=3)).isoformat()
    made = runs.create(FEW, scene="echo", start="at", start_at=at)
    turn()
    assert runs.get(made["id"])["state"] == "scheduled"
    assert runs.post(made["id"], "pause")["state"] == "paused"
    assert runs.post(made["id"], "resume")["state"] == "scheduled"
    turn()
    assert not Task.objects.exists()


def test_limits_of_tasks_only_slow_a_run_down(
    runs: RunClient, scene: Scene, settings: Settings
) -> None:
    settings.MAX_TASKS_IN_FLIGHT = 5
    made = runs.create("text\n" + "x\n" * 20, scene="echo", start="now")
    turn()
    turn()
    found = runs.get(made["id"])
    assert (found["state"], found["counts"]["open"], found["counts"]["pending"]) == (
        "running", 5, 15,
    )  # fmt: skip


def test_a_window_bounds_what_is_queued(runs: RunClient, scene: Scene, settings: Settings) -> None:
    settings.RUN_WINDOW = 30
    made = runs.create("text\n" + "x\n" * 500, scene="echo", start="now")
    for _ in range(3):
        turn()
    assert Task.objects.filter(run_id=made["id"]).count() == 30
    assert runs.get(made["id"])["counts"]["open"] == 30


# --- Processes that die -------------------------------------------------------------------------
class Killed(BaseException):
    """Ends a turn as kill -9 does: nothing that follows is done."""


def abandon(run_id: str) -> None:
    """As after the lease of a process that is gone has run out."""
    Run.objects.filter(pk=run_id).update(
        fed_by=UUID(int=1), fed_until="2020-01-01T00:00:00Z", checked_at=None
    )


@pytest.mark.parametrize("step", ["submit_many", "_store_refused"], ids=["before", "after"])
async def test_a_feeder_that_dies_beside_a_submit_pays_no_row_twice(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act, monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:  # fmt: skip
    made = await act(runs.create, "text\n" + "x\n" * 40, scene="echo", start="now")
    await act(turn)

    def die(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(submitting, step, die)
        patched.setattr("chat.runs.stepping.EVERY_SECONDS", 0)
        with pytest.raises(Killed):
            await act(turn)
        assert (await act(Run.objects.get, pk=made["id"])).open == 40
    await act(abandon, made["id"])
    run = await turns_until(made["id"], "done")
    assert run.succeeded == 40
    assert await act(Task.objects.filter(run_id=made["id"]).count) == 40
    assert await act(LedgerEntry.objects.usage().count) == 40


async def test_results_that_a_dead_settling_left_are_found(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await act(runs.create, FEW, scene="echo", start="now")
    with monkeypatch.context() as patched:
        patched.setattr(settlement, "_collectors", [])
        await act(turn)
        await act(turn)

        def settled() -> bool:
            settlement.settle_ended_tasks()
            return not Task.objects.filter(needs_settling=True).exists()

        await eventually(lambda: act(settled))
    assert (await act(Run.objects.get, pk=made["id"])).open == 3
    await act(abandon, made["id"])
    assert (await turns_until(made["id"], "done")).succeeded == 3


async def test_two_feeders_make_one_task_a_row(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is slow in the middle of a submit; the second takes over and is done before."""
    made = await act(runs.create, "text\n" + "x\n" * 20, scene="echo", start="now")
    await act(turn)
    submit = submit_many
    is_first = True

    def slow(submissions: Any) -> Any:
        nonlocal is_first
        if is_first:
            is_first = False
            abandon(made["id"])
            stepping.step()
        return submit(submissions)

    monkeypatch.setattr(submitting, "submit_many", slow)
    run = await turns_until(made["id"], "done")
    assert run.succeeded == 20
    assert await act(Task.objects.filter(run_id=made["id"]).count) == 20


# --- The end ------------------------------------------------------------------------------------
async def test_the_run_is_announced_in_place_of_its_tasks(
    runs: RunClient, alice: User, scene: Scene, worker: Runtime, act: Act
) -> None:
    def endpoint(**fields: Any) -> WebhookEndpoint:
        return WebhookEndpoint.objects.create(owner=alice, url="https://x.example", **fields)

    await act(endpoint)
    wanting = await act(endpoint, events=["run.completed"])
    named = await act(endpoint, only_named=True)
    made = await act(
        runs.create, FEW, scene="echo", start="now", webhook=named.pk,
        options={"metadata": {"order": "4711"}},
    )  # fmt: skip
    await turns_until(made["id"], "done")
    sent = await act(lambda: list(Delivery.objects.order_by("endpoint_id")))
    assert [(delivery.endpoint_id, delivery.event) for delivery in sent] == [
        (wanting.pk, "run.completed"), (named.pk, "run.completed"),
    ]  # fmt: skip
    assert sent[0].data["run_id"] == made["id"]
    assert sent[0].data["counts"]["succeeded"] == 3
    assert sent[0].data["metadata"] == {"order": "4711"}


async def test_progress_comes_to_its_end(
    runs: RunClient, alice: User, scene: Scene, worker: Runtime, act: Act
) -> None:
    made = await act(runs.create, "text\n" + "x\n" * 50, scene="echo", start="now")
    followed = progress.follow_run(alice.pk, UUID(made["id"]))
    first = await anext(followed)
    assert first.state == "validating"
    await turns_until(made["id"], "done")
    rest = [found async for found in followed]
    assert rest[-1].state == "done"
    assert rest[-1].counts["succeeded"] == 50


async def test_a_runs_tasks_are_kept_as_long_as_the_run(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act, settings: Settings
) -> None:
    made = await act(runs.create, FEW, scene="echo", start="now")
    await turns_until(made["id"], "done")
    settings.TASK_RETENTION_DAYS = settings.RUN_RETENTION_DAYS = 0.001
    later = timezone.now() + timedelta(hours=1)
    assert list(await act(lambda: list(retention.purge(later)))) == []
    with patch("django.utils.timezone.now", lambda: later):
        assert await act(purge_scheduled) == 1
    assert not await act(RunRow.objects.exists)
    assert await act(lambda: list(retention.purge(later))) == [3]
    # The ledger outlives both.
    assert await act(LedgerEntry.objects.usage().count) == 3


def test_formulas_are_made_harmless(runs: RunClient, scene: Scene, alice: User) -> None:
    table = 'text,"=HYPERLINK(""x"")"\n"=1+1",a\n"-5",b\n"@x",c\n"＝1",d\n'
    made = runs.create(table, scene="echo")
    turn()
    run = Run.objects.get(pk=made["id"])
    RunRow.objects.filter(run=run).update(state="failed")
    rows = read_page(run.pk, 0, ["failed"])
    safe = CSVEncoder(run, is_safe=True, has_bom=True)
    text = (safe.header() + safe(rows)).decode()
    assert text.startswith('\ufefftext,"\'=HYPERLINK(""x"")",result')
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == ["'=1+1", "-5", "'@x", "'＝1"]
    plain = CSVEncoder(run, is_safe=False, has_bom=False)
    assert plain(rows).decode().startswith("=1+1,")


def test_staff_see_runs_and_have_the_brake(
    runs: RunClient, scene: Scene, staff: User, client: Client
) -> None:
    made = runs.create("text\n" + "x\n" * 20, scene="echo", start="now")
    turn()
    turn()
    client.force_login(staff)
    page = client.get("/admin/chat/run/")
    assert page.status_code == 200
    assert b"rows.csv" in page.content
    assert client.get(f"/admin/chat/run/{made['id']}/change/").status_code == 200
    for action, state in (
        ("pause_runs", "paused"), ("resume_runs", "running"), ("cancel_runs", "finishing"),
    ):  # fmt: skip
        posted = {"action": action, "_selected_action": [made["id"]]}
        assert client.post("/admin/chat/run/", posted).status_code == 302
        assert Run.objects.get(pk=made["id"]).state == state
    turn()
    turn()
    assert runs.get(made["id"])["state"] == "cancelled"


# --- Feeding ------------------------------------------------------------------------------------
def test_the_feeder_rests_between_two_pages(
    runs: RunClient, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[int] = []
    monkeypatch.setattr(feeding, "rest", lambda _: fed.append(Task.objects.count()))
    made = runs.create("text\n" + "x\n" * (2 * feeding.PAGE + 1), scene="echo", start="now")
    turn()
    turn()
    assert runs.get(made["id"])["state"] == "running"
    assert fed == [feeding.PAGE, 2 * feeding.PAGE]
