"""Accounts, passwords and sessions."""

from __future__ import annotations

from aily.settings.environment import env

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"
# Its tables hold what is granted on single objects; accounts/access/permissions.py reads them.
ANONYMOUS_USER_NAME = None
GUARDIAN_MONKEY_PATCH_USER = GUARDIAN_MONKEY_PATCH_GROUP = False
# Keys that one user may have at once, beside those that are revoked or expired.
API_KEYS_MAX_PER_USER = env.integer("API_KEYS_MAX_PER_USER", default=50, minimum=1)
# Whether staff can do nothing in a session before they have set up, and given, a second factor.
STAFF_TOTP_REQUIRED = env.boolean("STAFF_TOTP_REQUIRED", default=False)
# How often somebody may try a password at once, and then once every so many seconds; how many
# tries a minute one address has in all. A try that is to be refused waits that long for a turn.
LOGIN_TRIES = env.integer("LOGIN_TRIES", default=5, minimum=1)
LOGIN_RETRY_SECONDS = env.seconds("LOGIN_RETRY_SECONDS", default=15)
LOGIN_ADDRESS_TRIES = env.integer("LOGIN_ADDRESS_TRIES", default=20, minimum=1)
LOGIN_HOLD_SECONDS = env.number("LOGIN_HOLD_SECONDS", default=2, maximum=60)
LOGIN_HASHES_AT_ONCE = env.integer("LOGIN_HASHES_AT_ONCE", default=1, minimum=1, maximum=64)
LOGIN_HASHES_WAITING = env.integer("LOGIN_HASHES_WAITING", default=20)
LOGIN_DEVICE_DAYS = env.integer("LOGIN_DEVICE_DAYS", default=180, minimum=1, maximum=3650)
LOGIN_LOG_DAYS = env.integer("LOGIN_LOG_DAYS", default=90, minimum=1, maximum=3650)
# The first one hashes; by the others' hashes people can log in still, and get one of the first.
PASSWORD_HASHERS = [
    "accounts.sessions.hashing.BoundedPBKDF2Hasher",
    "django.contrib.auth.hashers.PBKDF2SHA1PasswordHasher",
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.BCryptSHA256PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
