"""Changing a run after rows were tried, and trying rows under an idempotency key."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from django.test import Client

from aily.problems import Conflict
from chat.exceptions import BudgetExceeded
from chat.models import LLMModel, Run, RunRow, Scene, Task
from chat.runner.runtime import Runtime
from chat.runs import control, submitting
from chat.services.scenes import create_version, publish
from tests.chat.runs.conftest import RUNS, Act, Json, RunClient, prompts_of, turn, turns_until
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
TRIED = 5
ROWS = "short,long\n" + "".join(f"s{n},{'long ' * 40}{n}\n" for n in range(20))


async def tried(runs: RunClient, act: Act) -> str:
    """The id of a run of which TRIED rows were run with the column `short`."""
    made = await act(runs.create, ROWS, scene="echo", mapping={"text": "short"})
    run_id: str = made["id"]
    await turns_until(run_id, "ready")
    await act(runs.post, run_id, "try", {"rows": TRIED}, status=202)

    def have_ended() -> bool:
        turn()
        return Run.objects.get(pk=run_id).succeeded == TRIED

    await eventually(lambda: act(have_ended))
    return run_id


# --- Before the start ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    "change",
    [{"mapping": {"text": "long"}}, {"options": {"max_tokens": 7}}, {"scene": "other"}],
    ids=["mapping", "options", "scene"],
)
async def test_rows_that_were_tried_with_something_else_are_tried_anew(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act, change: Json
) -> None:
    other = await act(Scene.objects.create, slug="other", title="Other")
    version = await act(create_version, other, None, {"user_template": "Other: {{ text }}"})
    await act(publish, version)
    run_id = await tried(runs, act)
    assert (await act(runs.post, run_id, "estimate"))["based_on"] == "rows"
    cost = (await act(runs.get, run_id))["cost"]
    found = await act(runs.patch, run_id, change)
    assert (found["counts"]["pending"], found["counts"]["succeeded"]) == (20, 0)
    # What the tries have cost was spent.
    assert found["cost"] == cost
    estimated = await act(runs.post, run_id, "estimate")
    assert (estimated["based_on"], estimated["rows"]) == ("limits", 20)
    await act(runs.post, run_id, "start")
    run = await turns_until(run_id, "done")
    assert run.succeeded == 20
    tasks = Task.objects.filter(run_id=run_id).order_by("id")
    asked = await act(lambda: [(t.messages[-1]["content"], t.params) for t in tasks])
    assert len(asked) == 20 + TRIED
    assert not [prompt for prompt, params in asked[TRIED:] if (prompt, params) in asked[:TRIED]]


async def test_what_rows_are_not_asked_changes_no_try(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act
) -> None:
    run_id = await tried(runs, act)
    same = {"scene": "echo", "mapping": {"text": "short"}, "options": {}}
    found = await act(runs.patch, run_id, {**same, "name": "new", "max_cost": "5", "max_open": 9})
    assert found["counts"]["succeeded"] == TRIED
    assert (await act(runs.post, run_id, "estimate"))["based_on"] == "rows"


def test_nothing_is_changed_while_rows_are_tried(runs: RunClient, scene: Scene) -> None:
    made = runs.create(ROWS, scene="echo", mapping={"text": "short"})
    turn()
    runs.post(made["id"], "try", {"rows": TRIED}, status=202)
    problem = runs.patch(made["id"], {"mapping": {"text": "long"}}, status=409)
    assert [error["field"] for error in problem["errors"]] == ["mapping"]
    assert runs.get(made["id"])["mapping"] == {"text": "short"}
    assert runs.patch(made["id"], {"name": "new"})["name"] == "new"


def test_a_change_between_reading_and_trying_is_noticed(runs: RunClient, scene: Scene) -> None:
    made = runs.create(ROWS, scene="echo", mapping={"text": "short"})
    turn()
    run = Run.objects.get(pk=made["id"])
    runs.patch(made["id"], {"mapping": {"text": "long"}})
    with pytest.raises(Conflict):
        control.try_rows(run, TRIED)
    assert not Task.objects.exists()
    assert Run.objects.get(pk=run.pk).open == 0


# --- After the start ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mapping": {"text": "long"}}, "mapping"),
        ({"scene": "other"}, "scene"),
        ({"version": None}, "version"),
    ],
)
async def test_a_run_that_has_begun_keeps_what_its_rows_are_asked(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act, change: Json, field: str
) -> None:
    other = await act(Scene.objects.create, slug="other", title="Other")
    await act(publish, await act(create_version, other, None, {"user_template": "{{ text }}"}))
    run_id = await tried(runs, act)
    await act(runs.post, run_id, "start")
    await act(runs.post, run_id, "pause")
    problem = await act(runs.patch, run_id, change, status=409)
    assert [error["field"] for error in problem["errors"]] == [field]
    found = await act(runs.patch, run_id, {"options": {"max_tokens": 7}, "max_cost": "9"})
    assert (found["mapping"], found["options"]) == ({"text": "short"}, {"max_tokens": 7})
    assert found["counts"]["succeeded"] >= TRIED


# --- Trying under a key -------------------------------------------------------------------------
def post_try(client: Client, run_id: str, rows: int, key: str) -> Any:
    return client.post(
        f"{RUNS}/{run_id}/try",
        {"rows": rows},
        content_type="application/json",
        headers={"Idempotency-Key": key},
    )


def test_a_repeated_try_runs_the_rows_of_the_first(runs: RunClient, scene: Scene) -> None:
    made = runs.create(ROWS, scene="echo", mapping={"text": "short"})
    turn()
    first = post_try(runs.client, made["id"], 3, "k1")
    assert first.status_code == 202
    # Also after the run has gone on.
    runs.post(made["id"], "start")
    again = post_try(runs.client, made["id"], 3, "k1")
    assert (again.status_code, again.json()) == (202, first.json())
    assert Task.objects.filter(run_id=made["id"]).count() == 3
    assert post_try(runs.client, made["id"], 4, "k1").status_code == 422


def test_a_try_that_was_refused_may_be_sent_again(runs: RunClient, scene: Scene) -> None:
    made = runs.create(ROWS, scene="echo", mapping={"text": "short"})
    turn()
    refusal = BudgetExceeded("Nothing is left.", budget={})
    outcomes = [refusal] * 3
    with patch.object(submitting, "submit_many", return_value=outcomes):
        assert post_try(runs.client, made["id"], 3, "k1").status_code == 429
    assert not RunRow.objects.filter(state="open").exists()
    assert post_try(runs.client, made["id"], 3, "k1").status_code == 202
    assert len(prompts_of(made["id"])) == 3


async def test_a_try_whose_process_died_is_repeated_without_another(
    runs: RunClient, scene: Scene, worker: Runtime, act: Act
) -> None:
    made = await act(runs.create, ROWS, scene="echo", mapping={"text": "short"})
    await turns_until(made["id"], "ready")
    with (
        patch.object(control, "submit_rows", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        await act(post_try, runs.client, made["id"], 3, "k1")
    again = await act(post_try, runs.client, made["id"], 3, "k1")
    assert again.status_code == 202

    def have_ended() -> bool:
        turn()
        return Run.objects.get(pk=made["id"]).succeeded == 3

    await eventually(lambda: act(have_ended))
    assert await act(Task.objects.filter(run_id=made["id"]).count) == 3


def test_a_repeated_retry_runs_no_row_once_more(runs: RunClient, scene: Scene) -> None:
    made = runs.create(ROWS, scene="echo", mapping={"text": "short"})
    turn()
    runs.post(made["id"], "cancel")
    turn()

    def retry() -> Any:
        path = f"{RUNS}/{made['id']}/retry-failed"
        headers = {"Idempotency-Key": "r1"}
        return runs.client.post(path, {}, content_type="application/json", headers=headers)

    first = retry()
    assert (first.status_code, first.json()["counts"]["pending"]) == (200, 20)
    runs.post(made["id"], "cancel")
    turn()
    assert retry().json() == first.json()
    assert runs.get(made["id"])["state"] == "cancelled"


# --- Samples ------------------------------------------------------------------------------------
def test_a_run_starts_though_no_row_of_its_sample_can_be_sent(
    runs: RunClient, model: LLMModel
) -> None:
    strict = Scene.objects.create(slug="strict", title="Strict")
    text = {"type": "string", "minLength": 1}
    schema = {"type": "object", "properties": {"text": text}, "required": ["text"]}
    publish(
        create_version(strict, None, {"user_template": "{{ text }}", "variables_schema": schema})
    )
    # A sample of 40 rows is every second one, from the first.
    rows = "".join(f"{'' if n % 2 == 0 else 'good'},{n}\n" for n in range(80))
    made = runs.create(f"text,n\n{rows}", scene="strict")
    turn()
    assert runs.post(made["id"], "estimate")["rows"] == 80
    assert runs.post(made["id"], "start")["state"] == "running"
    turn()
    counts = runs.get(made["id"])["counts"]
    assert (counts["failed"], counts["open"]) == (40, 40)
