"""Two configurations of an AI field side by side: asked about the same rows, with what each costs.

No cell changes. The answers are those of the tasks of two runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

from django.db import transaction
from pydantic import JsonValue

from accounts.models import User
from aily.problems import InvalidRequest, NotFound
from chat.exceptions import because
from chat.models import Run, RunRow, Task
from chat.models.runs import ENDED_RUNS
from chat.reasons import Reason
from chat.runs import control
from chat.tables.ai.outputs import MisfitError, Output, outputs_of, read_answer
from chat.tables.ai.runs import NewAiRun, NothingToFill, add_run
from chat.tables.ai.selection import Scope, copy_rows, insert_rows
from chat.tables.ai.sources import changed_source, load_source
from chat.tables.ai.truth import check_truth, judged, read_truth, text_of
from chat.tables.ai.visibility import hidden_inputs, shown_inputs
from chat.tables.fields import live_fields
from chat.tables.models import AiField, AiRun, Comparison, Field, Which

MAX_ROWS = 200
MAX_LISTED = 100
SIDES = ("a", "b")

Object = dict[str, JsonValue]


def compare(
    user: User,
    api_key_id: int | None,
    ai_field: AiField,
    sides: Sequence[Mapping[str, object]],
    scope: Scope,
    *,
    rows: int,
    is_blind: bool,
    truth: Mapping[str, str] | None = None,
) -> Comparison:
    """Ask both configurations about so many rows of the scope, chosen by chance. `sides` are the
    columns of the AI field that each has otherwise; `truth`: by outputs, the fields that have the
    right answers. Raises Problem."""
    source = load_source(ai_field.pk)
    check_truth(truth or {}, source.outputs, live_fields(ai_field.table_id))
    chosen = replace(scope, random=rows, which=Which.ALL, overwrites_edited=True)
    with transaction.atomic():
        comparison = Comparison.objects.create(
            ai_field=ai_field, user=user, is_blind=is_blind, truth=dict(truth) if truth else None
        )
        made: list[AiRun] = []
        for name, changes in zip(SIDES, sides, strict=True):
            changed = changed_source(source, changes)
            try:
                ai_run = add_run(user, api_key_id, changed, NewAiRun(chosen), comparison=comparison)
            except InvalidRequest as problem:
                raise InvalidRequest(
                    problem.message, field=f"{name}.{problem.field}", params=problem.params
                ) from None
            if made:
                copy_rows(ai_run.run, made[0].pk)
            else:
                insert_rows(user, ai_run.run, changed, chosen)
                if not ai_run.run.pending:
                    raise because(NothingToFill, Reason("empty_scope"), field="scope")
            made.append(ai_run)
        for ai_run in made:
            control.start(ai_run.run, "now")
    return comparison


def get_comparison(comparison_id: int) -> Comparison:
    """Load a comparison with its AI field and table. Raises NotFound."""
    found = (
        Comparison.objects.select_related("ai_field__table__owner")
        .filter(pk=comparison_id, ai_field__deleted_at=None, ai_field__table__deleted_at=None)
        .first()
    )
    if found is None:
        raise no_comparison()
    return found


def no_comparison() -> NotFound:
    return because(NotFound, Reason("no_such_comparison"))


def reveal(comparison: Comparison) -> None:
    """Tell which configuration is which."""
    Comparison.objects.filter(pk=comparison.pk).update(is_blind=False)
    comparison.is_blind = False


# --- Reading ------------------------------------------------------------------------------------
def list_comparisons(ai_field: AiField) -> list[Object]:
    """The latest comparisons of an AI field, the newest first. Two queries."""
    found = list(Comparison.objects.filter(ai_field=ai_field)[:MAX_LISTED])
    ai_runs = AiRun.objects.select_related("run").filter(comparison__in=found)
    runs: dict[int, list[Run]] = {}
    for ai_run in ai_runs:
        runs.setdefault(cast("int", ai_run.comparison_id), []).append(ai_run.run)
    return [
        {
            "id": comparison.pk,
            "is_blind": comparison.is_blind,
            "rows": max((run.total for run in runs.get(comparison.pk, ())), default=0),
            "is_done": all(run.state in ENDED_RUNS for run in runs.get(comparison.pk, ())),
            "created_at": comparison.created_at.isoformat(),
        }
        for comparison in found
    ]


def describe(comparison: Comparison, reader: User) -> Object:
    """Both answers of each row, and what each side has cost, without inputs from tables that
    `reader` may not read. A number of queries that does not grow with the rows."""
    ai_runs = list(
        AiRun.objects.select_related("run", "config", "ai_field")
        .filter(comparison=comparison)
        .order_by("run_id")
    )
    # In a blind comparison neither place nor name reveals the side.
    is_turned = comparison.pk % 2 == 1
    if comparison.is_blind:
        sides = [_side(ai_run) for ai_run in ai_runs]
        if is_turned:
            ai_runs.reverse()
            sides.reverse()
    else:
        names = reversed(SIDES) if is_turned else SIDES
        sides = [
            {**_side(ai_run), **_revealed(ai_run), "blind_as": name}
            for ai_run, name in zip(ai_runs, names, strict=True)
        ]
    outputs = outputs_of(ai_runs[0])
    answers = [_answers(ai_run, outputs_of(ai_run)) for ai_run in ai_runs]
    if comparison.truth:
        _add_truth(comparison, comparison.truth, outputs, sides, answers)
    hidden = hidden_inputs(reader, comparison.ai_field.table_id)
    numbers = sorted({number for found in answers for number in found})
    return {
        "id": comparison.pk,
        "ai_field": comparison.ai_field_id,
        "is_blind": comparison.is_blind,
        "sides": dict(zip(SIDES, sides, strict=True)),
        "rows": [_row(number, answers, hidden) for number in numbers],
    }


def _add_truth(
    comparison: Comparison,
    keys: Mapping[str, str],
    outputs: Sequence[Output],
    sides: Sequence[Object],
    answers: Sequence[Mapping[int, Object]],
) -> None:
    """Say of each side how many of its answers are the right ones, as these are now."""
    table_id = comparison.ai_field.table_id
    row_ids = [cast("int", answer["row"]) for answer in answers[0].values()]
    right = read_truth(table_id, live_fields(table_id), keys.values(), row_ids)
    for side, given in zip(sides, answers, strict=True):
        side["truth"] = {
            output.field.key: judged(
                _texts(output.field, given.values()), right[keys[output.field.key]]
            )
            for output in outputs
            if keys.get(output.field.key) in right
        }


def _texts(field: Field, answers: Iterable[Object]) -> dict[int, str]:
    """What was answered for an output, by row."""
    found: dict[int, str] = {}
    for answer in answers:
        value = cast("Object", answer["values"]).get(field.key)
        if value is not None:
            found[cast("int", answer["row"])] = text_of(field, value)
    return found


def _side(ai_run: AiRun) -> Object:
    run = ai_run.run
    return {
        "state": run.state,
        "rows": run.total,
        "succeeded": run.succeeded,
        "failed": run.failed,
    }


def _revealed(ai_run: AiRun) -> Object:
    """The facts that reveal which configuration a side has: run, model, tokens and cost."""
    run, content = ai_run.run, ai_run.config.content
    return {
        "run": str(run.pk),
        "config": {name: content[name] for name in ("scene", "version", "model", "options")},
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "cost": f"{run.cost.normalize():f}",
        "currency": run.currency or None,
    }


def _answers(ai_run: AiRun, outputs: Sequence[Output]) -> dict[int, Object]:
    rows = list(RunRow.objects.filter(run=ai_run.run_id).order_by("number")[:MAX_ROWS])
    task_ids = [row.task_id for row in rows if row.task_id is not None]
    texts = dict(Task.objects.filter(pk__in=task_ids).values_list("pk", "text"))
    return {row.number: _answer(row, texts, outputs) for row in rows}


def _answer(row: RunRow, texts: Mapping[UUID, str], outputs: Sequence[Output]) -> Object:
    values: dict[str, Any] = {}
    error: Any = row.error
    text = texts.get(row.task_id) if row.task_id is not None else None
    if row.state == "succeeded" and text is not None:
        try:
            found = read_answer(text, outputs)
            values = {output.field.key: found[output.column] for output in outputs}
        except MisfitError as misfit:
            error = misfit.as_error(text)
    return {
        "row": int(row.key),
        "inputs": row.payload,
        "state": row.state,
        "values": values,
        "error": error,
        "cost": f"{row.cost.normalize():f}",
    }


def _row(number: int, answers: Sequence[Mapping[int, Object]], hidden: Collection[str]) -> Object:
    found = [side.get(number, {}) for side in answers]
    first = next(filter(None, found))
    shown = {
        name: {key: answer.get(key) for key in ("state", "values", "error", "cost")}
        for name, answer in zip(SIDES, found, strict=True)
    }
    inputs = shown_inputs(cast("dict[str, Any] | None", first["inputs"]), hidden)
    return {"row": first["row"], "inputs": inputs, **shown}
