"""A task's events as chunks: text that is only ever added, tool calls, and what ends them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from chat.events import (
    DeltaPiece,
    EventId,
    SnapshotPiece,
    TaskCancelled,
    TaskCompleted,
    TaskDelta,
    TaskFailed,
    TaskQueued,
    TaskSnapshot,
    TaskStarted,
    encode,
    event_type,
)
from chat.models.ids import uuid7
from chat.openai.chat_completions.answers import Answer
from chat.openai.chat_completions.body import AnswerForm
from chat.openai.chat_completions.stream import DONE, ChatStream
from chat.openai.errors import OpenAIError
from chat.services.pieces import Followed
from tests.clients.openai_schemas import check

TASK = str(uuid7())
USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "total_tokens": 7,
    "cached_tokens": 2,
    "reasoning_tokens": 1,
}
CALLS = [
    {"id": "call_a", "name": "weather", "arguments": '{"city": "Oslo"}'},
    {"id": "call_b", "name": "time", "arguments": "x" * 45_000},
]


def form(**fields: Any) -> AnswerForm:
    return AnswerForm("named", is_stream=True, **fields)


def frame(event: Any) -> Followed:
    event_id = getattr(event, "id", None)
    encoded = encode(event)
    place = EventId.parse(event_id) if event_id else None
    return Followed(place, event_type(encoded), encoded)


def started(attempt: int = 1, model: str = "answering") -> Followed:
    return frame(TaskStarted(task_id=TASK, id=f"{attempt}-1", attempt=attempt, model=model))


def delta(
    event_id: str, text: str = "", reasoning: str = "", logprobs: Sequence[msgspec.Raw] = ()
) -> Followed:
    return frame(
        TaskDelta(
            task_id=TASK, id=event_id, text=text, reasoning=reasoning, logprobs=logprobs or UNSET
        )
    )


def snapshot(event_id: str, text: str, reasoning: str = "") -> Followed:
    return frame(TaskSnapshot(task_id=TASK, id=event_id, text=text, reasoning=reasoning))


def completed(event_id: str, text: str = "", reasoning: str = "", **result: Any) -> Followed:
    whole = {"text": text, "reasoning": reasoning, "finish_reason": "stop", "tool_calls": []}
    return frame(TaskCompleted(task_id=TASK, id=event_id, result={**whole, **result}, usage=USAGE))


async def chunks_of(frames: list[Followed], **fields: Any) -> list[Any]:
    """The chunks, each checked against OpenAI's schema. Raises OpenAIError."""

    async def follow() -> AsyncIterator[Followed]:
        for followed in frames:
            yield followed

    events = [event async for event in ChatStream(TASK, form(**fields)).events(follow())]
    assert events[-1] == DONE
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
    for chunk in chunks:
        check("CreateChatCompletionStreamResponse", chunk)
    return chunks


def text_of(chunks: list[Any]) -> tuple[str, str]:
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    return (
        "".join(delta.get("content", "") for delta in deltas),
        "".join(delta.get("reasoning_content", "") for delta in deltas),
    )


# --- Text ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "frames",
    [
        [started(), delta("1-2", "", "Hm"), delta("1-3", "Good "), delta("1-4", "day")],
        # The whole answer comes with the end: it was kept, or its log is gone.
        [],
        # The log was lost, and begins anew with all of the text so far.
        [
            started(),
            delta("1-2", "Good ", "H"),
            snapshot("1-5", "Good da", "Hm"),
            delta("1-6", "y"),
        ],
        # The row of a task whose log is gone.
        [snapshot("1-3", "Good day", "Hm")],
        # A large snapshot in pieces, only the last of which has a place.
        [
            started(),
            delta("1-2", "Goo", "Hm"),
            frame(SnapshotPiece(TASK, "", "Hm")),
            frame(DeltaPiece(TASK, "Good", "")),
            delta("1-5", " day"),
        ],
        # It waits for its turn, and an attempt fails before there is any text.
        [frame(TaskQueued(TASK, 3, 1.5)), started(), started(2), delta("2-2", "Good day", "Hm")],
    ],
)
async def test_the_text_is_sent_once(frames: list[Followed]) -> None:
    attempt = frames[-1].event_id.attempt if frames and frames[-1].event_id else 1
    chunks = await chunks_of([*frames, completed(f"{attempt}-9", "Good day", "Hm")])
    assert text_of(chunks) == ("Good day", "Hm")
    first, *_, last = (chunk["choices"][0] for chunk in chunks)
    assert first["delta"]["role"] == "assistant"
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")


