"""Where one answer comes from: what was asked, who answered, what it cost, and what it replaced."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import JsonValue

from accounts.models import User
from aily.database.rows import fetch_column
from aily.problems import NotFound
from chat.exceptions import because
from chat.models import LLMModel, Run, RunRow
from chat.reasons import Reason
from chat.tables.ai import answers
from chat.tables.ai.answers import Answer
from chat.tables.ai.reviews import thumb_name, verdict_name
from chat.tables.ai.visibility import hidden_inputs, shown_inputs
from chat.tables.models import AiConfig, AiField, CellVersion, Field
from chat.tables.names import answers_table, rows_table, statement
from chat.tables.values import to_json

#: Versions of a cell that are shown, the newest first.
MAX_VERSIONS = 50

_CELL = """
SELECT coalesce(to_jsonb(a), '{{}}')::text FROM {rows} t
  LEFT JOIN {answers} a ON a.row_id = t.id WHERE t.id = %s
"""

Object = dict[str, JsonValue]


def describe_cell(ai_field: AiField, row_id: int, reader: User) -> Object:
    """All that is known of the answer of an AI field for a row, but for inputs from tables that
    `reader` may not read. Raises NotFound without the row."""
    parts = {"rows": rows_table(ai_field.table_id), "answers": answers_table(ai_field.pk)}
    found = fetch_column(str, statement(_CELL, **parts), [row_id])
    if not found:
        raise because(NotFound, Reason.of("no_such_row", id=row_id), field="row")
    cell = json.loads(found[0])
    outputs = list(Field.objects.filter(ai_field=ai_field, deleted_at=None))
    answer = answers.read(ai_field.table_id, outputs, [row_id])[row_id][ai_field.pk]
    versions = list(
        CellVersion.objects.filter(ai_field=ai_field, row_id=row_id).order_by("-id")[:MAX_VERSIONS]
    )
    names = _Names(ai_field, [cell, *(version.cell for version in versions)], versions)
    return {
        "ai_field": ai_field.pk,
        "row": row_id,
        **_state(answer),
        "values": {key: to_json(value) for key, value in answer.values.items()},
        "error": cell.get("error"),
        "provenance": _provenance(cell, names),
        "inputs": shown_inputs(_inputs(cell, row_id), hidden_inputs(reader, ai_field.table_id)),
        "edited": _edited(cell, names),
        "review": _review(cell, names),
        "history": [_version(version, outputs, names) for version in versions],
    }


def _state(answer: Answer) -> Object:
    return {"state": answer.state, "why": list(answer.why)}


class _Names:
    """The names of what cells refer to by ids, in four queries."""

    def __init__(
        self,
        ai_field: AiField,
        cells: Sequence[Mapping[str, Any]],
        versions: Sequence[CellVersion],
    ) -> None:
        models = {int(cell["model"]) for cell in cells if cell.get("model") is not None}
        named = LLMModel.objects.filter(pk__in=models).values_list("pk", "name")
        self.models: dict[object, str] = dict(named)
        runs = {cell["run"] for cell in cells if cell.get("run")}
        started = Run.objects.filter(pk__in=runs).values_list("pk", "owner__username")
        self.starters = {str(pk): name for pk, name in started}
        users = [cell.get(name) for cell in cells for name in ("edited_by", "reviewed_by")]
        users += [version.by_user_id for version in versions]
        known = User.objects.filter(pk__in={int(pk) for pk in users if pk is not None})
        self.users: dict[object, str] = dict(known.values_list("pk", "username"))
        self.configs = {
            bytes(config.digest).hex(): config.content
            for config in AiConfig.objects.filter(ai_field=ai_field)
        }


def _provenance(cell: Mapping[str, Any], names: _Names) -> Object | None:
    if cell.get("task") is None:
        return None
    config = names.configs.get(str(cell.get("config") or "").removeprefix("\\x"), {})
    return {
        "task": cell["task"],
        "task_url": f"/api/llmchat/tasks/{cell['task']}",
        "run": cell.get("run"),
        "started_by": names.starters.get(str(cell.get("run"))),
        "scene": config.get("scene"),
        "version": config.get("version"),
        "asked_model": config.get("model") or None,
        "model": names.models.get(cell.get("model")),
        "options": config.get("options"),
        "served_from": cell.get("served_from"),
        "attempts": cell.get("attempts"),
        "prompt_tokens": cell.get("tokens_in"),
        "completion_tokens": cell.get("tokens_out"),
        "cost": str(cell.get("cost")),
        "currency": cell.get("currency") or None,
        "at": cell.get("at"),
        "input_digest": str(cell.get("digest") or "").removeprefix("\\x") or None,
    }


def _inputs(cell: Mapping[str, Any], row_id: int) -> dict[str, Any] | None:
    """The values that were asked about; None once the run is deleted."""
    if cell.get("run") is None:
        return None
    rows = RunRow.objects.filter(run=cell["run"], key=str(row_id))
    return cast("dict[str, Any] | None", rows.values_list("payload", flat=True).first())


def _edited(cell: Mapping[str, Any], names: _Names) -> Object | None:
    if cell.get("edited_at") is None:
        return None
    return {"at": cell["edited_at"], "by": names.users.get(cell.get("edited_by"))}


def _review(cell: Mapping[str, Any], names: _Names) -> Object | None:
    if cell.get("reviewed_at") is None:
        return None
    return {
        "thumb": thumb_name(cell.get("thumb")),
        "verdict": verdict_name(cell.get("verdict")),
        "note": cell.get("note") or "",
        "by": names.users.get(cell.get("reviewed_by")),
        "at": cell["reviewed_at"],
    }


def _version(version: CellVersion, outputs: Sequence[Field], names: _Names) -> Object:
    cell = version.cell
    return {
        "reason": version.reason,
        "at": version.created_at.isoformat().replace("+00:00", "Z"),
        "by_run": str(version.by_run) if version.by_run else None,
        "by": names.users.get(version.by_user_id),
        "values": {output.key: cell.get(output.column) for output in outputs},
        "provenance": _provenance(cell, names),
        "edited": _edited(cell, names),
        "review": _review(cell, names),
    }
