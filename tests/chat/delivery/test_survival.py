"""What breaks in one delivery, or once in the claiming, keeps back no other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from accounts.models import User
from aily.database.threads import in_database
from chat.delivery import claims, outcomes
from chat.delivery.deliverer import Deliverer
from chat.delivery.outcomes import MAX_RETRY_AFTER_SECONDS, Outcome, wait_seconds
from chat.models import Delivery, LLMModel
from tests.chat.delivery.conftest import deliver, end_task, make_endpoint, the_delivery
from tests.receiver import Receiver


@pytest.mark.parametrize("asked", [1e12, 1e300, math.inf, math.nan, -1.0, None])
def test_no_retry_after_puts_a_delivery_off_for_longer_than_a_day(asked: float | None) -> None:
    assert 5 <= wait_seconds(1, asked) <= MAX_RETRY_AFTER_SECONDS * (1 + outcomes.JITTER)


@pytest.mark.parametrize("asked", ["1e12", "1789000000", "Fri 31 Dec 9999 23:59:59 GMT"])
async def test_a_receiver_that_asks_for_for_ever_is_asked_again_tomorrow(
    alice: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer, asked: str
) -> None:
    await in_database(make_endpoint, alice, receiver.url)
    receiver.answers = [(429, {"Retry-After": asked})]
    await in_database(end_task, alice, model)
    await deliver(deliverer)
    delivery = await the_delivery()
    assert delivery.next_attempt_at is not None
    wait = delivery.next_attempt_at - delivery.created_at
    assert 1 <= wait.total_seconds() / MAX_RETRY_AFTER_SECONDS < 1.3


async def test_a_claim_that_broke_is_made_again(
    alice: User,
    model: LLMModel,
    receiver: Receiver,
    deliverer: Deliverer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await in_database(make_endpoint, alice, receiver.url)
    await in_database(end_task, alice, model)
    with monkeypatch.context() as broken:
        broken.setattr(claims, "claim", _break)
        await deliver(deliverer)
    assert receiver.requests == []
    await deliver(deliverer)
    assert (await the_delivery()).state == Delivery.State.DELIVERED


def _break(*args: object) -> None:
    raise AttributeError("broken")


async def test_an_outcome_that_cannot_be_noted_is_noted_plainly_and_alone(
    alice: User,
    model: LLMModel,
    receiver: Receiver,
    deliverer: Deliverer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await in_database(make_endpoint, alice, receiver.url)
    receiver.answers = [(500, {})]
    for _ in range(3):
        await in_database(end_task, alice, model)
    note = outcomes.store_outcomes

    def picky(batch: Sequence[Outcome]) -> Any:
        if any(outcome.response_status == 500 for outcome in batch):
            raise AttributeError("not this one")
        return note(batch)

    monkeypatch.setattr(outcomes, "store_outcomes", picky)
    await deliver(deliverer)
    rows = await in_database(lambda: list(Delivery.objects.order_by("state")))
    assert [row.state for row in rows] == ["delivered", "delivered", "pending"]
    assert rows[2].error == "Something went wrong in aily."
    assert rows[2].next_attempt_at is not None
