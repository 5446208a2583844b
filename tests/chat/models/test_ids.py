"""Primary keys made one after the other sort in that order, over all processes."""

from __future__ import annotations

import time

from chat.models.ids import uuid7
from tests.waiting import wait_until


def test_ids_are_version_7_and_tell_their_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= after


def test_ids_of_one_millisecond_sort_by_when_they_were_made() -> None:
    made = []
    for _ in range(500):
        made.append(uuid7())
        # The clock of another process would be this one; only its step has to pass.
        step = time.time_ns() + 300
        wait_until(lambda: time.time_ns() >= step)  # noqa: B023 - called at once
    assert made == sorted(made)
    assert len({made_id.int >> 80 for made_id in made}) < 500, "some shared a millisecond"
