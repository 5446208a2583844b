"""Which workers the doorbell is rung for: one alone while few tasks come, or all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from aily.redis.clients import sync_redis
from chat import scheduler
from tests.chat.scheduler.conftest import claim, entries


class Rings:
    """Hears the doorbells of the workers `a` and `b`, and the one of all workers."""

    def __init__(self, pool: str, pubsub: Any) -> None:
        self._pool, self._pubsub = pool, pubsub
        self._names = {
            scheduler.DOORBELL.encode(): "all",
            **{scheduler.doorbell_of(f"{pool}-{worker}").encode(): worker for worker in "ab"},
        }
        pubsub.subscribe(*self._names)
        self.drain()

    def leave(self, worker: str) -> None:
        self._pubsub.unsubscribe(scheduler.doorbell_of(f"{self._pool}-{worker}"))
        self.drain()

    def drain(self) -> list[str]:
        """What has rung since the last call. A message of its own comes after all others."""
        sync_redis().publish(scheduler.DOORBELL, "that is all")
        heard: list[str] = []
        while True:
            message = self._pubsub.get_message(timeout=20)
            assert message is not None
            if message["data"] == b"that is all":
                return heard
            if message["type"] == "message" and message["data"] == self._pool.encode():
                heard.append(self._names[message["channel"]])

    def of_a_new_task(self, name: str) -> list[str]:
        scheduler.enqueue(self._pool, entries(1, 1, name=name))
        return self.drain()


@pytest.fixture
def rings(pool: str) -> Iterator[Rings]:
    client: Any = sync_redis()
    with client.pubsub() as pubsub:
        yield Rings(pool, pubsub)


async def test_a_worker_that_takes_all_is_rung_alone(pool: str, rings: Rings) -> None:
    assert rings.of_a_new_task("first") == ["all"]
    await claim(pool, "a", may_be_preferred=True)
    await claim(pool, "b", may_be_preferred=True)
    assert rings.of_a_new_task("second") == ["a"]
    # Another one may come first all the same: the next are its.
    await claim(pool, "b", may_be_preferred=True)
    assert rings.of_a_new_task("third") == ["b"]


async def test_a_worker_that_is_gone_is_rung_no_more(pool: str, rings: Rings) -> None:
    rings.of_a_new_task("first")
    await claim(pool, "a", may_be_preferred=True)
    rings.leave("a")
    assert rings.of_a_new_task("second") == ["all"]
    await claim(pool, "b", want=0)
    assert rings.of_a_new_task("third") == ["all"]


@pytest.mark.parametrize(
    ("worker", "options"),
    [("a", {"may_be_preferred": False}), ("a", {"want": 0}), ("b", {"cap": 1})],
    ids=["it is busy", "it takes nothing", "another one leaves tasks behind"],
)
async def test_all_are_rung_again_once_one_worker_does_not_do(
    pool: str, rings: Rings, worker: str, options: dict[str, Any]
) -> None:
    rings.of_a_new_task("first")
    await claim(pool, "a", may_be_preferred=True)
    assert rings.of_a_new_task("second") == ["a"]
    await claim(pool, worker, **{"may_be_preferred": True, **options})
    assert rings.of_a_new_task("third") == ["all"]


async def test_a_busy_worker_that_was_not_preferred_changes_nothing(
    pool: str, rings: Rings
) -> None:
    rings.of_a_new_task("first")
    await claim(pool, "a", may_be_preferred=True)
    await claim(pool, "b")
    assert rings.of_a_new_task("second") == ["a"]
