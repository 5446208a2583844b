"""Responses the simulator never gives: other servers' shapes, and broken ones."""

from __future__ import annotations

import asyncio
import gzip
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from chat.llm import stream_state
from chat.llm.client import ProviderClient
from chat.llm.errors import ProviderError
from chat.llm.types import Delta, ReadDelay, TimeLimits, Usage
from chat.llm.wire import WireChunk, decode_chunk
from tests.chat.llm.calls import (
    DONE,
    STOP,
    chat,
    collect,
    event,
    raw_provider,
    response,
    text_event,
    upstream,
)
from tests.waiting import until

HEADERS = response()


async def _error(
    client: ProviderClient, *pieces: bytes | float, end: str = "close"
) -> ProviderError:
    async with raw_provider(*pieces, end=end) as provider:
        with pytest.raises(ProviderError) as raised:
            await collect(client, upstream(provider.url), chat("hi"))
    return raised.value


async def _text(client: ProviderClient, *pieces: bytes | float, end: str = "close") -> str:
    async with raw_provider(*pieces, end=end) as provider:
        return (await collect(client, upstream(provider.url), chat("hi"))).text


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([text_event("a"), STOP, DONE], "a"),
        ([text_event("a"), STOP], "a"),
        ([text_event("a"), DONE], "a"),
        ([text_event("a"), STOP, b"data: [DONE]"], "a"),
        ([text_event("a"), STOP, text_event("b"), DONE, text_event("c")], "ab"),
        ([event('{"choices":[]}'), text_event("a"), STOP, DONE], "a"),
        ([event('{"choices":null,"usage":null}'), text_event("a"), STOP, DONE], "a"),
        ([event('{"choices":[{"delta":{"content":null}}]}'), text_event("a"), STOP, DONE], "a"),
        ([event('{"choices":[{"delta":null}]}'), text_event("a"), STOP, DONE], "a"),
        ([event(""), event(" "), text_event("a"), STOP, DONE], "a"),
        ([text_event("a"), event('{"choices":[{"index":1,"delta":{"content":"b"}}]}'), STOP], "a"),
        ([text_event(r"\ud83d\ude80"), STOP, DONE], "🚀"),
        ([text_event(r"a\ud83d"), text_event(r"\ude80b"), STOP, DONE], "a🚀b"),
        ([text_event(r"a\u0000b"), STOP, DONE], "a\ufffdb"),
        ([text_event("a").replace(b'"a"', b'"\xff"'), STOP, DONE], "\ufffd"),
    ],
)
async def test_what_other_servers_send_is_understood(
    client: ProviderClient, events: list[bytes], text: str
) -> None:
    assert await _text(client, response(*events)) == text


async def test_a_patient_caller_is_given_larger_pieces_and_the_end_at_once(
    client: ProviderClient,
) -> None:
    got: list[Delta] = []
    read_delay = ReadDelay(lambda: 30)
    pieces = (text_event("a"), 0.05, text_event("b"), 0.05, text_event("c"), STOP, DONE)
    async with raw_provider(response(), 0.05, *pieces) as provider, asyncio.timeout(10):
        await client.ask(upstream(provider.url), chat("hi"), TimeLimits(), got.append, read_delay)
    assert [delta.text for delta in got] == ["a", "bc"]


def long_event(number: int) -> bytes:
    """As long as DeepSeek's are, and with an id as most have."""
    return text_event(f"{number} ").replace(b"{", b'{"id":"%s",' % (b"x" * 200), 1)


async def test_held_bytes_of_an_answer_are_parsed_together(client: ProviderClient) -> None:
    """In steps, no event would come as most do, and each step's text would be logged by itself."""
    got: list[Delta] = []
    events = [long_event(number) for number in range(100)]
    pieces = [piece for i in range(1, 100, 11) for piece in (0.01, b"".join(events[i : i + 11]))]
    async with raw_provider(response(), 0.02, events[0], *pieces, STOP, DONE) as provider:
        asked = chat("hi"), TimeLimits(), got.append, ReadDelay(lambda: 30)
        await client.ask(upstream(provider.url), *asked)
    assert [delta.text for delta in got] == [
        "0 ",
        "".join(f"{number} " for number in range(1, 100)),
    ]


