"""The callers: a process of its own with one event loop, which does as little as it can.

Each line of stdin is a Load. It prints a Phase when it begins and ends to measure, so that the
other side can read the CPU clocks then, and the Calls once the last answer has come.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from itertools import count
from statistics import mean
from typing import Any

import aiohttp
import msgspec
import uvloop

from chat.llm.simulator.answers import simulated_answer
from tests.load.comparison.calls import Calls, Load, Phase
from tests.load.recording import MODEL, Wave

_FIRST_ANSWERS_SECONDS = 120
_CALL_SECONDS = 120
_TIMER_SECONDS = 0.02
_FIRST_TEXT = re.compile(rb'"(?:reasoning_)?content":\s*"[^"]')
_MOST_ERRORS = 20
_clock = time.monotonic


class _Answer(msgspec.Struct):
    """One call as its caller saw it; judged when nothing is measured any more."""

    number: int
    sent_at: float
    ended_at: float
    status: int
    body: bytes
    first_text_at: float | None = None


class Callers:
    """The callers of one load."""

    def __init__(self, load: Load, session: aiohttp.ClientSession) -> None:
        self._load = load
        self._session = session
        self._wave = Wave(tasks=0, timeout_seconds=0)
        self._numbers = count(load.first_number)
        self._answers: list[_Answer] = []
        self._errors: list[str] = []
        self._timer_lags: list[float] = []

    async def run(self) -> Calls:
        """One call of each caller to warm up, then all at once again and again, and measured."""
        indexes = range(self._load.at_once)
        async with asyncio.timeout(_FIRST_ANSWERS_SECONDS):
            await asyncio.gather(*(self._call_and_note(index) for index in indexes))
        warmed_up = len(self._answers)
        _report(Phase("measuring"))
        begun_at = _clock()
        timer = asyncio.create_task(self._watch_timers())
        end_times = await asyncio.gather(
            *(self._call_in_turn(index, begun_at) for index in indexes)
        )
        timer.cancel()
        _report(Phase("measured"))
        return self._judged(warmed_up, mean(end_times) - begun_at)

    async def _call_in_turn(self, index: int, begun_at: float) -> float:
        """Returns when the last call of the caller ended."""
        while _clock() < begun_at + self._load.seconds:
            await self._call_and_note(index)
        return _clock()

    async def _call_and_note(self, index: int) -> None:
        headers = self._load.headers[index % len(self._load.headers)]
        try:
            self._answers.append(await self._call(next(self._numbers), headers))
        except (aiohttp.ClientError, TimeoutError) as error:
            self._errors.append(repr(error))

    async def _call(self, number: int, headers: dict[str, str]) -> _Answer:
        body = self._body(number)
        sent_at, first_text_at = _clock(), None
        async with self._session.post(self._load.url, json=body, headers=headers) as response:
            pieces = bytearray()
            async for piece in response.content.iter_any():
                pieces += piece
                if self._load.stream and first_text_at is None and _FIRST_TEXT.search(pieces):
                    first_text_at = _clock()
        return _Answer(number, sent_at, _clock(), response.status, bytes(pieces), first_text_at)

    def _body(self, number: int) -> dict[str, Any]:
        messages = [{"role": "user", "content": self._wave.text_of(number)}]
        body: dict[str, Any] = {"model": MODEL, "messages": messages}
        return {**body, "stream": True} if self._load.stream else body

    async def _watch_timers(self) -> None:
        while True:
            wanted = _clock() + _TIMER_SECONDS
            await asyncio.sleep(_TIMER_SECONDS)
            self._timer_lags.append(_clock() - wanted)

    def _judged(self, warmed_up: int, measured_seconds: float) -> Calls:
        is_right = [self._is_right(answer) for answer in self._answers]
        pairs = list(zip(self._answers, is_right, strict=True))[warmed_up:]
        measured = [answer for answer, right in pairs if right]
        return Calls(
            seconds=[answer.ended_at - answer.sent_at for answer in measured],
            first_text_seconds=[
                answer.first_text_at - answer.sent_at
                for answer in measured
                if answer.first_text_at is not None
            ],
            measured_seconds=measured_seconds,
            answered=sum(is_right),
            errors=self._errors,
            timer_lags_seconds=self._timer_lags,
        )

    def _is_right(self, answer: _Answer) -> bool:
        """Whether the text is the simulator's own answer to this prompt."""
        expected = simulated_answer(
            self._body(answer.number), answer_tokens=(self._load.answer_tokens,) * 2
        )
        read = _streamed_text if self._load.stream else _plain_text
        try:
            if answer.status == 200 and read(answer.body) == expected.text:
                return True
        except (msgspec.DecodeError, KeyError, IndexError, TypeError) as error:
            self._errors.append(repr(error))
        if len(self._errors) < _MOST_ERRORS:
            self._errors.append(f"{answer.status}: {answer.body[:300]!r}")
        return False


def _plain_text(body: bytes) -> str:
    text: str = msgspec.json.decode(body)["choices"][0]["message"]["content"]
    return text


def _streamed_text(body: bytes) -> str:
    """The pieces put together; "" for a stream that broke off before its end mark."""
    data = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    if not data or data[-1] != b"[DONE]":
        return ""
    chunks = [msgspec.json.decode(piece) for piece in data[:-1]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def _report(message: msgspec.Struct) -> None:
    print(msgspec.json.encode(message).decode(), flush=True)


async def main() -> None:
    """One load after the other, each with connections of its own."""
    timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
    while line := await asyncio.to_thread(sys.stdin.readline):
        load = msgspec.json.decode(line, type=Load)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            _report(await Callers(load, session).run())


if __name__ == "__main__":
    uvloop.run(main())
