"""Answers without end: each is bounded, and none holds up what else is on the event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, partial

import pytest

from chat.llm import bodies
from chat.llm.client import ProviderClient
from chat.llm.errors import ProviderError
from chat.llm.steps import STEP_BYTES
from chat.llm.types import AnswerLimits, Completion, Delta, ReadDelay, TimeLimits
from tests.chat.llm.calls import DONE, STOP, chat, event, raw_provider, response, upstream
from tests.waiting import until

#: CPU time of one turn of the event loop: it takes some ten milliseconds.
MAX_TURN_SECONDS = 0.25
MEGABYTE = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
PLAIN = HEAD + b"connection: close\r\n\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
PACKED = HEAD + b"content-encoding: gzip\r\n\r\n"
#: What is sent again and again, or what makes it: each process that collects this file has it.
Unit = bytes | Callable[[], bytes]


@dataclass
class Flood:
    """A server that goes on sending, to each that asks, until it hangs up."""

    head: bytes
    unit: bytes
    url: str = ""
    sent: int = 0
    threads: list[threading.Thread] = field(default_factory=list)

    def serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(self.head)
                while True:
                    connection.sendall(self.unit)
                    self.sent += len(self.unit)
            except OSError:  # the client hung up
                pass

    def accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # the listener was closed
                return
            self.threads.append(threading.Thread(target=self.serve, args=[connection]))
            self.threads[-1].start()


@asynccontextmanager
async def flood(head: bytes, unit: Unit) -> AsyncIterator[Flood]:
    server = Flood(head, unit if isinstance(unit, bytes) else unit())
    listener = socket.create_server(("127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    accepting = threading.Thread(target=server.accept, args=[listener])
    accepting.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *server.threads):
            await asyncio.to_thread(thread.join, 5)
        assert not any(thread.is_alive() for thread in server.threads), "somebody still reads"


@asynccontextmanager
async def measured_turns() -> AsyncIterator[list[float]]:
    """The CPU time of the turns of the event loop, of each millisecond."""
    steps: list[float] = []
    began = time.thread_time()

    async def measure() -> None:
        nonlocal began
        while True:
            began = time.thread_time()
            await asyncio.sleep(0.001)
            steps.append(time.thread_time() - began)

    measuring = asyncio.create_task(measure())
    try:
        yield steps
    finally:
        measuring.cancel()
        steps.append(time.thread_time() - began)


@cache
def _packed(unit: bytes, size: int) -> bytes:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    block = unit * (MEGABYTE // len(unit))
    return b"".join(packer.compress(block) for _ in range(size // MEGABYTE)) + packer.flush()


def _delta(fields: bytes) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{%s}}]}\n\n' % fields


async def _ask(
    client: ProviderClient,
    url: str,
    limits: AnswerLimits | None = None,
    read_delay: float = 0,
    seconds: float = 20,
) -> tuple[Completion, list[Delta]]:
    deltas: list[Delta] = []
    completion = await client.ask(
        upstream(url),
        chat("hi"),
        TimeLimits(total_seconds=seconds),
        deltas.append,
        ReadDelay(lambda: read_delay),
        limits,
    )
    return completion, deltas


async def _failure(
    client: ProviderClient, url: str, limits: AnswerLimits | None = None, seconds: float = 20
) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        await _ask(client, url, limits, seconds=seconds)
    return raised.value


EMPTY: dict[str, tuple[bytes, Unit]] = {
    "blank lines": (PLAIN, b"\n" * 65536),
    "comments": (PLAIN, b":\n\n" * 20000),
    "lines that are nothing": (PLAIN, b"x\n" * 30000),
    "events without data": (PLAIN, b"data:\n\n" * 9000),
    "empty deltas": (PLAIN, _delta(b'"content":""') * 1000),
    "chunks of one byte": (CHUNKED, b"1\r\n\n\r\n" * 10000),
    "a gzip bomb": (PACKED, partial(_packed, b"\n", 64 * MEGABYTE)),
    "a gzip bomb of events": (PACKED, partial(_packed, b"data: {}\n\n", 32 * MEGABYTE)),
}


@pytest.mark.parametrize("kind", EMPTY)
async def test_a_flood_without_content_ends_and_delays_no_other_call(
    client: ProviderClient, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(bodies, "MAX_EMPTY_BYTES", 2 * MEGABYTE)
    async with flood(*EMPTY[kind]) as server, measured_turns() as steps:
        error = await _failure(client, server.url)
    assert (error.code, error.retryable) == ("provider_invalid_response", True)
    assert "without a word" in error.message
    assert max(steps) < MAX_TURN_SECONDS


HEADS = {
    "headers": (HEAD, b"a: b\r\n" * 1000),
    "one header": (HEAD + b"x: ", b"a" * 65536),
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "interim headers": (b"HTTP/1.1 103 Early Hints\r\n", b"a: b\r\n" * 1000),
    "a status line": (b"HTTP/1.1 200 ", b"a" * 65536),
    "an extension of a chunk": (CHUNKED + b"1;", b"a" * 65536),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 1000),
}


@pytest.mark.parametrize("kind", HEADS)
async def test_a_head_without_end_is_refused(client: ProviderClient, kind: str) -> None:
    async with flood(*HEADS[kind]) as server:
        error = await _failure(client, server.url)
        assert error.code == "provider_invalid_response"
    assert server.sent < 20 * MEGABYTE  # what the kernel's buffers hold, and no more


@pytest.mark.parametrize("read_delay", [0, 30], ids=["with follower", "without"])
@pytest.mark.parametrize("kind", ["text", "reasoning", "odd text", "packed text"])
async def test_too_long_a_text_is_cut_at_its_limit(
    client: ProviderClient, kind: str, read_delay: float
) -> None:
    limits = AnswerLimits(text_bytes=90_001, reasoning_bytes=80_001)
    text = _delta('"content":"aé🚀"'.encode())
    floods: dict[str, tuple[bytes, Unit]] = {
        "text": (PLAIN, text * 500),
        "reasoning": (PLAIN, _delta('"reasoning":"aé🚀"'.encode()) * 500),
        "odd text": (PLAIN, text.replace(b'"index":0', b'"index":"0"') * 500),
        "packed text": (PACKED, partial(_packed, text, 64 * MEGABYTE)),
    }
    async with flood(*floods[kind]) as server, measured_turns() as steps:
        completion, deltas = await _ask(client, server.url, limits, read_delay)
    got = "".join(delta.text + delta.reasoning for delta in deltas)
    most = limits.reasoning_bytes if kind == "reasoning" else limits.text_bytes
    # No character is cut in two.
    assert most - 4 < len(got.encode()) <= most
    assert set(got) <= set("aé🚀")
    assert completion.finish_reason == "length"
    assert completion.tool_calls == ()
    assert max(steps) < MAX_TURN_SECONDS
    assert server.sent < 64 * MEGABYTE


async def test_one_event_may_be_as_large_as_the_answer_and_no_larger(
    client: ProviderClient,
) -> None:
    limits = AnswerLimits(text_bytes=3 * MEGABYTE, reasoning_bytes=0, arguments_bytes=0)
    large = _delta(b'"content":"%s"' % (b"a" * (3 * MEGABYTE - 100)))
    async with raw_provider(response(large, STOP, DONE)) as provider:
        completion, deltas = await _ask(client, provider.url, limits)
    assert completion.finish_reason == "stop"
    assert sum(len(delta.text) for delta in deltas) == 3 * MEGABYTE - 100
    async with flood(PLAIN + b'data: {"choices":[{"delta":{"content":"', b"a" * 65536) as server:
        error = await _failure(client, server.url, limits)
    assert (error.code, error.retryable) == ("provider_invalid_response", False)
    assert "larger than 3145728 bytes" in error.message


async def test_what_floods_after_the_end_mark_is_not_kept(client: ProviderClient) -> None:
    limits = AnswerLimits(text_bytes=MEGABYTE, reasoning_bytes=0, arguments_bytes=0)
    begun = PLAIN + _delta(b'"content":"a"') + STOP + DONE
    async with flood(begun, b"a" * 65536) as server:
        completion, deltas = await _ask(client, server.url, limits)
    assert ([delta.text for delta in deltas], completion.finish_reason) == (["a"], "stop")
    assert server.sent < 20 * MEGABYTE  # what the kernel's buffers hold, and no more


async def test_a_whole_response_is_bounded_too(client: ProviderClient) -> None:
    limits = AnswerLimits(text_bytes=MEGABYTE, reasoning_bytes=0, arguments_bytes=0)
    async with flood(
        HEAD + b"\r\n" + b'{"choices":[{"message":{"content":"', b"a" * 65536
    ) as server:
        error = await _failure(client, server.url, limits)
    assert (error.code, error.retryable) == ("provider_invalid_response", False)


async def test_a_whole_answer_that_is_too_long_is_cut(client: ProviderClient) -> None:
    body = b'{"choices":[{"message":{"content":"%s"},"finish_reason":"stop"}]}' % (b"a" * 900)
    limits = AnswerLimits(text_bytes=500)
    async with raw_provider(response(body, kind="application/json")) as provider:
        completion, deltas = await _ask(client, provider.url, limits)
    assert (completion.finish_reason, deltas) == ("length", [Delta("a" * 500, "", [])])


@pytest.mark.parametrize(
    ("fragment", "words"),
    [
        (b'{"index":0,"function":{"arguments":"%s"}}' % (b"a" * 500), "larger than 100000 bytes"),
        (b'{"index":0,"id":"1","function":{"arguments":"%s"}}' % (b"a" * 500), "100000 bytes"),
        (b'{"function":{"name":"f","arguments":"{}"}}', "more than 20 tool calls"),
    ],
    ids=["arguments", "with an id", "calls"],
)
async def test_too_large_tool_calls_are_an_error(
    client: ProviderClient, fragment: bytes, words: str
) -> None:
    limits = AnswerLimits(arguments_bytes=100_000, tool_calls=20)
    async with flood(PLAIN, _delta(b'"tool_calls":[%s]' % fragment) * 100) as server:
        error = await _failure(client, server.url, limits)
    # Another attempt would be as large, and cost as much.
    assert (error.code, error.retryable) == ("provider_invalid_response", False)
    assert words in error.message


async def test_the_total_time_passes_while_data_floods(client: ProviderClient) -> None:
    limits = AnswerLimits(text_bytes=2**40)
    async with flood(PLAIN, _delta(b'"content":[{"type":"text","text":"a"}]') * 500) as server:
        began = time.monotonic()
        error = await _failure(client, server.url, limits, seconds=0.5)
        assert error.code == "provider_timeout_total"
        assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        (PLAIN, _delta(b'"content":[{"type":"text","text":"a"}]') * 500),
        (CHUNKED, b"1\r\n\n\r\n" * 10000),
        (PACKED, partial(_packed, b"\n", 64 * MEGABYTE)),
    ],
    ids=["odd text", "chunks of a byte", "a gzip bomb"],
)
async def test_many_floods_share_their_turns_and_another_call_goes_on(
    client: ProviderClient, head: bytes, unit: Unit
) -> None:
    pieces = [part for _ in range(20) for part in (_delta(b'"content":"a"'), 0.01)]
    async with (
        flood(head, unit) as server,
        raw_provider(response(), *pieces, STOP, DONE) as quiet,
        measured_turns() as steps,
    ):
        limits = AnswerLimits(text_bytes=2**40)
        floods = [asyncio.create_task(_ask(client, server.url, limits)) for _ in range(8)]
        _, deltas = await _ask(client, quiet.url)
        for task in floods:
            task.cancel()
        await asyncio.wait(floods)
    assert "".join(delta.text for delta in deltas) == "a" * 20
    assert max(steps) < MAX_TURN_SECONDS


async def test_a_cancelled_flood_ends_at_once(client: ProviderClient) -> None:
    async with flood(PLAIN, _delta(b'"content":[{"type":"text","text":"a"}]') * 500) as server:
        asking = asyncio.create_task(_ask(client, server.url, AnswerLimits(text_bytes=2**40)))
        await until(lambda: server.sent > MEGABYTE)
        asking.cancel()
        async with asyncio.timeout(20):
            await asyncio.wait([asking])
    assert asking.cancelled()


WORDS = [f"{number:x} " for number in range(4000)]
LARGE = b"".join(_delta(b'"content":"%s"' % word.encode()) for word in WORDS) + STOP + DONE


def _in_chunks(body: bytes, size: int) -> bytes:
    starts = range(0, len(body), size)
    chunks = (body[start : start + size] for start in starts)
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@pytest.mark.parametrize("pause", [0.0, 0.02])
@pytest.mark.parametrize("read_delay", [0, 30])
@pytest.mark.parametrize(
    ("sent", "end"),
    [
        (response(LARGE), "close"),
        (CHUNKED + _in_chunks(LARGE, 1), "again"),
        (CHUNKED + _in_chunks(LARGE, 999), "again"),
        (HEAD + b"content-length: %d\r\n\r\n" % len(LARGE) + LARGE, "again"),
    ],
    ids=["until it closes", "chunks of a byte", "chunks", "a length"],
)
async def test_a_large_response_is_whole_and_in_order(
    client: ProviderClient, sent: bytes, end: str, read_delay: float, pause: float
) -> None:
    """Steps of the event loop, held pieces and the end of the response meet."""
    first, half = sent.index(b"\r\n\r\n") + 900, len(sent) // 2
    pieces = (sent[:first], pause, sent[first:half], pause, sent[half:])
    async with raw_provider(*pieces, end=end) as provider, asyncio.timeout(20):
        for _ in range(2):
            completion, deltas = await _ask(client, provider.url, read_delay=read_delay)
            assert "".join(delta.text for delta in deltas) == "".join(WORDS)
            assert completion.finish_reason == "stop"
        if end == "again":
            assert provider.connections == 1


async def test_a_large_read_that_is_cut_is_truncated(client: ProviderClient) -> None:
    body = b"".join(_delta(b'"content":"%x "' % number) for number in range(4000))
    async with raw_provider(response(), body + event("{broken"), end="reset") as provider:
        assert (await _failure(client, provider.url)).code == "provider_invalid_response"
    async with raw_provider(response(), body) as provider:
        assert (await _failure(client, provider.url)).code == "provider_truncated"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "bare deflate"])
@pytest.mark.parametrize("size", [*range(8185, 8200), 16384, 100_000])
def test_all_of_a_compressed_body_is_unpacked(encoding: str, size: int) -> None:
    """However its steps fall: what is left of a step may be within the unpacker."""
    wbits = {"gzip": 31, "deflate": 15, "bare deflate": -15}[encoding]
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    packed = packer.compress(b"a" * size) + packer.flush()
    for each in (1, 7, len(packed)):
        unpack = bodies.decompressor("gzip" if encoding == "gzip" else "deflate")
        assert unpack is not None
        pieces = [packed[i : i + each] for i in range(0, len(packed), each)]
        parts = [part for piece in pieces for part in unpack(piece)]
        assert b"".join(parts) == b"a" * size
        assert max(map(len, parts)) <= STEP_BYTES
