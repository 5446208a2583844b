"""What a run costs: the estimate before, the bound that it keeps, and the cheap hours."""

from __future__ import annotations

import random
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import User
from chat.models import (
    Budget,
    LedgerEntry,
    LLMModel,
    ModelPrice,
    Run,
    Scene,
    Task,
)
from chat.runner.runtime import Runtime
from chat.runs import estimating
from chat.services.scenes import create_version, publish
from tests.chat.runs.conftest import Act, RunClient, prompts_of, turn, turns_until
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def priced(model: LLMModel) -> LLMModel:
    LLMModel.objects.update(input_price=Decimal(2), output_price=Decimal(8))
    model.refresh_from_db()
    return model


def _reviews(rows: int, seed: int) -> str:
    """Texts of very different lengths, whose answers are the longer the longer the text is."""
    rng = random.Random(seed)
    lines = []
    for _ in range(rows):
        words = min(int(rng.lognormvariate(3.5, 0.8)) + 1, 800)
        tokens = words // 2 + rng.randint(5, 40)
        lines.append(f"{'word ' * words}[sim:tokens={tokens}]")
    return "text\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))]
)
async def test_after_a_try_of_ten_the_estimate_is_within_a_fifth(
    runs: RunClient, scene: Scene, priced: LLMModel, worker: Runtime, act: Act, seed: int
) -> None:
    made = await act(runs.create, _reviews(400, seed), scene="echo")
    await turns_until(made["id"], "ready")
    before = await act(runs.post, made["id"], "estimate")
    assert before["based_on"] == "limits"
    tried = await act(runs.post, made["id"], "try", {"rows": 10}, status=202)
    assert len(set(tried["numbers"])) == 10

    def all_tried() -> bool:
        turn()
        return Run.objects.get(pk=made["id"]).succeeded == 10

    await eventually(lambda: act(all_tried))
    estimated = await act(runs.post, made["id"], "estimate")
    assert (estimated["rows"], estimated["based_on"]) == (390, "rows")
    spent = (await act(Run.objects.get, pk=made["id"])).cost
    await act(runs.post, made["id"], "start")
    run = await turns_until(made["id"], "done")
    cost = run.cost - spent
    assert Decimal("0.8") < Decimal(estimated["likely"]["cost"]) / cost < Decimal("1.2")
    assert cost <= Decimal(estimated["at_most"]["cost"])
    assert await act(Task.objects.filter(run_id=made["id"]).count) == 400


async def test_an_estimate_learns_from_earlier_tasks_of_the_scene(
    runs: RunClient, scene: Scene, priced: LLMModel, worker: Runtime, act: Act
) -> None:
    first = await act(runs.create, _reviews(20, 4), scene="echo", start="now")
    await turns_until(first["id"], "done")
    second = await act(runs.create, _reviews(50, 5), scene="echo")
    await turns_until(second["id"], "ready")
    estimated = await act(runs.post, second["id"], "estimate")
    assert estimated["based_on"] == "history"
    assert 0 < Decimal(estimated["likely"]["cost"]) < Decimal(estimated["at_most"]["cost"])


def test_an_estimate_tells_rows_that_cannot_be_sent(
    runs: RunClient, scene: Scene, priced: LLMModel
) -> None:
    made = runs.create('{"text": "a"}\n{"other": "b"}\n', "rows.jsonl", scene="echo")
    turn()
    estimated = runs.post(made["id"], "estimate")
    assert [(problem["row"], problem["code"]) for problem in estimated["problems"]] == [
        (2, "invalid_variable")
    ]


def test_without_a_scene_nothing_can_be_said_of_variables(
    runs: RunClient, scene: Scene, priced: LLMModel
) -> None:
    """The scene is named as what is missing, not the columns as fields that are too many."""
    made = runs.create("text\na\n")
    turn()
    for action in ("estimate", "try", "start"):
        body = {"start": "now"} if action == "start" else None
        problem = runs.post(made["id"], action, body, status=400)
        assert [error["field"] for error in problem["errors"]] == ["scene"]
        assert problem["params"] == {"rule": "no_scene"}
    runs.patch(made["id"], {"scene": "echo"})
    assert runs.post(made["id"], "estimate")["rows"] == 1


