"""The messages of a response's prompt: instructions, what came before, and its own input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus

import msgspec
from django.conf import settings

from chat.models import Task
from chat.openai.errors import OpenAIError
from chat.tool_calls import (
    PromptMessage,
    UnpairedError,
    check_pairs,
    from_result,
    is_result,
)


def build_messages(
    instructions: str | None,
    context: Sequence[PromptMessage],
    new: Sequence[PromptMessage],
    *,
    truncates: bool,
) -> list[PromptMessage]:
    """Return the whole prompt. Raises OpenAIError where a call and its output do not belong
    together, or where it is too long and must not be truncated."""
    messages = [*context, *new]
    _check_calls(messages)
    first: list[PromptMessage] = []
    if instructions is not None:
        first.append({"role": "system", "content": instructions})
    room: int = settings.PROMPT_MAX_BYTES - _size(first)
    if _size(messages) > room:
        if not truncates:
            raise context_too_long()
        messages = _newest(messages, room)
    return [*first, *messages]


def context_too_long() -> OpenAIError:
    return OpenAIError(
        HTTPStatus.BAD_REQUEST,
        f"The input has more than {settings.PROMPT_MAX_BYTES} bytes, what came before included. "
        "With truncation: auto its beginning is left out.",
        param="input",
        code="context_length_exceeded",
    )


def continued(
    task: Task, turns: Sequence[PromptMessage], *, has_instructions: bool
) -> list[PromptMessage]:
    """The messages of an ended response with its answer, for the next one to go on from.

    `turns` are the calls of tools that aily has made for it, with their results.

    Its instructions are not carried over, nor is the prompt of its scene.
    """
    sent: list[PromptMessage] = list(task.messages)
    if task.scene_id is not None:
        sent = [message for message in sent if message["role"] != "system"]
    elif has_instructions:
        sent = sent[1:]
    return [*sent, *turns, *answer_messages(task.text, task.reasoning, task.tool_calls)]


def answer_messages(
    text: str, reasoning: str, tool_calls: Sequence[dict[str, object]]
) -> list[PromptMessage]:
    """An answer as the message that providers take it back as; none where there was no answer."""
    if not text and not tool_calls:
        return []
    message: PromptMessage = {"role": "assistant", "content": text or None}
    if tool_calls:
        if reasoning:
            # DeepSeek asks for the reasoning that led to calls.
            message["reasoning_content"] = reasoning
        message["tool_calls"] = [from_result(call) for call in tool_calls]
    return [message]


# --- Calls and their outputs --------------------------------------------------------------------
def _check_calls(messages: Sequence[PromptMessage]) -> None:
    try:
        check_pairs([message for message in messages if message["role"] != "system"])
    except UnpairedError as error:
        raise OpenAIError(HTTPStatus.BAD_REQUEST, _words(error, messages), param="input") from None


def _words(error: UnpairedError, messages: Sequence[PromptMessage]) -> str:
    if error.field == "tool_call_id":
        return f"No function call found for a function call output. {error}"
    return f"No tool output found for function call. {error}"


# --- Truncation ---------------------------------------------------------------------------------
def _newest(messages: Sequence[PromptMessage], room: int) -> list[PromptMessage]:
    """The newest messages that fit; a call stays with its outputs. Raises OpenAIError where not
    even the last fits."""
    kept: list[list[PromptMessage]] = []
    for unit in _units_from_end(messages):
        size = _size(unit)
        if size > room:
            break
        room -= size
        kept.append(unit)
    if not kept:
        raise context_too_long()
    if _begins_with_answer(kept[-1]) and len(kept) > 1:
        # Strict providers want the user to begin.
        kept.pop()
    return [message for unit in reversed(kept) for message in unit]


def _units_from_end(messages: Sequence[PromptMessage]) -> Iterator[list[PromptMessage]]:
    end = len(messages)
    while end:
        start = end - 1
        while start and is_result(messages[start]):
            start -= 1
        yield list(messages[start:end])
        end = start


def _begins_with_answer(unit: Sequence[PromptMessage]) -> bool:
    return unit[0]["role"] == "assistant"


def _size(messages: Sequence[PromptMessage]) -> int:
    return len(msgspec.json.encode(messages))
