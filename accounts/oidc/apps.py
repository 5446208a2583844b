from __future__ import annotations

from django.apps import AppConfig


class OIDCConfig(AppConfig):
    name = "accounts.oidc"

    def ready(self) -> None:
        from allauth.socialaccount.models import SocialAccount

        from accounts.audit import audited

        audited(SocialAccount, except_for=("last_login", "extra_data"))