def test_estimating_and_feeding_take_as_many_queries_however_many_rows(
    runs: RunClient,
    scene: Scene,
    priced: LLMModel,
    django_assert_max_num_queries: pytest.FixtureRequest,
) -> None:
    made = {
        rows: runs.create("text\n" + "some text\n" * rows, scene="echo") for rows in (50, 2_000)
    }
    turn()
    for run in made.values():
        with django_assert_max_num_queries(16):  # type: ignore[operator]
            estimating.estimate(Run.objects.get(pk=run["id"]))
        with django_assert_max_num_queries(8):  # type: ignore[operator]
            runs.get(run["id"])
        with django_assert_max_num_queries(8):  # type: ignore[operator]
            runs.get(run["id"], "/rows?limit=20")


# --- max_cost and budgets -----------------------------------------------------------------------
async def test_max_cost_is_not_passed_by_more_than_what_is_in_flight(
    runs: RunClient, scene: Scene, priced: LLMModel, worker: Runtime, act: Act
) -> None:
    table = "text\n" + "some words [sim:tokens=100]\n" * 200
    made = await act(runs.create, table, scene="echo", max_cost="0.02", start="now", max_open=10)
    run = await turns_until(made["id"], "paused")
    assert (run.reason, run.open) == ("max_cost", 0)
    a_row = run.cost / run.succeeded
    assert Decimal("0.02") - a_row <= run.cost <= Decimal("0.02") + 10 * a_row
    problem = await act(runs.post, made["id"], "resume", status=409)
    assert problem["errors"][0]["field"] == "max_cost"
    await act(runs.patch, made["id"], {"max_cost": None})
    await act(runs.post, made["id"], "resume")
    assert (await turns_until(made["id"], "done")).succeeded == 200


async def test_a_budget_that_ends_in_the_middle_pauses_the_run(
    runs: RunClient, alice: User, scene: Scene, priced: LLMModel, worker: Runtime, act: Act
) -> None:
    await act(
        lambda: Budget.objects.create(user=alice, name="small", period="total", limit_calls=25)
    )
    made = await act(runs.create, "text\n" + "some words\n" * 60, scene="echo", start="now")
    run = await turns_until(made["id"], "paused")
    assert (run.reason, run.succeeded, run.failed, run.open) == ("budget_exceeded", 25, 0, 0)
    assert "small" in run.message
    await act(Budget.objects.update, limit_calls=100)
    await act(runs.post, made["id"], "resume")
    assert (await turns_until(made["id"], "done")).succeeded == 60


# --- Cheap hours --------------------------------------------------------------------------------
@pytest.fixture
def windows(model: LLMModel) -> None:
    """Half the price from 16:30 to 00:30 UTC."""
    LLMModel.objects.update(input_price=2, output_price=8)
    ModelPrice.objects.create(
        model=model,
        input_price=1,
        cached_input_price=0,
        output_price=4,
        starts_at=time(16, 30),
        ends_at=time(0, 30),
    )


