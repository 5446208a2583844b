"""JSON Schemas (2020-12): checked before they are used, and values checked against them."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError
from referencing import Registry

from chat.rendering.keywords import Validator
from chat.rendering.patterns import PatternError
from chat.rendering.schema_survey import Survey, SurveyError
from chat.rendering.values import OutOfBoundsError, Size, measure
from chat.rendering.work import MAX_CHECKED_VALUES, MAX_SCHEMA_BYTES, MAX_WORK

if TYPE_CHECKING:
    from pydantic import JsonValue

SCHEMA_MAX_BYTES = 65_536
SCHEMA_MAX_VALUES = 5_000
SCHEMA_MAX_DEPTH = 64
MAX_MESSAGE = 300


class SchemaRefusedError(ValueError):
    """The schema cannot be used; the message, for its author, says why."""


class UncheckableError(ValueError):
    """The value cannot be checked against the schema; the message says why."""


def check_bounds(schema: dict[str, JsonValue]) -> None:
    """Raises SchemaRefusedError if the schema is too large to be checked."""
    try:
        measure(schema, SCHEMA_MAX_BYTES, SCHEMA_MAX_VALUES, SCHEMA_MAX_DEPTH)
    except OutOfBoundsError as error:
        raise SchemaRefusedError(f"This schema has {error}.") from None
    if len(json.dumps(schema)) > SCHEMA_MAX_BYTES:
        raise SchemaRefusedError(f"A schema may have {SCHEMA_MAX_BYTES} bytes at most.")


def is_small(schema: dict[str, JsonValue]) -> bool:
    """Whether looking it over is little work, whatever it says."""
    return len(json.dumps(schema)) <= MAX_SCHEMA_BYTES


class JsonSchema:
    """A checked schema; any number of threads may check values with it at once."""

    def __init__(
        self,
        schema: dict[str, JsonValue],
        format_checker: FormatChecker | None = None,
        *,
        is_known: bool = False,
    ) -> None:
        """`format_checker`: the values of `format` that are checked; None: none are. `is_known`: it
        was found to be a schema before, which takes most of the time.

        Raises SchemaRefusedError. The bounds of its size are `check_bounds`'.
        """
        try:
            if not is_known:
                # Without formats: those of patterns are Python's.
                Draft202012Validator.check_schema(schema, format_checker=FormatChecker(()))
            self._survey = Survey(schema)
        except SchemaError as error:
            raise SchemaRefusedError(f"{error.json_path}: {error.message}"[:MAX_MESSAGE]) from None
        except SurveyError as error:
            raise SchemaRefusedError(str(error)[:MAX_MESSAGE]) from None
        except RecursionError:
            raise SchemaRefusedError("Its $refs are nested too deeply.") from None
        # A `$schema` would have jsonschema take its own keywords. An empty registry: nothing is
        # ever fetched.
        used = {keyword: value for keyword, value in schema.items() if keyword != "$schema"}
        self._validator = Validator(used, registry=Registry(), format_checker=format_checker)

    def is_little_work(self, size: Size) -> bool:
        """Whether checking a value of this size is."""
        return (
            self._survey.is_linear
            and size.values * self._survey.max_applied <= MAX_CHECKED_VALUES
            and self._survey.pattern_size * size.bytes <= MAX_WORK
        )

    def errors(self, value: Any, limit: int) -> list[ValidationError]:
        """The first errors of a value; none: it fits.

        Raises UncheckableError, or PatternError where a pattern cannot be used.
        """
        try:
            return list(islice(self._validator.iter_errors(value), limit))
        except RecursionError:
            raise UncheckableError("This is nested too deeply.") from None
        except (MemoryError, PatternError):
            raise
        except Exception as error:  # noqa: BLE001 - some keywords fail with some values
            message = f"These cannot be checked: {type(error).__name__}: {error}"
            raise UncheckableError(message[:MAX_MESSAGE]) from None
