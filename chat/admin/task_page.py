"""What the page of a task shows besides its columns: a time line, the prompt or the input, and the
answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext

from chat.admin.task_tools import ShownCall, Tools, tools_of
from chat.error_texts import ErrorText, error_text
from chat.models import Delivery, Message, Status, Task, TaskKind
from chat.models.vectors import VectorsSize, size_of

#: Characters of each text on the page.
MAX_SHOWN_CHARS = 100_000
#: Messages of a prompt, the last ones.
MAX_MESSAGES = 200
#: Inputs of embeddings, the first ones, and the characters of each.
MAX_INPUTS = 50
MAX_INPUT_CHARS = 2_000
#: Deliveries on the time line, the first ones.
MAX_DELIVERIES = 20


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of the time line. `after_ms`: since the task was accepted."""

    name: str
    at: datetime
    after_ms: int
    detail: str = ""

    @property
    def clock(self) -> str:
        """Return the time of day in UTC, in milliseconds."""
        return self.at.strftime("%H:%M:%S.") + f"{self.at.microsecond // 1000:03d}"


@dataclass(frozen=True, slots=True)
class Text:
    """A text on the page; `left_out` counts the characters beyond MAX_SHOWN_CHARS."""

    text: str
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class PromptMessage:
    role: str
    text: Text
    calls: str = ""

    @property
    def role_name(self) -> str:
        """In the language of the page; a role that only some providers know as it is written."""
        roles = Message.Role
        return gettext(str(roles(self.role).label)) if self.role in roles.values else self.role


@dataclass(frozen=True, slots=True)
class ShownError:
    code: str
    words: ErrorText


@dataclass(frozen=True, slots=True)
class EmbeddingsPage:
    """The inputs whose vectors a task asks for. `size`: of the vectors, while they are kept."""

    inputs: Sequence[Text]
    inputs_left_out: int
    size: VectorsSize | None


@dataclass(frozen=True, slots=True)
class TaskPage:
    moments: Sequence[Moment]
    embeddings: EmbeddingsPage | None
    messages: Sequence[PromptMessage]
    messages_left_out: int
    schema: str
    first_answer: Text
    first_errors: Sequence[str]
    answer: Text
    reasoning: Text
    tool_calls: str
    #: Those that aily has made.
    own_calls: Sequence[ShownCall]
    error: ShownError | None
    is_active: bool
    #: Earlier attempts whose times are not kept.
    attempts_left_out: int


def page_of(task: Task) -> TaskPage:
    """Return what the page of a task shows. Costs two queries, of embeddings three, with tools
    four."""
    tools = tools_of(task)
    prompt = task.messages if isinstance(task.messages, list) else []
    repair = task.repair if isinstance(task.repair, dict) else {}
    return TaskPage(
        moments=_moments(task, tools),
        embeddings=_embeddings(task) if task.kind == TaskKind.EMBEDDINGS else None,
        messages=[_prompt_message(message) for message in prompt[-MAX_MESSAGES:]],
        messages_left_out=max(len(prompt) - MAX_MESSAGES, 0),
        schema=_as_json(task.response_format) if task.response_format else "",
        first_answer=_cut(str(repair.get("text", ""))),
        first_errors=[str(error) for error in repair.get("errors", [])],
        answer=_cut(task.text),
        reasoning=_cut(task.reasoning),
        tool_calls=_as_json(task.tool_calls) if task.tool_calls else "",
        own_calls=tools.shown,
        error=_error(task.error) if task.error else None,
        is_active=not Status(task.status).is_terminal,
        attempts_left_out=max(task.attempt - 1 - len(task.earlier_attempts or []), 0),
    )


def _error(stored: Mapping[str, Any]) -> ShownError:
    code, message = str(stored.get("code", "")), str(stored.get("message", ""))
    return ShownError(code, error_text(code, message, stored.get("params"), has_detail=True))


# --- Time line ----------------------------------------------------------------------------------
def _moments(task: Task, tools: Tools) -> list[Moment]:
    """The points in time that rows hold, in their order."""
    points = [*_own_moments(task), *tools.moments(), *_later_moments(task)]
    # Stable: of points at one time, those of earlier attempts come first.
    points.sort(key=lambda point: point[1])
    begin = task.created_at
    return [
        Moment(name, at, round((at - begin).total_seconds() * 1000), detail)
        for name, at, detail in points
    ]


