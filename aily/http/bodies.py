"""Bodies of requests. How large they may be is decided before (aily/web/body_limits.py)."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from aily.problems import UnsupportedMediaType
from aily.rest.json_input import decode_json


async def read_body(request: Request) -> bytes:
    """Read the whole body. Raises ClientDisconnect, and TooLarge."""
    # Starlette's own asks an asynchronous generator, which costs four times as much.
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    chunks = [body]
    while message.get("more_body"):
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
    return b"".join(chunks)


async def read_json(request: Request) -> object:
    """Read a JSON body. Raises UnsupportedMediaType, and InvalidRequest for what is not strict JSON
    (aily/rest/json_input.py)."""
    return decode_body(request, await read_body(request))


def decode_body(request: Request, body: bytes) -> object:
    """Decode a body that was read. Raises as `read_json`."""
    media_type, _, _ = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/json" and body:
        raise UnsupportedMediaType("Send the body as application/json.", field="Content-Type")
    return decode_json(body)
