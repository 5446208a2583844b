"""What a web process and its rendering processes send each other."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from chat.rendering import protocol
from chat.rendering.protocol import Reply, encode, receive, send

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_what_is_sent_arrives_whole_and_one_after_the_other(ends: Ends) -> None:
    ours, theirs = ends
    replies: list[Reply] = [
        {"field": "user_template"},
        {"schema": {"title": "Über 漢字", "n": 10**30}},
    ]
    for reply in replies:
        send(ours, reply)
    received = [receive(theirs) for _ in replies]
    assert [json.loads(body or b"") for body in received] == replies


@pytest.mark.parametrize("missing", [1, 5, 100])
def test_the_end_of_the_other_process_is_no_message(ends: Ends, missing: int) -> None:
    ours, theirs = ends
    encoded = encode({"field": "x" * 100})
    ours.sendall(encoded[: len(encoded) - missing])
    ours.close()
    assert receive(theirs) is None


def test_a_length_beyond_the_bound_is_not_read(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = ends
    send(ours, {"field": "x" * 100})
    monkeypatch.setattr(protocol, "MAX_BYTES", 50)
    assert receive(theirs) is None
