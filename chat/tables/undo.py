"""Undo and redo: steps of one user in one tab, newest first.

An undo carries out the inverse of a change, which is a change itself. Its own inverse is what redo
carries out. So a step is undone if its `undone_at` is set, and can be redone unless the same tab
has changed something else since. Each cell is checked as in an edit: if somebody else has changed
it since, it keeps its value, and the result lists it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from pydantic import JsonValue

from aily.problems import Conflict, InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.changes import Author
from chat.tables.fields import carry_out_inverse, live_fields
from chat.tables.models import Change, ChangeKind, Step, Table
from chat.tables.positions import Place, restore_places
from chat.tables.rows.batch import Batch, BatchResult, apply_batch
from chat.tables.rows.operations import Create, Delete, Operation, Update

#: Steps of a tab that can be undone.
MAX_STEPS = 100
Direction = Literal["undo", "redo"]
#: Takes back all that an import did: the table, who asks, its id. Returns the revision.
BatchUndo = Callable[[Table, Author, UUID], int | None]

_of_batches: list[BatchUndo] = []


@dataclass(frozen=True, slots=True)
class Undone:
    """`change`: the id of what was undone or redone; None: there was nothing to do."""

    change: int | None
    rev: int | None
    #: Cells that were left as they are: row, field and present value of each.
    conflicts: list[dict[str, JsonValue]]
    #: Revision of the change that was undone, or of the undo that was redone.
    of_rev: int | None = None


def register_batch_undo(undo: BatchUndo) -> None:
    """Let `undo` take back what an import or run did as a whole."""
    _of_batches.append(undo)


# --- Steps of a tab -----------------------------------------------------------------------------
def undo(table: Table, author: Author) -> Undone:
    """Undo the newest step of this user in this tab. Raises Conflict if another request has just
    undone it, or its inverse was not kept."""
    found = _in_force(table, author).filter(step__in=[Step.EDIT, Step.REDO]).first()
    if found is None or found.pk < _oldest(table, author):
        return Undone(None, None, [])
    _require_inverse(found)
    return _carry_out(table, author, found, Step.UNDO)


def redo(table: Table, author: Author) -> Undone:
    """Redo what was undone last, unless this tab has changed something else since."""
    found = _in_force(table, author).filter(step=Step.UNDO).first()
    if found is None or _own(table, author).filter(step=Step.EDIT, pk__gt=found.pk).exists():
        return Undone(None, None, [])
    _require_inverse(found)
    return _carry_out(table, author, found, Step.REDO)


def _own(table: Table, author: Author) -> QuerySet[Change]:
    own = Change.objects.filter(table=table, user=author.user_id, client=author.client)
    return own.filter(batch=None).order_by("-id")


def _in_force(table: Table, author: Author) -> QuerySet[Change]:
    """Changes that were not undone, without those of fields that have no inverse."""
    own = _own(table, author).filter(undone_at=None)
    return own.exclude(kind=ChangeKind.FIELD, inverse=None)


def _require_inverse(found: Change) -> None:
    if found.inverse is None:
        raise because(Conflict, Reason("not_undoable"), field="change")


def _oldest(table: Table, author: Author) -> int:
    """The id of the oldest edit that can still be undone."""
    edits = _own(table, author).filter(step=Step.EDIT).values_list("pk", flat=True)
    kept = list(edits[MAX_STEPS - 1 : MAX_STEPS])
    return kept[0] if kept else 0


# --- One change ---------------------------------------------------------------------------------
def undo_change(table: Table, author: Author, change_id: int) -> Undone:
    """Undo one change of the table, by any author. Raises InvalidRequest and Conflict."""
    found = Change.objects.filter(table=table, pk=change_id).first()
    if found is None:
        raise because(InvalidRequest, Reason("no_such_change"), field="change")
    if found.undone_at is not None:
        raise because(Conflict, Reason("undone_already"), field="change")
    if found.batch is not None:
        return undo_batch(table, author, found.batch)
    _require_inverse(found)
    return _carry_out(table, author, found, Step.UNDO)


def undo_batch(table: Table, author: Author, batch: UUID) -> Undone:
    """Undo an import or run as a whole. Raises InvalidRequest if there is none, and Conflict."""
    found = Change.objects.filter(table=table, batch=batch).order_by("-id").first()
    if found is None:
        raise because(InvalidRequest, Reason("no_such_batch"), field="batch")
    for undo_of_kind in _of_batches:
        if (rev := undo_of_kind(table, author, batch)) is not None:
            return Undone(found.pk, rev, [])
    raise because(Conflict, Reason("batch_not_undoable"), field="batch")


def _carry_out(table: Table, author: Author, found: Change, step: Step) -> Undone:
    """Apply the inverse of a change in one transaction, and log that as `step`."""
    with transaction.atomic():
        in_force = Change.objects.filter(pk=found.pk, undone_at=None)
        if not in_force.update(undone_at=timezone.now()):
            raise because(Conflict, Reason("undone_already"), field="change")
        inverse = cast("dict[str, Any]", found.inverse)
        if "move" in inverse:
            places = [Place(int(move["id"]), float(move["pos"])) for move in inverse["move"]]
            result = BatchResult(restore_places(table, author, places), [])
        elif carry_out_inverse(table, author, inverse):
            table.refresh_from_db(fields=["rev"])
            result = BatchResult(table.rev, [])
        else:
            known = {field.key for field in live_fields(table.pk)}
            batch = Batch(operations_of(inverse, known), is_atomic=False, is_undo=True)
            result = apply_batch(table, author, batch)
        if result.rev is not None:
            Change.objects.filter(table=table, rev=result.rev).update(step=step)
    return Undone(found.pk, result.rev, _conflicts(result), found.rev)


def operations_of(inverse: Mapping[str, Any], known: Collection[str]) -> list[Operation]:
    """The operations of an inverse as it is kept, without fields that were deleted since."""

    def kept(values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        return {key: value for key, value in values.items() if key in known}

    return [
        *(Delete(int(row_id)) for row_id in inverse.get("delete", ())),
        *(
            Create(kept(row["values"]), int(row["id"]), float(row["pos"]))
            for row in inverse.get("create", ())
        ),
        *(
            Update(int(row["id"]), kept(row["values"]), kept(row["was"]))
            for row in inverse.get("update", ())
        ),
    ]


def _conflicts(result: BatchResult) -> list[dict[str, JsonValue]]:
    found: list[dict[str, JsonValue]] = []
    for outcome in result.outcomes:
        found += outcome.conflicts
        if outcome.problem is not None:
            found.append({"row": outcome.row_id, "message": outcome.problem.message})
    return found
