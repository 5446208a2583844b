"""Reasoning between tags is separated from the text as it comes, and never beyond its limit."""

from __future__ import annotations

import json
from itertools import combinations

import pytest

from chat.llm.bodies import EventStreamBody
from chat.llm.stream_state import StreamState
from chat.llm.types import AnswerLimits, Delta

END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def _events(*contents: str) -> list[bytes]:
    return [
        b"data: %b\n\n"
        % json.dumps({"choices": [{"index": 0, "delta": {"content": content}}]}).encode()
        for content in contents
    ]


def _read(reads: list[bytes], limits: AnswerLimits | None = None) -> list[Delta | None]:
    """What each read adds to the answer."""
    state = StreamState("m", None, limits)
    body = EventStreamBody(state, lambda: None)
    deltas = []
    for read in reads:
        body.feed(read)
        deltas.append(state.take_delta())
    return deltas


def _joined(deltas: list[Delta | None]) -> tuple[str, str]:
    given = [delta for delta in deltas if delta]
    return "".join(delta.text for delta in given), "".join(delta.reasoning for delta in given)


@pytest.mark.parametrize("tag", ["<think>", "<thinking>", "<seed:think>", "[THINK]"])
def test_every_pair_of_cuts_gives_the_same_answer(tag: str) -> None:
    end = tag[0] + "/" + tag[1:]
    answer = f" {tag}\nHm\n{end}\r\n\n4<2"
    for first, second in combinations(range(1, len(answer)), 2):
        events = _events(answer[:first], answer[first:second], answer[second:])
        for reads in ([*events, END], [b"".join(events), END]):
            assert _joined(_read(reads)) == ("4<2", "Hm\n"), (first, second)


def test_only_what_may_begin_a_tag_is_held_back() -> None:
    contents = ("<", "think>", "a<", "b</thin", "g</", "think>\n", "\nc", "<think>")
    pieces = [
        (delta.text, delta.reasoning) if delta else None for delta in _read(_events(*contents))
    ]
    assert pieces == [
        None,
        None,
        ("", "a"),
        ("", "<b"),
        ("", "</thing"),
        None,
        ("c", ""),
        ("<think>", ""),
    ]


def test_reasoning_has_its_own_limit() -> None:
    limits = AnswerLimits(text_bytes=100, reasoning_bytes=10)
    assert _joined(_read(_events("<think>", "12345", "67890", "x</think>"), limits)) == (
        "",
        "1234567890",
    )
