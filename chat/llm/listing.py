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


class _Model(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[_Model]


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
    try:
        return [model.id for model in msgspec.json.decode(content, type=_List).data]
    except msgspec.DecodeError as error:
        raise InvalidResponseError(f"the list of models is none: {error}") from error
