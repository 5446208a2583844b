"""What people think of answers: thumbs, notes, accepted or rejected."""

from __future__ import annotations

from typing import Literal

from django.db import transaction
from pydantic import JsonValue

from aily.database.rows import execute
from aily.problems import NotFound
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.changes import Author, Changed, record
from chat.tables.models import AiField, Field
from chat.tables.names import answers_table, statement

MAX_NOTE_CHARS = 2_000
Thumb = Literal["up", "down"]
Verdict = Literal["accepted", "rejected"]
_THUMBS = {"up": 1, "down": -1}
_VERDICTS = {"accepted": 1, "rejected": -1}

_REVIEW = """
UPDATE {answers} SET thumb = %(thumb)s, verdict = %(verdict)s, note = %(note)s,
       reviewed_by = %(user_id)s, reviewed_at = now()
 WHERE row_id = %(row_id)s AND (at IS NOT NULL OR edited_at IS NOT NULL)
"""


def thumb_name(value: int | None) -> Thumb | None:
    return None if value is None else "up" if value > 0 else "down"


def verdict_name(value: int | None) -> Verdict | None:
    return None if value is None else "accepted" if value > 0 else "rejected"


def review(
    ai_field: AiField,
    row_id: int,
    user_id: int,
    *,
    thumb: Thumb | None,
    verdict: Verdict | None,
    note: str,
) -> None:
    """Replace the review of an answer. Raises NotFound where there is no answer."""
    params: dict[str, JsonValue] = {
        "row_id": row_id,
        "user_id": user_id,
        "thumb": _THUMBS[thumb] if thumb else None,
        "verdict": _VERDICTS[verdict] if verdict else None,
        "note": note or None,
    }
    with transaction.atomic():
        if not execute(statement(_REVIEW, answers=answers_table(ai_field.pk)), params):
            raise because(NotFound, Reason("no_answer_in_cell"), field="row")
        outputs = Field.objects.filter(ai_field=ai_field, deleted_at=None)
        changed = Changed(row_ids=[row_id], field_ids=list(outputs.values_list("pk", flat=True)))
        record(ai_field.table, Author(user_id), changed)