@pytest.mark.parametrize("seconds", [0, 30], ids=["at once", "held"])
async def test_a_large_read_costs_by_the_event_only_where_it_is_cut(
    client: ProviderClient, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    decoded: list[bytes] = []

    def decode(data: bytes) -> WireChunk | None:
        decoded.append(data)
        return decode_chunk(data)

    monkeypatch.setattr(stream_state, "decode_chunk", decode)
    got: list[Delta] = []
    large = b"".join(long_event(number) for number in range(2000))
    async with raw_provider(response(), 0.02, text_event("a"), 0.02, large + STOP + DONE) as server:
        asked = chat("hi"), TimeLimits(), got.append, ReadDelay(lambda: seconds)
        await client.ask(upstream(server.url), *asked)
    assert "".join(delta.text for delta in got) == "a" + "".join(f"{n} " for n in range(2000))
    assert len(decoded) < 100


CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize(
    "end", [b"0\r\n\r\n", b"0\r\nx-trailer: 1\r\n\r\n"], ids=["end", "trailer"]
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_a_patient_caller_is_woken_by_the_last_chunk_however_it_is_cut(
    client: ProviderClient, end: bytes, size: int
) -> None:
    got: list[Delta] = []
    last = chunk(text_event("c") + STOP + DONE)[-3:] + end
    pieces = [
        *(CHUNKED + chunk(text_event("a")), 0.02, chunk(text_event("b")), 0.02),
        chunk(text_event("c") + STOP + DONE)[:-3],
        *(part for i in range(0, len(last), size) for part in (last[i : i + size], 0.002)),
    ]
    async with raw_provider(*pieces, end="again") as provider, asyncio.timeout(10):
        for _ in range(2):
            asked = chat("hi"), TimeLimits(), got.append, ReadDelay(lambda: 30)
            await client.ask(upstream(provider.url), *asked)
    assert "".join(delta.text for delta in got) == "abcabc"
    assert provider.connections == 1


@pytest.mark.parametrize("leaves", [False, True], ids=["loses patience", "is cancelled"])
async def test_a_patient_caller_has_all_that_came_when_that_changes(
    client: ProviderClient, leaves: bool
) -> None:
    got: list[Delta] = []
    read_delay = ReadDelay(lambda: 30)
    pieces = (text_event("a"), 0.05, text_event("b"))
    async with raw_provider(response(), 0.05, *pieces, end="hold") as provider:
        asking = client.ask(
            upstream(provider.url), chat("hi"), TimeLimits(), got.append, read_delay
        )
        call = asyncio.create_task(asking)
        await until(lambda: bool(got))
        await until(lambda: provider.sent == len(pieces) + 2)
        await asyncio.sleep(0.05)  # and has arrived
        assert [delta.text for delta in got] == ["a"]
        if leaves:
            call.cancel()
        else:
            read_delay.cancel()
        await until(lambda: len(got) == 2)
        assert got[1].text == "b"
        call.cancel()
        await asyncio.wait([call])


async def test_a_compressed_response_is_understood_although_none_was_asked_for(
    client: ProviderClient,
) -> None:
    body = gzip.compress(text_event("a") + STOP + DONE)
    head = response(status="200 OK\r\ncontent-encoding: gzip")
    assert await _text(client, head + body) == "a"
    error = await _error(client, head + b"not gzip")
    assert error.code == "provider_invalid_response"


async def test_an_answer_without_usage_or_id_counts_zeros(client: ProviderClient) -> None:
    async with raw_provider(response(text_event("a"), STOP, DONE)) as provider:
        got = await collect(client, upstream(provider.url), chat("hi"))
    assert got.completion.usage == Usage()
    assert got.completion.model == "deepseek-flash"
    assert got.completion.upstream_id is None
    assert got.completion.request_id is None


async def test_a_json_response_to_a_streaming_request_is_understood(client: ProviderClient) -> None:
    body = (
        b'{"id":"x","model":"m","choices":[{"index":0,"finish_reason":"tool_calls","message":'
        b'{"role":"assistant","content":"text","reasoning_content":"thought","tool_calls":'
        b'[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}},'
        b'{"id":"c2","type":"function","function":{"name":"g","arguments":"{}"}}]}}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    )
    pieces = (response(kind="application/json; charset=utf-8"), b"\n\n", 0.05, b"\n", body)
    async with raw_provider(*pieces) as provider:
        got = await collect(client, upstream(provider.url), chat("hi"))
    assert (got.text, got.reasoning) == ("text", "thought")
    assert [call.id for call in got.completion.tool_calls] == ["c1", "c2"]
    assert got.completion.usage == Usage(3, 4, 7)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}', "provider_empty"),
        (b'{"error":{"message":"no","code":"rate_limit_exceeded"}}', "provider_rate_limited"),
        (b'{"choices":', "provider_invalid_response"),
        (b"", "provider_invalid_response"),
        (b"[1, 2]", "provider_invalid_response"),
        (b"[" * 100_000, "provider_invalid_response"),
    ],
)
async def test_a_bad_json_response_is_an_error(
    client: ProviderClient, body: bytes, code: str
) -> None:
    error = await _error(client, response(body, kind="application/json"))
    assert error.code == code


