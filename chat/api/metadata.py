"""Filtering lists by the metadata that callers gave their tasks."""

# Annotations stay objects here: ninja looks them up.

from collections.abc import Iterable, Iterator
from typing import Annotated

from django.db.models import Q
from pydantic import AfterValidator, Field, JsonValue

from aily.problems import InvalidRequest
from aily.rest.json_input import decode_json
from aily.rest.schema_rules import refused_value
from chat.reasons import Reason
from chat.services.refused_values import refused

MAX_CONDITIONS = 8
MAX_CONDITION_CHARS = 1_000
METADATA_FILTER = (
    "What the metadata must have, such as `order:4711`; the value is a text, or a number, `true`, "
    'or `false`. Or a JSON object that it must contain, such as `{"order": "4711"}`. Given several '
    "times, all must fit."
)

_Object = dict[str, JsonValue]


def _parse(condition: str) -> list[_Object]:
    """Objects of which the metadata must contain one. Raises ValueError."""
    if len(condition) > MAX_CONDITION_CHARS:
        raise refused(Reason.of("too_many_characters", limit=MAX_CONDITION_CHARS))
    if condition.startswith("{"):
        return [_parse_object(condition)]
    name, separator, text = condition.partition(":")
    if not name or not separator:
        raise refused(Reason("condition_text"))
    values: list[JsonValue] = [text, *_other_than_text(text)]
    return [{name: value} for value in values]


def _parse_object(condition: str) -> _Object:
    try:
        wanted = decode_json(condition)
    except InvalidRequest as error:
        raise refused_value(error.message, error.params) from None
    if not isinstance(wanted, dict) or not wanted:
        raise refused(Reason("condition_text"))
    return wanted


def _other_than_text(text: str) -> Iterator[JsonValue]:
    try:
        value = decode_json(text)
    except InvalidRequest:
        return
    if isinstance(value, bool | int | float) or value is None:
        yield value


def _check(conditions: list[str]) -> list[str]:
    for condition in conditions:
        _parse(condition)
    return conditions


MetadataFilter = Annotated[list[str], Field(max_length=MAX_CONDITIONS), AfterValidator(_check)]


def with_metadata(conditions: Iterable[str]) -> Q:
    """Rows whose `metadata` fits all conditions."""
    found = Q()
    for condition in conditions:
        choices = Q()
        for wanted in _parse(condition):
            choices |= Q(metadata__contains=wanted)
        found &= choices
    return found
