"""Calls of providers, the simulator, and the demo MCP server."""

from __future__ import annotations

from aily.environment.addresses import http_url_problem
from aily.settings.environment import GIBIBYTE, env

LLM_CONNECT_SECONDS = env.seconds("LLM_CONNECT_SECONDS", default=10)
LLM_FIRST_TOKEN_SECONDS = env.seconds("LLM_FIRST_TOKEN_SECONDS", default=120)
LLM_BETWEEN_TOKENS_SECONDS = env.seconds("LLM_BETWEEN_TOKENS_SECONDS", default=60)
LLM_TOTAL_SECONDS = env.seconds("LLM_TOTAL_SECONDS", default=600)
# Of one answer. An output of 384K tokens, as large as any model's, is about two megabytes.
LLM_MAX_TEXT_BYTES = env.integer(
    "LLM_MAX_TEXT_BYTES", default=4_194_304, minimum=1, maximum=GIBIBYTE
)
LLM_MAX_REASONING_BYTES = env.integer(
    "LLM_MAX_REASONING_BYTES", default=4_194_304, minimum=1, maximum=GIBIBYTE
)
LLM_MAX_ARGUMENTS_BYTES = env.integer(
    "LLM_MAX_ARGUMENTS_BYTES", default=1_048_576, minimum=1, maximum=GIBIBYTE
)
LLM_MAX_TOOL_CALLS = env.integer("LLM_MAX_TOOL_CALLS", default=128, minimum=1)
# As JSON: about 1,200 bytes for a token with 20 alternatives, and 60 without.
LLM_MAX_LOGPROBS_BYTES = env.integer(
    "LLM_MAX_LOGPROBS_BYTES", default=8_388_608, minimum=1, maximum=GIBIBYTE
)
# How much of a provider's Retry-After is obeyed.
LLM_RETRY_AFTER_MAX_SECONDS = env.number("LLM_RETRY_AFTER_MAX_SECONDS", default=300)
# Whether providers may be at any address: private ones for those who are no superusers, link-local
# ones for all.
PROVIDER_ALLOW_PRIVATE = env.boolean("PROVIDER_ALLOW_PRIVATE", default=False)
SIMULATOR_URL = env.checked("SIMULATOR_URL", http_url_problem, default="http://127.0.0.1:8001")
# Where `make run` has the demo MCP server, whose tools seeding registers. Empty: nowhere.
DEMO_MCP_URL = env.checked("DEMO_MCP_URL", http_url_problem, default="")
