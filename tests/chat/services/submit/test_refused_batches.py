"""A batch that PostgreSQL refuses for one of its submits: only that one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from types import ModuleType
from typing import Any

import psycopg
import pytest
from django.db import DataError, OperationalError

from accounts.models import User
from aily.database.threads import in_database
from chat import accounting
from chat.exceptions import UnknownModel
from chat.models import Budget, Conversation, LLMModel, Message, Task
from chat.services.submission import CompositeRequest
from chat.services.submit import (
    Accepted,
    Submission,
    idempotency,
    resolve,
    store,
    submit,
    submit_many,
)

pytestmark = pytest.mark.usefixtures("loop_services")


def submission(
    owner: User, prompt: str = "Hi", key: str | None = None, **fields: object
) -> Submission:
    """Not through REST, whose checks keep such values out."""
    body = {"messages": [{"role": "user", "content": prompt}], **fields}
    return Submission(owner.pk, CompositeRequest.model_validate(body), idempotency_key=key)


#: Values that PostgreSQL refuses when a task is inserted, or that the driver refuses when it is
#: looked up.
GUILTY: dict[str, Callable[[User], Submission]] = {
    "NUL in a message": lambda owner: submission(owner, "before\0after"),
    "NUL in a key": lambda owner: submission(owner, key="before\0after"),
    "NUL in a slug": lambda owner: submission(owner, scene="before\0after"),
    "a key too long": lambda owner: submission(owner, key="k" * 300),
    "NUL in metadata": lambda owner: submission(owner, metadata={"name": "before\0after"}),
}


@pytest.mark.parametrize("name", GUILTY)
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_of_a_batch_with_a_value_that_postgresql_refuses_only_its_submit_fails(
    alice: User, bob: User, model: LLMModel, name: str, place: int
) -> None:
    batch = [submission(bob, "First"), submission(bob, "Last", key="mine")]
    batch.insert(place, GUILTY[name](alice))
    outcomes = await in_database(submit_many, batch)
    refused = outcomes.pop(place)
    # The driver's own is raised where a statement is put together by hand.
    assert isinstance(refused, DataError | psycopg.DataError), refused
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
    assert accepted == outcomes
    rows = await in_database(lambda: list(Task.objects.order_by("id")))
    assert [task.messages[0]["content"] for task in rows] == ["First", "Last"]
    assert [str(task.pk) for task in rows] == [outcome.task_id for outcome in accepted]


async def test_submits_of_the_same_moment_are_accepted_beside_one_that_is_refused(
    alice: User, bob: User, model: LLMModel
) -> None:
    """One batch of the process's own, formed by an event loop."""
    outcomes = await asyncio.gather(
        *(submit(submission(bob)) for _ in range(10)),
        submit(submission(alice, "before\0after")),
        return_exceptions=True,
    )
    assert isinstance(outcomes.pop(), DataError)
    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert await in_database(Task.objects.count) == 10


async def test_what_is_accepted_stays_so_if_the_database_goes_away_after_the_commit(
    alice: User, bob: User, model: LLMModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the earlier task of a refused request is looked up."""

    def away(*args: object) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(idempotency, "find_by_key", away)
    refused = submission(alice, key="mine", model="there-is-none")
    batch = [submission(bob), refused, submission(alice, model="there-is-none")]
    outcomes = await in_database(submit_many, batch)
    assert [type(outcome) for outcome in outcomes] == [Accepted, OperationalError, UnknownModel]
    assert await in_database(Task.objects.count) == 1


async def test_a_refused_turn_leaves_its_conversation_as_it_was(
    alice: User, model: LLMModel
) -> None:
    kept, refused = await in_database(
        lambda: [Conversation.objects.create(owner=alice) for _ in range(2)]
    )
    batch = [
        submission(alice, "Hi", conversation_id=str(kept.pk)),
        submission(alice, "before\0after", conversation_id=str(refused.pk)),
    ]
    outcomes = await in_database(submit_many, batch)
    assert isinstance(outcomes[0], Accepted)
    assert isinstance(outcomes[1], DataError)
    messages = await in_database(
        lambda: list(Message.objects.values_list("conversation", "content"))
    )
    assert messages == [(kept.pk, "Hi")]
    await in_database(refused.refresh_from_db)
    assert refused.title == ""


@pytest.mark.parametrize(("stage", "name"), [(resolve, "look_up"), (store, "insert_batch")])
async def test_tried_one_by_one_only_what_meets_an_outage_is_refused(
    alice: User, model: LLMModel, monkeypatch: pytest.MonkeyPatch, stage: ModuleType, name: str
) -> None:
    """What is committed by then is accepted."""
    step = getattr(stage, name)
    refused = DataError("a value of one of them")
    away = OperationalError("server closed the connection unexpectedly")
    errors = iter([refused, None, away, None])

    def fail(*args: Any) -> Any:
        if error := next(errors):
            raise error
        return step(*args)

    monkeypatch.setattr(stage, name, fail)
    outcomes = await in_database(submit_many, [submission(alice) for _ in range(3)])
    assert [type(outcome) for outcome in outcomes] == [Accepted, OperationalError, Accepted]
    assert await in_database(Task.objects.count) == 2


async def test_a_budget_that_is_deleted_while_its_period_is_made_fails_no_submit(
    alice: User, bob: User, model: LLMModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of the new period refers to it, and is refused."""
    budget = await in_database(
        lambda: Budget.objects.create(name="pocket money", user=alice, limit_calls=10)
    )
    in_force_from = accounting.in_force_from

    def delete_first(budgets: Any, at: datetime) -> Any:
        monkeypatch.setattr(accounting, "in_force_from", in_force_from)
        Budget.objects.filter(pk=budget.pk).delete()
        return in_force_from(budgets, at)

    monkeypatch.setattr(accounting, "in_force_from", delete_first)
    outcomes = await in_database(submit_many, [submission(alice), submission(bob)])
    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted]


async def test_while_postgresql_is_away_a_batch_is_tried_once(
    alice: User, model: LLMModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come back at any moment: what was asked at once would be accepted in part."""
    tries: list[int] = []

    def be_away(tasks: Sequence[Task], budgets: object) -> None:
        tries.append(len(tasks))
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(store, "insert_batch", be_away)
    with pytest.raises(OperationalError):
        await in_database(submit_many, [submission(alice) for _ in range(3)])
    assert tries == [3]
