"""Lists the models that a provider offers, over the same transport as calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from chat.llm.bodies import decompressor
from chat.llm.errors import (
    InvalidResponseError,
    ProviderError,
    UnreachableError,
)
from chat.llm.requests import models
from chat.llm.transport.connections import Connections
from chat.llm.types import Upstream
from chat.llm.vendor_errors import error_from_response

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
            names = _names(await _get(upstream, api_key), api_key)
        except ProviderError as error:
            error.hide(upstream.secrets)
            raise
    return names


@dataclass(slots=True)
class _Response:
    """Receives one response."""

    ended: asyncio.Future[None]
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    # --- What the connection calls --------------------------------------------------------------
    def head(self, status: int, headers: dict[str, str]) -> None:
        self.status, self.headers = status, headers

    def body(self, piece: bytes) -> None:
        self.content += piece
        if len(self.content) > MAX_BYTES:
            self.lost(InvalidResponseError(f"the list is larger than {MAX_BYTES} bytes"))

    def end(self, *, is_framed: bool) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def lost(self, error: ProviderError) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)


async def _get(upstream: Upstream, api_key: str | None) -> _Response:
    target = models(upstream, api_key)
    connections = Connections()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            connection = await connections.connect(target.origin)
            response = _Response(asyncio.get_running_loop().create_future())
            try:
                connection.send(target.head + b"\r\n\r\n", response)
                await response.ended
            finally:
                connection.abort()
    except TimeoutError as error:
        raise UnreachableError(f"no answer within {TIMEOUT_SECONDS:g} s") from error
    finally:
        await connections.aclose()
    return response


def _names(response: _Response, api_key: str | None) -> list[str]:
    if not 200 <= response.status < 300:
        content = bytes(response.content)
        # The status says enough, whether its body can be read or not.
        with suppress(InvalidResponseError):
            content = _content(response)
        raise error_from_response(response.status, response.headers, content, api_key)
    content = _content(response)
    try:
        return [model.id for model in msgspec.json.decode(content, type=_List).data]
    except msgspec.DecodeError as error:
        raise InvalidResponseError(f"the list of models is none: {error}") from error


def _content(response: _Response) -> bytes:
    unpack = decompressor(response.headers.get("content-encoding", "").strip().lower())
    content = bytes(response.content)
    return content if unpack is None else _unpacked(unpack(content))


def _unpacked(parts: Iterable[bytes]) -> bytes:
    content = bytearray()
    for part in parts:
        content += part
        if len(content) > MAX_BYTES:
            raise InvalidResponseError(f"the list is larger than {MAX_BYTES} bytes")
    return bytes(content)
