"""What is kept of a response of OpenAI's API beside its task, and how its text was streamed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db import models

from aily.database.json_fields import OrderedJSONField
from aily.database.rows import execute
from chat.events import TaskDelta, cuts_of
from chat.models.insertion import insert
from chat.models.tasks import Task


class StoredResponse(models.Model):
    """A response that can be retrieved. It is committed with its task, whose id is its own, and is
    deleted with it."""

    task = models.OneToOneField(
        Task, primary_key=True, on_delete=models.CASCADE, related_name="stored_response"
    )
    # No foreign key: what is deleted of it is not looked for here.
    previous_id = models.UUIDField(null=True, help_text="The response that it continues.")
    request = OrderedJSONField(help_text="The fields of the request that the response repeats.")
    input = OrderedJSONField(help_text="The input items, with their ids.")
    has_instructions = models.BooleanField(
        help_text="The first message of the prompt is the instructions."
    )
    is_background = models.BooleanField()
    is_streamed = models.BooleanField(help_text="Its text was sent while it was being made.")
    is_deleted = models.BooleanField(default=False)
    transcript = models.JSONField(
        default=list, help_text="Of each attempt, how its text was cut into deltas."
    )

    objects: ClassVar[models.Manager[StoredResponse]] = models.Manager()

    class Meta:
        db_table = "chat_response"

    def __str__(self) -> str:
        return f"resp_{self.task_id.hex}"


class TranscriptEntry(msgspec.Struct, array_like=True, frozen=True):
    """The text of one attempt as it was streamed: the same for every reader, at any time.

    `cuts` are the lengths of its deltas in characters, in order; those of reasoning are negative.
    There are as many as its log had deltas: at most 50 a second.
    `text` and `reasoning` are None where they are those of the task's row.
    """

    attempt: int
    cuts: Sequence[int]
    text: str | None = None
    reasoning: str | None = None


# An entry is added once: its attempt has ended for good, which is what the caller has just stored.
_ADD_ENTRIES = """
UPDATE chat_response r SET transcript = r.transcript || v.entry
  FROM json_to_recordset(%(entries)s) AS v(id uuid, entry jsonb)
 WHERE r.task_id = v.id
"""


def insert_responses(responses: Sequence[StoredResponse]) -> None:
    """Insert new responses, whose tasks are inserted in the same transaction before them."""
    names = [field.attname for field in StoredResponse._meta.concrete_fields]  # noqa: SLF001 - documented
    insert(StoredResponse, [{name: getattr(row, name) for name in names} for row in responses])


def streamed_responses(task_ids: Collection[UUID]) -> list[UUID]:
    """Return the tasks among these that are responses with a streamed text."""
    if not task_ids:
        return []
    found = StoredResponse.objects.filter(task_id__in=list(task_ids), is_streamed=True)
    return list(found.values_list("task_id", flat=True))


def transcript_entry(attempt: int, deltas: Sequence[TaskDelta]) -> TranscriptEntry:
    """The entry of an attempt whose row has lost its text."""
    return TranscriptEntry(
        attempt,
        [cut for delta in deltas for cut in cuts_of(delta.text, delta.reasoning)],
        "".join(delta.text for delta in deltas),
        "".join(delta.reasoning for delta in deltas),
    )


def add_transcript_entries(entries: Iterable[tuple[UUID, TranscriptEntry]]) -> None:
    """Store how attempts of these tasks were streamed. Tasks without a response are passed over."""
    rows = [{"id": task_id, "entry": [entry]} for task_id, entry in entries]
    if rows:
        execute(_ADD_ENTRIES, {"entries": msgspec.json.encode(rows).decode()})
