"""Tool calls that a prompt asks for, step by step: `[sim:tools=a {"x": 1} | b {} ; c {}]`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from chat.llm.simulator.config import JsonObject

MAX_STEPS = 1000
MAX_CALLS_OF_STEP = 256
#: Longer results are quoted in part.
MAX_QUOTED_CHARS = 400

_OPENING = "[sim:tools="
_NAME = re.compile(r"\s*([A-Za-z0-9_.-]{1,128})\s*")
_SEPARATOR = re.compile(r"\s*([|;\]])")
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that a prompt asks for. `arguments` is JSON as it stands in the prompt."""

    name: str
    arguments: str


#: Calls that are made at once.
Step = tuple[PlannedCall, ...]


def split_plan(prompt: str) -> tuple[tuple[Step, ...], str]:
    """Return the steps that a prompt asks for, and the prompt without them.

    Of several plans the last one holds. Raises ValueError at one that cannot be read.
    """
    steps: tuple[Step, ...] = ()
    while (start := prompt.find(_OPENING)) >= 0:
        steps, end = _read_plan(prompt, start + len(_OPENING))
        prompt = prompt[:start] + prompt[end:]
    return steps, prompt


def without_plan(prompt: str) -> str:
    """The prompt without its plans; as it is, if one of them cannot be read."""
    try:
        return split_plan(prompt)[1]
    except ValueError:
        return prompt


def _read_plan(prompt: str, place: int) -> tuple[tuple[Step, ...], int]:
    steps: list[Step] = []
    calls: list[PlannedCall] = []
    while True:
        call, place = _read_call(prompt, place)
        calls.append(call)
        separator = _SEPARATOR.match(prompt, place)
        if separator is None:
            raise ValueError(f"directive [sim:tools]: | ; or ] must follow {call.name}")
        place = separator.end()
        if len(calls) > MAX_CALLS_OF_STEP or len(steps) >= MAX_STEPS:
            raise ValueError("directive [sim:tools]: too many calls")
        if separator[1] != "|":
            steps.append(tuple(calls))
            calls = []
        if separator[1] == "]":
            return tuple(steps), place


def _read_call(prompt: str, place: int) -> tuple[PlannedCall, int]:
    name = _NAME.match(prompt, place)
    if name is None:
        raise ValueError("directive [sim:tools]: the name of a tool is missing")
    begin = name.end()
    if prompt[begin : begin + 1] != "{":
        return PlannedCall(name[1], "{}"), begin
    try:
        _, end = _decode(prompt, begin)
    except (ValueError, RecursionError):
        raise ValueError(
            f"directive [sim:tools]: the arguments of {name[1]} are no JSON object"
        ) from None
    return PlannedCall(name[1], prompt[begin:end]), end


def steps_taken(messages: list[JsonObject]) -> int:
    """How often tools were called since the last user message."""
    return sum(1 for message in _since_question(messages) if message.get("tool_calls"))


def quoted_results(messages: list[JsonObject]) -> str:
    """The results since the last user message as Markdown, each with its call; "" without any."""
    calls: dict[str, str] = {}
    lines: list[str] = []
    for message in _since_question(messages):
        calls |= dict(_calls_of(message))
        if message.get("role") == "tool":
            call = calls.get(str(message.get("tool_call_id")), "an unknown call")
            lines.append(f"- {call}: {_quote(message.get('content'))}")
    return "\n".join(["The tools answered:", *lines]) if lines else ""


def _since_question(messages: list[JsonObject]) -> list[JsonObject]:
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].get("role") == "user":
            return messages[index + 1 :]
    return messages


def _calls_of(message: JsonObject) -> Iterator[tuple[str, str]]:
    for call in message.get("tool_calls") or []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield str(call.get("id")), f"`{function.get('name')} {function.get('arguments')}`"


def _quote(content: object) -> str:
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    text = " ".join(str(content or "").split())
    return text if len(text) <= MAX_QUOTED_CHARS else f"{text[: MAX_QUOTED_CHARS - 1]}…"
