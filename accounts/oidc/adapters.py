"""allauth's adapters: its own pages, forms and sessions are never used."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.base.constants import AuthError
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.login_models import LoginMethod as Method
from accounts.models import User
from accounts.oidc.http import ProviderSession
from accounts.oidc.pages import failed
from accounts.oidc.users import user_of
from accounts.sessions.login import begin_login


class AccountAdapter(DefaultAccountAdapter):
    def pre_login(
        self,
        request: HttpRequest,
        user: User,
        *,
        redirect_url: str | None = None,
        **kwargs: object,
    ) -> HttpResponse:
        """Log in as after a password, second factor included, in place of allauth's own login."""
        next_url = redirect_url or settings.LOGIN_REDIRECT_URL
        return begin_login(
            request,
            user,
            next_url,
            method=Method.PROVIDER,
            is_trusted=settings.OIDC_TRUST_MFA,
        )


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    def get_requests_session(self) -> ProviderSession:
        return ProviderSession()

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        sociallogin.user = user_of(sociallogin.account, sociallogin.claims)

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: object,
        *,
        error: str,
        exception: Exception | None,
        **kwargs: object,
    ) -> None:
        if error == AuthError.CANCELLED:
            raise ImmediateHttpResponse(redirect("login"))
        raise ImmediateHttpResponse(failed(request, exception))
