"""Adding, changing and deleting AI fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from django.utils import timezone
from pydantic import JsonValue

from accounts.models import User
from aily.problems import Forbidden, InvalidRequest, NotFound
from aily.rest.json_input import exceeds
from chat.exceptions import because
from chat.models.runs import ENDED_RUNS
from chat.reasons import Reason
from chat.runs import control
from chat.runs.creation import NewRun, check_fields
from chat.services.drafts import find_version
from chat.tables import ddl
from chat.tables.ai import answer_tables
from chat.tables.ai.config import (
    WHOLE,
    condition_fields,
    examples_wanted,
    field_id,
    in_order,
    mapped_fields,
)
from chat.tables.ai.schemas_of_answers import fields_for_schema
from chat.tables.changes import Author, Changed, record
from chat.tables.exceptions import TableFull
from chat.tables.fields import (
    MAX_FIELDS,
    NewField,
    add_catalogue_fields,
    check_name,
    free_name,
    live_fields,
)
from chat.tables.models import AiField, AiRun, ChangeKind, Field, Kind, Policy, Table
from chat.tables.names import rows_table
from chat.tables.permissions import Access, get_table, require_access
from chat.tables.queries.catalogue import operands_of
from chat.tables.queries.filters import compile_filter
from chat.tables.queries.statement import Statement

#: AI fields of a table.
MAX_AI_FIELDS = 50
#: What a change of which is asked differently.
_ASKED = frozenset({"scene", "scene_version", "mapping", "model", "options", "outputs"})
#: What else a change of which costs otherwise, where cells are filled by themselves.
_SPENDS = _ASKED | {"condition", "policy", "max_rows_per_hour", "max_cost_per_day"}
#: Bytes of a condition, and of a mapping with its constants, as JSON: each run copies them.
MAX_CONDITION_BYTES, MAX_MAPPING_BYTES = 65_536, 262_144
#: Kinds that an answer cannot fill.
_UNFILLED = (Kind.LINK,)


@dataclass(frozen=True, slots=True)
class NewOutput:
    """A field to be added that takes the property `name` of answers; empty: all of an answer."""

    field: NewField
    name: str = WHOLE


@dataclass(frozen=True, slots=True)
class NewAiField:
    """Without outputs: one for each property of the scene's output schema, or one long text."""

    name: str
    scene: str
    mapping: Mapping[str, JsonValue]
    scene_version: int | None = None
    model: str = ""
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    condition: JsonValue = None
    policy: str = "by_hand"
    max_rows_per_hour: int | None = None
    max_cost_per_day: Decimal | None = None
    outputs: Sequence[NewOutput] = ()


def get_ai_field(ai_field_id: int, *, is_deleted: bool = False) -> AiField:
    """An AI field whose table is not in the trash, with its table. Raises NotFound.

    `is_deleted`: also one that is itself in the trash.
    """
    found = AiField.objects.select_related("table", "table__owner").filter(pk=ai_field_id).first()
    is_there = found is not None and (is_deleted or found.deleted_at is None)
    if found is None or not is_there or found.table.deleted_at is not None:
        raise no_ai_field()
    return found


def no_ai_field() -> NotFound:
    return because(NotFound, Reason("no_such_ai_field"))


def live_ai_fields(table_id: int) -> list[AiField]:
    return list(AiField.objects.filter(table=table_id, deleted_at=None).order_by("id"))


# --- Adding -------------------------------------------------------------------------------------
def add_ai_field(table_id: int, new: NewAiField, user: User, client: str = "") -> AiField:
    """Add an AI field with its outputs. Raises a Problem that names the field at fault."""
    row = AiField(
        table_id=table_id,
        owner=user,
        name=check_name(new.name),
        scene=new.scene,
        scene_version=new.scene_version,
        mapping=dict(new.mapping),
        model=new.model,
        options=dict(new.options),
        condition=new.condition,
        policy=new.policy,
        max_rows_per_hour=new.max_rows_per_hour,
        max_cost_per_day=new.max_cost_per_day,
    )
    _check_asked(row, user)
    _require_payer(row, user)
    outputs = list(new.outputs) or _default_outputs(row)

    def add(table: Table) -> AiField:
        if AiField.objects.filter(table=table, deleted_at=None).count() >= MAX_AI_FIELDS:
            raise because(TableFull, Reason.of("ai_fields_full", limit=MAX_AI_FIELDS))
        row.save(force_insert=True)
        made = _add_outputs(table, row, outputs, user)
        answer_tables.create(row, made)
        _check_reads(row)
        _record(table, row, made, user, client)
        return row

    return ddl.change_schema(table_id, add)


