"""Web processes and static files."""

from __future__ import annotations

from servestatic.compress import Compressor

from aily.settings.core import DEBUG
from aily.settings.environment import BASE_DIR, DATA_DIR, env

# How long a stopping web process lets requests end; its sockets are closed in the first half.
WEB_GRACE_SECONDS = env.seconds("WEB_GRACE_SECONDS", default=5, maximum=3600)

# --- Static files --------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "aily.web.staticfiles.HashedStaticFilesStorage"},
}
# No page loads a source map, and those of the API's documentation take longer than all else.
SERVESTATIC_SKIP_COMPRESS_EXTENSIONS = (*Compressor.SKIP_COMPRESS_EXTENSIONS, "map")
# Without collectstatic (tests, a fresh clone) files are served straight from their source.
SERVESTATIC_USE_FINDERS = env.boolean("STATIC_FROM_SOURCE", default=DEBUG)
