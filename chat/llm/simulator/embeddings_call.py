"""One request for embeddings to the simulated provider, whose answer comes in one piece."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable

from aiohttp import web

from chat.llm.simulator import wire
from chat.llm.simulator.call import broken_off_error
from chat.llm.simulator.config import JsonObject, SimulatorConfig
from chat.llm.simulator.directives import Directives
from chat.llm.simulator.output import Output
from chat.llm.simulator.requests import refusal
from chat.llm.simulator.stats import Stats
from chat.llm.simulator.vectors import Input, embeddings


class EmbeddingsCall:
    """Sends the vectors after the latency that is asked for. `release` gives the place in the cap
    back. The pace of tokens is not kept: a batch of inputs would take hours."""

    def __init__(
        self,
        config: SimulatorConfig,
        stats: Stats,
        request: web.BaseRequest,
        body: JsonObject,
        inputs: list[Input],
        directives: Directives,
        latency_seconds: float,
        release: Callable[[], None],
    ) -> None:
        self.id = str(uuid.uuid4())
        self.broken_off = False  # by us, on purpose
        self.is_complete = False  # nothing but the end of the response is missing
        self._config = config
        self._stats = stats
        self._body = body
        self._inputs = inputs
        self._directives = directives
        asked = directives.latency
        self._latency_seconds = latency_seconds if asked is None else asked
        self._release = release
        headers = {"x-request-id": self.id, "content-type": "application/json"}
        self._output = Output(request, headers)

    async def run(self) -> web.StreamResponse:
        """Answer. Raises RequestRefusedError for a status that the input asks for."""
        asked = self._directives
        if asked.status:
            if asked.latency:
                await asyncio.sleep(asked.latency)
            raise refusal(asked.status, retry_after=asked.retry_after)
        await asyncio.sleep(self._latency_seconds)
        await self._output.open()
        if asked.stall:
            await self._stall()
        if asked.disconnect:
            self.broken_off = True
            self._output.abort()
        else:
            await self._end()
        return self._output.response

    async def _stall(self) -> None:
        """Send blank lines, which a client can tell from an answer, or with `silent` nothing."""
        asked = self._directives
        loop = asyncio.get_running_loop()
        seconds = math.inf if asked.stall_seconds is None else asked.stall_seconds
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0:
            await asyncio.sleep(min(left, self._config.keep_alive_seconds))
            if not asked.silent:
                self._output.put(b"\n")
                self._output.flush()

    async def _end(self) -> None:
        data = self._answer()
        # Released first: a client that saw the end of the answer may send its next request.
        self._release()
        self._output.put(data)
        await self._output.end()

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
        self.is_complete = True
        self._stats.completed += 1
        return data
