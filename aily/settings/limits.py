"""Limits of one user and of one request."""

from __future__ import annotations

from aily.settings.database import HAS_OWN_DATABASE
from aily.settings.environment import GIBIBYTE, env

# What one user may ask for, where neither the user's own limit nor a role's says otherwise; and how
# many tasks may wait in all. 0: no limit.
RATE_LIMIT_PER_MINUTE = env.integer("RATE_LIMIT_PER_MINUTE", default=60_000)
MAX_TASKS_IN_FLIGHT = env.integer("MAX_TASKS_IN_FLIGHT", default=20_000)
MAX_QUEUED_PER_USER = env.integer("MAX_QUEUED_PER_USER", default=20_000)
MAX_QUEUED = env.integer("MAX_QUEUED", default=200_000)
POSITION_CHECK_SECONDS = env.seconds("POSITION_CHECK_SECONDS", default=15, maximum=3600)
# Of all messages as JSON, files and images included: a screenshot has hundreds of KiB.
PROMPT_MAX_BYTES = env.integer("PROMPT_MAX_BYTES", default=4_194_304, minimum=1, maximum=2**26)
PARAMETERS_MAX_BYTES = env.integer(
    "PARAMETERS_MAX_BYTES", default=262_144, minimum=1, maximum=GIBIBYTE
)
# Memory of one worker process for prompts of more than 256 KiB; more calls wait for it, in order.
WORKER_MAX_PROMPT_BYTES = env.integer(
    "WORKER_MAX_PROMPT_BYTES", default=268_435_456, minimum=1, maximum=2**40
)
# Of one request for embeddings: its input as JSON, its inputs, and all vectors of the answer as
# 32-bit floats. These are kept for so many seconds, in which a repeated request gets them again.
EMBEDDINGS_MAX_INPUT_BYTES = env.integer(
    "EMBEDDINGS_MAX_INPUT_BYTES", default=2_097_152, minimum=1, maximum=GIBIBYTE
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
    "VARIABLES_MAX_BYTES", default=524_288, minimum=1, maximum=GIBIBYTE
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
# Tokens of a prompt with its history, whose oldest messages are left out first where it is longer.
# 3 bytes count as a token.
CONVERSATION_MAX_TOKENS = env.integer("CONVERSATION_MAX_TOKENS", default=64_000, minimum=1)
REQUEST_MAX_BYTES = env.integer("REQUEST_MAX_BYTES", default=1_048_576, minimum=1, maximum=GIBIBYTE)
# Django's own limit: the largest of those that aily/web/body_limits.py holds before.
DATA_UPLOAD_MAX_MEMORY_SIZE = REQUEST_MAX_BYTES + 2 * PROMPT_MAX_BYTES
WEBSOCKET_FRAME_MAX_BYTES = env.integer(
    "WEBSOCKET_FRAME_MAX_BYTES", default=262_144, minimum=1, maximum=2**24
)
# Free bytes on the disk of AILY_DATA_DIR below which tasks are refused. PostgreSQL ends when it
# cannot write its log, and then nothing could be read either: so submits end first.
MIN_FREE_DISK_BYTES = env.integer(
    "MIN_FREE_DISK_BYTES", default=67_108_864 if HAS_OWN_DATABASE else 0, maximum=2**50
)
# WebSockets and event streams of one user in one web process; 0: no limit.
MAX_CONNECTIONS_PER_USER = env.integer("MAX_CONNECTIONS_PER_USER", default=10_000)
