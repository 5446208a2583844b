"""Channels' communicators, which wait as long as other tests do: their own second is too short on
a machine with other work to do."""

# ruff: noqa: ASYNC109 - the signatures are those of Channels

from __future__ import annotations

from typing import Any

from channels.testing import HttpCommunicator as _HttpCommunicator
from channels.testing import WebsocketCommunicator as _WebsocketCommunicator

from tests.waiting import PATIENCE_SECONDS


class HttpCommunicator(_HttpCommunicator):
    async def receive_output(self, timeout: float = PATIENCE_SECONDS) -> Any:
        return await super().receive_output(timeout)

    async def get_response(self, timeout: float = PATIENCE_SECONDS) -> Any:
        return await super().get_response(timeout)

    async def wait(self, timeout: float = PATIENCE_SECONDS) -> None:
        await super().wait(timeout)


class WebsocketCommunicator(_WebsocketCommunicator):
    async def connect(self, timeout: float = PATIENCE_SECONDS) -> Any:
        return await super().connect(timeout)

    async def receive_output(self, timeout: float = PATIENCE_SECONDS) -> Any:
        return await super().receive_output(timeout)

    async def receive_from(self, timeout: float = PATIENCE_SECONDS) -> Any:
        return await super().receive_from(timeout)

    async def receive_json_from(self, timeout: float = PATIENCE_SECONDS) -> Any:
        return await super().receive_json_from(timeout)

    async def disconnect(self, code: int = 1000, timeout: float = PATIENCE_SECONDS) -> None:
        await super().disconnect(code, timeout)
