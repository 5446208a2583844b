"""The provider as allauth is told of it: by this module's name it finds `provider_classes`."""

from __future__ import annotations

from typing import Any

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from accounts.oidc.tokens import verified_claims


class OIDCAdapter(OpenIDConnectOAuth2Adapter):
    """One login: knows the nonce that was sent along, and asks the provider."""

    #: Of the state that the callback belongs to.
    nonce = ""

    @property
    def openid_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().openid_config
        if config.get("issuer", "").rstrip("/") != settings.OIDC_ISSUER:
            raise OAuth2Error("the provider's configuration is of another issuer")
        return config

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> Any:
        """Called with the answer to the code. allauth would trust its ID token unverified."""
        with get_adapter().get_requests_session() as session:
            keys = session.get(self.openid_config["jwks_uri"]).json()
        claims = verified_claims(
            kwargs["response"]["id_token"],
            keys,
            issuer=self.openid_config["issuer"],
            client_id=app.client_id,
            nonce=self.nonce,
        )
        # E-mail and groups are often only there.
        if "userinfo_endpoint" in self.openid_config:
            info = self._user_info(token.token)
            if info.get("sub") != claims["sub"]:
                raise OAuth2Error("the provider tells of somebody else")
            claims = {**info, **claims}
        login = self.get_provider().sociallogin_from_response(request, {"id_token": claims})
        login.claims = claims
        return login

    def _user_info(self, access_token: str) -> dict[str, Any]:
        with get_adapter().get_requests_session() as session:
            response = session.get(
                self.profile_url, headers={"Authorization": f"Bearer {access_token}"}
            )
            response.raise_for_status()
            info: dict[str, Any] = response.json()
        return info

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        return request.build_absolute_uri(reverse("oidc_callback"))


class OIDCProvider(OpenIDConnectProvider):
    oauth2_adapter_class = OIDCAdapter
    pkce_enabled_default = True

    def extract_extra_data(self, data: dict[str, Any]) -> dict[str, Any]:
        """Nothing about people is kept here but what users have."""
        return {}


provider_classes = [OIDCProvider]
