"""Marking: pending rows become open ones, each with the id that its task will have.

Rows are marked before their tasks are submitted: wherever a process dies, the next one submits what
was marked and is not there, under the same id and key. So no row is paid for twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
from django.db import transaction

from aily.database.rows import Row, execute, fetch_column, fetch_rows
from chat.models import Run, RunRow, RunState
from chat.models.ids import tagged_id
from chat.runs.kinds import Prepared, kind_of
from chat.runs.leases import Lease

#: Before a row is looked at again that something else has to end for.
WAIT_SECONDS = 1.0

_PICK = """
SELECT number, coalesce(payload, 'null')::text AS payload, key, generation + 1 AS generation
  FROM chat_runrow
 WHERE run_id = %(run_id)s AND state = 'pending' AND (not_before IS NULL OR not_before <= now())
       {condition}
 ORDER BY number LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
"""
_PICK_NEXT = _PICK.format(condition="")
_PICK_THESE = _PICK.format(condition="AND number = ANY(%(numbers)s)")
_OPEN = """
UPDATE chat_runrow r SET state = 'open', task_id = v.task_id, generation = r.generation + 1,
       not_before = NULL, error = NULL, ended_at = NULL
  FROM unnest(%(numbers)s::int[], %(task_ids)s::uuid[]) AS v(number, task_id)
 WHERE r.run_id = %(run_id)s AND r.number = v.number AND r.state = 'pending'
"""
_STORE_PAYLOADS = """
UPDATE chat_runrow r SET payload = v.payload, payload_bytes = octet_length(v.payload::text)
  FROM json_to_recordset(%(payloads)s) AS v(number int, payload jsonb)
 WHERE r.run_id = %(run_id)s AND r.number = v.number
"""
_SKIP = """
WITH skipped AS (
  UPDATE chat_runrow r SET state = 'skipped', error = v.error, ended_at = now()
    FROM json_to_recordset(%(skipped)s) AS v(number int, error jsonb)
   WHERE r.run_id = %(run_id)s AND r.number = v.number AND r.state = 'pending' RETURNING 1)
UPDATE chat_run SET pending = pending - n, skipped = skipped + n
  FROM (SELECT count(*) AS n FROM skipped) counted WHERE id = %(run_id)s
"""
_WAIT = """
UPDATE chat_runrow SET not_before = now() + make_interval(secs => %(seconds)s)
 WHERE run_id = %(run_id)s AND number = ANY(%(numbers)s) AND state = 'pending'
"""
_LOCK_RUN = """
SELECT id FROM chat_run
 WHERE id = %(run_id)s AND fed_by = %(token)s AND state = ANY(%(states)s) FOR NO KEY UPDATE
"""
_COUNT_OPEN = """
UPDATE chat_run SET open = open + %(rows)s, pending = pending - %(rows)s WHERE id = %(run_id)s
"""
_LOST = """
SELECT r.number, coalesce(r.payload, 'null')::text AS payload, r.key, r.generation, r.task_id
  FROM chat_runrow r LEFT JOIN chat_task t ON t.id = r.task_id
 WHERE r.run_id = %(run_id)s AND r.state = 'open' AND t.id IS NULL
 ORDER BY r.number LIMIT %(limit)s
"""


class _Picked(Row, frozen=True):
    number: int
    #: JSON.
    payload: str
    key: str
    generation: int


class _Lost(Row, frozen=True):
    number: int
    payload: str
    key: str
    generation: int
    task_id: UUID


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A row that is marked open, and the id that its task gets."""

    row: RunRow
    task_id: UUID

    @property
    def idempotency_key(self) -> str:
        return f"run:{self.row.run_id}:{self.row.number}:{self.row.generation}"


def mark_rows(
    run: Run,
    lease: Lease,
    limit: int,
    *,
    numbers: Sequence[int] | None = None,
    states: Sequence[RunState] = (RunState.RUNNING,),
) -> list[OpenRow]:
    """Mark pending rows as open: the next ones, or these `numbers`. None if the run is in no state
    of `states` any more. Raises LeaseLostError, or Problem if no row of the run can be asked."""
    params = {
        "run_id": run.pk,
        "token": lease.token,
        "limit": limit,
        "numbers": list(numbers or ()),
        "states": [state.value for state in states],
    }
    while True:
        with transaction.atomic():
            lease.renew()
            if not fetch_column(UUID, _LOCK_RUN, params):
                return []
            picked = fetch_rows(_Picked, _PICK_NEXT if numbers is None else _PICK_THESE, params)
            if not picked:
                return []
            prepared = kind_of(run).prepare(run, [_row(run, found) for found in picked])
            opened = _open(run, prepared)
        # A page of which all rows were skipped is followed by the next one.
        if opened or prepared.waiting or numbers is not None:
            return opened


def _open(run: Run, prepared: Prepared) -> list[OpenRow]:
    """Mark rows as open, or skipped, or to be looked at later, in the transaction that has locked
    them."""
    if prepared.skipped:
        skipped = [{"number": number, "error": why} for number, why in prepared.skipped.items()]
        encoded = msgspec.json.encode(skipped).decode()
        execute(_SKIP, {"run_id": run.pk, "skipped": encoded})
    if prepared.waiting:
        waiting = {"run_id": run.pk, "numbers": prepared.waiting, "seconds": WAIT_SECONDS}
        execute(_WAIT, waiting)
    rows = prepared.rows
    if not rows:
        return []
    if prepared.payloads:
        payloads = [
            {"number": number, "payload": msgspec.Raw(payload.encode())}
            for number, payload in prepared.payloads.items()
        ]
        encoded = msgspec.json.encode(payloads).decode()
        execute(_STORE_PAYLOADS, {"run_id": run.pk, "payloads": encoded})
    task_ids = [tagged_id() for _ in rows]
    numbers = [row.number for row in rows]
    execute(_OPEN, {"run_id": run.pk, "numbers": numbers, "task_ids": task_ids})
    execute(_COUNT_OPEN, {"run_id": run.pk, "rows": len(rows)})
    return [OpenRow(row, task_id) for row, task_id in zip(rows, task_ids, strict=True)]


def _row(run: Run, found: _Picked | _Lost) -> RunRow:
    return RunRow(
        run_id=run.pk,
        number=found.number,
        key=found.key,
        payload=msgspec.json.decode(found.payload),
        generation=found.generation,
    )


def find_lost(run: Run, limit: int) -> list[OpenRow]:
    """The first open rows whose task is not there."""
    lost = fetch_rows(_Lost, _LOST, {"run_id": run.pk, "limit": limit})
    return [OpenRow(_row(run, found), found.task_id) for found in lost]
