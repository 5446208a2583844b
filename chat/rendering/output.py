"""Answers of models, checked against the JSON Schema that they were asked to fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jsonschema import ValidationError
from jsonschema.exceptions import relevance

from chat.rendering.answer_json import NoJsonError, candidates, parse
from chat.rendering.formats import FORMATS
from chat.rendering.json_schema import JsonSchema, UncheckableError, check_bounds
from chat.rendering.patterns import PatternError
from chat.rendering.rules import missing_names, rule_of
from chat.rendering.values import OutOfBoundsError, Size, measure

if TYPE_CHECKING:
    from pydantic import JsonValue

#: Values of one answer. Texts have the bound of a task's text, which is cut there.
MAX_VALUES = 1_000_000
MAX_DEPTH = 200
#: Longer answers are checked in another process, whatever the schema is.
LITTLE_CHARS = 16_384
#: Errors that are named.
MAX_ERRORS = 5
_MAX_ERROR_CHARS = 200
_MAX_PATH_CHARS = 100
#: Above the bound of a task's text (LLM_MAX_TEXT_BYTES), whose default is 4 MiB.
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checked:
    """`text`: the answer as bare JSON that fits; None if it does not fit, as `errors` say.

    `params`: what a text of the first error in another language needs, as a problem's.
    """

    text: str | None
    errors: tuple[str, ...] = ()
    params: Mapping[str, str | float] = field(default_factory=dict)


class OutputSchema:
    """A checked schema of answers; any number of threads may check answers with it at once."""

    def __init__(self, schema: dict[str, JsonValue], *, is_known: bool = False) -> None:
        """`is_known`: it was checked before. Raises SchemaRefusedError."""
        check_bounds(schema)
        self._schema = JsonSchema(schema, FORMATS, is_known=is_known)

    def check_if_little_work(self, text: str) -> Checked | None:
        """`check`, or None where that may take more than some milliseconds."""
        if len(text) > LITTLE_CHARS:
            return None
        found = _read(text)
        is_little = all(self._schema.is_little_work(size) for _, _, size in found.parts)
        return self._check(found) if is_little else None

    def check(self, text: str) -> Checked:
        """Takes as long as schema and text ask for: to be called where it can be stopped."""
        return self._check(_read(text))

    def _check(self, found: _Found) -> Checked:
        first = Checked(None, found.errors)
        for part, value, _ in found.parts:
            checked = self._check_value(part, value)
            if checked.text is not None:
                return checked
            first = first if first.errors else checked
        return first

    def _check_value(self, part: str, value: JsonValue) -> Checked:
        try:
            errors = self._schema.errors(value, MAX_ERRORS)
        except UncheckableError as error:
            return Checked(None, (str(error)[:_MAX_ERROR_CHARS],), error.reason.as_params())
        except PatternError as error:
            return Checked(None, (str(error)[:_MAX_ERROR_CHARS],))
        if not errors:
            return Checked(part)
        return Checked(None, tuple(map(_words, errors)), _params_of(errors[0]))


@dataclass(frozen=True, slots=True)
class _Found:
    """The parts of an answer that are JSON, with their values and sizes; or why there are none."""

    parts: list[tuple[str, JsonValue, Size]]
    errors: tuple[str, ...] = ()


def _read(text: str) -> _Found:
    parts: list[tuple[str, JsonValue, Size]] = []
    problem = ""
    for part in candidates(text):
        try:
            value = parse(part)
            parts.append((part, value, measure(value, _MAX_BYTES, MAX_VALUES, MAX_DEPTH)))
        except NoJsonError as error:
            problem = problem or f"This is no JSON: {error}"
        except OutOfBoundsError as error:
            problem = problem or str(error)
        if part == text and parts:
            break
    return _Found(parts, () if parts else (problem[:_MAX_ERROR_CHARS],))


def _nearest(error: ValidationError) -> ValidationError:
    """Of alternatives, the error of the one that comes nearest."""
    while error.context:
        error = min(error.context, key=relevance)
    return error


def _params_of(error: ValidationError) -> dict[str, str | float]:
    """The rule of an error, and the path of the value that breaks it."""
    error = _nearest(error)
    missing = missing_names(error)[:1]
    path = ".".join(map(str, [*error.absolute_path, *missing]))[:_MAX_PATH_CHARS]
    rule = rule_of(error)
    return {**rule, "path": path} if rule and path else rule


def _words(error: ValidationError) -> str:
    """The path and the message of an error."""
    error = _nearest(error)
    words = f"{error.json_path[:_MAX_PATH_CHARS]}: {error.message}"[:_MAX_ERROR_CHARS]
    # The database takes none.
    return words.replace("\0", "\ufffd")