async def test_off_peak_waits_for_cheap_hours_and_stops_after_them(
    runs: RunClient,
    scene: Scene,
    windows: None,
    worker: Runtime,
    act: Act,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
    monkeypatch.setattr("chat.runs.clock.now", lambda: now)
    table = "text\n" + "some words [sim:latency=0.1]\n" * 40
    made = await act(runs.create, table, scene="echo", max_open=2)
    await turns_until(made["id"], "ready")
    estimated = await act(runs.post, made["id"], "estimate")
    assert estimated["off_peak_at"] == "2026-03-02T16:30:00Z"
    ratio = Decimal(estimated["likely"]["cost"]) / Decimal(estimated["off_peak"]["cost"])
    assert ratio == 2
    started = await act(runs.post, made["id"], "start", {"start": "off_peak"})
    assert (started["state"], started["start_at"]) == ("scheduled", "2026-03-02T16:30:00Z")
    await act(turn)
    assert not await act(Task.objects.exists)

    now = datetime(2026, 3, 2, 16, 30, tzinfo=UTC)

    def some_ended() -> bool:
        turn()
        return Run.objects.get(pk=made["id"]).succeeded >= 4

    await eventually(lambda: act(some_ended))
    now = datetime(2026, 3, 3, 0, 30, tzinfo=UTC)
    run = await turns_until(made["id"], "scheduled")
    assert run.start_at == datetime(2026, 3, 3, 16, 30, tzinfo=UTC)
    await eventually(lambda: act(lambda: not Task.objects.active().exists()))
    await act(turn)
    run = await act(Run.objects.get, pk=made["id"])
    assert 4 <= run.succeeded < 40
    assert (run.open, run.cancelled, run.pending) == (0, 0, 40 - run.succeeded)
    now = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
    assert (await turns_until(made["id"], "done")).succeeded == 40
    assert await act(LedgerEntry.objects.usage().filter(kind="settle").count) == 40


async def test_a_run_starts_at_its_time(
    runs: RunClient,
    scene: Scene,
    worker: Runtime,
    act: Act,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = await act(
        runs.create, "text\nwords\n", scene="echo", start="at", start_at="2026-03-02T18:00:00Z"
    )
    now = datetime(2026, 3, 2, 17, 59, tzinfo=UTC)
    monkeypatch.setattr("chat.runs.clock.now", lambda: now)
    run = await turns_until(made["id"], "scheduled")
    await act(turn)
    assert not await act(Task.objects.exists)
    now = datetime(2026, 3, 2, 18, 0, tzinfo=UTC)
    run = await turns_until(made["id"], "done")
    assert run.succeeded == 1
    assert await act(prompts_of, made["id"]) == ["words"]


async def test_a_deadline_ends_what_has_not_begun(
    runs: RunClient,
    scene: Scene,
    worker: Runtime,
    act: Act,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadline = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    table = "text\n" + "some words [sim:latency=0.05]\n" * 60
    made = await act(
        runs.create, table, scene="echo", start="now", max_open=4, deadline_at=deadline.isoformat()
    )

    def some_ended() -> bool:
        turn()
        return Run.objects.get(pk=made["id"]).succeeded >= 4

    await eventually(lambda: act(some_ended))
    assert set(await act(lambda: [task.deadline_at for task in Task.objects.all()])) == {deadline}
    monkeypatch.setattr("chat.runs.clock.now", lambda: deadline)
    run = await turns_until(made["id"], "expired")
    assert run.succeeded >= 4
    assert run.expired == 60 - run.succeeded - run.cancelled
    assert run.pending == run.open == 0


async def test_rows_with_kept_answers_are_counted_and_cost_nothing(
    runs: RunClient, scene: Scene, priced: LLMModel, worker: Runtime, act: Act
) -> None:
    cached = {"user_template": "{{ text }}", "cache_ttl_seconds": 600}
    await act(lambda: publish(create_version(scene, None, cached)))
    first = await act(runs.create, "text\n" + "same\n" * 5, scene="echo")
    await turns_until(first["id"], "ready")
    assert (await act(runs.post, first["id"], "estimate"))["cached"] == 0
    await act(runs.post, first["id"], "start")
    await turns_until(first["id"], "done")
    rows = "text\n" + "same\nother\n" * 10
    second = await act(runs.create, rows, scene="echo")
    await turns_until(second["id"], "ready")
    estimated = await act(runs.post, second["id"], "estimate")
    assert (estimated["rows"], estimated["cached"]) == (20, 10)
    fresh = await act(runs.create, "text\n" + "other\n" * 10, scene="echo")
    await turns_until(fresh["id"], "ready")
    alone = (await act(runs.post, fresh["id"], "estimate"))["likely"]["cost"]
    assert Decimal(estimated["likely"]["cost"]) == pytest.approx(Decimal(alone), rel=Decimal("0.1"))
