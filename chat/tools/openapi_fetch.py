"""Fetches an OpenAPI document, by the rules of addresses of the server that it describes."""

from __future__ import annotations

import asyncio
from typing import Any

from chat.models import ToolServer
from chat.tools.endpoints import credentials, endpoint_of, secrets_of
from chat.tools.exchange import ByteBudget, OutgoingRequest, send, target_of
from chat.tools.openapi_documents import read_document
from chat.tools.openapi_operations import DocumentError
from chat.tools.results import ToolErrorCode, ToolFault

MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
_SECONDS = 20.0


async def fetch_document(server: ToolServer, url: str) -> Any:
    """The decoded JSON or YAML at a URL. Raises ToolFault.

    The server's credentials go along where the URL is on its own origin, and nowhere else.
    """
    endpoint = endpoint_of(server)
    target = target_of(url, server.may_reach)
    is_own = target.origin == target_of(server.url, server.may_reach).origin
    sent = await credentials(endpoint) if is_own else ()
    headers = (("accept", "application/json, application/yaml;q=0.9, */*;q=0.5"), *sent)
    request = OutgoingRequest("GET", target, headers, b"", is_repeatable=True)
    try:
        async with asyncio.timeout(_SECONDS):
            content = await _content(request)
    except TimeoutError:
        raise ToolFault(ToolErrorCode.TIMEOUT, f"No document within {_SECONDS:g} s.") from None
    except ToolFault as fault:
        raise fault.without(secrets_of(endpoint)) from None
    try:
        return await asyncio.to_thread(read_document, content)
    except DocumentError as error:
        raise ToolFault(ToolErrorCode.INVALID_RESPONSE, str(error)) from None


async def _content(request: OutgoingRequest) -> bytes:
    response = await send(request, ByteBudget(MAX_DOCUMENT_BYTES))
    try:
        if response.status != 200:
            raise ToolFault(
                ToolErrorCode.HTTP_ERROR, f"The document's server answers HTTP {response.status}."
            )
        return await response.content()
    finally:
        response.close()
