"""Login by OpenID Connect."""

from __future__ import annotations

from urllib.parse import urlsplit

from aily.environment import refuse
from aily.environment.addresses import http_url_problem
from aily.settings.apps import INSTALLED_APPS, MIDDLEWARE
from aily.settings.environment import env

# Off without an issuer: then no app, address or module of it is there.
OIDC_ISSUER = env.checked("OIDC_ISSUER", http_url_problem).rstrip("/")
OIDC_CLIENT_ID = env.text("OIDC_CLIENT_ID", default="")
OIDC_NAME = env.text("OIDC_NAME", default="single sign-on")
OIDC_CREATE_USERS = env.boolean("OIDC_CREATE_USERS", default=True)
OIDC_LINK_BY_EMAIL = env.boolean("OIDC_LINK_BY_EMAIL", default=False)
OIDC_TRUST_MFA = env.boolean("OIDC_TRUST_MFA", default=False)
OIDC_GROUPS_CLAIM = env.text("OIDC_GROUPS_CLAIM", default="groups")
# Such as writers=authors,support=readers: roles by the provider's groups.
OIDC_ROLES = env.pairs("OIDC_ROLES")
OIDC_CLIENT_SECRET = env.text("OIDC_CLIENT_SECRET", default="")
OIDC_SCOPES = env.items("OIDC_SCOPES", default=["openid", "profile", "email"])
OIDC_STAFF_GROUP = env.text("OIDC_STAFF_GROUP", default="")
OIDC_TIMEOUT_SECONDS = env.seconds("OIDC_TIMEOUT_SECONDS", default=5, maximum=600)
if OIDC_ISSUER:
    _issuer = urlsplit(OIDC_ISSUER)
    if _issuer.scheme != "https" and _issuer.hostname not in ("127.0.0.1", "localhost", "::1"):
        refuse("OIDC_ISSUER must be an https address")
    if not OIDC_CLIENT_ID:
        refuse("OIDC_ISSUER needs OIDC_CLIENT_ID")
    INSTALLED_APPS.extend(["allauth.account", "allauth.socialaccount", "accounts.oidc"])
    MIDDLEWARE.append("allauth.account.middleware.AccountMiddleware")
    ACCOUNT_ADAPTER = "accounts.oidc.adapters.AccountAdapter"
    SOCIALACCOUNT_ADAPTER = "accounts.oidc.adapters.SocialAccountAdapter"
    SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "APPS": [
                {
                    # Part of a user's identity: a subject is unique with its issuer only.
                    "provider_id": OIDC_ISSUER,
                    "name": OIDC_NAME,
                    "client_id": OIDC_CLIENT_ID,
                    "secret": OIDC_CLIENT_SECRET,
                    "settings": {
                        "server_url": OIDC_ISSUER,
                        "scope": OIDC_SCOPES,
                    },
                }
            ]
        }
    }