async def test_an_empty_answer_has_a_role_and_a_reason() -> None:
    chunks = await chunks_of([completed("0-1", finish_reason="length")])
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "length"]


@pytest.mark.parametrize(
    "frames",
    [
        [started(), delta("1-2", "Good"), started(2), delta("2-2", "Bad")],
        [started(), delta("1-2", "Good"), delta("2-2", "Bad")],
        [started(), delta("1-2", "Good"), snapshot("2-2", "Goodness")],
        [started(), delta("1-2", "", "Hm"), completed("2-9", "Bad")],
        [
            started(),
            delta("1-2", "Good"),
            frame(SnapshotPiece(TASK, "Goodness", "")),
            delta("2-5", "!"),
        ],
    ],
)
async def test_the_text_of_another_attempt_is_never_added(frames: list[Followed]) -> None:
    with pytest.raises(OpenAIError) as error:
        await chunks_of(frames)
    assert (error.value.status, error.value.code) == (502, "answer_interrupted")


async def test_the_model_is_the_one_that_answers() -> None:
    chunks = await chunks_of([started(), delta("1-2", "x"), completed("1-3", "x")])
    assert {chunk["model"] for chunk in chunks} == {"answering"}
    chunks = await chunks_of([completed("0-1", "x")])
    assert {chunk["model"] for chunk in chunks} == {"named"}


# --- The end ------------------------------------------------------------------------------------
async def test_tool_calls_have_dense_indexes_and_their_names_first() -> None:
    frames = [started(), completed("1-2", tool_calls=CALLS, finish_reason="tool_calls")]
    chunks = await chunks_of(frames)
    pieces = [
        piece for chunk in chunks for piece in chunk["choices"][0]["delta"].get("tool_calls", [])
    ]
    assert [piece["index"] for piece in pieces] == [0, 0, 1, 1, 1, 1]
    for index, call in enumerate(CALLS):
        first, *others = (piece for piece in pieces if piece["index"] == index)
        assert first == {
            "index": index,
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": ""},
        }
        assert all(other.keys() == {"index", "function"} for other in others)
        assert "".join(other["function"]["arguments"] for other in others) == call["arguments"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_function_call_has_its_old_form() -> None:
    frames = [completed("1-2", tool_calls=CALLS[:1], finish_reason="tool_calls")]
    chunks = await chunks_of(frames, has_functions=True)
    pieces = [chunk["choices"][0]["delta"].get("function_call") for chunk in chunks]
    assert [piece for piece in pieces if piece] == [
        {"arguments": "", "name": "weather"},
        {"arguments": CALLS[0]["arguments"]},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


async def test_the_token_counts_come_last_if_they_are_asked_for() -> None:
    *others, last = await chunks_of([completed("1-2", "x")], has_usage_chunk=True)
    assert all(chunk["usage"] is None for chunk in others)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 7
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
    assert last["usage"]["completion_tokens_details"]["reasoning_tokens"] == 1


async def test_a_refusal_has_a_field_of_its_own() -> None:
    chunks = await chunks_of([completed("1-2", "No.", finish_reason="refusal")])
    assert text_of(chunks) == ("", "")
    assert [chunk["choices"][0]["delta"].get("refusal") for chunk in chunks] == [None, "No.", None]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (TaskFailed(TASK, "1-3", {"code": "provider_overloaded", "message": "Busy"}), 503),
        (TaskFailed(TASK, "1-3", {"code": "provider_error", "message": "Broken"}), 502),
        (TaskFailed(TASK, "1-3", {"code": "invalid_output", "message": "Odd"}), 502),
        (TaskFailed(TASK, "1-3", {}), 500),
        (TaskCancelled(TASK, "1-3"), 409),
    ],
)
async def test_a_task_without_an_answer_is_an_error(end: Any, status: int) -> None:
    with pytest.raises(OpenAIError) as error:
        await chunks_of([started(), delta("1-2", "Good"), frame(end)])
    assert error.value.status == status


async def test_a_task_that_was_deleted_is_an_error() -> None:
    with pytest.raises(OpenAIError):
        await chunks_of([started()])


