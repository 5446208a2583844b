"""The worker's side of a provider: one streamed call, from request to the last token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Self

import msgspec

from chat.llm import transport
from chat.llm.answer import MAX_ID_CHARS, Answer
from chat.llm.deadlines import Deadlines
from chat.llm.errors import (
    AuthError,
    BadRequestError,
    InvalidResponseError,
    ProviderError,
    ProviderTimeoutError,
    error_from_response,
)
from chat.llm.sse import EventDecoder
from chat.llm.types import ChatRequest, Completion, Delta, TimeLimits, Upstream, storable
from chat.llm.wire import decode_chunk

MAX_ERROR_BODY_BYTES = 64 * 1024
MAX_JSON_BODY_BYTES = 16 * 1024 * 1024
# The end of a response follows the end of the answer at once; reading it saves the connection
# for the next call, waiting for it long would hold up this one.
DRAIN_SECONDS = 0.25


class ProviderClient:
    """Calls providers over one pool of connections. One a process, on one event loop."""

    def __init__(self) -> None:
        self._http = transport.build_client()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def stream(
        self, upstream: Upstream, request: ChatRequest, limits: TimeLimits
    ) -> AsyncGenerator[Delta | Completion]:
        """Make one call, without retries. Gives Deltas as they come, then one Completion.

        Raises ProviderError. Closing the generator or cancelling its task closes the connection
        at once, which is how a provider learns to stop. A caller that stops iterating early has
        to close it (`contextlib.aclosing`).
        """
        with Deadlines(limits) as deadlines:
            try:
                response = await self._send(upstream, request, limits, deadlines)
            except transport.HTTP_ERRORS as error:
                raise transport.provider_error(error, answer_began=False) from error
            try:
                async with aclosing(_read(response, upstream, request, deadlines)) as items:
                    async for item in items:
                        yield item
            except transport.HTTP_ERRORS as error:
                raise transport.provider_error(error, answer_began=True) from error
            finally:
                await response.aclose()

    async def _send(
        self, upstream: Upstream, request: ChatRequest, limits: TimeLimits, deadlines: Deadlines
    ) -> transport.Response:
        try:
            body = msgspec.json.encode(request.body(upstream.provider))
        except (TypeError, ValueError) as error:
            raise BadRequestError(f"the request cannot be written as JSON: {error}") from error
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        if request.traceparent:
            headers["traceparent"] = request.traceparent
        if upstream.api_key:
            if not (upstream.api_key.isascii() and upstream.api_key.isprintable()):
                raise AuthError("the API key holds characters that no header can carry")
            headers["authorization"] = f"Bearer {upstream.api_key}"
        url = upstream.base_url.rstrip("/") + "/chat/completions"
        return await deadlines.limit(
            transport.post(self._http, url, body, headers, limits.connect_seconds)
        )


async def _read(
    response: transport.Response, upstream: Upstream, request: ChatRequest, deadlines: Deadlines
) -> AsyncGenerator[Delta | Completion]:
    chunks = transport.chunks(response)
    if not response.is_success:
        body = await _read_error_body(chunks, deadlines)
        raise error_from_response(response.status_code, response.headers, body, upstream.api_key)
    content_type = response.headers.get("content-type", "").lower()
    answer = Answer(request.model, _request_id(response), upstream.api_key)
    if "json" in content_type:
        await _read_json(chunks, answer, deadlines)
    elif "html" in content_type:
        raise InvalidResponseError(f"the response is no stream of events but {content_type[:100]}")
    else:
        async with aclosing(_read_events(chunks, answer, deadlines)) as deltas:
            async for delta in deltas:
                yield delta
    rest = answer.take_delta()
    if rest is not None:
        yield rest
    yield answer.completion()


async def _read_events(
    chunks: AsyncIterator[bytes], answer: Answer, deadlines: Deadlines
) -> AsyncGenerator[Delta]:
    """Read until the answer's end, or the stream's, whichever comes first."""
    decoder = EventDecoder()
    while not answer.done:
        try:
            chunk = await deadlines.limit(anext(chunks, b""))
        except (ProviderTimeoutError, *transport.HTTP_ERRORS):
            if answer.finish_reason is None:
                raise
            return
        if not chunk:
            with suppress(
                InvalidResponseError
            ):  # cut in mid-event: the answer is judged as truncated
                answer.add_event(decoder.flush())
            return
        payloads = answer.payloads
        for event in decoder.feed(chunk):
            answer.add_event(event)
        if delta := answer.take_delta():
            yield delta
        if answer.payloads > payloads:
            deadlines.payload_came(last=answer.finish_reason is not None)
    await _drain(chunks)


async def _read_json(chunks: AsyncIterator[bytes], answer: Answer, deadlines: Deadlines) -> None:
    """Read a whole answer from a server that does not stream; blank lines are its keep-alives."""
    body = bytearray()
    while True:
        chunk = await deadlines.limit(anext(chunks, b""))
        if not chunk:
            break
        body += chunk
        if len(body) > MAX_JSON_BODY_BYTES:
            raise InvalidResponseError(f"the response is larger than {MAX_JSON_BODY_BYTES} bytes")
        if not chunk.isspace():
            deadlines.payload_came(last=False)
    answer.add_chunk(decode_chunk(bytes(body)))
    answer.done = True


async def _read_error_body(chunks: AsyncIterator[bytes], deadlines: Deadlines) -> bytes:
    """As much of an error's body as comes; the status is the news, the body only explains it."""
    body = bytearray()
    try:
        while len(body) < MAX_ERROR_BODY_BYTES:
            chunk = await deadlines.limit(anext(chunks, b""))
            if not chunk:
                break
            body += chunk
    except (ProviderError, *transport.HTTP_ERRORS):
        pass
    return bytes(body[:MAX_ERROR_BODY_BYTES])


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass
    except (TimeoutError, *transport.HTTP_ERRORS):
        pass


def _request_id(response: transport.Response) -> str | None:
    headers = response.headers
    value = headers.get("x-request-id") or headers.get("x-deepseek-request-id")
    return storable(value)[:MAX_ID_CHARS] if value else None
