"""The tool calls of a task, for its page in the admin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext

from chat.models import Task, ToolCall, ToolStep
from chat.models.tool_calls import CallState

#: Calls of one task, the first ones; and characters of each text of a call.
MAX_CALLS = 100
MAX_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class ShownCall:
    """A call of the page's list."""

    title: str
    state: str
    arguments: str
    model_arguments: str
    result: str
    reason: str


@dataclass(frozen=True, slots=True)
class Tools:
    """The loop of a task, as far as it has come."""

    steps: Sequence[ToolStep]
    calls: Sequence[ToolCall]

    @property
    def shown(self) -> list[ShownCall]:
        return [_shown(call) for call in self.calls]

    def moments(self) -> Iterator[tuple[str, datetime, str]]:
        """The points of the time line: what, when, and details."""
        for step in self.steps:
            number = gettext("step %(number)d") % {"number": step.number}
            yield gettext("Tools asked for"), step.created_at, number
        for call in self.calls:
            yield from _moments(call)


NO_TOOLS = Tools((), ())


def tools_of(task: Task) -> Tools:
    """Return the tool calls of a task, which costs two queries; without tools none."""
    if task.tools is None:
        return NO_TOOLS
    calls = task.own_tool_calls.select_related("decided_by").order_by("step", "place")
    steps = task.tool_steps.defer("text", "reasoning").order_by("number")
    return Tools(list(steps[:MAX_CALLS]), list(calls[:MAX_CALLS]))


def _moments(call: ToolCall) -> Iterator[tuple[str, datetime, str]]:
    name = f"{call.name}, {call.server}" if call.server else call.name
    if call.decided_at is not None:
        by = "" if call.decided_by is None else f": {call.decided_by.get_username()}"
        is_rejected = call.state == CallState.REJECTED
        decided = gettext("Tool call rejected") if is_rejected else gettext("Tool call approved")
        yield decided, call.decided_at, f"{name}{by}"
    elif call.expires_at is not None and call.state == CallState.REQUIRES_ACTION:
        yield gettext("Waits for its user until"), call.expires_at, name
    if call.started_at is not None:
        yield gettext("Tool called"), call.started_at, name
    if call.started_at is not None and call.finished_at is not None:
        seconds = (call.finished_at - call.started_at).total_seconds()
        detail = f"{name}: {call.get_state_display()}, {seconds:.3f} s"
        yield gettext("Tool call ended"), call.finished_at, detail


def _shown(call: ToolCall) -> ShownCall:
    number = gettext("step %(number)d") % {"number": call.step}
    sent = call.sent_arguments
    return ShownCall(
        title=f"{number}: {call.name}" + (f" ({call.server})" if call.server else ""),
        state=str(call.get_state_display()),
        arguments=_cut(sent),
        model_arguments=_cut(call.arguments) if sent != call.arguments else "",
        result=_cut(call.text),
        reason=call.reason,
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"
