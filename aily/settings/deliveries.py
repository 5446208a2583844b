"""Webhooks and e-mail."""

from __future__ import annotations

from environ import Env

from aily.environment.addresses import email_url_problem, sender_problem
from aily.settings.environment import DATA_DIR, env

# Users name the URLs: aily would lend them its place in the network.
WEBHOOK_ALLOW_PRIVATE = env.boolean("WEBHOOK_ALLOW_PRIVATE", default=False)
WEBHOOK_REQUIRE_HTTPS = env.boolean("WEBHOOK_REQUIRE_HTTPS", default=True)
# Such as smtp+tls://user:password@mail.example:587. By default mails become files.
_email = Env.email_url_config(
    env.checked("EMAIL_URL", email_url_problem, default=f"filemail:///{DATA_DIR}/mail")
)
EMAIL_BACKEND = _email["EMAIL_BACKEND"]
EMAIL_FILE_PATH = _email["EMAIL_FILE_PATH"]
EMAIL_HOST = _email["EMAIL_HOST"]
EMAIL_PORT = _email["EMAIL_PORT"]
EMAIL_HOST_USER = _email["EMAIL_HOST_USER"]
EMAIL_HOST_PASSWORD = _email["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS = _email.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL = _email.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = env.integer("EMAIL_TIMEOUT_SECONDS", default=15, minimum=1, maximum=600)
EMAIL_MAX_PER_HOUR = env.integer("EMAIL_MAX_PER_HOUR", default=20, minimum=1)
DEFAULT_FROM_EMAIL = env.checked("DEFAULT_FROM_EMAIL", sender_problem, default="aily@localhost")
