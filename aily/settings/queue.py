"""The queue, its workers, tasks and their tools."""

from __future__ import annotations

from aily.settings.environment import env

# Its connections are aily's (chat/management/commands/crontab.py): it makes none of this URL.
# The scheduler's lock lasts 10 s: with the package's 5 s it would be lost with the first renewal
# that is late.
DRAMATIQ_CRONTAB = {"REDIS_URL": "redis://", "LOCK_REFRESH_INTERVAL": 2}
# How many provider calls one worker process runs at once.
WORKER_MAX_CALLS = env.integer("WORKER_MAX_CALLS", default=5000, minimum=1, maximum=1000000)
WORKER_LEASE_SECONDS = env.integer("WORKER_LEASE_SECONDS", default=20, minimum=1, maximum=3600)
WORKER_GRACE_SECONDS = env.integer("WORKER_GRACE_SECONDS", default=25, minimum=1, maximum=3600)
# The share of a deployment's cap that calls of lane batch may hold: people have the rest.
BATCH_MAX_SHARE = env.number("BATCH_MAX_SHARE", default=0.9, minimum=0.001, maximum=1)

# --- Tasks ---------------------------------------------------------------------------------------
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
