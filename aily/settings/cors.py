"""Pages of other origins (CORS)."""

from __future__ import annotations

from aily.settings.apps import INSTALLED_APPS, MIDDLEWARE
from aily.settings.environment import env
from aily.web import cors

# Off without an origin: then the middleware is not there. For API keys: cookies are never allowed.
CORS_ALLOWED_ORIGINS = cors.allowed_origins(env.items("CORS_ALLOWED_ORIGINS"))
if CORS_ALLOWED_ORIGINS:
    INSTALLED_APPS.append("corsheaders")
    # Before redirects to HTTPS, which no preflight follows. It runs on the event loop.
    MIDDLEWARE.insert(1, "corsheaders.middleware.CorsMiddleware")
    CORS_ALLOW_ALL_ORIGINS = CORS_ALLOWED_ORIGINS == ["*"]
    if CORS_ALLOW_ALL_ORIGINS:
        CORS_ALLOWED_ORIGINS = []
    CORS_URLS_REGEX = cors.URLS
    CORS_ALLOW_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")
    CORS_ALLOW_HEADERS = cors.ALLOWED_HEADERS
    CORS_EXPOSE_HEADERS = cors.EXPOSED_HEADERS
