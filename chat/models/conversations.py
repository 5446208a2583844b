"""Conversations: chats that keep their history.

`updated_at` is a conversation's version: every change of its messages moves it on, in the same
transaction and before anything else, so that it also is the lock that orders such changes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, models

from aily.database.statements import fetch_all
from chat.models.ids import tagged_id


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
        """The turn, with its messages as those of the task."""
        for message in self.messages:
            message.task_id = task_id
        return self


class HistoryChangedError(IntegrityError):
    """A conversation got a message after a prompt was built from it."""


class AlreadyReplacedError(IntegrityError):
    """The question that a task is to replace is not in its conversation any more."""


# Locked in the order of their ids, so that two transactions never wait for each other.
_TOUCH = """
UPDATE chat_conversation
   SET updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
 WHERE id IN (SELECT id FROM chat_conversation WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE)
RETURNING id
"""

_CLAIM = """
UPDATE chat_conversation c
   SET updated_at = greatest(clock_timestamp(), c.updated_at + interval '1 microsecond'),
       title = CASE WHEN c.title = '' THEN v.title ELSE c.title END
  FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[]) AS v(id, seen, title)
 WHERE c.id = v.id AND c.updated_at = v.seen
   AND c.id IN (SELECT id FROM chat_conversation WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE)
RETURNING c.id
"""

_REMOVE_REPLACED = """
DELETE FROM chat_message m USING unnest(%s::uuid[], %s::uuid[]) AS v(conversation_id, task_id)
 WHERE m.conversation_id = v.conversation_id AND m.task_id = v.task_id
RETURNING m.task_id
"""

_ASK_AGAIN = """
UPDATE chat_message SET task_id = %(new)s
 WHERE conversation_id = %(conversation)s AND task_id = %(old)s AND role <> 'assistant'
RETURNING id
"""


def touch(conversation_ids: Collection[UUID]) -> None:
    """Lock conversations whose messages are about to change, and move their version on."""
    fetch_all(_TOUCH, [list(conversation_ids)])


def claim(turns: Sequence[UserTurn]) -> None:
    """Lock the turns' conversations, and put them on top, if each is still what its prompt was
    built from. Raises HistoryChangedError."""
    ids = [turn.conversation_id for turn in turns]
    seen, titles = [turn.seen for turn in turns], [turn.title for turn in turns]
    # Two turns of one conversation change one row, and so are refused as well.
    if len(fetch_all(_CLAIM, [ids, seen, titles, ids])) != len(turns):
        raise HistoryChangedError


def store_user_turns(turns: Sequence[UserTurn]) -> None:
    """Add the turns' messages to conversations that are claimed, in place of those they replace.

    Raises AlreadyReplacedError.
    """
    replacing = {turn.replaces: turn.conversation_id for turn in turns if turn.replaces}
    if replacing:
        params = [list(replacing.values()), list(replacing)]
        if {task_id for (task_id,) in fetch_all(_REMOVE_REPLACED, params)} != set(replacing):
            raise AlreadyReplacedError
    Message.objects.bulk_create([message for turn in turns for message in turn.messages])


def ask_again(conversation_id: UUID, old: UUID, new: UUID) -> None:
    """Make the question of the task `old` that of the task `new`, and drop what was answered.

    Raises AlreadyReplacedError where it is not there any more.
    """
    touch([conversation_id])
    params = {"conversation": conversation_id, "old": old, "new": new}
    if not fetch_all(_ASK_AGAIN, params):
        raise AlreadyReplacedError
    Message.objects.filter(conversation=conversation_id, task=old).delete()
