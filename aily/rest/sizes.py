"""Bounds of the large columns of rows, so that a list of a hundred rows has a bound too."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db.models import Model

from aily.rest.json_input import exceeds

#: Bound of texts for people, such as descriptions and notes.
TEXT_BYTES = 16_384
#: Bound of a request's parameters, which may have tools and a schema.
PARAMS_BYTES = 65_536


def check_sizes(row: Model, *fields: str, max_bytes: int = TEXT_BYTES) -> None:
    """Raise ValidationError, naming each field that has more bytes. For a model's `clean`."""
    errors = {
        name: f"May have {max_bytes} bytes at most."
        for name in fields
        if exceeds(getattr(row, name), max_bytes)
    }
    if errors:
        raise ValidationError(errors)
