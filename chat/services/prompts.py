"""The messages of a task: history, rendered scene and the caller's own, within their limits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import IntegrityError
from django.db.models import Count
from django.utils import timezone

from aily.problems import TooLarge
from chat.models import Conversation, Message, SceneVersion, Task
from chat.models.tasks import ACTIVE
from chat.services import scenes
from chat.services.messages import text_of
from chat.services.submission import CompositeRequest


def build(
    request: CompositeRequest, version: SceneVersion | None, history: Sequence[Message]
) -> list[dict[str, Any]]:
    """The prompt as the provider gets it: the scene's system message, history, the new turn.

    Raises InvalidVariable, or TooLarge past PROMPT_MAX_BYTES of JSON.
    """
    rendered = scenes.render(version, request.variables) if version else []
    own = [message.model_dump(exclude_none=True) for message in request.messages or []]
    system = [one for one in rendered if one["role"] == "system"]
    asked = [one for one in rendered if one["role"] != "system"]
    past = [{"role": message.role, "content": message.content} for message in history]
    messages = [*system, *past, *asked, *own]
    if len(msgspec.json.encode(messages)) > settings.PROMPT_MAX_BYTES:
        raise TooLarge(
            f"The prompt has more than {settings.PROMPT_MAX_BYTES} bytes.",
            field="messages" if request.messages else "variables",
        )
    return messages


def question(messages: Sequence[dict[str, Any]]) -> str:
    """The last user message: what a conversation keeps as the question."""
    for message in reversed(messages):
        if message["role"] == "user":
            return text_of(message)
    return ""


def histories(wanted: Iterable[tuple[int, UUID]]) -> dict[tuple[int, UUID], list[Message]]:
    """The messages of each (owner id, conversation id) that exists and is that owner's."""
    ids = [conversation_id for _, conversation_id in wanted]
    owners = dict(Conversation.objects.filter(pk__in=ids).values_list("pk", "owner_id"))
    found: defaultdict[UUID, list[Message]] = defaultdict(list)
    for message in Message.objects.filter(conversation_id__in=list(owners)).order_by("id"):
        found[message.conversation_id].append(message)
    return {(owner_id, pk): found[pk] for owner_id, pk in wanted if owners.get(pk) == owner_id}


class HistoryChangedError(IntegrityError):
    """A conversation got a message after a prompt was built from it."""


def check_histories(tasks: Sequence[Task]) -> None:
    """Raise HistoryChangedError unless each task's prompt holds its whole conversation.

    To be called in the transaction that has inserted the tasks and touched the conversations: from
    there on these are theirs alone, so what was answered before is there to be seen. A task that is
    answered already shuts nobody out by itself: it raises where another is being answered.
    """
    ids = [task.conversation_id for task in tasks if task.conversation_id]
    counts: dict[UUID | None, int] = dict(
        Message.objects.filter(conversation_id__in=ids)
        .values_list("conversation_id")
        .annotate(Count("pk"))
        .order_by()
    )
    answered = [
        task.conversation_id for task in tasks if task.conversation_id and task.status not in ACTIVE
    ]
    if answered and Task.objects.active().filter(conversation_id__in=answered).exists():
        raise HistoryChangedError
    for task in tasks:
        if counts.get(task.conversation_id, 0) != task.history_length:
            raise HistoryChangedError


def touch_conversations(questions: Sequence[Message]) -> None:
    """Put conversations with a new question on top; an untitled one is named after its first."""
    Conversation.objects.filter(pk__in=[one.conversation_id for one in questions]).update(
        updated_at=timezone.now()
    )
    for one in questions:
        if title := " ".join(one.content.split())[:80]:
            Conversation.objects.filter(pk=one.conversation_id, title="").update(title=title)
