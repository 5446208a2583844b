"""Keeps out of every process what a library would load along with the little that is used of it."""

from __future__ import annotations

import sys

#: Each is imported by a library that does without it where it is not installed.
UNUSED = (
    # httpx: its command line, with click, rich and pygments, which are here for other reasons.
    # 90 ms of CPU at each start.
    "httpx._main",
    # redis-py: OpenTelemetry's metrics, where deploy/requirements-otel.txt is installed. aily's
    # metrics are Prometheus'. 50 ms.
    "opentelemetry.sdk.metrics",
)


def leave_out_unused() -> None:
    """Have the import of each fail. To be called before the libraries are imported."""
    for name in UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
