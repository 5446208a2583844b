"""A provider that answers request after request with what a test has written down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from chat.models import Task

#: Tokens of each call, as the provider counts them.
PROMPT_TOKENS, COMPLETION_TOKENS = 100, 10

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1},
        "home": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
    },
    "required": ["name", "age", "tags", "home"],
    "additionalProperties": False,
    "$defs": {
        "Place": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        }
    },
}
ADA = '{"name": "Ada", "age": 36, "tags": ["a"], "home": {"city": "London"}}'
#: JSON that is no person.
NOBODY = '{"name": "Ada", "age": "thirty-six", "tags": [], "home": null}'


def format_of(schema: dict[str, Any] = PERSON, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, **fields}}


def error_of(task: Task) -> dict[str, Any]:
    assert isinstance(task.error, dict)
    return task.error


@dataclass
class Answer:
    text: str = ""
    finish: str = "stop"
    refusal: str = ""
    #: Sent in place of an answer.
    status: int = 200
    error: str = ""
    #: What is said before the answer waits.
    first: str = ""
    #: The rest of the answer waits for it.
    until: asyncio.Event | None = None


@dataclass
class Scripted:
    """Gives each request the next answer; the last one to all that follow."""

    answers: list[Answer]
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.status != 200:
            if answer.until is not None:
                await answer.until.wait()
            error = {"error": {"message": answer.error, "type": "invalid_request_error"}}
            return web.json_response(error, status=answer.status)
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        if answer.first:
            await stream.write(_event({"content": answer.first}))
        if answer.until is not None:
            await answer.until.wait()
        delta = {"refusal": answer.refusal} if answer.refusal else {"content": answer.text}
        await stream.write(_event(delta))
        await stream.write(_event({}, answer.finish) + b"data: [DONE]\n\n")
        return stream


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    chunk: dict[str, Any] = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    if finish is not None:
        chunk["usage"] = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS,
            "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
        }
    return f"data: {json.dumps(chunk)}\n\n".encode()


@asynccontextmanager
async def scripted(*answers: Answer | str) -> AsyncIterator[Scripted]:
    """A provider that gives these answers while the context lasts."""
    provider = Scripted([Answer(text) if isinstance(text, str) else text for text in answers])
    app = web.Application()
    app.router.add_post("/chat/completions", provider.complete)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        provider.url = f"http://{host}:{port}"
        yield provider
    finally:
        await runner.cleanup()
