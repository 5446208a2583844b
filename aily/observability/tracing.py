"""Traces, exported to OTEL_EXPORTER_OTLP_ENDPOINT if that is set. If not, OpenTelemetry is not
imported, and a span costs less than 1 µs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from aily.observability.otel import Tracer

_NOTHING: AbstractContextManager[None] = nullcontext()
_tracer: Tracer | None = None


def begin(process: str) -> None:
    """Export this process's spans if there is an endpoint. Starts a thread."""
    global _tracer
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    try:
        from aily.observability.otel import Tracer
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set: install deploy/requirements-otel.lock"
        ) from error
    _tracer = Tracer(process)


def end() -> None:
    """Export the remaining spans and stop; blocks for some seconds at most."""
    global _tracer
    if _tracer is not None:
        _tracer.close()
        _tracer = None


def is_on() -> bool:
    return _tracer is not None


def span(
    name: str,
    *,
    kind: str = "internal",
    parent: str = "",
    began_at: float | None = None,
    **attributes: Any,
) -> AbstractContextManager[Any]:
    """A span around a `with` block, which gets it, or None while traces are off.

    `kind` is internal, server, client, producer or consumer. `parent` is a traceparent; without it
    the current span is the parent. `began_at` is in Unix seconds, if the span began before the
    block. `__` in the name of an attribute becomes a dot. Of an exception only the type is
    recorded.
    """
    if _tracer is None:
        return _NOTHING
    return _tracer.span(name, kind, parent, began_at, attributes)


def traceparent() -> str:
    """The current span, for a header or for a task; empty if there is none."""
    return "" if _tracer is None else _tracer.traceparent()
