"""The redirect to the login provider, and the callback from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import jwt
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.utils.crypto import get_random_string
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from requests import RequestException

from accounts.oidc.pages import failed
from accounts.oidc.provider import OIDCAdapter
from accounts.oidc.users import LoginRefusedError

_ERRORS = (
    LoginRefusedError,
    RequestException,
    OAuth2Error,
    jwt.PyJWTError,
    # The provider's response is malformed, or two first logins of a subject raced.
    *(ValueError, LookupError, TypeError, AttributeError, IntegrityError),
)


def _guarded(view: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    @never_cache
    @require_GET
    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        try:
            return view(request)
        except ImmediateHttpResponse as answer:
            response: HttpResponse = answer.response
            return response
        except _ERRORS as error:
            return failed(request, error)

    return guarded


@_guarded
def login(request: HttpRequest) -> HttpResponse:
    """Redirect to the provider. By GET: CSP forbids forms to redirect to another site."""
    next_url = request.GET.get(REDIRECT_FIELD_NAME, "")
    if not url_has_allowed_host_and_scheme(next_url, {request.get_host()}, request.is_secure()):
        next_url = resolve_url(settings.LOGIN_REDIRECT_URL)
    if request.user.is_authenticated:
        return redirect(next_url)
    # Other sites must not start a login, as they cannot post the login form either.
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        return redirect_to_login(next_url)
    nonce = get_random_string(32)
    provider = get_adapter().get_provider(request, settings.OIDC_ISSUER)
    response: HttpResponse = provider.redirect(
        request, AuthProcess.LOGIN, next_url=next_url, auth_params={"nonce": nonce}, nonce=nonce
    )
    return response


class _CallbackView(OAuth2CallbackView):
    adapter: OIDCAdapter

    def _get_state(
        self, request: HttpRequest, provider: object
    ) -> tuple[dict[str, str] | None, HttpResponse | None]:
        """Return the session's state that the callback names, and remove it."""
        state, response = super()._get_state(request, provider)
        if state is not None:
            self.adapter.nonce = state["nonce"]
        return state, response


@_guarded
def callback(request: HttpRequest) -> HttpResponse:
    """Handle the provider's redirect back, with a code or an error."""
    view = _CallbackView.adapter_view(OIDCAdapter(request, settings.OIDC_ISSUER))
    response: HttpResponse = view(request)
    return response
