"""Where in a request an error is, by the names that its sender has written.

Pydantic puts more into a location: the name of an endpoint's argument, and of a union the type that
the value was checked against. Neither is a name of a field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from ninja.params.models import ParamModel

Location = tuple[str | int, ...]


def sent_location(model: type[ParamModel], error: Mapping[str, Any]) -> Location:
    """The location of an error of this model of parameters: its source, then the path in it."""
    path = _without_tags(_by_parameter(model, error["loc"]), _tags(model))
    return (str(model.__ninja_param_source__), *path, *tag_field(error))


def tag_field(error: Mapping[str, Any]) -> Location:
    """The field that says which type of a union an object is, where the error is about that."""
    if not error["type"].startswith("union_tag"):
        return ()
    name = str(error["ctx"]["discriminator"])
    # A function that tells types apart has no field: it is written as `function()`.
    return () if name.endswith("()") else (name.strip("'"),)


def _by_parameter(model: type[ParamModel], location: Location) -> Location:
    """The location, where the argument that holds a parameter is replaced by the parameter."""
    names: Mapping[Location, Location] = vars(model)["__ninja_flatten_map_reverse__"]
    for length in range(len(location), 0, -1):
        if name := names.get(location[:length]):
            return (*name, *location[length:])
    return location


def _without_tags(location: Location, tags: frozenset[str]) -> Location:
    """Of an object in a list the tag follows its index."""
    before: Location = ("", *location)
    pairs = zip(before, location, strict=False)
    return tuple(part for index, part in pairs if not (isinstance(index, int) and part in tags))


@cache
def _tags(model: type[ParamModel]) -> frozenset[str]:
    """The values of the fields that say which type of a union an object is."""
    unions = unions_of(model.__pydantic_core_schema__)
    return frozenset(
        tag
        for union in unions
        if isinstance(union.get("discriminator"), str)
        for tag in union["choices"]
    )


def unions_of(schema: object) -> Iterator[dict[str, Any]]:
    """All unions in a core schema of pydantic."""
    if isinstance(schema, dict):
        if schema.get("type") in ("union", "tagged-union"):
            yield schema
        parts = [part for name, part in schema.items() if name != "metadata"]
    else:
        parts = list(schema) if isinstance(schema, list | tuple) else []
    for part in parts:
        yield from unions_of(part)
