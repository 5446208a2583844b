"""Columns and actions of pauses, for the admin of models and providers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from aily.redis.errors import RedisUnavailable
from chat.models import Deployment, LLMModel, Provider
from chat.services import pauses

Pausable = TypeVar("Pausable", LLMModel, Provider, Deployment)


class PausedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Adds a column with the seconds that each row is still paused; reads Redis once a page."""

    pause_kind: pauses.Kind

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changes = super().get_changelist_instance(request)
        left = self._seconds_left()
        for row in changes.result_list:
            row.paused_seconds = gettext("by staff") if row.paused_at else left.get(str(row), "")
        return changes

    def _seconds_left(self) -> dict[str, str]:
        """Seconds by name; none while Redis is away."""
        try:
            found = pauses.pauses()
        except RedisUnavailable:
            return {}
        return {
            pause.name: gettext("%(seconds)d s") % {"seconds": round(pause.seconds_left)}
            for pause in found
            if pause.kind == self.pause_kind and pause.seconds_left is not None
        }

    @admin.display(description=_("paused"))
    def paused_for(self, row: Model) -> str:
        seconds: str = getattr(row, "paused_seconds", "")
        return seconds

    def lift(
        self, request: HttpRequest, rows: QuerySet[Pausable], lift: Callable[[Pausable], bool]
    ) -> None:
        try:
            lifted = [str(row) for row in rows if lift(row)]
        except RedisUnavailable:
            self.message_user(
                request, gettext("Redis is away: nothing was lifted."), messages.ERROR
            )
            return
        names = ", ".join(lifted) or gettext("none of them was paused")
        self.message_user(request, gettext("Called again: %(names)s.") % {"names": names})


@admin.action(permissions=["change"], description=_("Pause: accept tasks and hold them"))
def pause_rows(modeladmin: PausedAdmin, request: HttpRequest, queryset: QuerySet[Pausable]) -> None:
    names = ", ".join([str(row) for row in queryset if pauses.pause(row)])
    names = names or gettext("all were paused already")
    modeladmin.message_user(request, gettext("Paused: %(names)s.") % {"names": names})


@admin.action(permissions=["change"], description=_("Lift the pause"))
def lift_pauses(
    modeladmin: PausedAdmin, request: HttpRequest, queryset: QuerySet[LLMModel]
) -> None:
    modeladmin.lift(request, queryset, pauses.lift_model)


@admin.action(permissions=["change"], description=_("Lift the pause and close the circuit breaker"))
def close_breakers(
    modeladmin: PausedAdmin, request: HttpRequest, queryset: QuerySet[Provider]
) -> None:
    modeladmin.lift(request, queryset, pauses.lift_provider)


@admin.action(permissions=["change"], description=_("Lift the pause and close the circuit breaker"))
def lift_deployments(
    modeladmin: PausedAdmin, request: HttpRequest, queryset: QuerySet[Deployment]
) -> None:
    modeladmin.lift(request, queryset, pauses.lift_deployment)
