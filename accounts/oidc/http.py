"""Requests to the login provider."""

from __future__ import annotations

import logging
from typing import Any

import requests
from django.conf import settings
from django.db import connection

logger = logging.getLogger(__name__)


class ProviderSession(requests.Session):
    """Waits for OIDC_TIMEOUT_SECONDS at most, follows no redirects, holds no connection meanwhile.

    The views are synchronous, so Django runs them on a thread of the request's own: what waits here
    is that thread, and neither the event loop nor a database connection.
    """

    def request(  # type: ignore[override]
        self, method: str, url: str, **options: Any
    ) -> requests.Response:
        """Raises requests.RequestException, also where the provider is not content."""
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
    """The error code of OAuth, such as invalid_client. The rest may be secret."""
    try:
        return f": {str(response.json()['error'])[:100]}"
    except (ValueError, KeyError, TypeError):
        return ""
