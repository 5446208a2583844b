"""Traces, where OTEL_EXPORTER_OTLP_ENDPOINT says where to. Otherwise nothing of OpenTelemetry is
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
    """Export this process's spans, if there is anywhere to. Starts a thread."""
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
    """Export what has not been yet, and stop; blocks for some seconds at the most."""
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
    """A span around a `with` block, which is given it, or None while traces are off.

    `kind` is internal, server, client, producer or consumer. `parent` is a traceparent; without one
    it is the current span. `began_at` is in Unix seconds, for what began before the block. `__` in
    the name of an attribute stands for a dot. An error out of the block is noted without its words.
    """
    if _tracer is None:
        return _NOTHING
    return _tracer.span(name, kind, parent, began_at, attributes)


def traceparent() -> str:
    """The current span, for a header or for a task; empty when there is none."""
    return "" if _tracer is None else _tracer.traceparent()