async def test_blank_lines_before_a_json_response_put_off_no_deadline(
    client: ProviderClient,
) -> None:
    pieces = [piece for _ in range(200) for piece in (b"\n", 0.02)]
    limits = TimeLimits(first_token_seconds=0.3)
    async with raw_provider(response(kind="application/json"), *pieces) as provider:
        with pytest.raises(ProviderError) as raised:
            await collect(client, upstream(provider.url), chat("hi"), limits)
    assert raised.value.code == "provider_timeout_first_token"


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ((response(text_event("a")),), "provider_truncated"),
        ((response(text_event("a"), b'data: {"choices":[{"del'),), "provider_truncated"),
        ((response(),), "provider_truncated"),
        ((response(event("{broken")),), "provider_invalid_response"),
        ((response(event('{"choices":"text"}')),), "provider_invalid_response"),
        ((response(b"data: " + b"x" * 10_000_000),), "provider_invalid_response"),
        ((response(b"<html></html>", kind="text/html"),), "provider_invalid_response"),
        ((b"this is not HTTP\r\n\r\n",), "provider_invalid_response"),
        ((response(event('{"error":"words"}')),), "provider_error"),
    ],
)
async def test_a_broken_stream_is_an_error(
    client: ProviderClient, pieces: tuple[bytes, ...], code: str
) -> None:
    assert (await _error(client, *pieces)).code == code


async def test_a_reset_connection_is_a_truncated_answer(client: ProviderClient) -> None:
    assert (
        await _error(client, HEADERS + text_event("a"), 0.05, end="reset")
    ).code == "provider_truncated"


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_connection_lost_before_the_headers_is_unreachable(
    client: ProviderClient, end: str
) -> None:
    error = await _error(client, end=end)
    assert (error.code, error.retryable) == ("provider_unreachable", True)


async def test_a_connection_held_open_after_the_end_does_not_hold_up_the_answer(
    client: ProviderClient,
) -> None:
    async with asyncio.timeout(20):
        assert await _text(client, response(text_event("a"), STOP, DONE), end="hold") == "a"
        assert await _text(client, response(text_event("a"), STOP), end="hold") == "a"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://name.invalid", "ftp://127.0.0.1", "no url"]
)
async def test_a_provider_that_cannot_be_reached_is_unreachable(
    client: ProviderClient, url: str
) -> None:
    with pytest.raises(ProviderError) as raised:
        await collect(client, upstream(url), chat("hi"))
    assert (raised.value.code, raised.value.retryable) == ("provider_unreachable", True)


async def test_a_connection_that_is_not_made_in_time_is_a_connect_timeout(
    client: ProviderClient,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # its TLS handshake never ends
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        limits = TimeLimits(connect_seconds=0.5)
        with pytest.raises(ProviderError) as raised:
            await collect(client, upstream(url), chat("hi"), limits)
    assert (raised.value.code, raised.value.retryable) == ("provider_timeout_connect", True)


async def test_headers_that_never_come_are_a_first_token_timeout(client: ProviderClient) -> None:
    limits = TimeLimits(first_token_seconds=0.2)
    async with raw_provider(end="hold") as provider:
        with pytest.raises(ProviderError) as raised:
            await collect(client, upstream(provider.url), chat("hi"), limits)
    assert raised.value.code == "provider_timeout_first_token"


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        ("400 x", '{"error":{"message":"Model Not Exist"}}', "provider_model_not_found", "Model"),
        ("429 x", '{"error":{"code":"insufficient_quota"}}', "provider_balance", "quota"),
        ("429 x", '{"error":{"code":"invalid_request_error"}}', "provider_rate_limited", "invalid"),
        ("413 x", "<html>too large</html>", "provider_bad_request", "too large"),
        ("301 x", "", "provider_bad_request", "301"),
        ("408 x", "", "provider_error", "408"),
        ("500 x", '{"message":"plain"}', "provider_error", "plain"),
        ("520 x", '{"error":"words"}', "provider_error", "words"),
        ("503 x", "[" * 100_000, "provider_overloaded", "[["),
    ],
)
async def test_an_error_status_keeps_the_providers_words(
    client: ProviderClient, status: str, body: str, code: str, message: str
) -> None:
    error = await _error(client, response(body.encode(), status=status))
    assert error.code == code
    assert message in error.message
    assert len(error.message) <= 500
    assert error.status == int(status[:3])


