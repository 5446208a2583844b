"""Announces changes of tables to those who look at them."""

from __future__ import annotations

from collections.abc import Sequence


def changed(table_id: int, rev: int, row_ids: Sequence[int], field_ids: Sequence[int]) -> None:
    """Announce revision `rev` of a table: these rows changed, in these fields.

    To be called after the commit. No rows: the fields themselves were added, changed or deleted. No
    fields: the rows were created or deleted.
    """
