"""Metrics, traces and logs."""

from __future__ import annotations

from importlib.util import find_spec

from aily.environment import refuse
from aily.environment.addresses import http_url_problem
from aily.observability.logs import configuration as log_configuration
from aily.settings.environment import env

# Served by the process itself on a port of its own; 0: not at all, or by the exporter.
METRICS_HOST = env.host("METRICS_HOST", default="127.0.0.1")
METRICS_PORT = env.integer("METRICS_PORT", default=0, maximum=65535)
SLOW_QUERY_SECONDS = env.seconds("SLOW_QUERY_SECONDS", default=1.0)

# --- Traces --------------------------------------------------------------------------------------
# OpenTelemetry's own variable; the exporter reads it, and the others of its kind, by itself.
OTEL_EXPORTER_OTLP_ENDPOINT = env.checked("OTEL_EXPORTER_OTLP_ENDPOINT", http_url_problem)
if OTEL_EXPORTER_OTLP_ENDPOINT and find_spec("opentelemetry") is None:
    refuse("OTEL_EXPORTER_OTLP_ENDPOINT needs: pip install -r deploy/requirements-otel.lock")

# --- Logging -------------------------------------------------------------------------------------
LOG_LEVEL = env.choice(
    "LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), default="INFO"
)
LOG_FORMAT = env.choice("LOG_FORMAT", ("text", "json"), default="text")
# Prompts and answers in the log: to look for a fault, never by default.
LOG_PROMPTS = env.boolean("LOG_PROMPTS", default=False)
LOGGING = log_configuration(LOG_LEVEL, LOG_FORMAT)
