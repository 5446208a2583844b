"""Conversations: chats that keep their history.

`updated_at` is a conversation's version: every change of its messages advances it, first in the
same transaction, so that the row's lock also orders such changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, models

from aily.database.rows import execute, fetch_column
from chat.models.ids import tagged_id
from chat.tool_calls import from_result


class Conversation(models.Model):
    id = models.UUIDField(primary_key=True, default=tagged_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        db_index=False,  # conversation_owner_recent begins with it
        related_name="conversations",
    )
    title = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-updated_at", "-id")
        indexes = [models.Index(fields=["owner", "-updated_at"], name="conversation_owner_recent")]

    def __str__(self) -> str:
        return self.title or str(self.pk)


class Message(models.Model):
    """One message of a conversation: a question, an answer, or the result of a tool call.

    Questions and results are stored when their task is accepted, the answer when it ends.
    """

    class Role(models.TextChoices):
        SYSTEM = "system"
        USER = "user"
        ASSISTANT = "assistant"
        TOOL = "tool"

    id = models.UUIDField(primary_key=True, default=tagged_id, editable=False)
    conversation = models.ForeignKey(
        Conversation,
        on_delete=models.CASCADE,
        db_index=False,  # message_order begins with it
        related_name="messages",
    )
    role = models.CharField(max_length=9, choices=Role.choices)
    content = models.TextField()
    parts = models.JSONField(null=True, help_text="The content, where it is more than one text.")
    reasoning = models.TextField(
        default="",
        db_default="",
        blank=True,
        help_text="Of an answer with tool calls: providers that think want it back.",
    )
    tool_calls = models.JSONField(null=True, help_text="In the provider's form.")
    tool_call_id = models.TextField(
        default="", db_default="", blank=True, help_text="The call that this is the result of."
    )
    task = models.ForeignKey(
        "chat.Task", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        # UUIDv7 keys sort by time.
        ordering = ("id",)
        indexes = [models.Index(fields=["conversation", "id"], name="message_order")]

    def __str__(self) -> str:
        return f"{self.role} {self.pk}"


# --- Changes ------------------------------------------------------------------------------------
@dataclass(slots=True)
class UserTurn:
    """What a task adds to its conversation when it is accepted: the user's side of a turn."""

    conversation_id: UUID
    #: The conversation's `updated_at` when the prompt was built from it.
    seen: datetime
    #: A question, results of tool calls, or both.
    messages: list[Message] = field(default_factory=list)
    #: The task whose question and answer these take the place of.
    replaces: UUID | None = None
    #: The conversation's title, where it has none.
    title: str = ""

    def of(self, task_id: UUID) -> UserTurn:
        """This turn, with its messages assigned to the task."""
        for message in self.messages:
            message.task_id = task_id
        return self


@dataclass(frozen=True, slots=True)
class AssistantTurn:
    """What a task adds to its conversation when it ends: the answer."""

    conversation_id: UUID
    task_id: UUID
    text: str
    reasoning: str = ""
    #: Flat, as they are in the task's row.
    tool_calls: Sequence[Mapping[str, object]] = ()

    def message(self) -> Message:
        return Message(
            conversation_id=self.conversation_id,
            role=Message.Role.ASSISTANT,
            content=self.text,
            # Providers want it back only with tool calls.
            reasoning=self.reasoning if self.tool_calls else "",
            tool_calls=[from_result(call) for call in self.tool_calls] or None,
            task_id=self.task_id,
        )


class HistoryChangedError(IntegrityError):
    """A conversation got a message after a prompt was built from it."""


class AlreadyReplacedError(IntegrityError):
    """The question that a task is to replace is no longer in its conversation."""


# Locked in the order of their ids, so that two transactions never wait for each other.
_TOUCH = """
UPDATE chat_conversation
   SET updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
 WHERE id IN (SELECT id FROM chat_conversation WHERE id = ANY(%(ids)s)
               ORDER BY id FOR NO KEY UPDATE)
"""

_CLAIM = """
UPDATE chat_conversation c
   SET updated_at = greatest(clock_timestamp(), c.updated_at + interval '1 microsecond'),
       title = CASE WHEN c.title = '' THEN v.title ELSE c.title END
  FROM unnest(%(ids)s::uuid[], %(seen)s::timestamptz[], %(titles)s::text[])
    AS v(id, seen, title)
 WHERE c.id = v.id AND c.updated_at = v.seen
   AND c.id IN (SELECT id FROM chat_conversation WHERE id = ANY(%(ids)s)
                 ORDER BY id FOR NO KEY UPDATE)
"""

_REMOVE_REPLACED = """
DELETE FROM chat_message m
 USING unnest(%(conversation_ids)s::uuid[], %(task_ids)s::uuid[]) AS v(conversation_id, task_id)
 WHERE m.conversation_id = v.conversation_id AND m.task_id = v.task_id
RETURNING m.task_id
"""

_ASK_AGAIN = """
UPDATE chat_message SET task_id = %(new_task_id)s
 WHERE conversation_id = %(conversation_id)s AND task_id = %(old_task_id)s AND role <> 'assistant'
"""


def touch(conversation_ids: Collection[UUID]) -> None:
    """Lock conversations whose messages are about to change, and advance their version."""
    execute(_TOUCH, {"ids": list(conversation_ids)})


def claim(turns: Sequence[UserTurn]) -> None:
    """Lock the turns' conversations and advance their version, if none has changed since its prompt
    was built. Raises HistoryChangedError."""
    params = {
        "ids": [turn.conversation_id for turn in turns],
        "seen": [turn.seen for turn in turns],
        "titles": [turn.title for turn in turns],
    }
    # Two turns of one conversation change one row, and so are refused as well.
    if execute(_CLAIM, params) != len(turns):
        raise HistoryChangedError


def store_user_turns(turns: Sequence[UserTurn]) -> None:
    """Add the turns' messages to conversations that are claimed, in place of those they replace.

    Raises AlreadyReplacedError.
    """
    replacing = {turn.replaces: turn.conversation_id for turn in turns if turn.replaces}
    if replacing:
        params = {"conversation_ids": list(replacing.values()), "task_ids": list(replacing)}
        if set(fetch_column(UUID, _REMOVE_REPLACED, params)) != set(replacing):
            raise AlreadyReplacedError
    Message.objects.bulk_create([message for turn in turns for message in turn.messages])


def ask_again(conversation_id: UUID, old: UUID, new: UUID) -> None:
    """Assign the question of the task `old` to the task `new`, and delete the answer of `old`.

    Raises AlreadyReplacedError if the question is no longer there.
    """
    touch([conversation_id])
    params = {"conversation_id": conversation_id, "old_task_id": old, "new_task_id": new}
    if not execute(_ASK_AGAIN, params):
        raise AlreadyReplacedError
    Message.objects.filter(conversation=conversation_id, task=old).delete()


def store_assistant_turns(
    turns: Iterable[AssistantTurn], *, if_question_exists: bool = False
) -> None:
    """Add answers to their conversations; an answer without text and tool calls is left out.

    With `if_question_exists` only answers whose question is in the conversation: that of a task
    that was cancelled may have been asked again meanwhile.
    """
    stored = [turn for turn in turns if turn.text.strip() or turn.tool_calls]
    if not stored:
        return
    touch({turn.conversation_id for turn in stored})
    if if_question_exists:
        questions = Message.objects.filter(task__in=[turn.task_id for turn in stored])
        asked = set(questions.values_list("task", flat=True))
        stored = [turn for turn in stored if turn.task_id in asked]
    Message.objects.bulk_create([turn.message() for turn in stored])
