"""The admin site: its pages read from the replica, and writes are noted for later reads.

Every admin that is registered refuses a save of a page that is out of date (lost_updates.py).

If a service refuses a change (`Forbidden`), the page shows why, and nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite, ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse

from aily.admin.lost_updates import guard
from aily.database.replica import note_write, read_for
from aily.problems import Forbidden

_View = Callable[..., HttpResponseBase]


class Site(AdminSite):
    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register models as Django does, with the guard against lost updates."""
        guarded = guard(ModelAdmin if admin_class is None else admin_class)
        super().register(model_or_iterable, guarded, **options)

    def admin_view(  # type: ignore[override]
        self, view: _View, cacheable: bool = False
    ) -> _View:
        guarded: _View = super().admin_view(view, cacheable)

        @wraps(guarded)
        def with_replica(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
            user_id = request.user.pk

            def respond() -> HttpResponseBase:
                try:
                    response = guarded(request, *args, **kwargs)
                except Forbidden as problem:
                    raise PermissionDenied(problem.message) from problem
                # Rendering reads rows, and must do so inside `read_for`.
                if isinstance(response, SimpleTemplateResponse):
                    response.render()
                return response

            if user_id is not None and request.method in ("GET", "HEAD"):
                return read_for(user_id, respond)
            response = respond()
            if user_id is not None:
                note_write(user_id)
            return response

        return with_replica
