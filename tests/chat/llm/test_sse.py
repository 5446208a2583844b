"""The event decoder gives the same events wherever the network cuts the bytes."""

from __future__ import annotations

import pytest

from chat.llm.errors import InvalidResponseError
from chat.llm.sse import EventDecoder

RECORDED = (
    ": keep-alive\n\n"
    'data: {"a":"é漢🚀"}\n\n'
    "\n\r\n: keep-alive\r\n"
    "data:without space\r\n\r\n"
    "event: message\nid: 7\ndata: first line\ndata: second line\nretry: 10\n\n"
    "data:  two spaces\n\n"
    "data\n\ndata:\n\n"
    "data: [DONE]\n\n"
).encode()
EVENTS = [
    '{"a":"é漢🚀"}'.encode(),
    b"without space",
    b"first line\nsecond line",
    b" two spaces",
    b"",
    b"[DONE]",
]


def test_every_split_into_two_chunks_gives_the_same_events() -> None:
    for cut in range(len(RECORDED) + 1):
        decoder = EventDecoder()
        events = decoder.feed(RECORDED[:cut]) + decoder.feed(RECORDED[cut:])
        assert events == EVENTS, f"cut at byte {cut}"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_chunks_of_any_size_give_the_same_events(size: int) -> None:
    decoder = EventDecoder()
    events = [
        found
        for start in range(0, len(RECORDED), size)
        for found in decoder.feed(RECORDED[start : start + size])
    ]
    assert events == EVENTS


def test_an_event_is_given_as_soon_as_its_blank_line_is_there() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: x\n") == []
    assert decoder.feed(b"\n") == [b"x"]


def test_flush_gives_the_event_that_has_no_blank_line() -> None:
    decoder = EventDecoder()
    decoder.feed(b"data: a\n\ndata: [DONE]")
    assert decoder.flush() == b"[DONE]"
    assert decoder.flush() == b""


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 101],
        [b"data: " + b"x" * 101 + b"\n\n"],
        [b"data: xxxx\n"] * 30,
        [b"x"] * 101,
    ],
    ids=["unfinished line", "whole event", "many lines", "no field"],
)
def test_an_event_over_the_limit_is_refused(pieces: list[bytes]) -> None:
    decoder = EventDecoder(max_event_bytes=100)
    with pytest.raises(InvalidResponseError, match="larger than 100 bytes"):
        [decoder.feed(piece) for piece in pieces]


def test_many_small_events_are_not_taken_for_a_large_one() -> None:
    decoder = EventDecoder(max_event_bytes=100)
    assert decoder.feed(b"data: xxxx\n\n" * 50) == [b"xxxx"] * 50
    assert decoder.feed(b"data: xxxx\n\n" * 50) == [b"xxxx"] * 50
