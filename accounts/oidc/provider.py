"""The provider as allauth finds it: by this module's name and its `provider_classes`."""

from __future__ import annotations

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from accounts.oidc.tokens import Claims, verified_claims


class OIDCAdapter(OpenIDConnectOAuth2Adapter):
    """The requests of one login to the provider, and the nonce that was sent with it."""

    #: Of the state that the callback belongs to.
    nonce = ""

    @property
    def openid_config(self) -> Claims:
        config: Claims = super().openid_config
        if config.get("issuer", "").rstrip("/") != settings.OIDC_ISSUER:
            raise OAuth2Error("the provider's configuration is of another issuer")
        return config

    def complete_login(
        self,
        request: HttpRequest,
        app: SocialApp,
        token: SocialToken,
        *,
        response: dict[str, str],
        **kwargs: object,
    ) -> SocialLogin:
        """Verify the ID token of the token response: allauth would trust it unverified."""
        with get_adapter().get_requests_session() as session:
            keys = session.get(self.openid_config["jwks_uri"]).json()
        claims = verified_claims(
            response["id_token"],
            keys,
            issuer=self.openid_config["issuer"],
            client_id=app.client_id,
            nonce=self.nonce,
        )
        # E-mail and groups are often only there.
        if "userinfo_endpoint" in self.openid_config:
            info = self._user_info(token.token)
            if info.get("sub") != claims["sub"]:
                raise OAuth2Error("the user info is of another subject")
            claims = {**info, **claims}
        login = self.get_provider().sociallogin_from_response(request, {"id_token": claims})
        login.claims = claims
        return login

    def _user_info(self, access_token: str) -> dict[str, object]:
        with get_adapter().get_requests_session() as session:
            response = session.get(
                self.profile_url, headers={"Authorization": f"Bearer {access_token}"}
            )
            response.raise_for_status()
            info: dict[str, object] = response.json()
        return info

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        return request.build_absolute_uri(reverse("oidc_callback"))


class OIDCProvider(OpenIDConnectProvider):
    oauth2_adapter_class = OIDCAdapter
    pkce_enabled_default = True

    def extract_extra_data(self, data: Claims) -> Claims:
        """Return nothing: what is known of a person is in the user's row."""
        return {}


provider_classes = [OIDCProvider]
