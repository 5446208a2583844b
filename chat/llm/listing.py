"""Lists the models that a provider offers, over the same transport as calls."""

from __future__ import annotations

import asyncio

import msgspec

from chat.llm.errors import InvalidResponseError, ProviderError, UnreachableError
from chat.llm.requests import models
from chat.llm.transport.connections import Connections
from chat.llm.transport.whole_response import WholeResponse
from chat.llm.types import Upstream

TIMEOUT_SECONDS = 10.0
MAX_BYTES = 4 * 1024 * 1024


def list_models(upstream: Upstream) -> list[str]:
    """Return the names of `GET /models`. Raises ProviderError.

    Each of several API keys is tried. No event loop may run in this thread.
    """
    return asyncio.run(_list_models(upstream))


async def _list_models(upstream: Upstream) -> list[str]:
    names: list[str] = []
    for api_key in (upstream.api_key, *upstream.other_keys):
        try:
            names = _names(await _get(upstream, api_key))
        except ProviderError as error:
            error.hide(upstream.secrets)
            raise
    return names


async def _get(upstream: Upstream, api_key: str | None) -> bytes | bytearray:
    target = models(upstream, api_key)
    connections = Connections()
    response = WholeResponse(MAX_BYTES)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            connection = await connections.connect(target.origin)
            await response.run(connection, target.head + b"\r\n\r\n")
            return await response.content(api_key)
    except TimeoutError as error:
        raise UnreachableError(f"no answer within {TIMEOUT_SECONDS:g} s") from error
    finally:
        await connections.aclose()


def _names(content: bytes | bytearray) -> list[str]:
    """The names in OpenAI's list, in a bare list as Together sends, or in Ollama's own."""
    try:
        parsed = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidResponseError(f"the list of models is none: {error}") from error
    models = parsed.get("data", parsed.get("models")) if isinstance(parsed, dict) else parsed
    if not isinstance(models, list):
        raise InvalidResponseError("the list of models is none")
    return [name for model in models if (name := _name_of(model))]


def _name_of(model: object) -> str:
    name = model.get("id") or model.get("name") if isinstance(model, dict) else model
    # Gemini's: it is called without the prefix.
    return name.removeprefix("models/") if isinstance(name, str) else ""
