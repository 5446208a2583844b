"""One request for embeddings to the simulated provider, whose answer comes in one piece."""

from __future__ import annotations

import asyncio

from aiohttp import web

from chat.llm.simulator import wire
from chat.llm.simulator.call import BaseCall, CallRequest, broken_off_error
from chat.llm.simulator.vectors import Input, embeddings


class EmbeddingsCall(BaseCall):
    """Sends the vectors after the latency that is asked for. The pace of tokens is not kept: a
    batch of inputs would take hours."""

    def __init__(self, request: CallRequest, inputs: list[Input]) -> None:
        super().__init__(request, {"content-type": "application/json"})
        self._inputs = inputs

    async def run(self) -> web.StreamResponse:
        """Answer. Raises RequestRefusedError for a status that the input asks for."""
        await self._refuse()
        await asyncio.sleep(self._latency_seconds)
        await self._output.open()
        if self._directives.stall:
            await self._stall()
        if self._directives.disconnect:
            self._disconnect()
        else:
            await self._end(self._answer())
        return self._output.response

    def _answer(self) -> bytes:
        asked = self._directives
        if asked.error:
            return wire.json_bytes(broken_off_error())
        has_usage = asked.usage != "none"
        answer = embeddings(self._body, self._inputs, self._config.seed, has_usage=has_usage)
        if asked.empty:
            answer["data"] = []
        data = wire.json_bytes(answer)
        if asked.truncate or asked.broken_json:
            return data[: len(data) // 2]
        self._complete()
        return data
