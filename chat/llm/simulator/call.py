"""One request to the simulated provider, from the moment it is let in to the end of its answer."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from chat.llm.simulator import wire
from chat.llm.simulator.answers import SimulatedAnswer, thinking_enabled
from chat.llm.simulator.config import JsonObject, SimulatorConfig
from chat.llm.simulator.directives import Directives
from chat.llm.simulator.output import Output
from chat.llm.simulator.pace import Pace
from chat.llm.simulator.requests import error_body, refusal
from chat.llm.simulator.stats import Stats


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A request that was let in. `release` gives its place in the cap back."""

    config: SimulatorConfig
    stats: Stats
    http: web.BaseRequest
    body: JsonObject
    directives: Directives
    latency_seconds: float
    release: Callable[[], None]


class BaseCall:
    """The response to one request that was let in: its faults and its end."""

    def __init__(self, request: CallRequest, headers: dict[str, str]) -> None:
        self.id = str(uuid.uuid4())
        self.broken_off = False  # by us, on purpose
        self.is_complete = False  # nothing but the end of the response is missing
        self._config = request.config
        self._stats = request.stats
        self._body = request.body
        self._directives = asked = request.directives
        self._latency_seconds = request.latency_seconds if asked.latency is None else asked.latency
        self._release = request.release
        self._keep_alive = b"\n"
        self._output = Output(request.http, {"x-request-id": self.id, **headers})

    async def run(self) -> web.StreamResponse:
        """Answer. Raises RequestRefusedError for a status that the request asks for."""
        raise NotImplementedError

    async def _refuse(self) -> None:
        """Raise RequestRefusedError for a status that the request asks for."""
        asked = self._directives
        if asked.status:
            if asked.latency:
                await asyncio.sleep(asked.latency)
            raise refusal(asked.status, retry_after=asked.retry_after)

    async def _wait(self, seconds: float) -> None:
        """Wait, showing signs of life as DeepSeek does."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > self._config.keep_alive_seconds:
            await asyncio.sleep(self._config.keep_alive_seconds)
            self._output.put(self._keep_alive)
            self._output.flush()
        await asyncio.sleep(max(0.0, left))

    async def _stall(self) -> None:
        asked = self._directives.stall_seconds
        seconds = math.inf if asked is None else asked
        if not self._directives.silent:
            await self._wait(seconds)
        elif math.isinf(seconds):
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(seconds)

    def _complete(self) -> None:
        self.is_complete = True
        self._stats.completed += 1

    async def _end(self, data: bytes) -> None:
        # Released first: a client that saw the end of the answer may send its next request.
        self._release()
        self._output.put(data)
        await self._output.end()

    def _disconnect(self) -> None:
        self.broken_off = True
        self._output.abort()


class Call(BaseCall):
    """Sends one answer at the pace asked for."""

    def __init__(self, request: CallRequest, answer: SimulatedAnswer) -> None:
        self._streaming = bool(request.body.get("stream"))
        kind = "text/event-stream; charset=utf-8" if self._streaming else "application/json"
        super().__init__(request, {"content-type": kind, "cache-control": "no-cache"})
        if self._streaming:
            self._keep_alive = wire.KEEP_ALIVE
        self._answer = answer
        tps = self._directives.tps
        self._tokens_per_second = self._config.tokens_per_second if tps is None else tps
        wants_logprobs = self._body.get("logprobs") is True
        self._alternatives = (self._body.get("top_logprobs") or 0) if wants_logprobs else None
        self._events = wire.EventWriter(self._body["model"], self._alternatives)
        self._late_from = time.monotonic() + self._planned_seconds()

    async def run(self) -> web.StreamResponse:
        """Answer. Raises RequestRefusedError for a status that the prompt asks for."""
        await self._refuse()
        await self._output.open()
        if self._directives.stall != "first":
            await self._wait(self._latency_seconds)
        await (self._stream() if self._streaming else self._answer_whole())
        return self._output.response

    def _planned_seconds(self) -> float:
        """From the request to the end of a stream without faults."""
        tokens = len(self._answer.reasoning_tokens) + len(self._answer.tokens)
        # The first token does not wait, the others keep the pace.
        pace = self._tokens_per_second
        return self._latency_seconds + (max(tokens - 1, 0) / pace if pace else 0.0)

    async def _stream(self) -> None:
        asked = self._directives
        if asked.error == "first":
            return await self._end(wire.error_event(broken_off_error()))
        self._output.put(self._events.opening(thinking=thinking_enabled(self._body)))
        if asked.stall == "first":
            self._output.flush()
            await self._stall()
        if not asked.empty:
            total = len(self._answer.reasoning_tokens) + len(self._answer.tokens)
            if asked.faulty:
                await self._send_tokens(0, total // 2)
                if await self._break_in_the_middle():
                    return None
                await self._send_tokens(total // 2, total)
            else:
                await self._send_tokens(0, total)
            for index, call in enumerate(self._answer.tool_calls):
                for event in self._events.tool_call(index, call):
                    self._output.put(event)
        self._complete()
        if not asked.faulty:
            self._stats.note_late(time.monotonic() - self._late_from)
        return await self._end(self._last_events())

    async def _answer_whole(self) -> None:
        asked, answer = self._directives, self._answer
        if asked.stall:
            await self._stall()
        elif self._tokens_per_second:
            total = len(answer.reasoning_tokens) + len(answer.tokens)
            await self._wait(total / self._tokens_per_second)
        if asked.disconnect:
            return self._disconnect()
        if asked.error:
            return await self._end(wire.json_bytes(broken_off_error()))
        reason = self._finish_reason(answer)
        body = wire.whole_answer(self._body["model"], answer, reason, self._alternatives)
        if asked.empty:
            body["choices"][0]["message"] = {"role": "assistant", "content": ""}
        data = wire.json_bytes(body)
        if asked.truncate or asked.broken_json:
            return await self._end(data[: len(data) // 2])
        self._complete()
        self._stats.tokens += len(answer.reasoning_tokens) + len(answer.tokens)
        return await self._end(data)

    async def _break_in_the_middle(self) -> bool:
        """Do the fault that is asked for. Whether it was the end of the response."""
        asked = self._directives
        if asked.stall == "middle":
            self._output.flush()
            await self._stall()
        if asked.broken_json:
            self._output.put(wire.broken_event())
        if asked.disconnect:
            self._disconnect()
        elif asked.truncate:
            await self._end(b"")
        elif asked.error == "middle":
            await self._end(wire.error_event(broken_off_error()))
        else:
            return False
        return True

    async def _send_tokens(self, first: int, end: int) -> None:
        """Send tokens `first` to `end` of reasoning and text. The last go with what follows."""
        if self._tokens_per_second:
            pace = Pace(self._tokens_per_second, self._write_tokens, self._write_seconds)
            first = await pace.run(first, end)
        self._put_tokens(first, end)

    def _write_tokens(self, first: int, end: int) -> bool:
        if self._output.is_behind():
            return False
        self._put_tokens(first, end)
        self._output.flush()
        return True

    def _put_tokens(self, first: int, end: int) -> None:
        split = len(self._answer.reasoning_tokens)
        if first < split:
            tokens = self._answer.reasoning_tokens[first : min(end, split)]
            self._output.put(self._events.reasoning(tokens))
        if end > split:
            tokens = self._text_tokens(max(0, first - split), end - split)
            self._output.put(self._events.text(tokens))
        self._stats.tokens += end - first

    def _text_tokens(self, first: int, end: int) -> list[str]:
        if self._directives.clock:
            now = time.monotonic()
            return [f"{number}@{now:.6f} " for number in range(first, end)]
        return self._answer.tokens[first:end]

    def _write_seconds(self) -> float:
        config = self._config
        return max(config.write_seconds, self._stats.in_flight / config.writes_per_second)

    def _last_events(self) -> bytes:
        where = self._directives.usage
        usage = wire.usage(self._answer)
        reason = self._finish_reason(self._answer)
        last = self._events.finish(reason, usage if where == "finish" else None)
        if where == "after":
            last += self._events.usage_only(usage)
        return last + wire.DONE

    def _finish_reason(self, answer: SimulatedAnswer) -> str:
        return self._directives.finish or answer.finish_reason


def broken_off_error() -> JsonObject:
    """The error that a prompt asks for in place of the answer, or of the rest of it."""
    kind = "internal_server_error"
    return error_body("The simulated server broke off", kind, kind)
