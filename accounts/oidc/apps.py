from __future__ import annotations

from django.apps import AppConfig


class OIDCConfig(AppConfig):
    name = "accounts.oidc"

    def ready(self) -> None:
        from allauth.socialaccount.models import SocialAccount

        from accounts.audit import audited
        from accounts.delegation_checks import protect_rows_of_users

        audited(SocialAccount, except_for=("last_login", "extra_data"))
        protect_rows_of_users(SocialAccount)
