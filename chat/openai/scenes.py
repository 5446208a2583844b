"""Scenes as models: `scene:<slug>`, with their variables in `variables` or in `metadata`.

OpenAI's metadata are texts. One that is named like a variable of the scene is that variable; where
the scene's schema wants no text there, it is read as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from pydantic import JsonValue

from aily.database.threads import in_database
from aily.problems import InvalidRequest
from aily.rest.json_input import decode_json
from chat.models import SceneVersion
from chat.services import catalog
from chat.services.parameters import Object

SCENE_PREFIX = "scene:"
#: How many schemas are looked through for whether they allow a text.
_MAX_STEPS = 32
#: Of a version: what PostgreSQL can compare.
_MAX_NUMBER = 2**31 - 1


def target_of(model: str) -> Object:
    """Return the field `model` or `scene` of a request, by the name of its model."""
    if model.startswith(SCENE_PREFIX):
        return {"scene": model.removeprefix(SCENE_PREFIX), "model": None}
    return {"model": model}


async def with_variables(fields: Object) -> Object:
    """Return the fields with the scene's variables taken out of `metadata`.

    `variables`, where it is given, has all of them; `metadata` is then the caller's own.
    """
    return await in_database(with_variables_now, fields) if fields.get("scene") else fields


def with_variables_now(fields: Object) -> Object:
    """`with_variables` for a thread."""
    slug = fields.get("scene")
    if not isinstance(slug, str) or "variables" in fields:
        return fields
    return _with_variables(fields, _live_version(slug))


def of_scene(fields: Object) -> tuple[Object, Sequence[str]]:
    """Return the fields with the scene's variables, and the names of the tools that it offers. For
    a thread."""
    slug, number = fields.get("scene"), fields.get("version")
    if not isinstance(slug, str):
        return fields, ()
    live = _live_version(slug)
    tools: Sequence[str] = () if live is None else live.tools
    if isinstance(number, int) and (live is None or live.number != number):
        tools = _tools_of_version(slug, number)
    return fields if "variables" in fields else _with_variables(fields, live), tools


def _tools_of_version(slug: str, number: int) -> Sequence[str]:
    if not 0 < number <= _MAX_NUMBER:
        return ()
    found = SceneVersion.objects.filter(scene__slug=slug, number=number)
    return found.values_list("tools", flat=True).first() or ()


def _live_version(slug: str) -> SceneVersion | None:
    """The scene's live version; None if there is none: the submit refuses the scene then."""
    scene = catalog.look_up([slug], []).scenes.get(slug)
    return scene.live_version if scene is not None else None


def _with_variables(fields: Object, version: SceneVersion | None) -> Object:
    metadata = fields.get("metadata")
    if not isinstance(metadata, dict):
        return fields
    schema = version.variables_schema if version is not None else {}
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    variables = {
        name: _typed(value, known[name], schema)
        for name, value in metadata.items()
        if name in known
    }
    others = {name: value for name, value in metadata.items() if name not in variables}
    return {**fields, "variables": variables, "metadata": others}


def _typed(value: JsonValue, schema: JsonValue, root: Mapping[str, JsonValue]) -> JsonValue:
    """The value of a text of metadata, parsed by the schema of its variable.

    What is no JSON stays a text: the check of the variables names what is wrong with it.
    """
    if not isinstance(value, str) or _allows_text(value, schema, root, [_MAX_STEPS]):
        return value
    try:
        return cast("JsonValue", decode_json(value))
    except InvalidRequest:
        return value


def _allows_text(
    text: str, schema: JsonValue, root: Mapping[str, JsonValue], steps: list[int]
) -> bool:
    """Whether the schema allows a text here, as far as `type`, `enum` and references say."""
    steps[0] -= 1
    if not isinstance(schema, dict) or steps[0] < 0:
        return True
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        return _allows_text(text, _referenced(root, reference), root, steps)
    for name in ("anyOf", "oneOf"):
        options = schema.get(name)
        if isinstance(options, list):
            return any(_allows_text(text, option, root, steps) for option in options)
    if "const" in schema or isinstance(schema.get("enum"), list):
        options = schema.get("enum")
        return text in options if isinstance(options, list) else text == schema.get("const")
    types = schema.get("type", "string")
    return "string" in (types if isinstance(types, list) else [types])


def _referenced(root: Mapping[str, JsonValue], reference: str) -> JsonValue:
    found: JsonValue = dict(root)
    for part in reference.removeprefix("#/").split("/"):
        if not isinstance(found, dict):
            return None
        found = found.get(part.replace("~1", "/").replace("~0", "~"))
    return found
