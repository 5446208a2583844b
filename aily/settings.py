"""All settings, read from the environment once, at import.

Every variable is described in deploy/README.md. Nothing here touches the network: settings can be
imported while no service runs.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from environ import Env
from redis.backoff import NoBackoff
from redis.retry import Retry
from servestatic.compress import Compressor

from aily import embedded
from aily.database.backend.connection import BoundedConnection, ReplicaConnection
from aily.environment import Environment, refuse, refuse_mistyped_names
from aily.environment.addresses import (
    allowed_host_problem,
    database_url_problem,
    email_url_problem,
    http_url_problem,
    origin_problem,
    redis_url_problem,
    secret_key_problem,
    sender_problem,
)
from aily.environment.launcher import LauncherVariables
from aily.observability.logs import configuration as log_configuration
from aily.redis.sentinel import async_address
from aily.secrets.secret_key import load_or_create_secret_key
from aily.web import cors

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(os.environ)
_GIBIBYTE = 2**30

# --- Core ---------------------------------------------------------------------------------------
DATA_DIR = env.path("AILY_DATA_DIR", default=BASE_DIR / "var")
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

# --- Apps and middleware ------------------------------------------------------------------------
INSTALLED_APPS = [
    # First: the actors need the broker.
    "aily.apps.AilyConfig",
    "accounts.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "auditlog",
    "guardian",
    "ninja",
    "accounts",
    "chat",
    "chat.tables.apps.TablesConfig",
]
MIDDLEWARE = [
    "aily.observability.middleware.ObserveRequests",
    # Django's and csp's, without a thread a step.
    "aily.web.middleware.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "aily.web.middleware.CSPMiddleware",
    "aily.web.middleware.SessionMiddleware",
    "aily.web.language.PageLocaleMiddleware",
    "aily.web.middleware.CommonMiddleware",
    "aily.web.middleware.CsrfViewMiddleware",
    "aily.web.middleware.AuthenticationMiddleware",
    "aily.web.middleware.MessageMiddleware",
    "aily.web.middleware.XFrameOptionsMiddleware",
    "accounts.audit.remember_request",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Those of aily, which is the first app, come before the admin's.
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- Database -----------------------------------------------------------------------------------
# Connections come from psycopg's pool and go back after every unit of work (CONN_MAX_AGE 0), so
# that none is held while a process waits for a provider, a socket or Redis.
DATABASE_THREADS = env.integer("DATABASE_THREADS", default=4, minimum=1, maximum=256)
_database_url = env.checked("DATABASE_URL", database_url_problem)
DATABASES: dict[str, Any] = {
    "default": Env.db_url_config(_database_url or embedded.database_url(DATA_DIR))
}
DATABASES["default"].update(ENGINE="aily.database.backend", CONN_MAX_AGE=0)
BoundedConnection.answer_seconds = env.number("DATABASE_ANSWER_SECONDS", default=10) or None
#: Hot statements stay parsed and planned in each connection's session (aily/database/rows.py). Not
#: behind PgBouncer before 1.21, which passes the next message to another session.
DATABASE_PREPARED_STATEMENTS = env.boolean(
    "DATABASE_PREPARED_STATEMENTS", default=not _database_url
)
DATABASES["default"].setdefault("OPTIONS", {}).update(
    # Django's own cursors prepare nothing, whatever this is; None prepares nothing at all.
    prepare_threshold=0 if DATABASE_PREPARED_STATEMENTS else None,
    pool={
        "connection_class": BoundedConnection,
        "min_size": 1,
        "max_size": env.integer("DATABASE_POOL_SIZE", default=10, minimum=1, maximum=1000),
        "timeout": env.seconds("DATABASE_POOL_TIMEOUT_SECONDS", default=5, maximum=600),
        # By itself the pool tries again ever more seldom for five minutes. When it gives up, the
        # next unit of work makes it try anew.
        "reconnect_timeout": 1,
    },
    connect_timeout=5,
    # What lets the kernel find out that the network is gone: seconds, and milliseconds.
    keepalives=1,
    keepalives_idle=5,
    keepalives_interval=2,
    keepalives_count=3,
    tcp_user_timeout=10_000,
)

# A cursor kept open between transactions is lost behind PgBouncer, which gives each transaction
# whichever connection is free. Django opens one for every select box of a form.
DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True

# What may be read from a replica, and when: aily/database/replica.py.
DATABASE_REPLICA_MAX_LAG_SECONDS = env.number(
    "DATABASE_REPLICA_MAX_LAG_SECONDS", default=3, minimum=2
)
if _replica_url := env.checked("DATABASE_REPLICA_URL", database_url_problem):
    _options = DATABASES["default"]["OPTIONS"]
    _replica = Env.db_url_config(_replica_url)
    DATABASES["replica"] = {
        **_replica,
        **{name: DATABASES["default"][name] for name in ("ENGINE", "CONN_MAX_AGE")},
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {
            **_replica.get("OPTIONS", {}),
            **{name: _options[name] for name in _options if name.startswith(("keepalives", "tcp"))},
            # The primary stands by, so that callers do not wait for long.
            "connect_timeout": 2,
            "pool": {
                **_options["pool"],
                "connection_class": ReplicaConnection,
                "min_size": 0,
                "timeout": 1,
            },
        },
        "TEST": {"MIRROR": "default"},
    }
    DATABASE_ROUTERS = ["aily.database.replica.ReplicaRouter"]

# --- Redis --------------------------------------------------------------------------------------
# Roles, each with a URL of its own. Losing any of them loses no task; the cache may evict at any
# time. Dramatiq (the doorbell), the channel layer and the rates are small, and stay on a single
# server each. Dramatiq has a database of its own because its maintenance runs KEYS.
REDIS_URL = env.checked("REDIS_URL", redis_url_problem, default=embedded.redis_url(DATA_DIR, 0))
REDIS_TIMEOUT_SECONDS = env.seconds("REDIS_TIMEOUT_SECONDS", default=2, maximum=600)


def _redis_address(variable: str, url: str) -> tuple[str, dict[str, Any]]:
    """Ends the process with a sentence that names the variable."""
    try:
        return async_address(url)
    except ValueError as error:
        refuse(f"{variable}: {error}")


def _redis_role_url(variable: str, database: int | None = None) -> str:
    """The URL of a role: its own variable, or REDIS_URL, with another database number if given."""
    usual = embedded.with_redis_database(REDIS_URL, database) if database else REDIS_URL
    url = env.checked(variable, redis_url_problem, default=usual)
    _redis_address(variable, url)
    return url


_redis_address("REDIS_URL", REDIS_URL)
DRAMATIQ_REDIS_URL = _redis_role_url("DRAMATIQ_REDIS_URL", 1)
# A single server, as MGET and UNLINK take keys of several hash slots (docs/decisions/hash-tags.md).
CACHE_URL = _redis_role_url("CACHE_URL", 2)
RATES_REDIS_URL = _redis_role_url("RATES_REDIS_URL")
LAYER_REDIS_URL = _redis_role_url("LAYER_REDIS_URL")
_layer_address, _layer_options = _redis_address("LAYER_REDIS_URL", LAYER_REDIS_URL)
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        # A list: a text would be split at the commas between Sentinels.
        "LOCATION": [CACHE_URL],
        "KEY_PREFIX": "aily",
        "OPTIONS": {
            # Less than for the queue: the database answers where the cache does not.
            "SOCKET_CONNECT_TIMEOUT": REDIS_TIMEOUT_SECONDS / 4,
            "SOCKET_TIMEOUT": REDIS_TIMEOUT_SECONDS / 2,
            "IGNORE_EXCEPTIONS": True,
            "CONNECTION_POOL_CLASS": "aily.redis.guarded.GuardedPool",
            # redis-py would try three times, with pauses: the database is quicker.
            "CONNECTION_POOL_KWARGS": {
                "retry": Retry(NoBackoff(), 0),
                "timeout": REDIS_TIMEOUT_SECONDS / 2,
            },
        },
    }
}
# With a traceback for each command; its circuit says in a line that the cache is away.
DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = False
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [
                {
                    "address": _layer_address,
                    **_layer_options,
                    "socket_timeout": REDIS_TIMEOUT_SECONDS,
                    "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
                    "health_check_interval": 5,
                }
            ],
            "prefix": "aily:layer",
        },
    }
}

# --- Queue --------------------------------------------------------------------------------------
# Its connections are aily's (chat/management/commands/crontab.py): it makes none of this URL.
DRAMATIQ_CRONTAB = {"REDIS_URL": "redis://"}
# How many provider calls one worker process runs at once.
WORKER_MAX_CALLS = env.integer("WORKER_MAX_CALLS", default=5000, minimum=1, maximum=1000000)
WORKER_LEASE_SECONDS = env.integer("WORKER_LEASE_SECONDS", default=20, minimum=1, maximum=3600)
WORKER_GRACE_SECONDS = env.integer("WORKER_GRACE_SECONDS", default=25, minimum=1, maximum=3600)
# The share of a deployment's cap that calls of lane batch may hold: people have the rest.
BATCH_MAX_SHARE = env.number("BATCH_MAX_SHARE", default=0.9, minimum=0.001, maximum=1)

# --- Tasks --------------------------------------------------------------------------------------
LLM_API_ASYNC_DEFAULT = env.boolean("LLM_API_ASYNC_DEFAULT", default=True)
SYNC_WAIT_SECONDS = env.integer("SYNC_WAIT_SECONDS", default=60, minimum=1, maximum=3600)
# How long a plain request of OpenAI's API waits for its answer. Below the 600 s of its clients.
OPENAI_WAIT_SECONDS = env.seconds("OPENAI_WAIT_SECONDS", default=590, maximum=3600)
# For how long the task of a request whose client is gone goes on: a repeated request finds it.
DROPPED_REQUEST_SECONDS = env.number("DROPPED_REQUEST_SECONDS", default=5, maximum=600)
# How long a call of a tool at /mcp waits for its task. And how long before its client, if it knows
# the tasks extension, is given the task in place of the result. 0: at once.
MCP_WAIT_SECONDS = env.seconds("MCP_WAIT_SECONDS", default=3600, maximum=86_400)
MCP_TASK_AFTER_SECONDS = env.number("MCP_TASK_AFTER_SECONDS", default=0, maximum=600)
# How many tool calls one worker process makes at once.
WORKER_MAX_TOOL_CALLS = env.integer(
    "WORKER_MAX_TOOL_CALLS", default=5000, minimum=1, maximum=1_000_000
)
# Limits of one task: answers that ask for tool calls; the time of its model and tools together,
# without the time in which it waits for people; its cost in each currency, 0: no limit.
TOOL_MAX_STEPS = env.integer("TOOL_MAX_STEPS", default=16, minimum=1, maximum=1000)
TOOL_LOOP_SECONDS = env.seconds("TOOL_LOOP_SECONDS", default=1800, maximum=604_800)
TOOL_LOOP_MAX_COST = env.number("TOOL_LOOP_MAX_COST", default=0, maximum=1_000_000)
# How much of one result the model is sent.
TOOL_RESULT_MAX_BYTES = env.integer(
    "TOOL_RESULT_MAX_BYTES", default=65_536, minimum=256, maximum=2**24
)
# How long a call waits for its user's approval.
TOOL_APPROVAL_SECONDS = env.seconds("TOOL_APPROVAL_SECONDS", default=86_400, maximum=2_592_000)
TASK_MAX_FAILURES = env.integer("TASK_MAX_FAILURES", default=4, minimum=1, maximum=100)
TASK_RETRY_SECONDS = env.seconds("TASK_RETRY_SECONDS", default=1.0, maximum=3600)
TASK_MAX_CRASHES = env.integer("TASK_MAX_CRASHES", default=5, minimum=1, maximum=100)
EVENT_LOG_TTL_SECONDS = env.integer("EVENT_LOG_TTL_SECONDS", default=900, minimum=1, maximum=604800)
# Days after its end for which a task is kept; the scheduler has older ones deleted. 0: for ever.
TASK_RETENTION_DAYS = env.number("TASK_RETENTION_DAYS", default=0, maximum=36_500)
# --- Runs ---------------------------------------------------------------------------------------
# Largest file of a run, number of its rows, and size of one row.
RUN_MAX_FILE_BYTES = env.integer(
    "RUN_MAX_FILE_BYTES", default=209_715_200, minimum=1024, maximum=_GIBIBYTE
)
RUN_MAX_ROWS = env.integer("RUN_MAX_ROWS", default=100_000, minimum=1, maximum=1_000_000)
RUN_MAX_ROW_BYTES = env.integer("RUN_MAX_ROW_BYTES", default=1_048_576, minimum=256, maximum=2**26)
# Tasks of one run that are queued or running at the most.
RUN_WINDOW = env.integer("RUN_WINDOW", default=2000, minimum=1, maximum=20_000)
# Tasks that one row may use up by errors that pass, such as 429; each has TASK_MAX_FAILURES calls.
RUN_ROW_TRIES = env.integer("RUN_ROW_TRIES", default=10, minimum=1, maximum=1000)
# Runs of one user that have not ended.
RUNS_MAX_PER_USER = env.integer("RUNS_MAX_PER_USER", default=20, minimum=1)
# Days after its end for which a run is kept, with its rows and tasks. 0: for ever.
RUN_RETENTION_DAYS = env.number("RUN_RETENTION_DAYS", default=0, maximum=36_500)
# Lines of the file of one batch of /v1/batches, and bytes of all files of one user under /v1/files.
BATCH_MAX_LINES = env.integer("BATCH_MAX_LINES", default=50_000, minimum=1, maximum=1_000_000)
FILES_MAX_BYTES_PER_USER = env.integer(
    "FILES_MAX_BYTES_PER_USER", default=10 * _GIBIBYTE, minimum=1024, maximum=2**50
)
# --- Tables -------------------------------------------------------------------------------------
# Tables of an installation and of one user, and rows of one table. Each has some 60 KB of
# PostgreSQL's catalogue and files, and pg_dump locks all of them at once.
TABLES_MAX = env.integer("TABLES_MAX", default=10_000, minimum=1, maximum=100_000)
TABLES_MAX_PER_USER = env.integer("TABLES_MAX_PER_USER", default=1000, minimum=1)
TABLE_MAX_ROWS = env.integer("TABLE_MAX_ROWS", default=1_000_000, minimum=1, maximum=10_000_000)
# Longest time of one query of a view: filters and sorts of people may be of any kind.
TABLE_QUERY_SECONDS = env.seconds("TABLE_QUERY_SECONDS", default=5, maximum=60)
# Largest file of an import, unpacked, and largest workbook (XLSX). Imports and exports of one user
# that have not ended; largest file of an export, and hours for which it is kept.
IMPORT_MAX_BYTES = env.integer(
    "IMPORT_MAX_BYTES", default=104_857_600, minimum=1024, maximum=_GIBIBYTE
)
IMPORT_MAX_WORKBOOK_BYTES = env.integer(
    "IMPORT_MAX_WORKBOOK_BYTES", default=31_457_280, minimum=1024, maximum=_GIBIBYTE
)
IMPORTS_MAX_PER_USER = env.integer("IMPORTS_MAX_PER_USER", default=20, minimum=1)
EXPORTS_MAX_PER_USER = env.integer("EXPORTS_MAX_PER_USER", default=5, minimum=1)
EXPORT_MAX_BYTES = env.integer("EXPORT_MAX_BYTES", default=_GIBIBYTE, minimum=1024, maximum=2**40)
EXPORT_KEPT_HOURS = env.number("EXPORT_KEPT_HOURS", default=24, maximum=8760)
# Days for which deleted tables and fields can be restored, and changes can be looked up.
TABLE_TRASH_DAYS = env.number("TABLE_TRASH_DAYS", default=7, maximum=36_500)
TABLE_CHANGES_DAYS = env.number("TABLE_CHANGES_DAYS", default=90, maximum=36_500)
# --- Limits of one user -------------------------------------------------------------------------
# What one user may ask for, where neither the user's own limit nor a role's says otherwise; and how
# many tasks may wait in all. 0: no limit.
RATE_LIMIT_PER_MINUTE = env.integer("RATE_LIMIT_PER_MINUTE", default=60_000)
MAX_TASKS_IN_FLIGHT = env.integer("MAX_TASKS_IN_FLIGHT", default=20_000)
MAX_QUEUED_PER_USER = env.integer("MAX_QUEUED_PER_USER", default=20_000)
MAX_QUEUED = env.integer("MAX_QUEUED", default=200_000)
POSITION_CHECK_SECONDS = env.seconds("POSITION_CHECK_SECONDS", default=15, maximum=3600)
PROMPT_MAX_BYTES = env.integer("PROMPT_MAX_BYTES", default=262_144, minimum=1, maximum=_GIBIBYTE)
# Of one request for embeddings: its input as JSON, its inputs, and all vectors of the answer as
# 32-bit floats. These are kept for so many seconds, in which a repeated request gets them again.
EMBEDDINGS_MAX_INPUT_BYTES = env.integer(
    "EMBEDDINGS_MAX_INPUT_BYTES", default=2_097_152, minimum=1, maximum=_GIBIBYTE
)
EMBEDDINGS_MAX_INPUTS = env.integer("EMBEDDINGS_MAX_INPUTS", default=2048, minimum=1)
EMBEDDINGS_MAX_RESULT_BYTES = env.integer(
    "EMBEDDINGS_MAX_RESULT_BYTES", default=16_777_216, minimum=4, maximum=2**28
)
# Memory of one worker process for calls of embeddings; more calls wait for it, in order.
WORKER_MAX_VECTOR_BYTES = env.integer(
    "WORKER_MAX_VECTOR_BYTES", default=268_435_456, minimum=1, maximum=2**40
)
EMBEDDINGS_KEPT_SECONDS = env.integer("EMBEDDINGS_KEPT_SECONDS", default=86_400, minimum=60)
VARIABLES_MAX_BYTES = env.integer(
    "VARIABLES_MAX_BYTES", default=524_288, minimum=1, maximum=_GIBIBYTE
)
VARIABLES_MAX_VALUES = env.integer("VARIABLES_MAX_VALUES", default=20_000, minimum=1)
VARIABLES_MAX_DEPTH = env.integer("VARIABLES_MAX_DEPTH", default=32, minimum=1, maximum=200)
RENDERING_PROCESSES = env.integer("RENDERING_PROCESSES", default=2, minimum=1, maximum=64)
RENDERING_SECONDS = env.seconds("RENDERING_SECONDS", default=2, maximum=600)
RENDERING_MAX_MEMORY_BYTES = env.integer(
    "RENDERING_MAX_MEMORY_BYTES", default=268_435_456, minimum=2**26, maximum=2**36
)
RENDERING_MAX_WAITING_PER_USER = env.integer(
    "RENDERING_MAX_WAITING_PER_USER", default=200, minimum=1
)
# CPU time of checking one answer against its JSON Schema, where that is much work.
OUTPUT_CHECK_SECONDS = env.seconds("OUTPUT_CHECK_SECONDS", default=5, maximum=600)
# Of a prompt with history: what does not fit is left out, the oldest first. 3 bytes are a token.
CONVERSATION_MAX_TOKENS = env.integer("CONVERSATION_MAX_TOKENS", default=64_000, minimum=1)
DATA_UPLOAD_MAX_MEMORY_SIZE = env.integer(
    "REQUEST_MAX_BYTES", default=1_048_576, minimum=1, maximum=_GIBIBYTE
)
WEBSOCKET_FRAME_MAX_BYTES = env.integer(
    "WEBSOCKET_FRAME_MAX_BYTES", default=262_144, minimum=1, maximum=2**24
)
# Free bytes on the disk of AILY_DATA_DIR below which tasks are refused. PostgreSQL ends when it
# cannot write its log, and then nothing could be read either: so submits end first.
MIN_FREE_DISK_BYTES = env.integer(
    "MIN_FREE_DISK_BYTES", default=0 if _database_url else 67_108_864, maximum=2**50
)
# WebSockets and event streams of one user in one web process; 0: no limit.
MAX_CONNECTIONS_PER_USER = env.integer("MAX_CONNECTIONS_PER_USER", default=10_000)

# --- Providers ----------------------------------------------------------------------------------
LLM_CONNECT_SECONDS = env.seconds("LLM_CONNECT_SECONDS", default=10)
LLM_FIRST_TOKEN_SECONDS = env.seconds("LLM_FIRST_TOKEN_SECONDS", default=120)
LLM_BETWEEN_TOKENS_SECONDS = env.seconds("LLM_BETWEEN_TOKENS_SECONDS", default=60)
LLM_TOTAL_SECONDS = env.seconds("LLM_TOTAL_SECONDS", default=600)
# Of one answer. An output of 384K tokens, as large as any model's, is about two megabytes.
LLM_MAX_TEXT_BYTES = env.integer(
    "LLM_MAX_TEXT_BYTES", default=4_194_304, minimum=1, maximum=_GIBIBYTE
)
LLM_MAX_REASONING_BYTES = env.integer(
    "LLM_MAX_REASONING_BYTES", default=4_194_304, minimum=1, maximum=_GIBIBYTE
)
LLM_MAX_ARGUMENTS_BYTES = env.integer(
    "LLM_MAX_ARGUMENTS_BYTES", default=1_048_576, minimum=1, maximum=_GIBIBYTE
)
LLM_MAX_TOOL_CALLS = env.integer("LLM_MAX_TOOL_CALLS", default=128, minimum=1)
# As JSON: about 1,200 bytes for a token with 20 alternatives, and 60 without.
LLM_MAX_LOGPROBS_BYTES = env.integer(
    "LLM_MAX_LOGPROBS_BYTES", default=8_388_608, minimum=1, maximum=_GIBIBYTE
)
# How much of a provider's Retry-After is obeyed.
LLM_RETRY_AFTER_MAX_SECONDS = env.number("LLM_RETRY_AFTER_MAX_SECONDS", default=300)
# Whether providers may be at any address: private ones for those who are no superusers, link-local
# ones for all.
PROVIDER_ALLOW_PRIVATE = env.boolean("PROVIDER_ALLOW_PRIVATE", default=False)
SIMULATOR_URL = env.checked("SIMULATOR_URL", http_url_problem, default="http://127.0.0.1:8001")
# Where `make run` has the demo MCP server, whose tools seeding registers. Empty: nowhere.
DEMO_MCP_URL = env.checked("DEMO_MCP_URL", http_url_problem, default="")

# --- Webhooks and e-mail ------------------------------------------------------------------------
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

# --- Web ---------------------------------------------------------------------------------------
# How long a stopping web process lets requests end; its sockets are closed in the first half.
WEB_GRACE_SECONDS = env.seconds("WEB_GRACE_SECONDS", default=5, maximum=3600)

# --- Accounts and sessions ----------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"
# Its tables hold what is granted on single objects; accounts/access/permissions.py reads them.
ANONYMOUS_USER_NAME = None
GUARDIAN_MONKEY_PATCH_USER = GUARDIAN_MONKEY_PATCH_GROUP = False
# security.W...: aily/web/checks.py looks for the subclasses in MIDDLEWARE.
SILENCED_SYSTEM_CHECKS = ["guardian.W001", "security.W001", "security.W002", "security.W003"]
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

# --- Login by OpenID Connect --------------------------------------------------------------------
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
    INSTALLED_APPS += ["allauth.account", "allauth.socialaccount", "accounts.oidc"]
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

# --- Security -----------------------------------------------------------------------------------
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
SILENCED_SYSTEM_CHECKS += ["security.W005", "security.W021"]
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

# --- Pages of other origins (CORS) ---------------------------------------------------------------
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

# --- Static files -------------------------------------------------------------------------------
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

# --- Metrics ------------------------------------------------------------------------------------
# Served by the process itself on a port of its own; 0: not at all, or by the exporter.
METRICS_HOST = env.host("METRICS_HOST", default="127.0.0.1")
METRICS_PORT = env.integer("METRICS_PORT", default=0, maximum=65535)
SLOW_QUERY_SECONDS = env.seconds("SLOW_QUERY_SECONDS", default=1.0)

# --- Traces -------------------------------------------------------------------------------------
# OpenTelemetry's own variable; the exporter reads it, and the others of its kind, by itself.
OTEL_EXPORTER_OTLP_ENDPOINT = env.checked("OTEL_EXPORTER_OTLP_ENDPOINT", http_url_problem)
if OTEL_EXPORTER_OTLP_ENDPOINT and find_spec("opentelemetry") is None:
    refuse("OTEL_EXPORTER_OTLP_ENDPOINT needs: pip install -r deploy/requirements-otel.lock")

# --- Logging ------------------------------------------------------------------------------------
LOG_LEVEL = env.choice(
    "LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), default="INFO"
)
LOG_FORMAT = env.choice("LOG_FORMAT", ("text", "json"), default="text")
# Prompts and answers in the log: to look for a fault, never by default.
LOG_PROMPTS = env.boolean("LOG_PROMPTS", default=False)
LOGGING = log_configuration(LOG_LEVEL, LOG_FORMAT)

# --- The launcher's variables, and mistyped names ------------------------------------------------
LauncherVariables.read(env)
refuse_mistyped_names(os.environ, env.names, env.items("AILY_IGNORED_VARIABLES"))
