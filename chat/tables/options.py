"""The options of a field, by its kind: choices of a select, the table of a link, how a number is
shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import cast

from pydantic import JsonValue

from aily.problems import InvalidRequest, NotFound
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.models import Kind
from chat.tables.models.tables import MAX_NAME_CHARS

Options = dict[str, JsonValue]

MAX_CHOICES = 1_000
MAX_DECIMALS_SHOWN = 10
MAX_UNIT_CHARS = 20
_COLOR = re.compile(r"[a-z][a-z0-9-]{0,19}|#[0-9a-f]{6}")


def check_options(
    kind: str, given: Mapping[str, JsonValue], before: Mapping[str, JsonValue] | None = None
) -> Options:
    """Return the options to store. `before`: those of a field that is changed.

    New choices get ids that no choice of the field ever had. Raises InvalidRequest.
    """
    kind = Kind(kind)
    known = _OPTIONS.get(kind, ())
    for name in given:
        if name not in known:
            raise _invalid(name, Reason.of("no_such_option", kind=kind.value))
    check = _CHECKS.get(kind)
    return {} if check is None else check(given, before or {})


def _invalid(name: str, reason: Reason) -> InvalidRequest:
    return because(InvalidRequest, reason, field=f"options.{name}")


def _check_choices(given: Mapping[str, JsonValue], before: Mapping[str, JsonValue]) -> Options:
    choices = given.get("choices", [])
    if not isinstance(choices, list):
        raise _invalid("choices", Reason("no_choice_list"))
    if len(choices) > MAX_CHOICES:
        raise _invalid("choices", Reason.of("field_choices", limit=MAX_CHOICES))
    known = {choice["id"] for choice in cast("list[Options]", before.get("choices", []))}
    next_id = cast("int", before.get("next_id", 1))
    stored: list[JsonValue] = []
    names: set[JsonValue] = set()
    used: set[JsonValue] = set()
    for index, choice in enumerate(choices):
        field = f"choices.{index}"
        checked = _check_choice(choice, field)
        if checked["name"] in names:
            raise _invalid(f"{field}.name", Reason("choice_name_taken"))
        names.add(checked["name"])
        number = checked.pop("id", None)
        if number is None:
            number, next_id = next_id, next_id + 1
        elif number not in known or number in used:
            raise _invalid(f"{field}.id", Reason("choice_id"))
        used.add(number)
        stored.append({"id": number, **checked})
    return {"choices": stored, "next_id": next_id}


def _check_choice(choice: JsonValue, field: str) -> Options:
    if isinstance(choice, str):
        choice = {"name": choice}
    if not isinstance(choice, dict) or not choice.keys() <= {"id", "name", "color"}:
        raise _invalid(field, Reason("choice_shape"))
    name = choice.get("name")
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= MAX_NAME_CHARS:
        raise _invalid(f"{field}.name", Reason.of("name_length", limit=MAX_NAME_CHARS))
    color = choice.get("color")
    if color is not None and (not isinstance(color, str) or not _COLOR.fullmatch(color)):
        raise _invalid(f"{field}.color", Reason("color"))
    checked = {**choice, "name": name.strip()}
    return {key: value for key, value in checked.items() if value is not None}


def _check_number(given: Mapping[str, JsonValue], before: Mapping[str, JsonValue]) -> Options:
    decimals, unit = given.get("decimals"), given.get("unit")
    if decimals is not None and (
        not isinstance(decimals, int)
        or isinstance(decimals, bool)
        or not 0 <= decimals <= MAX_DECIMALS_SHOWN
    ):
        raise _invalid("decimals", Reason.of("range", minimum=0, maximum=MAX_DECIMALS_SHOWN))
    if unit is not None and (not isinstance(unit, str) or len(unit) > MAX_UNIT_CHARS):
        raise _invalid("unit", Reason.of("too_many_characters", limit=MAX_UNIT_CHARS))
    return {name: value for name, value in given.items() if value is not None}


def _check_link(given: Mapping[str, JsonValue], before: Mapping[str, JsonValue]) -> Options:
    """Whether the caller may read that table is checked by chat/tables/fields.py."""
    target = given.get("table")
    if not isinstance(target, int) or isinstance(target, bool):
        raise _invalid("table", Reason("link_table"))
    if before and target != before.get("table"):
        raise _invalid("table", Reason("link_table_fixed"))
    return {"table": target}


_Check = Callable[[Mapping[str, JsonValue], Mapping[str, JsonValue]], Options]
_OPTIONS: dict[Kind, tuple[str, ...]] = {
    Kind.SELECT: ("choices", "next_id"),
    Kind.MULTI_SELECT: ("choices", "next_id"),
    Kind.INTEGER: ("unit",),
    Kind.NUMBER: ("decimals", "unit"),
    Kind.LINK: ("table",),
}
_CHECKS: dict[Kind, _Check] = {
    Kind.SELECT: _check_choices,
    Kind.MULTI_SELECT: _check_choices,
    Kind.INTEGER: _check_number,
    Kind.NUMBER: _check_number,
    Kind.LINK: _check_link,
}


def no_such_table() -> NotFound:
    return because(NotFound, Reason("no_such_table"), field="options.table")
