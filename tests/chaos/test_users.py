"""What a patient user takes for a fault of the server after it has connected again."""

from __future__ import annotations

from typing import Any

from tests.chaos.users import Seen

END = {"type": "task.completed", "id": "1-5", "result": {"text": "abc"}}


def delta(number: int, text: str = "") -> dict[str, Any]:
    return {"type": "task.delta", "id": f"1-{number}", "text": text}


def seen(*frames: dict[str, Any], is_resumed: bool = True) -> Seen:
    """What was seen of a task two of whose events came before the connection broke."""
    task = Seen("Hello", "key")
    for frame in ({"type": "task.started", "id": "1-1"}, delta(2, "a")):
        task.add(frame)
    task.resumed_from = task.last if is_resumed else None
    for frame in frames:
        task.add(frame)
    return task


def test_an_end_may_come_ahead_of_what_was_asked_for_and_again_in_its_turn() -> None:
    task = seen(END, delta(3, "b"), delta(4, "c"), END)
    assert (task.problems, task.ends, task.text) == ([], [END], "abc")
    # The connection may be closed with the end.
    assert (seen(END).problems, seen(END).text) == ([], "abc")


def test_nothing_else_comes_twice_or_out_of_turn() -> None:
    assert seen(END, delta(4, "c")).problems == ["task.delta (1, 4) after (1, 2)"]
    assert seen(delta(3, "b"), delta(3, "b")).problems
    assert seen(END, delta(3), delta(4), END, END).problems
    assert seen(delta(3), delta(4), END, END).problems
    assert seen(END, delta(3), is_resumed=False).problems
