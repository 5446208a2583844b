"""The admin site: its pages read from the replica, and writes are noted for later reads.

If a service refuses a change (`Forbidden`), the page shows why, and nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse

from aily.database.replica import note_write, read_for
from aily.problems import Forbidden

_View = Callable[..., HttpResponseBase]


class Site(AdminSite):
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