def _default_outputs(row: AiField) -> list[NewOutput]:
    version = find_version(row.scene, row.scene_version)
    schema = version.output_schema if version else None
    found = fields_for_schema(schema) if schema else {}
    if not found:
        return [NewOutput(NewField(row.name, Kind.LONG_TEXT))]
    return [NewOutput(new, name) for name, new in found.items()]


def _add_outputs(
    table: Table, row: AiField, outputs: Sequence[NewOutput], user: User
) -> list[Field]:
    """Add the catalogue rows of outputs, with columns of `a<id>` that were never used."""
    _check_outputs(row, outputs)
    made = add_catalogue_fields(table, [output.field for output in outputs], user, "outputs")
    used = Field.objects.filter(ai_field=row).count()
    if used + len(made) > answer_tables.MAX_OUTPUTS_EVER:
        raise because(TableFull, Reason("outputs_full"), field="outputs")
    for place, (field_row, output) in enumerate(zip(made, outputs, strict=True), used + 1):
        field_row.ai_field, field_row.column = row, f"o{place}"
        row.outputs_map[field_row.column] = output.name
    Field.objects.bulk_update(made, ["ai_field", "column"])
    row.save(update_fields=["outputs_map"])
    return made


def _check_outputs(row: AiField, outputs: Sequence[NewOutput]) -> None:
    version = find_version(row.scene, row.scene_version)
    schema = version.output_schema if version else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for place, output in enumerate(outputs):
        if output.field.kind in _UNFILLED:
            raise because(InvalidRequest, Reason("links_not_filled"), field=f"outputs.{place}.kind")
        if isinstance(properties, dict) and output.name not in ("", *properties):
            raise because(
                InvalidRequest,
                Reason.of("no_such_property", name=repr(output.name)),
                field=f"outputs.{place}.property",
            )


# --- Checking -----------------------------------------------------------------------------------
def request_options(row: AiField) -> dict[str, Any]:
    """The fields of every request."""
    return {**row.options, "model": row.model} if row.model else dict(row.options)


def _check_asked(row: AiField, user: User) -> None:
    """Raise a Problem unless `user` may ask so."""
    if "model" in row.options:
        raise because(InvalidRequest, Reason("model_in_options"), field="options.model")
    if not row.mapping:
        raise because(InvalidRequest, Reason("nothing_read"), field="mapping")
    sizes = {"mapping": MAX_MAPPING_BYTES, "condition": MAX_CONDITION_BYTES}
    for name, limit in sizes.items():
        if exceeds(getattr(row, name), limit):
            raise because(InvalidRequest, Reason.of("too_many_bytes", limit=limit), field=name)
    # As what they will be when a run is made.
    constants: dict[str, JsonValue] = {
        variable: {"value": ""} for variable in examples_wanted(row.mapping)
    }
    new = NewRun(
        name=row.name,
        format="table",
        scene=row.scene,
        version=row.scene_version,
        mapping={**row.mapping, **constants},
        options=request_options(row),
    )
    check_fields(user.pk, None, new)
    require_readable_links(user, row)


def _require_payer(row: AiField, user: User) -> None:
    """Raise Forbidden if the AI field fills cells by itself, at the cost of `user`, who may not run
    it."""
    if row.policy != Policy.BY_HAND:
        require_access(user, row.table, Access.RUN)


def require_readable_links(user: User, row: AiField) -> None:
    """Raise InvalidRequest if the AI field reads of linked tables that `user` may not read: what it
    reads is in its prompts. One query, and one for each such link."""
    wanted = {*mapped_fields(row.mapping), *condition_fields(row.condition)}
    check_links(user, Field.objects.filter(pk__in=wanted, table=row.table_id))


def check_links(user: User, fields: Iterable[Field]) -> None:
    """Raise InvalidRequest if one of these fields links to a table that `user` may not read. A
    query for each link."""
    for link in fields:
        if link.kind != Kind.LINK:
            continue
        try:
            get_table(user, int(link.options["table"]), Access.READ)
        except (Forbidden, NotFound):
            raise because(
                InvalidRequest,
                Reason.of("linked_table_denied", name=repr(link.name)),
                field="mapping",
            ) from None


