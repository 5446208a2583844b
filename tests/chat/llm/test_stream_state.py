"""A recorded stream gives the same answer however it is cut."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chat.llm.bodies import EventStreamBody
from chat.llm.errors import ProviderError
from chat.llm.sse import Event
from chat.llm.stream_state import StreamState
from chat.llm.types import AnswerLimits, Completion, ToolCall, Usage

HEAD = '"id":"0f-1","object":"chat.completion.chunk","created":1,"model":"deepseek-flash"'


def _chunk(delta: str, finish: str = "null", rest: str = '"usage":null') -> str:
    choice = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}'
    return f'data: {{{HEAD},"choices":[{choice}],{rest}}}\r\n\r\n'


RECORDED = (
    ": keep-alive\n\n"
    + _chunk('{"role":"assistant","content":null,"reasoning_content":""}')
    + _chunk('{"content":null,"reasoning_content":"Hm – "}')
    + _chunk('{"content":null,"reasoning_content":"naïve"}')
    + _chunk('{"content":"Grüße ","reasoning_content":null}')
    + _chunk('{"content":"🚀 \\ud83d\\ude80 \\u0000","reasoning_content":null}')
    + _chunk('{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"f","arguments":""}}]}')
    + _chunk('{"tool_calls":[{"index":1,"id":"call_b","function":{"name":"g","arguments":""}}]}')
    + _chunk('{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\":"}}]}')
    + _chunk('{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}')
    + _chunk('{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}')
    + _chunk('{"content":""}', '"tool_calls"')
    + f'data: {{{HEAD},"choices":[],"usage":{{"prompt_tokens":9,"completion_tokens":5,'
    '"total_tokens":14,"prompt_tokens_details":{"cached_tokens":4},'
    '"completion_tokens_details":{"reasoning_tokens":2}}}\n\n'
    "data: [DONE]\n\n"
).encode()


def _read(chunks: list[bytes]) -> tuple[str, str, Completion]:
    answer = StreamState("asked-for", None)
    events = EventStreamBody(answer, lambda: None)
    answer.name_request("req-1")
    text = reasoning = ""
    for chunk in chunks:
        events.feed(chunk)
        if delta := answer.take_delta():
            text += delta.text
            reasoning += delta.reasoning
    return text, reasoning, answer.completion()


@pytest.mark.parametrize("recorded", [RECORDED, RECORDED.replace(b"\r", b"")], ids=["CRLF", "LF"])
def test_every_split_of_a_recorded_stream_gives_the_same_answer(recorded: bytes) -> None:
    whole = _read([recorded])
    assert whole == (
        "Grüße 🚀 🚀 \ufffd",
        "Hm – naïve",
        Completion(
            finish_reason="tool_calls",
            usage=Usage(9, 5, 14, 4, 2),
            model="deepseek-flash",
            upstream_id="0f-1",
            request_id="req-1",
            tool_calls=(ToolCall("call_a", "f", '{"a":1}'), ToolCall("call_b", "g", "{}")),
        ),
    )
    for cut in range(len(recorded) + 1):
        assert _read([recorded[:cut], recorded[cut:]]) == whole, f"cut at byte {cut}"
    assert _read([recorded[i : i + 1] for i in range(len(recorded))]) == whole
    # Whole events, one, two or many at a time.
    parts = recorded.splitlines(keepends=True)
    for count in (2, 4, 12):
        pieces = [b"".join(parts[i : i + count]) for i in range(0, len(parts), count)]
        assert _read(pieces) == whole


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ('{"message":"slow","code":429}', "provider_rate_limited"),
        ('{"message":"slow","code":"rate_limit_exceeded"}', "provider_rate_limited"),
        ('{"message":"busy","type":"overloaded_error","code":null}', "provider_overloaded"),
        ('{"message":"busy","code":"503"}', "provider_overloaded"),
        ('{"message":"no","code":"invalid_api_key"}', "provider_auth"),
        ('{"message":"long","code":"context_length_exceeded"}', "provider_bad_request"),
        (
            '{"message":"Insufficient Balance","code":"invalid_request_error"}',
            "provider_balance",
        ),
        ('{"message":"broke off","type":"server_error"}', "provider_error"),
        ('{"message":"what","code":["odd"]}', "provider_error"),
        ('"only words"', "provider_error"),
        ("{}", "provider_error"),
    ],
)
def test_an_error_in_mid_stream_is_told_by_its_code_type_or_words(error: str, code: str) -> None:
    answer = StreamState("m", None)
    with pytest.raises(ProviderError) as raised:
        answer.add_events([Event(f'{{"error":{error}}}'.encode())])
    assert raised.value.code == code
    assert raised.value.message


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([], "provider_truncated"),
        (['{"choices":[{"delta":{"content":"x"}}]}'], "provider_truncated"),
        (['{"choices":[{"delta":{},"finish_reason":"stop"}]}'], "provider_empty"),
        (["[DONE]"], "provider_empty"),
        (
            ['{"choices":[{"delta":{"reasoning_content":"hm"},"finish_reason":"stop"}]}'],
            "provider_empty",
        ),
        (
            ['{"choices":[{"finish_reason":"insufficient_system_resource"}]}'],
            "provider_overloaded",
        ),
    ],
)
def test_an_answer_that_is_not_whole_is_an_error(events: list[str], code: str) -> None:
    answer = StreamState("m", None)
    for data in events:
        answer.add_events([Event(data.encode())])
    with pytest.raises(ProviderError) as raised:
        answer.completion()
    assert raised.value.code == code
    assert raised.value.retryable


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_may_be_cut_off_before_its_first_word(reason: str) -> None:
    answer = StreamState("m", None)
    data = f'{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}'.encode()
    answer.add_events([Event(data)])
    assert answer.completion().finish_reason == reason


# --- Log probabilities --------------------------------------------------------------------------
_TOKEN = (
    '{"token":"Hi","logprob":-0.5,"bytes":[72,105],"top_logprobs":[{"token":"Yo","logprob":-1}]}'
)


def _chunk_with(logprobs: str, content: str = '"Hi"') -> str:
    choice = f'{{"index":0,"delta":{{"content":{content}}},"logprobs":{logprobs}}}'
    return f'data: {{{HEAD},"choices":[{choice}]}}\n\n'


def _logprobs_of(body: bytes, limits: AnswerLimits | None = None, cut: int = 0) -> list[Any]:
    answer = StreamState("m", None, limits, wants_logprobs=True)
    events = EventStreamBody(answer, lambda: None)
    found: list[Any] = []
    for piece in (body[:cut], body[cut:]):
        events.feed(piece)
        if delta := answer.take_delta():
            found += [msgspec.json.decode(entry) for entry in delta.logprobs]
    assert answer.completion().finish_reason == ("length" if answer.is_cut else "stop")
    return found


def test_log_probabilities_come_with_their_tokens() -> None:
    chunk = _chunk_with(f'{{"content":[{_TOKEN}],"refusal":null}}')
    body = (chunk * 3 + _chunk("{}", '"stop"') + "data: [DONE]\n\n").encode()
    entry = {
        "token": "Hi",
        "logprob": -0.5,
        "bytes": [72, 105],
        "top_logprobs": [{"token": "Yo", "logprob": -1.0, "bytes": None}],
    }
    for cut in range(0, len(body), 7):
        assert _logprobs_of(body, cut=cut) == [entry] * 3


@pytest.mark.parametrize(
    ("logprobs", "tokens"),
    [
        ("null", []),
        ('"none"', []),
        ('{"content":null}', []),
        ('{"content":"x"}', []),
        ('{"content":[{"logprob":-1}]}', []),
        ('{"content":[{"token":"a","logprob":"low"}]}', []),
        # As of the older completions API.
        ('{"tokens":["a"],"token_logprobs":[-1]}', []),
        ('{"content":[{"token":"\\u0000\\ud83d","logprob":-9999}]}', ["\ufffd\ufffd"]),
        ('{"content":[{"token":"a","logprob":0,"top_logprobs":null}]}', ["a"]),
        ('{"content":[{"token":"a","logprob":-Infinity}]}', ["a"]),
    ],
)
def test_log_probabilities_of_another_form_are_left_out(logprobs: str, tokens: list[str]) -> None:
    body = _chunk_with(logprobs) + _chunk("{}", '"stop"') + "data: [DONE]\n\n"
    found = _logprobs_of(body.encode())
    assert [entry["token"] for entry in found] == tokens
    assert all(entry["top_logprobs"] == [] for entry in found)


def test_log_probabilities_end_the_answer_at_their_limit() -> None:
    body = _chunk_with(f'{{"content":[{_TOKEN}]}}').encode() * 9
    limits = AnswerLimits(logprobs_bytes=250)
    assert len(_logprobs_of(body, limits)) == 2


def test_log_probabilities_cost_nothing_where_nobody_asked() -> None:
    answer = StreamState("m", None)
    EventStreamBody(answer, lambda: None).feed(_chunk_with(f'{{"content":[{_TOKEN}]}}').encode())
    delta = answer.take_delta()
    assert delta is not None
    assert (delta.text, delta.logprobs) == ("Hi", [])
