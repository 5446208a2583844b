"""The messages of a task: history, rendered scene and the caller's own, within their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from uuid import UUID

import msgspec
from django.conf import settings

from aily.problems import InvalidRequest, TooLarge
from chat.exceptions import because
from chat.models import Message
from chat.models.conversations import UserTurn
from chat.models.ids import tagged_id
from chat.rendering.prompt import Messages
from chat.services import history as histories
from chat.services.history import History
from chat.services.messages import text_of
from chat.services.submission import CompositeRequest
from chat.tool_calls import (
    Content,
    Part,
    PromptMessage,
    UnpairedError,
    check_pairs,
    ids_of,
    is_result,
)

TITLE_CHARS = 80
#: Roles that instruct the model; they go before all else.
_INSTRUCTING = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The messages as the provider gets them, and what becomes of them in a conversation."""

    messages: Messages
    #: Bytes of the messages as JSON.
    size: int
    user_turn: UserTurn | None = None
    #: The first message of the conversation that is sent, where older ones are not.
    history_from: UUID | None = None


def max_request_bytes() -> int:
    """The largest body of a request for a task. JSON may write three bytes of a text as six."""
    return int(settings.REQUEST_MAX_BYTES + 2 * settings.PROMPT_MAX_BYTES)


def build(request: CompositeRequest, rendered: Messages, history: History | None) -> Prompt:
    """The prompt: system messages, history, the scene's own message, those of the request.

    Raises InvalidRequest for tool calls without their results, or TooLarge past PROMPT_MAX_BYTES
    of JSON or, of parameters, PARAMETERS_MAX_BYTES.
    """
    if history is None and not request.messages:
        return _prompt(rendered, request)
    given = [message.as_sent() for message in request.messages or []]
    exchanges = histories.answered_exchanges(history, request.replaces) if history else []
    awaited = _checked(given, histories.awaited_results(exchanges) if not rendered else [])
    system, asked = _split(rendered)
    own_system, own = _split(given)
    if history is None:
        messages = [*rendered, *given]
        if rendered and own:
            messages = [*_merged([*system, *own_system]), *_merged([*asked, *own])]
        return _prompt(messages, request)
    if awaited and ids_of(own[0]) == awaited:
        # The call is in the history already.
        own = own[1:]
    return _continued(request, [*system, *own_system], [*asked, *own], history, exchanges, awaited)


def _continued(
    request: CompositeRequest,
    system: Messages,
    new: Messages,
    history: History,
    exchanges: Sequence[histories.Exchange],
    awaited: Sequence[str],
) -> Prompt:
    """The prompt of the next turn of a conversation, or of its next step where tools are called."""
    system, new = _merged(system), _merged(new)
    room = histories.max_bytes() - histories.size_of([*system, *new]) - len("[]")
    sent = histories.fit(history, exchanges, room, is_awaited=bool(awaited))
    if awaited and (not sent.messages or ids_of(sent.messages[-1]) != awaited):
        raise _too_large(request)
    messages = [*system, *_merged([*sent.messages, *new])]
    turn = UserTurn(
        history.conversation_id,
        history.updated_at,
        _kept(new, history.conversation_id, awaited),
        request.replaces,
    )
    if not history.title:
        turn.title = _title(turn.messages)
    history_from = None
    if sent.is_cut:
        history_from = sent.first_id or (turn.messages[0].id if turn.messages else None)
    return _prompt(messages, request, turn, history_from)


def _prompt(
    messages: Messages,
    request: CompositeRequest,
    turn: UserTurn | None = None,
    history_from: UUID | None = None,
) -> Prompt:
    """Raises TooLarge."""
    size = len(msgspec.json.encode(messages))
    if size > settings.PROMPT_MAX_BYTES:
        raise _too_large(request)
    params = request.params()
    if len(msgspec.json.encode(params)) > settings.PARAMETERS_MAX_BYTES:
        raise TooLarge(
            f"The parameters have more than {settings.PARAMETERS_MAX_BYTES} bytes.",
            field=max(params, key=lambda name: len(msgspec.json.encode(params[name]))),
        )
    return Prompt(messages, size, turn, history_from)


def _too_large(request: CompositeRequest) -> TooLarge:
    return TooLarge(
        f"The prompt has more than {settings.PROMPT_MAX_BYTES} bytes.",
        field="messages" if request.messages else "variables",
    )


# --- The request's messages ---------------------------------------------------------------------
def _checked(messages: Messages, awaited: list[str]) -> list[str]:
    """`awaited`, the ids of tool calls whose results these messages give; [] where they do not.

    Raises InvalidRequest where a call of theirs lacks its result, or a result its call.
    """
    rest = _split(messages)[1]
    first = rest[0] if rest else None
    if first is None or not (is_result(first) or (awaited and ids_of(first) == awaited)):
        # The user goes on without: the history is sent without the calls.
        awaited = []
    try:
        check_pairs(rest, awaited if first and is_result(first) else [])
    except UnpairedError as error:
        positions = [index for index, message in enumerate(messages) if not _instructs(message)]
        place = "" if error.index is None else f".{positions[error.index]}.{error.field}"
        raise because(InvalidRequest, error.reason, field=f"messages{place}") from None
    return awaited


def _instructs(message: PromptMessage) -> bool:
    return message["role"] in _INSTRUCTING


def _split(messages: Messages) -> tuple[Messages, Messages]:
    """What instructs the model, and all else."""
    instructions = [message for message in messages if _instructs(message)]
    return instructions, [message for message in messages if not _instructs(message)]


def _merged(messages: Messages) -> Messages:
    """With texts of one role that follow each other as one message, as strict providers want it."""
    merged: Messages = []
    for message in messages:
        if merged and _belong_together(merged[-1], message):
            content = _joined(merged[-1]["content"], message["content"])
            merged[-1] = {"role": message["role"], "content": content}
        else:
            merged.append(message)
    return merged


def _belong_together(first: PromptMessage, second: PromptMessage) -> bool:
    """Nothing but content of one role; no result of a tool call, and no call."""
    return first.keys() == second.keys() == {"role", "content"} and first["role"] == second["role"]


def _joined(first: Content, second: Content) -> Content:
    if isinstance(first, str) and isinstance(second, str):
        return "\n\n".join(text for text in (first, second) if text.strip())
    return [*_as_parts(first), *_as_parts(second)]


def _as_parts(content: Content) -> list[Part]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())


# --- What is kept -------------------------------------------------------------------------------
def _kept(new: Messages, conversation_id: UUID, awaited: Sequence[str]) -> list[Message]:
    """The results of awaited tool calls, and the last question."""
    results = list(takewhile(is_result, new)) if awaited else []
    questions = [message for message in new if message["role"] == "user"][-1:]
    said = [question for question in questions if question.get("content")]
    return [_message(message, conversation_id) for message in (*results, *said)]


def _message(sent: PromptMessage, conversation_id: UUID) -> Message:
    content = sent.get("content")
    return Message(
        id=tagged_id(),
        conversation_id=conversation_id,
        role=sent["role"],
        content=text_of(sent),
        parts=content if isinstance(content, list) else None,
        tool_call_id=sent.get("tool_call_id") or "",
    )


def _title(messages: Sequence[Message]) -> str:
    questions = (message.content for message in messages if message.role == Message.Role.USER)
    return " ".join(next(questions, "").split())[:TITLE_CHARS]
