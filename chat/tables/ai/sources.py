"""AI fields with all that their answers are compared with, in a constant number of queries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from uuid import UUID

from psycopg import sql

from chat.models.runs import ENDED_RUNS
from chat.tables.ai.config import Content, content_of, digest_of, live_versions, mapped_fields
from chat.tables.ai.inputs import digest_expression, inputs_expression, read_fields
from chat.tables.models import AiField, AiRun, Field
from chat.tables.queries.catalogue import operands_of


@dataclass(frozen=True, slots=True)
class Source:
    """An AI field as it is configured now."""

    ai_field: AiField
    outputs: list[Field]
    content: Content
    #: Of `content`.
    config: bytes
    #: Expressions of the row `t`.
    inputs: sql.Composable
    digest: sql.Composable
    #: Its runs that have not ended.
    active_runs: tuple[UUID, ...] = ()
    #: Ids of mapped fields that are in the trash, or gone.
    missing: tuple[int, ...] = ()


def load_sources(ai_field_ids: Collection[int]) -> dict[int, Source]:
    """These AI fields, by id. Five queries, however many there are; none if there are none."""
    ai_fields = list(AiField.objects.filter(pk__in=ai_field_ids)) if ai_field_ids else []
    if not ai_fields:
        return {}
    tables = {ai_field.table_id for ai_field in ai_fields}
    fields = list(Field.objects.filter(table__in=tables, deleted_at=None))
    versions = live_versions(ai_field.scene for ai_field in ai_fields)
    runs = _active_runs(ai_field_ids)
    return {
        ai_field.pk: _source(ai_field, fields, versions.get(ai_field.scene), runs)
        for ai_field in ai_fields
    }


def load_source(ai_field_id: int) -> Source:
    return load_sources([ai_field_id])[ai_field_id]


def changed_source(source: Source, changes: Mapping[str, object]) -> Source:
    """The same AI field as if these columns of it were changed, which are not its mapping."""
    ai_field = copy(source.ai_field)
    for name, value in changes.items():
        setattr(ai_field, name, value)
    version = live_versions([ai_field.scene]).get(ai_field.scene)
    content = content_of(ai_field, version, source.outputs)
    return replace(source, ai_field=ai_field, content=content, config=digest_of(content))


def _source(
    ai_field: AiField,
    fields: Iterable[Field],
    live_version: int | None,
    runs: dict[int, tuple[UUID, ...]],
) -> Source:
    by_id = {field.pk: field for field in fields if field.table_id == ai_field.table_id}
    outputs = [field for field in by_id.values() if field.ai_field_id == ai_field.pk]
    content = content_of(ai_field, live_version, outputs)
    wanted = mapped_fields(ai_field.mapping)
    mapped = read_fields(wanted, by_id)
    inputs = inputs_expression(mapped, operands_of(mapped))
    return Source(
        ai_field,
        outputs,
        content,
        digest_of(content),
        inputs,
        digest_expression(inputs),
        runs.get(ai_field.pk, ()),
        tuple(number for number in wanted if number not in by_id),
    )


def _active_runs(ai_field_ids: Collection[int]) -> dict[int, tuple[UUID, ...]]:
    runs = AiRun.objects.filter(ai_field__in=ai_field_ids, comparison=None)
    found: dict[int, tuple[UUID, ...]] = {}
    unended = runs.exclude(run__state__in=ENDED_RUNS).values_list("ai_field_id", "run_id")
    for ai_field_id, run_id in unended:
        found[ai_field_id] = (*found.get(ai_field_id, ()), run_id)
    return found
