"""Bounds of what rows keep: without them a list of a hundred rows has no bound either."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db.models import Model

from aily.rest.json_input import exceeds

#: Of texts for people, such as descriptions and notes.
TEXT_BYTES = 16_384
#: Of a request's parameters, which may have tools and a schema.
PARAMS_BYTES = 65_536


def check_sizes(row: Model, *fields: str, max_bytes: int = TEXT_BYTES) -> None:
    """For `clean`. Raises ValidationError, naming each field that has more."""
    errors = {
        name: f"May have {max_bytes} bytes at most."
        for name in fields
        if exceeds(getattr(row, name), max_bytes)
    }
    if errors:
        raise ValidationError(errors)
