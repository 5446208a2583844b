"""HTTPS, cookies, headers, and the checks of a deployment."""

from __future__ import annotations

from aily.environment import refuse
from aily.settings.environment import env

# HTTPS=true once TLS ends at aily or at the proxy in front of it.
HTTPS = env.boolean("HTTPS", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = LANGUAGE_COOKIE_SAMESITE = "Lax"
# A choice of language is a setting: it lasts a year, and the web app's script writes it as well.
LANGUAGE_COOKIE_AGE = 31_536_000
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
# For the owner of the whole domain to decide: the first binds all its other hosts to HTTPS, the
# second for good, as browsers ship the list. The deployment checks would ask for both.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.boolean("HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.boolean("HSTS_PRELOAD", default=False)
if SECURE_HSTS_PRELOAD and not SECURE_HSTS_INCLUDE_SUBDOMAINS:
    refuse("HSTS_PRELOAD needs HSTS_INCLUDE_SUBDOMAINS=true")
SILENCED_SYSTEM_CHECKS = [
    # guardian's backend is not in use: accounts/access/permissions.py reads its tables.
    "guardian.W001",
    # aily/web/checks.py looks for the subclasses in MIDDLEWARE.
    *("security.W001", "security.W002", "security.W003"),
    # The owner of the domain decides, as above.
    *("security.W005", "security.W021"),
]
SECURE_REFERRER_POLICY = "same-origin"
BEHIND_PROXY = env.boolean("BEHIND_PROXY", default=False)
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "connect-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