async def test_an_error_whose_body_never_ends_is_still_that_error(client: ProviderClient) -> None:
    limits = TimeLimits(first_token_seconds=2)
    async with raw_provider(response(b"busy", status="503 x"), end="hold") as provider:
        with pytest.raises(ProviderError) as raised:
            await collect(client, upstream(provider.url), chat("hi"), limits)
    assert (raised.value.code, raised.value.message) == ("provider_overloaded", "busy")


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("a date to come", 900, 1000),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0, 0),
        ("-5", 0, 0),
        ("30", 30, 30),
    ],
)
async def test_retry_after_is_seconds_or_a_date(
    client: ProviderClient, value: str, low: float, high: float
) -> None:
    if value == "a date to come":
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=1000), usegmt=True)
    error = await _error(client, response(status=f"429 x\r\nretry-after: {value}"))
    assert error.retry_after_seconds is not None
    assert low <= error.retry_after_seconds <= high


@pytest.mark.parametrize("value", ["soon", "nan", "inf", ""])
async def test_a_retry_after_that_says_nothing_is_ignored(
    client: ProviderClient, value: str
) -> None:
    error = await _error(client, response(status=f"429 x\r\nretry-after: {value}"))
    assert error.retry_after_seconds is None


async def test_a_key_that_the_provider_echoes_is_taken_out(client: ProviderClient) -> None:
    body = b'{"error":{"message":"the key sk-secret-1 is invalid"}}'
    async with raw_provider(response(body, status="401 x")) as provider:
        with pytest.raises(ProviderError) as raised:
            await collect(client, upstream(provider.url, "sk-secret-1"), chat("hi"))
    assert raised.value.message == "the key *** is invalid"


async def test_nor_does_a_quotation_end_within_the_key(client: ProviderClient) -> None:
    """Of an answer in another API's form the first 200 characters are quoted."""
    key = "sk-secret-" + "9" * 40
    body = b'{"output": {"text": "%s %s"}}' % (b"x" * 160, key.encode())
    async with raw_provider(response(body, status="200 OK")) as provider:
        with pytest.raises(ProviderError) as raised:
            await collect(client, upstream(provider.url, key), chat("hi"))
    assert "x ***" in raised.value.message
    assert "sk-" not in raised.value.message


async def test_a_cookie_of_one_call_is_not_sent_with_the_next(client: ProviderClient) -> None:
    answer = response(text_event("a"), STOP, DONE, status="200 OK\r\nset-cookie: who=me; Path=/")
    async with raw_provider(answer) as provider:
        for _ in range(2):
            await collect(client, upstream(provider.url), chat("hi"))
    assert len(provider.requests) == 2
    assert not any(b"cookie" in head.lower() for head in provider.requests)
    assert provider.requests[0].startswith(b"POST /chat/completions HTTP/1.1\r\n")


async def test_a_connection_is_used_again_when_its_response_has_ended(
    client: ProviderClient,
) -> None:
    answer = CHUNKED + chunk(text_event("a") + STOP + DONE)
    # The end of the response comes a little after the end of the answer.
    async with raw_provider(answer, 0.02, b"0\r\n\r\n", end="again") as provider:
        for _ in range(3):
            await collect(client, upstream(provider.url), chat("hi"))
    assert (len(provider.requests), provider.connections) == (3, 1)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    "last",
    [
        DONE,
        event('{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}') + DONE,
        STOP,
    ],
    ids=["the mark alone", "the mark after a reason beside text", "a reason alone"],
)
async def test_an_answer_that_was_whole_stays_so_when_its_connection_breaks(
    client: ProviderClient, last: bytes, end: str
) -> None:
    pieces = (CHUNKED + chunk(text_event("a") + last), 0.02)
    assert (await _text(client, *pieces, end=end)).startswith("a")


async def test_a_reason_beside_text_is_no_end_when_the_connection_breaks(
    client: ProviderClient,
) -> None:
    """Some send one with each piece of text."""
    data = '{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}'
    error = await _error(client, CHUNKED + chunk(event(data)), 0.02, end="reset")
    assert error.code == "provider_truncated"


async def test_a_reason_before_any_text_is_no_end(client: ProviderClient) -> None:
    role = event('{"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":"stop"}]}')
    assert await _text(client, response(role), 0.02, text_event("a"), STOP, DONE) == "a"
    assert (await _error(client, CHUNKED + chunk(role), 0.02)).retryable


async def test_an_error_of_the_callers_own_reaches_it(client: ProviderClient) -> None:
    """And holds up no other call's steps."""

    def refuse(_: Delta) -> None:
        raise ValueError("the log refuses")

    large = text_event("a") * 1000 + STOP + DONE
    async with raw_provider(response(), large) as provider:
        for _ in range(2):
            with pytest.raises(ValueError, match="the log refuses"):
                await client.ask(upstream(provider.url), chat("hi"), TimeLimits(), refuse)
        got = await collect(client, upstream(provider.url), chat("hi"))
    assert got.text == "a" * 1000
