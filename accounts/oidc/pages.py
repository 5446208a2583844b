"""The page shown when a login at the provider failed."""

from __future__ import annotations

import logging
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from requests import RequestException

from accounts.oidc.users import LoginRefusedError

logger = logging.getLogger(__name__)


def failed(request: HttpRequest, error: Exception | None) -> HttpResponse:
    """Say what the user can do about it. `error` is None if only the state was wrong."""
    if isinstance(error, LoginRefusedError):
        status, message = HTTPStatus.FORBIDDEN, str(error)
    elif isinstance(error, RequestException):
        status = HTTPStatus.BAD_GATEWAY
        message = _("%(provider)s does not answer as it should. Please try again later.") % {
            "provider": settings.OIDC_NAME
        }
    else:
        status = HTTPStatus.BAD_REQUEST
        message = _("This login took too long, or was begun elsewhere. Please begin anew.")
    # The message of an error may quote what the provider sent, tokens included.
    reason = type(error).__name__ if error else f"wrong state, or {request.GET.get('error')!a:.60}"
    logger.warning("OIDC: a login failed: %s", reason)
    return render(request, "accounts/oidc_failed.html", {"message": message}, status=status)
