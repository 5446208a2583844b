"""Reasoning in the answer's text, as servers send it that do not know how a model marks it."""

from __future__ import annotations

from collections.abc import Iterator

from chat.llm.types import ToolCall
from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    chunk,
    failed,
    stream,
    text,
    tool,
    tools,
    whole,
)

ANSWER = "<think>\nHm\n</think>\n\n42"
LENGTH = chunk(finish="length")


def _cut_in_two() -> Iterator[Case]:
    for cut in range(1, len(ANSWER)):
        yield Answered(
            name=f"pieces cut at {cut}",
            response=stream(text(ANSWER[:cut]), text(ANSWER[cut:]), STOP),
            text="42",
            reasoning="Hm\n",
        )


def _tags() -> Iterator[Case]:
    for tag in ("<think>", "<thinking>", "<seed:think>", "[THINK]"):
        end = tag[0] + "/" + tag[1:]
        yield Answered(
            name=f"{tag} in single characters",
            response=stream(*(text(char) for char in f"{tag}\nHm{end}\n\n42"), STOP),
            text="42",
            reasoning="Hm",
        )


def _untouched() -> Iterator[Case]:
    """Answers that are all text, character by character."""
    for answer in (
        "<thinker>42</thinker>",
        "Use <think>Hm</think> for that.",
        "<",
        "<think",
        " \n<thin",
        "\n\n 42",
        "\n",
        "Hm\n</think>\n\n42",
        "[THINKING] 42",
        " " * 201 + "<think>42</think>",
    ):
        yield Answered(
            name=f"only text: {answer.strip()[:30]!r} of {len(answer)}",
            response=stream(*(text(char) for char in answer), STOP),
            text=answer,
        )


CASES: list[Case] = [
    Answered(
        name="token by token",
        response=stream(
            chunk({"role": "assistant", "content": ""}),
            text("<think>"),
            text("\n"),
            text("So <"),
            text("4> it is"),
            text(".\n"),
            text("</think>"),
            text("\n\n"),
            text("4"),
            text("2 </think>"),
            STOP,
        ),
        text="42 </think>",
        reasoning="So <4> it is.\n",
    ),
    *_cut_in_two(),
    *_tags(),
    *_untouched(),
    Answered(
        name="white space before the tag",
        response=stream(text("\n "), text("\n<think>Hm</think>42"), STOP),
        text="42",
        reasoning="Hm",
    ),
    Answered(
        name="nothing between the tags",
        response=stream(text("<think>\n\n</think>\n\n42"), STOP),
        text="42",
    ),
    Answered(
        name="a second pair of tags is text",
        response=stream(text("<think>a</think>b<think>c</think>"), STOP),
        text="b<think>c</think>",
        reasoning="a",
    ),
    Answered(
        name="an end within the reasoning",
        response=stream(text("<think>Hm, </thi"), LENGTH),
        reasoning="Hm, </thi",
        finish_reason="length",
    ),
    failed(
        "a stop within the reasoning is no answer, as where it has a field",
        stream(text("<think>Hm"), STOP),
        "provider_empty",
        "neither text nor a tool call",
        retryable=True,
    ),
    Answered(
        name="a call after the reasoning",
        response=stream(
            text("<think>Hm</think>\n\n"),
            tools(tool(0, "c", "f", "{}"), finish="tool_calls"),
        ),
        reasoning="Hm",
        finish_reason="tool_calls",
        tool_calls=(ToolCall("c", "f", "{}"),),
    ),
    Answered(
        name="a field of its own: tags in the text are text",
        response=stream(
            chunk({"reasoning_content": "Hm"}), text("<thi"), text("nk>is a tag</think>"), STOP
        ),
        text="<think>is a tag</think>",
        reasoning="Hm",
    ),
    Answered(
        name="a field of its own in the same events",
        response=stream(
            text("<thi"),
            chunk({"reasoning": "Hm", "content": "nk>is a tag"}),
            text("</think>"),
            STOP,
        ),
        text="<think>is a tag</think>",
        reasoning="Hm",
    ),
    Answered(
        name="all so far in each delta",
        response=stream(
            *(text(ANSWER[:size]) for size in (4, 9, 12, 17, 19, 22, len(ANSWER))), STOP
        ),
        text="42",
        reasoning="Hm\n",
    ),
    Answered(
        name="all so far in each message",
        response=stream(
            *(
                {"choices": [{"index": 0, "message": {"content": ANSWER[:size]}}]}
                for size in (4, 12, 17, len(ANSWER))
            ),
            STOP,
        ),
        text="42",
        reasoning="Hm\n",
    ),
    Answered(
        name="a whole answer",
        response=whole({"choices": [{"message": {"content": ANSWER}, "finish_reason": "stop"}]}),
        text="42",
        reasoning="Hm\n",
    ),
    Answered(
        name="a whole answer with a field of its own",
        response=whole(
            {
                "choices": [
                    {
                        "message": {"content": "<think>42", "reasoning_content": "Hm"},
                        "finish_reason": "stop",
                    }
                ]
            }
        ),
        text="<think>42",
        reasoning="Hm",
    ),
    Answered(
        name="a reason with each piece",
        response=stream(
            text("<thi", "stop"), text("nk>Hm</th", "stop"), text("ink>42", "stop"), STOP
        ),
        text="42",
        reasoning="Hm",
    ),
]
