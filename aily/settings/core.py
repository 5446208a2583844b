"""Django's core: the secret, hosts, addresses of modules, languages."""

from __future__ import annotations

from aily.environment import refuse
from aily.environment.addresses import allowed_host_problem, origin_problem, secret_key_problem
from aily.secrets.secret_key import load_or_create_secret_key
from aily.settings.environment import DATA_DIR, env

DEBUG = env.boolean("DEBUG", default=False)
SECRET_KEY = env.checked("SECRET_KEY", secret_key_problem)
try:
    SECRET_KEY = SECRET_KEY or load_or_create_secret_key(DATA_DIR)
except (OSError, ValueError) as _error:
    refuse(f"AILY_DATA_DIR={DATA_DIR} cannot be used: {_error}")
SECRET_KEY_FALLBACKS = env.items("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = env.checked_items(
    "ALLOWED_HOSTS", allowed_host_problem, default=["localhost", "127.0.0.1", "[::1]"]
)
CSRF_TRUSTED_ORIGINS = env.checked_items("CSRF_TRUSTED_ORIGINS", origin_problem)
ROOT_URLCONF = "aily.urls"
ASGI_APPLICATION = "aily.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = True
# What pages and mails are written in, each language by its own name. The catalogues are in the
# `locale` folder of each app; `python -m tests.catalogues` renews them.
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
# Times on pages are to the second: Django's are to the minute.
FORMAT_MODULE_PATH = ["aily.formats"]