def _earlier_moments(task: Task) -> Iterator[tuple[str, datetime, str]]:
    for earlier in task.earlier_attempts or []:
        times = {
            name: datetime.fromisoformat(earlier[name])
            for name in ("started_at", "first_token_at", "ended_at")
            if earlier.get(name)
        }
        number = gettext("attempt %(number)d") % {"number": earlier["attempt"]}
        if "started_at" in times:
            detail = f"{number}, {earlier['model']}"
            yield gettext("Claimed and started"), times["started_at"], detail
        if "first_token_at" in times:
            yield gettext("First token"), times["first_token_at"], number
        if "ended_at" in times:
            yield gettext("Attempt ended"), times["ended_at"], f"{number}: {earlier['outcome']}"


def _own_moments(task: Task) -> Iterator[tuple[str, datetime, str]]:
    yield gettext("Accepted and queued"), task.created_at, task.get_lane_display()
    yield from _earlier_moments(task)
    attempt = gettext("attempt %(number)d") % {"number": task.attempt}
    if task.started_at is not None:
        worker = "" if task.worker is None else f", {task.worker}"
        yield gettext("Claimed and started"), task.started_at, attempt + worker
    if task.first_token_at is not None:
        yield gettext("First token"), task.first_token_at, attempt
    if task.not_before is not None and task.status == Status.QUEUED:
        yield gettext("Next attempt, not before"), task.not_before, ""
    if task.deadline_at is not None and not Status(task.status).is_terminal:
        yield gettext("Deadline"), task.deadline_at, ""
    if task.finished_at is not None:
        code = (task.error or {}).get("code", "")
        detail = f"{task.get_status_display()} {code}".strip()
        yield gettext("Ended"), task.finished_at, detail


def _later_moments(task: Task) -> Iterator[tuple[str, datetime, str]]:
    """Deliveries; and the settlement, which writes the ledger."""
    deliveries = Delivery.objects.filter(task=task).select_related("endpoint").order_by("id")
    for delivery in deliveries[:MAX_DELIVERIES]:
        kind = f"{delivery.get_kind_display()}: {delivery.event}"
        yield gettext("Settled, delivery due"), delivery.created_at, kind
        if delivery.delivered_at is not None:
            yield gettext("Delivered"), delivery.delivered_at, kind


# --- Embeddings ---------------------------------------------------------------------------------
def _embeddings(task: Task) -> EmbeddingsPage:
    given = task.params.get("input")
    is_one = not isinstance(given, list) or all(isinstance(item, int) for item in given[:1])
    inputs = [given] if is_one else given
    return EmbeddingsPage(
        inputs=[_input(item) for item in inputs[:MAX_INPUTS]],
        inputs_left_out=max(len(inputs) - MAX_INPUTS, 0),
        size=size_of(task.pk),
    )


def _input(item: object) -> Text:
    if isinstance(item, list):
        item = ", ".join(map(str, item))
    return _cut(str(item), MAX_INPUT_CHARS)


# --- Texts --------------------------------------------------------------------------------------
def _cut(text: str, max_chars: int = MAX_SHOWN_CHARS) -> Text:
    return Text(text[:max_chars], max(len(text) - max_chars, 0))


def _as_json(value: object) -> str:
    return _cut(json.dumps(value, ensure_ascii=False, indent=2)).text


def _prompt_message(message: Any) -> PromptMessage:
    """Read one message as it is sent: its content is a text, or a list of parts."""
    if not isinstance(message, dict):
        return PromptMessage("?", _cut(_as_json(message)))
    calls = message.get("tool_calls")
    return PromptMessage(
        role=str(message.get("role", "?")),
        text=_cut(_text_of(message.get("content"))),
        calls=_as_json(calls) if calls else "",
    )


def _text_of(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n\n".join(_text_of_part(part) for part in content)
    return _as_json(content)


def _text_of_part(part: object) -> str:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    return f"```json\n{_as_json(part)}\n```"
