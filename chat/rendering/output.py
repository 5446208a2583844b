"""Answers of models, checked against the JSON Schema that they were asked to fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jsonschema import ValidationError
from jsonschema.exceptions import relevance

from chat.rendering.answer_json import NoJsonError, candidates, parse
from chat.rendering.formats import FORMATS
from chat.rendering.json_schema import JsonSchema, UncheckableError, check_bounds
from chat.rendering.patterns import PatternError
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
    """`text`: the answer as bare JSON that fits; None if it does not fit, as `errors` say."""

    text: str | None
    errors: tuple[str, ...] = ()


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
        errors = found.errors
        for part, value, _ in found.parts:
            problems = self._errors(value)
            if not problems:
                return Checked(part)
            errors = errors or problems
        return Checked(None, errors)

    def _errors(self, value: JsonValue) -> tuple[str, ...]:
        try:
            return tuple(map(_words, self._schema.errors(value, MAX_ERRORS)))
        except (UncheckableError, PatternError) as error:
            return (str(error)[:_MAX_ERROR_CHARS],)


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
            problem = problem or f"This has {error}."
        if part == text and parts:
            break
    return _Found(parts, () if parts else (problem[:_MAX_ERROR_CHARS],))


def _words(error: ValidationError) -> str:
    """The path and the message of an error; of alternatives, of the one that comes nearest."""
    while error.context:
        error = min(error.context, key=relevance)
    words = f"{error.json_path[:_MAX_PATH_CHARS]}: {error.message}"[:_MAX_ERROR_CHARS]
    # The database takes none.
    return words.replace("\0", "\ufffd")
