"""The worker's side of a provider: one streamed call, from request to the last token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
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

    async def ask(
        self,
        upstream: Upstream,
        request: ChatRequest,
        limits: TimeLimits,
        on_delta: Callable[[Delta], None],
        patience: Callable[[], float] = lambda: 0.0,
    ) -> Completion:
        """Make one call, without retries. `on_delta` is given what comes, as it comes. `patience`
        is asked after each: for so many seconds more may come before it is read.

        Raises ProviderError. Cancelling the caller closes the connection at once, which is how a
        provider learns to stop.
        """
        with Deadlines(limits) as deadlines:
            try:
                response = await self._send(upstream, request, limits, deadlines)
            except transport.HTTP_ERRORS as error:
                raise transport.provider_error(error, answer_began=False) from error
            answer = Answer(request.model, _request_id(response), upstream.api_key)
            try:
                await _read(response, answer, deadlines, on_delta, patience)
            except transport.HTTP_ERRORS as error:
                raise transport.provider_error(error, answer_began=True) from error
            finally:
                await response.aclose()
        return answer.completion()

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
    response: transport.Response,
    answer: Answer,
    deadlines: Deadlines,
    on_delta: Callable[[Delta], None],
    patience: Callable[[], float],
) -> None:
    body = transport.Body(response)
    if not response.is_success:
        words = await _read_error_body(body.read, deadlines)
        raise error_from_response(response.status_code, response.headers, words, answer.secret)
    content_type = response.headers.get("content-type", "").lower()
    if "json" in content_type:
        await deadlines.limit(_read_json(body.read, answer, deadlines))
    elif "html" in content_type:
        raise InvalidResponseError(f"the response is no stream of events but {content_type[:100]}")
    else:
        await _read_events(body, answer, deadlines, on_delta, patience)
    _give(answer, on_delta)


def _give(answer: Answer, on_delta: Callable[[Delta], None]) -> None:
    if delta := answer.take_delta():
        on_delta(delta)


async def _read_events(
    body: transport.Body,
    answer: Answer,
    deadlines: Deadlines,
    on_delta: Callable[[Delta], None],
    patience: Callable[[], float],
) -> None:
    """Read until the answer's end, or the stream's, whichever comes first."""

    async def read_all() -> None:
        decoder = EventDecoder()
        while not answer.done:
            chunk = await body.read()
            if not chunk:
                with suppress(
                    InvalidResponseError
                ):  # cut in mid-event: the answer is judged as truncated
                    answer.add_event(decoder.flush())
                return
            payloads = answer.payloads
            for event in decoder.feed(chunk):
                answer.add_event(event)
            _give(answer, on_delta)
            if answer.payloads > payloads:
                deadlines.payload_came(last=answer.finish_reason is not None)
                if answer.finish_reason is None and (seconds := patience()):
                    # Less than the next payload may take: what comes now is read in time.
                    await body.gather(min(seconds, deadlines.between_tokens_seconds / 2))

    try:
        # One limit for all reads: one for each would cost as much as reading.
        await deadlines.limit(read_all())
    except (ProviderTimeoutError, *transport.HTTP_ERRORS):
        if answer.finish_reason is None:
            raise
    else:
        await _drain(body.read)


async def _read_json(read: transport.Read, answer: Answer, deadlines: Deadlines) -> None:
    """Read a whole answer from a server that does not stream; blank lines are its keep-alives."""
    body = bytearray()
    while chunk := await read():
        body += chunk
        if len(body) > MAX_JSON_BODY_BYTES:
            raise InvalidResponseError(f"the response is larger than {MAX_JSON_BODY_BYTES} bytes")
        if not chunk.isspace():
            deadlines.payload_came(last=False)
    answer.add_chunk(decode_chunk(bytes(body)))
    answer.done = True


async def _read_error_body(read: transport.Read, deadlines: Deadlines) -> bytes:
    """As much of an error's body as comes; the status is the news, the body only explains it."""
    body = bytearray()

    async def read_all() -> None:
        while len(body) < MAX_ERROR_BODY_BYTES and (chunk := await read()):
            body.extend(chunk)

    with suppress(ProviderError, *transport.HTTP_ERRORS):
        await deadlines.limit(read_all())
    return bytes(body[:MAX_ERROR_BODY_BYTES])


async def _drain(read: transport.Read) -> None:
    with suppress(TimeoutError, *transport.HTTP_ERRORS):
        async with asyncio.timeout(DRAIN_SECONDS):
            while await read():
                pass


def _request_id(response: transport.Response) -> str | None:
    headers = response.headers
    value = headers.get("x-request-id") or headers.get("x-deepseek-request-id")
    return storable(value)[:MAX_ID_CHARS] if value else None
