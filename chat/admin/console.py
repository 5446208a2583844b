"""The console on the admin's index page: its data, and the buttons that lift pauses."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    JsonResponse,
)
from django.shortcuts import get_object_or_404, redirect
from django.urls import path
from django.utils.translation import gettext

from aily.redis.errors import RedisUnavailable
from chat.models import LLMModel, Provider
from chat.services import pauses
from chat.services.console import snapshot
from chat.services.spending import spending


def console_data(request: HttpRequest) -> JsonResponse:
    """Serve what the user may see of the queue, of providers and of spending."""
    parts = _parts(request)
    if not parts:
        raise PermissionDenied
    return JsonResponse(parts, headers={"Cache-Control": "no-store"})


def _parts(request: HttpRequest) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    may_see_tasks = request.user.has_perm("chat.view_task")
    may_see_providers = request.user.has_perm("chat.view_provider")
    if may_see_tasks or may_see_providers:
        state = snapshot()
        parts["has_redis"] = state.has_redis
        if may_see_tasks:
            parts["models"] = [asdict(model) for model in state.models]
            parts["failures"] = state.failures
            parts["workers"] = state.workers
            parts["runs"] = state.runs
        if may_see_providers:
            parts["providers"] = [asdict(provider) for provider in state.providers]
            parts["deployments"] = [asdict(deployment) for deployment in state.deployments]
    if request.user.has_perm("chat.view_ledgerentry"):
        parts["spending"] = asdict(spending())
    return parts


def lift(request: HttpRequest, kind: str, pk: int) -> HttpResponse:
    """Lift the pause of a model, or close the breaker of a provider."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    model = "llmmodel" if kind == "model" else "provider"
    if not request.user.has_perm(f"chat.change_{model}"):
        raise PermissionDenied
    try:
        name, was_blocked = _lift_model(pk) if kind == "model" else _lift_provider(pk)
    except RedisUnavailable:
        messages.error(request, gettext("Redis is away: nothing was lifted."))
        return redirect("admin:index")
    text = gettext("Called again: %(names)s.") if was_blocked else gettext("%(names)s: not paused.")
    messages.success(request, text % {"names": name})
    return redirect("admin:index")


def switch_deployment(
    request: HttpRequest, model_pk: int, pk: int, *, is_paused: bool
) -> HttpResponse:
    """Pause a deployment of a model (`pk` 0: its own), or lift its pauses."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm("chat.change_llmmodel"):
        raise PermissionDenied
    model = get_object_or_404(LLMModel.objects.with_deployments(), pk=model_pk)
    rows = [row for row in model.all_deployments() if (row.pk or 0) == pk]
    if not rows:
        raise Http404
    try:
        if is_paused:
            pauses.pause(rows[0])
        else:
            pauses.lift_deployment(rows[0])
    except RedisUnavailable:
        messages.error(request, gettext("Redis is away: nothing was lifted."))
        return redirect("admin:index")
    text = gettext("Paused: %(names)s.") if is_paused else gettext("Called again: %(names)s.")
    messages.success(request, text % {"names": rows[0]})
    return redirect("admin:index")


def _lift_model(pk: int) -> tuple[str, bool]:
    model = get_object_or_404(LLMModel, pk=pk)
    return model.name, pauses.lift_model(model)


def _lift_provider(pk: int) -> tuple[str, bool]:
    provider = get_object_or_404(Provider, pk=pk)
    return provider.name, pauses.lift_provider(provider)


urlpatterns = [
    path("", admin.site.admin_view(console_data), name="console"),
    path("lift/model/<int:pk>/", admin.site.admin_view(lift), {"kind": "model"}, "lift-model"),
    path(
        "lift/provider/<int:pk>/",
        admin.site.admin_view(lift),
        {"kind": "provider"},
        "lift-provider",
    ),
    path(
        "pause/deployment/<int:model_pk>/<int:pk>/",
        admin.site.admin_view(switch_deployment),
        {"is_paused": True},
        "pause-deployment",
    ),
    path(
        "lift/deployment/<int:model_pk>/<int:pk>/",
        admin.site.admin_view(switch_deployment),
        {"is_paused": False},
        "lift-deployment",
    ),
]
