"""Restricted models and tools: only a user who may use one may let others use it.

Two things let others use a model: a scene that names it, and another model that calls the same one
at the same provider.
"""

from __future__ import annotations

from django.db.models import Q
from django.db.models.signals import pre_save
from django.utils.translation import gettext as _

from accounts.delegation import current_actor
from accounts.delegation_checks import protect_restriction
from aily.problems import Forbidden
from chat.models import Deployment, LLMModel, Scene, SceneVersion, Tool
from chat.tools.offers import USE_TOOL

USE_SCENE, USE_MODEL = "chat.use_scene", "chat.use_llmmodel"
#: On a scene it covers the scene's versions, in place of Django's permissions on all versions.
EDIT_SCENE = "chat.change_scene"
PUBLISH_SCENE = "chat.publish_scene"


def denied_models(version: SceneVersion) -> list[str]:
    """The models that the version names and the user of this request may not use."""
    actor = current_actor()
    if actor is None:
        return []
    named = LLMModel.objects.filter(Q(pk=version.model_id) | Q(name__in=version.fallback_models))
    restricted = named.filter(is_restricted=True).values_list("pk", "name")
    return [name for pk, name in restricted if not actor.permissions.allows(USE_MODEL, pk)]


def denied_tools(version: SceneVersion) -> list[str]:
    """The tools that the version names and the user of this request may not use."""
    actor = current_actor()
    if actor is None or not version.tools:
        return []
    restricted = Tool.objects.filter(function_name__in=version.tools, is_restricted=True)
    return [
        name
        for pk, name in restricted.values_list("pk", "function_name")
        if not actor.permissions.allows(USE_TOOL, pk)
    ]


def _saving_model(sender: object, instance: LLMModel, **kwargs: object) -> None:
    called = instance.upstream_name or instance.name
    _require_own_use(instance, instance.provider_id, called)


def _saving_deployment(sender: object, instance: Deployment, **kwargs: object) -> None:
    _require_own_use(instance.model, instance.provider_id, instance.called)


def _require_own_use(model: LLMModel, provider_id: int, called: str) -> None:
    """Raise Forbidden where `model` would let others use a model that the user of this request may
    not use."""
    actor = current_actor()
    if actor is None or model.is_restricted:
        return
    for other in LLMModel.objects.with_deployments().filter(is_restricted=True):
        if other.pk == model.pk or actor.permissions.allows(USE_MODEL, other):
            continue
        for place in other.all_deployments():
            if (place.provider_id, place.called) == (provider_id, called):
                raise Forbidden(
                    _("This calls the same model as %(model)s, which you may not use.")
                    % {"model": other},
                    field="upstream_name",
                )


def connect_signals() -> None:
    """Check every change of models and scenes against the rules (accounts/delegation.py)."""
    protect_restriction(Scene)
    protect_restriction(LLMModel)
    protect_restriction(Tool)
    pre_save.connect(_saving_model, sender=LLMModel)
    pre_save.connect(_saving_deployment, sender=Deployment)
