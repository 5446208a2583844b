"""A task is one trace, from the caller's own span to the provider's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.observability import tracing
from chat.models import Provider
from chat.runner.runtime import Runtime
from tests.chat.conftest import StartWorker, frames_of, until
from tests.receiver import Receiver, running_receiver

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
async def exported(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """Traces are on, and go to this receiver."""
    async with running_receiver() as receiver:
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = receiver.url
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        tracing.begin("test")
        yield receiver
        await asyncio.to_thread(tracing.end)


async def spans_of(receiver: Receiver) -> dict[str, Span]:
    """Everything that was traced, by name; turns tracing off."""
    await asyncio.to_thread(tracing.end)
    spans: dict[str, Span] = {}
    for headers, body in receiver.requests:
        if headers["Content-Type"] == "application/x-protobuf":
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    spans |= {span.name: span for span in scope.spans}
    return spans


async def run_task(client: AsyncClient, alice: User, worker: Runtime) -> None:
    """Submit over REST with a traceparent, and wait for the end."""
    _, secret = await in_database(APIKey.create, alice, "traced")
    answer = await client.post(
        "/api/llmchat/request",
        {"messages": [{"role": "user", "content": "a secret prompt"}]},
        content_type="application/json",
        headers={
            "Authorization": f"Bearer {secret}",
            "traceparent": f"00-{TRACE}-{CALLER}-01",
        },
    )
    assert answer.status_code == 202
    await frames_of(answer.json()["task_id"], alice)
    await until(lambda: not worker.calls)


async def test_a_task_is_one_trace(
    exported: Receiver, worker: Runtime, async_client: AsyncClient, alice: User
) -> None:
    await run_task(async_client, alice, worker)
    spans = await spans_of(exported)
    request, submit = spans["POST api/llmchat/request"], spans["submit"]
    assert request.parent_span_id.hex() == CALLER
    assert submit.parent_span_id == request.span_id
    inner = [spans[name] for name in ("queue", "chat deepseek-flash", "store")]
    assert [span.parent_span_id for span in inner] == [submit.span_id] * 3
    assert {span.trace_id.hex() for span in (request, submit, *inner)} == {TRACE}
    queue, call, store = inner
    assert queue.start_time_unix_nano <= queue.end_time_unix_nano <= call.start_time_unix_nano
    assert call.end_time_unix_nano <= store.start_time_unix_nano
    assert call.kind == Span.SPAN_KIND_CLIENT
    names = {attribute.key for attribute in call.attributes}
    assert {"gen_ai.request.model", "gen_ai.usage.output_tokens"} <= names
    assert not any(b"secret prompt" in body for _, body in exported.requests)


async def test_the_provider_is_told_of_the_trace(
    exported: Receiver,
    start_worker: StartWorker,
    async_client: AsyncClient,
    alice: User,
    settings: Settings,
) -> None:
    settings.TASK_MAX_FAILURES = 1
    await in_database(Provider.objects.update, base_url=f"{exported.url}/provider")
    await run_task(async_client, alice, await start_worker())
    [asked] = [headers for headers, body in exported.requests if b"messages" in body]
    spans = await spans_of(exported)
    call = spans["chat deepseek-flash"]
    assert asked["traceparent"] == f"00-{TRACE}-{call.span_id.hex()}-01"
    assert "error.type" in {attribute.key for attribute in call.attributes}


def test_it_need_not_be_installed_while_traces_are_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "aily.observability.otel", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "opentelemetry"]:
        monkeypatch.setitem(sys.modules, name, None)
    tracing.begin("test")
    assert not tracing.is_on()
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:9"
    with pytest.raises(ImproperlyConfigured, match=r"requirements-otel\.lock"):
        tracing.begin("test")
