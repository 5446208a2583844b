"""Versions of scenes before they are live: reading those that requests name, and previews."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_

from django.db.models import F, Q
from pydantic import JsonValue

from aily.problems import Problem, TooLarge
from chat.exceptions import InvalidVariable
from chat.models import SceneVersion
from chat.rendering import schema as schemas
from chat.rendering.prompt import Messages, PromptSource
from chat.services import rendering
from chat.services.catalog import Catalog
from chat.services.submission import TaskRequest


def read_versions(
    requests: Iterable[TaskRequest], catalog: Catalog
) -> dict[tuple[int, int], SceneVersion]:
    """The versions that requests name, by the scene's key and number, with one query."""
    wanted = {
        (scene.pk, request.version)
        for request in requests
        if (scene := catalog.scenes.get(request.scene or "")) and request.version is not None
    }
    if not wanted:
        return {}
    condition = reduce(or_, (Q(scene=scene, number=number) for scene, number in wanted))
    rows = SceneVersion.objects.filter(condition).select_related("model__provider")
    return {(version.scene_id, version.number): version for version in rows}


def find_version(slug: str, number: int | None = None) -> SceneVersion | None:
    """The version of this number of a scene; without a number the live one."""
    versions = SceneVersion.objects.filter(scene__slug=slug).select_related("scene", "model")
    if number is None:
        return versions.filter(pk=F("scene__live_version")).first()
    return versions.filter(number=number).first()


@dataclass(frozen=True, slots=True)
class Preview:
    """What templates and schema make of variables; `refusal`: why they make nothing of these."""

    variables_schema: dict[str, JsonValue]
    messages: Messages | None = None
    refusal: Problem | None = None


def preview(
    source: PromptSource,
    variables: Mapping[str, JsonValue],
    user_id: int,
    output_schema: dict[str, JsonValue] | None = None,
) -> Preview:
    """Render what is perhaps not saved yet, and check the schema of its answers.

    May wait for another process: to be called outside transactions. Raises InvalidTemplate where
    templates or schema cannot be used; TooManyRenderings or Unavailable if it cannot be done now.
    """
    schemas.check_size(source.schema)
    schema = rendering.check(source, user_id)
    rendering.check_output_schema(output_schema, user_id)
    try:
        return Preview(schema, rendering.render_source(source, variables, user_id))
    except (InvalidVariable, TooLarge) as refusal:
        return Preview(schema, refusal=refusal)
