"""Frames of the WebSocket that say what has changed in a table."""

from __future__ import annotations

from typing import Literal

import msgspec


class TableSubscribed(msgspec.Struct, tag_field="type", tag="table.subscribed", frozen=True):
    """From now on changes are sent: those after `id`."""

    ref: str | None
    table: int
    id: str
    rev: int
    schema_rev: int


class TableChanged(msgspec.Struct, tag_field="type", tag="table.changed", frozen=True):
    """These rows have changed, in these fields. No fields: in any, or they are new or gone."""

    table: int
    #: What `after` of the next subscription begins with.
    id: str
    rev: int
    rows: list[int]
    fields: list[str]


class ImportProgress(msgspec.Struct, tag_field="type", tag="import.progress", frozen=True):
    """How far an import is. `total` and `done` count rows of the file."""

    import_id: str
    table: int | None
    state: str
    reason: str | None
    message: str | None
    #: What a text of the reason in another language needs.
    params: dict[str, str | float] | None
    total: int | None
    done: int
    created_rows: int
    updated_rows: int
    skipped_rows: int
    bad_rows: int


class ExportProgress(msgspec.Struct, tag_field="type", tag="export.progress", frozen=True):
    """How far an export is. `done` counts rows that are written; `total` is null until counted."""

    export_id: str
    table: int
    state: str
    reason: str | None
    message: str | None
    #: What a text of the reason in another language needs.
    params: dict[str, str | float] | None
    total: int | None
    done: int


class TableReload(msgspec.Struct, tag_field="type", tag="table.reload", frozen=True):
    """Too much has changed for frames: read the fields or the rows again."""

    table: int
    id: str
    rev: int
    reason: Literal["fields", "rows"]
