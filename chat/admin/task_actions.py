"""Buttons on the page of a task: cancel it, or retry it as a new one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext

from chat.models import Task
from chat.models.ids import first_id
from chat.services.cancel import cancel_many
from chat.services.retry import retry_many

#: Acts on one task, and returns the id of the task whose page is shown next.
_Act = Callable[[HttpRequest, UUID], UUID]


class TaskActions(admin.ModelAdmin):  # type: ignore[type-arg]
    """Adds `<id>/cancel/` and `<id>/retry/`, by POST only."""

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chat.change_task")

    def get_urls(self) -> list[URLPattern]:
        site = self.admin_site
        own = [
            path(
                f"<uuid:task_id>/{name}/",
                site.admin_view(partial(self._act, act=act)),
                name=f"chat_task_{name}",
            )
            for name, act in (("cancel", _cancel), ("retry", _retry))
        ]
        return [*own, *super().get_urls()]

    def _act(self, request: HttpRequest, task_id: UUID, act: _Act) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_operate_permission(request) or not self.has_view_permission(request):
            raise PermissionDenied
        if not Task.objects.filter(pk=task_id).exists():
            raise Http404
        return redirect("admin:chat_task_change", act(request, task_id))


def _cancel(request: HttpRequest, task_id: UUID) -> UUID:
    if cancel_many([task_id]):
        messages.success(request, gettext("The task is cancelled."))
    else:
        messages.warning(request, gettext("Nothing was cancelled: the task has ended already."))
    return task_id


def _retry(request: HttpRequest, task_id: UUID) -> UUID:
    """Submit the prompt again. Returns the id of the page to show: the new task's, if there is."""
    began = timezone.now()
    if not retry_many([task_id]):
        messages.warning(
            request,
            gettext(
                "Not retried: the task has not ended, its question has gone to another task, or "
                "its owner may not submit it now."
            ),
        )
        return task_id
    messages.success(request, gettext("This is the new task, with the same prompt."))
    # Ids begin with the time: this reads the tasks of the last moment only.
    new = Task.objects.filter(pk__gte=first_id(began), metadata__retry_of=str(task_id)).first()
    return task_id if new is None else new.pk
