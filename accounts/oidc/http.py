"""Requests to the login provider."""

from __future__ import annotations

import logging
from typing import Any

import requests
from django.conf import settings
from django.db import connection

logger = logging.getLogger(__name__)


class ProviderSession(requests.Session):
    """A session with a time limit, no redirects, and no database connection held meanwhile.

    The views are synchronous: what waits here is the request's thread, and not the event loop.
    """

    def request(  # type: ignore[override]
        self, method: str, url: str, **options: Any
    ) -> requests.Response:
        """Send a request. Raises requests.RequestException, also for any status but 200."""
        if not url.startswith(("https://", f"{settings.OIDC_ISSUER}/")):
            raise requests.RequestException("an endpoint without TLS")
        connection.close()
        options.update(timeout=settings.OIDC_TIMEOUT_SECONDS, allow_redirects=False)
        response = super().request(method, url, **options)
        if response.status_code != requests.codes.ok:
            logger.warning("OIDC: %s answered %d%s", url, response.status_code, _reason(response))
            raise requests.HTTPError(response=response)
        return response


def _reason(response: requests.Response) -> str:
    """Return OAuth's error code, such as invalid_client. The rest of the body may be secret."""
    try:
        return f": {str(response.json()['error'])[:100]}"
    except (ValueError, KeyError, TypeError):
        return ""
