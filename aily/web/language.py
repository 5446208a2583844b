"""The language of a page: the user's choice (a cookie), else what the browser asks for.

What programs ask for (REST, probes) is English whatever they accept: it does not vary, and does not
pay for a choice, which costs about 0.1 ms a page.
"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.utils.cache import patch_vary_headers
from django.utils.translation import deactivate

from aily.web.middleware import OnLoop

#: Paths below these are asked for by programs; "/api/docs" is a page, in English only.
PROGRAM_PATHS = ("/api/", "/livez", "/readyz")


class PageLocaleMiddleware(OnLoop, LocaleMiddleware):
    """Django's LocaleMiddleware, for pages alone."""

    def process_request(self, request: HttpRequest) -> None:
        if not request.path_info.startswith(PROGRAM_PATHS):
            super().process_request(request)

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if not request.path_info.startswith(PROGRAM_PATHS):
            super().process_response(request, response)
            patch_vary_headers(response, ("Cookie",))
            # A later request of the same context, as in tests, may be a program's.
            deactivate()
        return response
