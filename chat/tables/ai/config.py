"""What is asked of an AI field's rows: its configuration, resolved and digested."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import cast

import msgspec
from pydantic import JsonValue

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.models import Scene
from chat.reasons import Reason
from chat.tables.models import AiConfig, AiField, Field

DIGEST_BYTES = 16
#: The property of an output that takes the whole answer.
WHOLE = ""
#: A variable that is mapped to so many good answers: `{"examples": 5}`.
EXAMPLES = "examples"
MAX_EXAMPLES = 20

Content = dict[str, JsonValue]


def mapped_fields(mapping: Mapping[str, JsonValue]) -> list[int]:
    """The ids of the fields that a mapping reads, each once, in order."""
    return sorted({field_id for field_id in map(_field_id, mapping.values()) if field_id})


def _field_id(source: JsonValue) -> int | None:
    return field_id(source) if isinstance(source, str) else None


def field_id(key: str) -> int | None:
    """The id in a field's key, such as `f12`; None if it is none."""
    number = key.removeprefix("f")
    is_key = key.startswith("f") and number.isascii() and number.isdigit() and len(number) <= 18
    return int(number) if is_key else None


def examples_wanted(mapping: Mapping[str, JsonValue]) -> dict[str, int]:
    """How many good answers variables are given as examples. Raises InvalidRequest."""
    found: dict[str, int] = {}
    for variable, source in mapping.items():
        if not isinstance(source, dict) or set(source) != {EXAMPLES}:
            continue
        number = source[EXAMPLES]
        is_number = isinstance(number, int) and not isinstance(number, bool)
        if not is_number or not 1 <= cast("int", number) <= MAX_EXAMPLES:
            raise because(
                InvalidRequest,
                Reason.of("example_count", limit=MAX_EXAMPLES),
                field=f"mapping.{variable}",
            )
        found[variable] = cast("int", number)
    return found


def condition_fields(tree: JsonValue) -> set[int]:
    """The ids of the fields that a tree of conditions reads."""
    if isinstance(tree, list):
        return set().union(*map(condition_fields, tree))
    if not isinstance(tree, dict):
        return set()
    named = tree.get("field")
    own = field_id(named) if isinstance(named, str) else None
    below = set().union(*(condition_fields(node) for node in tree.values()))
    return {own, *below} if own else below


# --- Digests ------------------------------------------------------------------------------------
def live_versions(slugs: Iterable[str]) -> dict[str, int]:
    """The numbers of the versions of these scenes that are live, in one query."""
    scenes = Scene.objects.filter(slug__in=set(slugs), live_version__isnull=False)
    return dict(scenes.values_list("slug", "live_version__number"))


def content_of(ai_field: AiField, live_version: int | None, outputs: Iterable[Field]) -> Content:
    """All that decides what is asked, besides the row. The condition decides only whether."""
    return {
        "scene": ai_field.scene,
        "version": ai_field.scene_version or live_version,
        "model": ai_field.model,
        "options": ai_field.options,
        "mapping": ai_field.mapping,
        "outputs": {
            output.column: [ai_field.outputs_map.get(output.column, WHOLE), output.kind]
            for output in outputs
        },
    }


def digest_of(content: Content) -> bytes:
    encoded = msgspec.json.encode(content, order="sorted")
    return hashlib.sha256(encoded).digest()[:DIGEST_BYTES]


def store_config(ai_field: AiField, content: Content) -> AiConfig:
    """The row of this configuration, made if it is new. Raises InvalidRequest without a version."""
    if content["version"] is None:
        raise because(
            InvalidRequest, Reason.of("no_live_version", name=repr(ai_field.scene)), field="scene"
        )
    config, _ = AiConfig.objects.get_or_create(
        ai_field=ai_field, digest=digest_of(content), defaults={"content": content}
    )
    return config


# --- Dependencies -------------------------------------------------------------------------------
def dependencies(ai_field: AiField, fields: Mapping[int, Field]) -> set[int]:
    """The ids of the AI fields whose answers this one reads. `fields`: those of its table."""
    read = set(mapped_fields(ai_field.mapping)) | condition_fields(ai_field.condition)
    return {
        filler
        for number in read
        if (found := fields.get(number)) is not None and (filler := found.ai_field_id) is not None
    }


def in_order(ai_fields: Iterable[AiField], fields: Mapping[int, Field]) -> list[AiField]:
    """The AI fields, each after those that it reads. Raises InvalidRequest for a circle."""
    waiting = {ai_field.pk: ai_field for ai_field in ai_fields}
    needs = {pk: dependencies(ai_field, fields) for pk, ai_field in waiting.items()}
    ordered: list[AiField] = []
    while waiting:
        ready = [pk for pk in waiting if not needs[pk] & waiting.keys()]
        if not ready:
            names = ", ".join(repr(ai_field.name) for ai_field in waiting.values())
            reason = Reason.of("circular_ai_fields", names=names)
            raise because(InvalidRequest, reason, field="mapping")
        ordered += [waiting.pop(pk) for pk in ready]
    return ordered
