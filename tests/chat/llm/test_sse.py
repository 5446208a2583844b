"""The event decoder gives the same events wherever the network cuts the bytes."""

from __future__ import annotations

import json

import pytest

from chat.llm.errors import InvalidResponseError
from chat.llm.sse import Event, EventDecoder

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
DATA = [
    '{"a":"é漢🚀"}'.encode(),
    b"without space",
    b"first line\nsecond line",
    b" two spaces",
    b"",
    b"",
    b"[DONE]",
]
EVENTS = [Event(data) for data in DATA]


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
    assert decoder.feed(b"\n") == [Event(b"x")]


def test_flush_gives_the_event_that_has_no_blank_line() -> None:
    decoder = EventDecoder()
    decoder.feed(b"data: a\n\ndata: [DONE]")
    assert decoder.flush() == [Event(b"[DONE]")]
    assert decoder.flush() == []


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
    assert decoder.feed(b"data: xxxx\n\n" * 50) == [Event(b"xxxx")] * 50
    assert decoder.feed(b"data: xxxx\n\n" * 50) == [Event(b"xxxx")] * 50


def test_whole_events_come_as_one_array() -> None:
    read = b'data: {"a":"\\n\\ndata: "}\n\ndata: {"b":[1]}\n\n'
    found = EventDecoder().whole(read)
    assert found is not None
    assert json.loads(found[0]) == [{"a": "\n\ndata: "}, {"b": [1]}]
    assert found[1:] == (False, False)
    mark = b"data: [DONE]\n\n"
    assert EventDecoder().whole(read + mark) == (found[0], False, True)
    assert EventDecoder().whole(mark) == (b"[]", False, True)
    assert EventDecoder().whole(b'data: {"a":1}\n\n') == (b'{"a":1}', True, False)
    assert EventDecoder().whole(b'data: {"a":1}\n\n' + mark) == (b'{"a":1}', True, True)


@pytest.mark.parametrize(
    "read",
    [
        b"",
        b": keep-alive\n\n",
        b'data: {"a":1}\n\n: keep-alive\n\n',
        b"data: first line\ndata: second line\n\n",
        b'data: {"a":1}\r\n\r\n',
        b'data: {"a":1}\n\ndata: {"b"',
        b'"a":1}\n\ndata: {"b":2}\n\n',
        b"event: message\ndata: 1\n\n",
        b": keep-alive\n\ndata: [DONE]\n\n",
    ],
)
def test_other_reads_are_no_array(read: bytes) -> None:
    assert EventDecoder().whole(read) is None


def test_the_rest_of_an_event_is_no_array() -> None:
    decoder = EventDecoder()
    decoder.feed(b'data: {"a":\n')
    assert decoder.whole(b"data: 1}\n\n") is None
