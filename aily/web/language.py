"""The language of a page: the reader's choice (a cookie), else what the browser asks for.

What programs ask for (REST, probes) is English whatever they accept, so that it does not vary, and
does not pay for finding out: about 25 µs a request.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.middleware.locale import LocaleMiddleware
from django.utils.cache import patch_vary_headers
from django.utils.translation import deactivate

#: Paths below these are asked for by programs; "/api/docs" is a page, in English only.
PROGRAM_PATHS = ("/api/", "/livez", "/readyz")


class PageLocaleMiddleware(LocaleMiddleware):
    """Django's LocaleMiddleware, for pages alone."""

    def process_request(self, request: HttpRequest) -> None:
        if request.path_info.startswith(PROGRAM_PATHS):
            # An earlier request of the same context, as in tests, may have left its language.
            deactivate()
        else:
            super().process_request(request)

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        if request.path_info.startswith(PROGRAM_PATHS):
            return response
        response = super().process_response(request, response)
        patch_vary_headers(response, ("Cookie",))
        return response