# --- Whole --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("result", "reason", "message"),
    [
        (
            {"text": "Hi", "finish_reason": "stop"},
            "stop",
            {"content": "Hi"},
        ),
        ({"text": "", "finish_reason": "length"}, "length", {"content": ""}),
        ({"text": "Hi", "finish_reason": "model_length"}, "length", {"content": "Hi"}),
        ({"text": "Hi", "finish_reason": "content_filter"}, "content_filter", {"content": "Hi"}),
        ({"text": "Hi", "finish_reason": "eos"}, "stop", {"content": "Hi"}),
        (
            {"text": "Hi", "reasoning": "Hm", "finish_reason": None},
            "stop",
            {"content": "Hi", "reasoning_content": "Hm"},
        ),
        (
            {"text": "No.", "finish_reason": "refusal"},
            "stop",
            {"content": None, "refusal": "No."},
        ),
        (
            {"text": "", "tool_calls": CALLS[:1], "finish_reason": "stop"},
            "tool_calls",
            {
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_a",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                    }
                ],
            },
        ),
    ],
)
def test_a_whole_completion(result: Any, reason: str, message: dict[str, Any]) -> None:
    completion = json.loads(Answer(TASK, form()).whole(result, USAGE))
    check("CreateChatCompletionResponse", completion)
    [choice] = completion["choices"]
    assert choice["finish_reason"] == reason
    assert choice["message"] == {"role": "assistant", "refusal": None, **message}
    assert completion["usage"]["total_tokens"] == 7


def test_a_whole_completion_in_the_old_form() -> None:
    result = {"text": "", "tool_calls": CALLS[:1], "finish_reason": "tool_calls"}
    completion = json.loads(Answer(TASK, form(has_functions=True)).whole(result, {}))
    check("CreateChatCompletionResponse", completion)
    [choice] = completion["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"]["name"] == "weather"
    assert "tool_calls" not in choice["message"]


# --- Log probabilities --------------------------------------------------------------------------
def logprobs_of(*tokens: str) -> list[msgspec.Raw]:
    return [
        msgspec.Raw(
            msgspec.json.encode({"token": token, "logprob": -1.0, "bytes": [], "top_logprobs": []})
        )
        for token in tokens
    ]


def tokens_of(chunks: list[Any]) -> list[tuple[str, list[str]]]:
    """The text of each chunk that has log probabilities, and their tokens."""
    choices = [chunk["choices"][0] for chunk in chunks]
    return [
        (choice["delta"]["content"], [entry["token"] for entry in choice["logprobs"]["content"]])
        for choice in choices
        if choice["logprobs"]
    ]


async def test_log_probabilities_come_with_their_text_once() -> None:
    whole = logprobs_of("a", "b", "c", "d")
    streamed = [
        started(),
        delta("1-2", "ab", logprobs=whole[:2]),
        delta("1-3", "", logprobs=whole[2:3]),
    ]
    chunks = await chunks_of([*streamed, completed("1-4", "abcd", logprobs=whole)])
    assert tokens_of(chunks) == [("ab", ["a", "b"]), ("", ["c"]), ("cd", ["d"])]


@pytest.mark.parametrize("sent", [0, 2])
async def test_after_a_snapshot_log_probabilities_come_with_the_end(sent: int) -> None:
    whole = logprobs_of("a", "b", "c", "d")
    frames = [
        started(),
        *([delta("1-2", "ab", logprobs=whole[:2])] if sent else []),
        snapshot("1-3", "abc"),
        delta("1-4", "d", logprobs=whole[3:]),
        completed("1-5", "abcd", logprobs=whole),
    ]
    chunks = await chunks_of(frames)
    assert [token for _, tokens in tokens_of(chunks) for token in tokens] == ["a", "b", "c", "d"]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "abcd"


async def test_many_log_probabilities_come_in_lines_of_moderate_length() -> None:
    whole = logprobs_of(*("x" * 1_000 for _ in range(100)))
    chunks = await chunks_of([started(), completed("1-2", "text", logprobs=whole)])
    found = tokens_of(chunks)
    assert [text for text, _ in found] == ["text", *[""] * (len(found) - 1)]
    assert sum(len(tokens) for _, tokens in found) == 100
    assert max(len(json.dumps(chunk)) for chunk in chunks) < 32_768
