"""The only module that uses OpenTelemetry. Imported only if traces are on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()


class Tracer:
    """Exports to OTEL_EXPORTER_OTLP_ENDPOINT, by OpenTelemetry's own OTEL_ variables."""

    def __init__(self, process: str) -> None:
        resource = Resource.create({"service.name": f"aily-{process}"})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("aily")

    def close(self) -> None:
        self._provider.shutdown()

    @contextmanager
    def span(
        self,
        name: str,
        kind: str,
        parent: str,
        began_at: float | None,
        attributes: Mapping[str, Any],
    ) -> Iterator[Span]:
        """See `tracing.span`."""
        with self._tracer.start_as_current_span(
            name,
            context=_propagator.extract({"traceparent": parent}) if parent else None,
            kind=SpanKind[kind.upper()],
            start_time=None if began_at is None else int(began_at * 1e9),
            attributes={key.replace("__", "."): value for key, value in attributes.items()},
            # The text of an error may quote a prompt.
            record_exception=False,
            set_status_on_exception=False,
        ) as current:
            try:
                yield current
            except Exception as error:
                note_error(current, type(error).__name__)
                raise

    def traceparent(self) -> str:
        """The current span as a traceparent header; empty when there is none."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get("traceparent", "")


def note_error(span: Span, kind: str) -> None:
    """Mark a span as failed."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
