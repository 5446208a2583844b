"""The admin's site: its pages read from the replica, and what staff change is noted.

Where a rule of the program forbids a change (`Forbidden`), the page says so; nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse

from aily.database.replica import note_write, read_for
from aily.problems import Forbidden


class Site(AdminSite):
    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        guarded: Callable[..., HttpResponseBase] = super().admin_view(view, cacheable)

        @wraps(guarded)
        def with_replica(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            user_id = request.user.pk

            def respond() -> HttpResponseBase:
                try:
                    response = guarded(request, *args, **kwargs)
                except Forbidden as problem:
                    raise PermissionDenied(problem.message) from problem
                # Its rows are read as it is rendered.
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
