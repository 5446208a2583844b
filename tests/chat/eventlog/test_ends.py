"""Ends for the requests that wait for them: each is called back once, or told to look."""

from __future__ import annotations

from chat.eventlog import Notice, UserEnds
from chat.eventlog.ends import MAX_EARLY
from chat.events import EventId, TaskCancelled, TaskStarted, encode


def end_of(task_id: str) -> Notice:
    frame = encode(TaskCancelled(task_id=task_id, id="1-1"))
    return Notice(EventId(1, 1), task_id, frame)


def waiter(ends: UserEnds, task_id: str) -> list[Notice | None]:
    heard: list[Notice | None] = []
    ends.wait(task_id, heard.append)
    return heard


def test_only_the_end_of_its_task_wakes_a_request() -> None:
    ends = UserEnds()
    ends.enter()
    heard = waiter(ends, "a")
    ends.push(Notice(EventId(1, 1), "a", encode(TaskStarted("a", "1-1", 1, "m"))))
    ends.push(end_of("b"))
    assert heard == []
    ends.push(end_of("a"))
    assert heard == [end_of("a")]


def test_an_end_that_comes_early_is_kept_while_a_request_may_ask_for_it() -> None:
    ends = UserEnds()
    ends.enter()
    ends.push(end_of("a"))
    assert waiter(ends, "a") == [end_of("a")]
    ends.push(end_of("b"))
    ends.enter()
    assert waiter(ends, "b") == [], "nobody could ask for it when it came"


def test_too_many_early_ends_have_all_look_at_their_rows() -> None:
    ends = UserEnds()
    ends.enter()
    for number in range(MAX_EARLY + 1):
        ends.push(end_of(f"other-{number}"))
    assert waiter(ends, "a") == [None]
    ends.enter()
    assert waiter(ends, "b") == [], "nothing was lost since"


def test_after_a_lost_connection_all_look_at_their_rows() -> None:
    ends = UserEnds()
    ends.enter()
    heard = waiter(ends, "a")
    ends.enter()
    ends.mark_lagging()
    assert heard == [None]
    assert waiter(ends, "b") == [None], "its end may have been lost before it asked"


def test_all_requests_that_wait_for_one_task_are_woken() -> None:
    """As when it was submitted twice with one Idempotency-Key."""
    ends = UserEnds()
    gone: list[Notice | None] = []
    for _ in range(3):
        ends.enter()
    first, second = waiter(ends, "a"), waiter(ends, "a")
    ends.wait("a", gone.append)
    ends.wait_no_more("a", gone.append)
    ends.leave()
    ends.push(end_of("a"))
    assert (first, second, gone) == ([end_of("a")], [end_of("a")], [])
    ends.mark_lagging()
    assert first[1:] == second[1:] == [None]


def test_who_waits_no_more_is_not_called() -> None:
    ends = UserEnds()
    ends.enter()
    heard: list[Notice | None] = []
    ends.wait("a", heard.append)
    ends.wait_no_more("a", heard.append)
    ends.leave()
    ends.push(end_of("a"))
    assert heard == []
    assert not ends.has_users
