"""What an export has: the rows of a view or of the whole table, and which fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from psycopg import sql

from accounts.models import User
from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.fields import live_fields
from chat.tables.models import AiField, Export, Field
from chat.tables.queries.aggregates import Grouping
from chat.tables.queries.catalogue import operands_of
from chat.tables.queries.filters import compile_filter
from chat.tables.queries.index import ordered_keys
from chat.tables.queries.pages import Query
from chat.tables.queries.sorts import SortKey
from chat.tables.queries.statement import Statement
from chat.tables.view_queries import ViewParts, compile_parts, compile_stored, parts_of


@dataclass(frozen=True, slots=True)
class Selection:
    query: Query
    fields: Sequence[Field]
    groups: Sequence[Grouping] = ()
    #: Those whose provenance is wanted.
    ai_fields: Sequence[AiField] = field(default_factory=list)

    def compile(self, statement: Statement) -> tuple[sql.Composable, list[SortKey]]:
        """The condition that rows meet, and the keys of their order."""
        condition = compile_filter(statement, self.query.filter)
        return condition, ordered_keys(statement, self.query, self.groups)


def selection_of(job: Export, reader: User) -> Selection:
    """The selection, as the view and the table are now. Raises InvalidRequest."""
    fields = live_fields(job.table_id)
    operands = operands_of(fields, reader)
    options = job.options
    if job.view is not None:
        found = compile_stored(job.table_id, operands, parts_of(job.view))
        fields = _shown(fields, job.view.order, job.view.hidden)
    else:
        parts = ViewParts(filter=options.get("filter"), sorts=options.get("sorts"))
        found = compile_parts(job.table_id, operands, parts)
    if options.get("fields"):
        fields = _chosen(live_fields(job.table_id), options["fields"])
    if not fields:
        raise because(InvalidRequest, Reason("nothing_to_export"), field="fields")
    ai_fields: list[AiField] = []
    if options.get("provenance"):
        wanted = {field.ai_field_id for field in fields if field.ai_field_id is not None}
        ai_fields = list(AiField.objects.filter(pk__in=wanted).order_by("pk"))
    return Selection(found.query, fields, found.groups, ai_fields)


def _shown(fields: Sequence[Field], order: Sequence[str], hidden: Sequence[str]) -> list[Field]:
    """The fields that a view shows, in its order; those that it does not name come last."""
    place = {key: at for at, key in enumerate(order)}
    seen = [field for field in fields if field.key not in set(hidden)]
    return sorted(seen, key=lambda field: place.get(field.key, len(place)))


def _chosen(fields: Sequence[Field], keys: Sequence[str]) -> list[Field]:
    by_key = {field.key: field for field in fields}
    for at, key in enumerate(keys):
        if key not in by_key:
            raise because(InvalidRequest, Reason("no_such_field"), field=f"fields.{at}")
    return [by_key[key] for key in dict.fromkeys(keys)]