def _check_reads(row: AiField) -> None:
    """Raise InvalidRequest unless all that the field reads is in its table, and not its own."""
    fields = {found.pk: found for found in live_fields(row.table_id)}
    own = {found.pk for found in fields.values() if found.ai_field_id == row.pk}
    for variable, source in row.mapping.items():
        if isinstance(source, str):
            number = field_id(source)
            if number is None or number not in fields:
                raise because(InvalidRequest, Reason("field_key"), field=f"mapping.{variable}")
            if number in own:
                raise because(InvalidRequest, Reason("own_answers"), field=f"mapping.{variable}")
    if condition_fields(row.condition) & own:
        raise because(InvalidRequest, Reason("own_answers"), field="condition")
    statement = Statement(rows_table(row.table_id), operands_of(fields.values()))
    compile_filter(statement, row.condition, "condition")
    in_order(live_ai_fields(row.table_id), fields)


# --- Changing -----------------------------------------------------------------------------------
def change_ai_field(
    row: AiField, given: Mapping[str, Any], user: User, client: str = ""
) -> AiField:
    """Change an AI field. `given["outputs"]` are outputs to add. Raises as `add_ai_field`."""
    fields = {name: value for name, value in given.items() if name != "outputs"}
    outputs = cast("Sequence[NewOutput]", given.get("outputs") or ())
    candidate = AiField.objects.get(pk=row.pk)
    for name, value in fields.items():
        setattr(candidate, name, check_name(value) if name == "name" else value)
    if _ASKED & fields.keys() or "condition" in fields:
        _check_asked(candidate, user)
    is_payer = candidate.policy != Policy.BY_HAND and not _SPENDS.isdisjoint(given)
    if is_payer:
        _require_payer(candidate, user)

    def change(table: Table) -> AiField:
        changed = AiField.objects.select_related("table").get(pk=row.pk)
        for name, value in fields.items():
            setattr(changed, name, check_name(value) if name == "name" else value)
        if _ASKED & given.keys():
            changed.config_rev += 1
        if is_payer:
            # It spends as this user says from now on, and so at this user's cost.
            changed.owner = user
        changed.save()
        made = _add_outputs(table, changed, outputs, user) if outputs else []
        for output in made:
            answer_tables.add_output(changed, output)
        _check_reads(changed)
        _record(table, changed, made, user, client)
        return changed

    return ddl.change_schema(row.table_id, change)


def delete_ai_field(row: AiField, user: User, client: str = "") -> None:
    """Move an AI field and its outputs to the trash, and end its runs. Raises TableBusy."""

    def delete(table: Table) -> None:
        now = timezone.now()
        if not AiField.objects.filter(pk=row.pk, deleted_at=None).update(deleted_at=now):
            raise no_ai_field()
        outputs = Field.objects.filter(ai_field=row, deleted_at=None)
        made = list(outputs)
        outputs.update(deleted_at=now, deleted_by=user)
        _record(table, row, made, user, client)

    ddl.change_schema(row.table_id, delete)
    end_runs(row.pk)


def restore_ai_field(row: AiField, user: User, client: str = "") -> AiField:
    """Take an AI field out of the trash, with the outputs that were deleted with it. Harmless on
    one that is not in it. Raises Conflict where a name is taken, TableFull and TableBusy."""

    def restore(table: Table) -> AiField:
        restored = AiField.objects.select_related("table").get(pk=row.pk)
        if restored.deleted_at is None:
            return restored
        outputs = list(Field.objects.filter(ai_field=row, deleted_at=restored.deleted_at))
        present = live_fields(table.pk)
        if len(present) + len(outputs) > MAX_FIELDS:
            raise because(TableFull, Reason.of("fields_full", limit=MAX_FIELDS))
        taken = {found.name for found in present}
        for output in outputs:
            output.name = free_name(output.name, taken)
            taken.add(output.name)
            output.deleted_at = output.deleted_by = None
        Field.objects.bulk_update(outputs, ["name", "deleted_at", "deleted_by"])
        restored.deleted_at = None
        restored.save(update_fields=["deleted_at", "updated_at"])
        _check_reads(restored)
        _record(table, restored, outputs, user, client)
        return restored

    return ddl.change_schema(row.table_id, restore)


def end_runs(ai_field_id: int) -> None:
    """Cancel the runs of an AI field that have not ended."""
    runs = AiRun.objects.select_related("run").filter(ai_field=ai_field_id)
    for ai_run in runs.exclude(run__state__in=ENDED_RUNS):
        if ai_run.run.state == "ready":
            control.discard(ai_run.run)
        control.cancel(ai_run.run)


def _record(table: Table, row: AiField, outputs: Sequence[Field], user: User, client: str) -> None:
    ids = [output.pk for output in outputs]
    record(
        table,
        Author(user.pk, client),
        Changed(ChangeKind.FIELD, field_ids=ids, changes_schema=True),
    )
