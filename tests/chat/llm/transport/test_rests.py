"""Held connections that rest between their reads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from chat.llm.client import ProviderClient
from chat.llm.transport import rests
from chat.llm.transport.http1 import Connection
from chat.llm.transport.rests import MANY_EVENTS, TRICKLE_BYTES, Rests
from chat.llm.types import Delta, ReadDelay, TimeLimits
from tests.chat.llm.calls import (
    DONE,
    STOP,
    RawProvider,
    chat,
    raw_provider,
    response,
    text_event,
    upstream,
)
from tests.chat.llm.recorder import private_authority
from tests.waiting import until

NUMBERS = range(60)
TEXT = "".join(f"{number} " for number in NUMBERS)
#: A token each 5 ms.
TRICKLE = [piece for number in NUMBERS for piece in (text_event(f"{number} "), 0.005)]
CHUNKED_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _chunked(pieces: list[bytes | float]) -> list[bytes | float]:
    chunks = [b"%x\r\n%s\r\n" % (len(p), p) if isinstance(p, bytes) else p for p in pieces]
    return [CHUNKED_HEAD, 0.02, *chunks, b"0\r\n\r\n"]


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of events a second is many."""
    monkeypatch.setattr(rests, "MANY_EVENTS", 0)
    monkeypatch.setattr(rests, "_COUNTED_SECONDS", 0)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What connections to providers have read."""
    found: list[bytes] = []
    receive = Connection.data_received

    def data_received(connection: Connection, data: bytes) -> None:
        found.append(data)
        receive(connection, data)

    monkeypatch.setattr(Connection, "data_received", data_received)
    return found


async def _ask(
    client: ProviderClient, provider: RawProvider, read_delay: ReadDelay | None = None
) -> list[str]:
    got: list[Delta] = []
    patient = read_delay or ReadDelay(lambda: 30)
    await client.ask(upstream(provider.url), chat("hi"), TimeLimits(), got.append, patient)
    return [delta.text for delta in got]


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("is_chunked", [False, True], ids=["to the close", "chunked"])
async def test_many_events_take_few_reads_and_come_whole(
    client: ProviderClient, reads: list[bytes], is_chunked: bool
) -> None:
    body = [*TRICKLE, STOP + DONE]
    pieces = _chunked(body) if is_chunked else [response(), 0.02, *body]
    async with raw_provider(*pieces) as provider, asyncio.timeout(10):
        assert "".join(await _ask(client, provider)) == TEXT
    assert len(reads) < len(NUMBERS) / 2


@pytest.mark.usefixtures("many")
async def test_many_events_over_tls_take_few_reads_and_come_whole(
    client: ProviderClient, reads: list[bytes], tmp_path: Path
) -> None:
    tls, authority = private_authority(tmp_path, "localhost")
    pieces = _chunked([*TRICKLE, STOP + DONE])
    async with raw_provider(*pieces, end="again", tls=tls) as provider, asyncio.timeout(10):
        url = provider.url.replace("127.0.0.1", "localhost")
        to = msgspec.structs.replace(upstream(url), ca_bundle=authority)
        for _ in range(2):
            got: list[Delta] = []
            asked = chat("hi"), TimeLimits(), got.append, ReadDelay(lambda: 30)
            await client.ask(to, *asked)
            assert "".join(delta.text for delta in got) == TEXT
    assert provider.connections == 1
    assert len(reads) < len(NUMBERS)


@pytest.mark.usefixtures("many")
async def test_a_connection_that_has_rested_takes_the_next_call(client: ProviderClient) -> None:
    pieces = _chunked([*TRICKLE, STOP + DONE])
    async with raw_provider(*pieces, end="again") as provider, asyncio.timeout(10):
        for _ in range(3):
            assert "".join(await _ask(client, provider)) == TEXT
    assert provider.connections == 1


@pytest.mark.usefixtures("many")
async def test_a_follower_who_comes_in_a_rest_is_given_what_there_is_and_what_comes(
    client: ProviderClient, reads: list[bytes]
) -> None:
    seconds = 30.0
    read_delay = ReadDelay(lambda: seconds)
    pieces: list[bytes | float] = [
        text_event("a"),
        0.05,
        text_event("b"),
        0.05,
        text_event("c"),
        STOP,
    ]
    async with raw_provider(response(), 0.02, *pieces, end="hold") as provider:
        got: list[Delta] = []
        asked = chat("hi"), TimeLimits(), got.append, read_delay
        call = asyncio.create_task(client.ask(upstream(provider.url), *asked))
        try:
            await until(lambda: b"".join(reads).endswith(STOP))
            seconds = 0.0
            read_delay.cancel()
            assert "".join(delta.text for delta in got) == "abc"
        finally:
            call.cancel()
            await asyncio.wait([call])


@pytest.mark.usefixtures("many")
async def test_a_call_that_is_cancelled_in_a_rest_hangs_up(
    client: ProviderClient, reads: list[bytes]
) -> None:
    async with raw_provider(response(), 0.02, *TRICKLE, end="hold") as provider:
        call = asyncio.create_task(_ask(client, provider))
        await until(lambda: len(reads) > 2)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()


def test_connections_rest_while_they_would_be_read_very_often() -> None:
    some = Rests()
    event = text_event("a")
    assert not some.may_begin(event, 10)
    assert not some.may_begin(event * MANY_EVENTS, 10.3), "one read of many events"
    for _ in range(MANY_EVENTS):
        assert not some.may_begin(event, 10.4)
    assert some.may_begin(event, 10.6), "many reads"
    assert not some.may_begin(b"x" * (TRICKLE_BYTES + 1), 10.7), "no trickle"
    assert some.may_begin(event * 50, 10.7)
    some.may_begin(event * MANY_EVENTS, 10.8)
    assert some.may_begin(event, 10.9), "as many events in few reads"
    assert not some.may_begin(event, 11.5), "few events"
