"""Provenance of AI fields in an export: columns beside the answers themselves."""

from __future__ import annotations

from collections.abc import Sequence

from chat.tables.exports.columns import Column
from chat.tables.models import AiField
from chat.tables.queries.statement import Statement


def provenance_columns(
    statement: Statement, ai_fields: Sequence[AiField], *, is_json: bool = False
) -> list[Column]:
    """State, model, tokens, cost, time and task of each AI field's answers."""
    return []
