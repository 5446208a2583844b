"""Scenes: turning one into a prompt, and the only way to write its versions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from accounts.models import User
from aily.problems import Conflict, Forbidden
from chat.exceptions import InvalidTemplate, InvalidVariable
from chat.models import LLMModel, Scene, SceneVersion
from chat.services.parameters import parameter_errors
from chat.services.restrictions import denied_models
from chat.services.templates import PromptTemplate, too_large
from chat.services.variables import VariablesSchema


# --- Rendering ----------------------------------------------------------------------------------
class _Prompt:
    """A version, compiled."""

    def __init__(self, version: SceneVersion) -> None:
        """Raises InvalidTemplate."""
        self.templates = {"user": PromptTemplate(version.user_template, "user_template")}
        if version.system_template.strip():
            system = PromptTemplate(version.system_template, "system_template")
            self.templates = {"system": system, **self.templates}
        names = {name for template in self.templates.values() for name in template.names}
        self.variables = VariablesSchema(version.variables_schema, names)


# Compiling takes milliseconds, rendering microseconds. Model instances are equal by primary key,
# and what is published does not change.
_published_prompt = lru_cache(maxsize=256)(_Prompt)


def render(version: SceneVersion, variables: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages of a prompt: `[{"role": "system" | "user", "content": ...}]`.

    Raises InvalidVariable, InvalidTemplate, or TooLarge beyond PROMPT_MAX_BYTES in all.
    """
    prompt = _published_prompt(version) if version.is_published else _Prompt(version)
    prompt.variables.validate(variables)
    contents = {role: template.render(variables) for role, template in prompt.templates.items()}
    if sum(len(content.encode()) for content in contents.values()) > settings.PROMPT_MAX_BYTES:
        raise too_large()
    if not contents["user"].strip():
        raise InvalidVariable("With these variables the prompt is empty.", field="variables")
    return [{"role": role, "content": content} for role, content in contents.items()]


# --- Writing ------------------------------------------------------------------------------------
def validate_version(version: SceneVersion) -> None:
    """Raise InvalidTemplate where templates, schema or parameters cannot be used, or where the
    version names a model that its author may not use: with the scene, everybody would."""
    if not version.user_template.strip():
        raise InvalidTemplate("This template is empty.", field="user_template")
    if not isinstance(version.params, dict):
        raise InvalidTemplate("This must be a JSON object.", field="params")
    for name, message in parameter_errors(version.params):
        raise InvalidTemplate(message, field=f"params.{name}".rstrip("."))
    _check_fallbacks(version.fallback_models)
    if denied := denied_models(version):
        field = "fallback_models" if denied[0] in version.fallback_models else "model"
        # What one may not use looks as if it were not there.
        raise InvalidTemplate(f"There is no model {denied[0]!r}.", field=field)
    _Prompt(version)


def _check_fallbacks(names: Any) -> None:
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_list or len(names) != len(set(names)):
        raise InvalidTemplate(
            "This must be a JSON list of different model names.", field="fallback_models"
        )
    known = set(LLMModel.objects.filter(name__in=names).values_list("name", flat=True))
    for name in names:
        if name not in known:
            raise InvalidTemplate(f"There is no model {name!r}.", field="fallback_models")


def create_version(scene: Scene, author: User | None, fields: Mapping[str, Any]) -> SceneVersion:
    """Add a draft with the scene's next number. Raises InvalidTemplate."""
    with transaction.atomic():
        # The lock makes two authors at once take two numbers.
        Scene.objects.select_for_update().get(pk=scene.pk)
        last = SceneVersion.objects.filter(scene=scene).aggregate(last=Max("number"))["last"] or 0
        version = SceneVersion(scene=scene, number=last + 1, created_by=author, **fields)
        validate_version(version)
        version.save(force_insert=True)
    return version


def edit_version(version: SceneVersion, fields: Mapping[str, Any]) -> SceneVersion:
    """Change a draft. Raises Conflict when it is published, InvalidTemplate."""
    with transaction.atomic():
        draft = _locked(version)
        if draft.is_published:
            raise Conflict("A published version does not change. Make a new one.")
        for name, value in fields.items():
            setattr(draft, name, value)
        validate_version(draft)
        draft.save(update_fields=list(fields))
    return draft


def delete_version(version: SceneVersion) -> None:
    """Delete a draft. Raises Conflict when it is published."""
    with transaction.atomic():
        if _locked(version).is_published:
            raise Conflict("A published version is kept: tasks point at it.")
        SceneVersion.objects.filter(pk=version.pk).delete()


def publish(version: SceneVersion) -> SceneVersion:
    """Freeze a draft and make it live. Raises Conflict when it is published, and Forbidden."""
    with transaction.atomic():
        draft = _locked(version)
        if draft.is_published:
            raise Conflict("This version is published already.")
        # From here on the schema is read by callers who do not look at the templates.
        draft.variables_schema = _Prompt(draft).variables.schema
        draft.published_at = timezone.now()
        draft.save(update_fields=["variables_schema", "published_at"])
        make_live(draft)
    return draft


def make_live(version: SceneVersion) -> None:
    """Move the scene to a published version, forth or back. Raises Conflict and Forbidden."""
    if not version.is_published:
        raise Conflict("Publish this version first.")
    if denied := denied_models(version):
        raise Forbidden(f"This version names a model that you may not use: {denied[0]}.")
    scene = Scene.objects.get(pk=version.scene_id)
    scene.live_version = version
    # Saved, not updated: the audit log hears of it.
    scene.save(update_fields=["live_version", "updated_at"])


def _locked(version: SceneVersion) -> SceneVersion:
    return SceneVersion.objects.select_for_update().get(pk=version.pk)
