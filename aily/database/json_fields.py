"""Columns of JSON that keep the order in which an author wrote the names of objects."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.db import models
from psycopg.types.json import Json

_INDENT = 2


class _Indented(json.JSONEncoder):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "indent": _INDENT})


class OrderedJSONField(models.JSONField):
    """A column of PostgreSQL's type `json`, which stores the text as it was sent.

    `jsonb` sorts the names of objects by their length. A `json` column cannot be compared or
    indexed: it is for documents that are only read as a whole.
    """

    def db_type(self, connection: Any) -> str:
        return "json"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        """psycopg sends it as `json`: on the way through `jsonb` the order would be lost."""
        return None if value is None else Json(value)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return self.get_db_prep_value(value, connection)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Django has psycopg decode `json`, but not `jsonb`."""
        return json.loads(value) if isinstance(value, str) else value

    def formfield(self, **options: Any) -> forms.Field | None:
        """Return a form field whose JSON is indented, on several lines."""
        return super().formfield(**{"encoder": _Indented, **options})
