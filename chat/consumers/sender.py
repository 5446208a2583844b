"""Sends frames to one client."""

from __future__ import annotations

import msgspec

from aily.observability.metrics import request_error
from aily.problems import Problem
from aily.web.flow_control import FlowControl
from chat.events import ErrorFrame, encode
from chat.observability import metrics


class FrameSender:
    """Each method returns once the client keeps up, so that a slow one slows down its followers."""

    def __init__(self, flow: FlowControl) -> None:
        self._flow = flow

    async def send(self, frame: msgspec.Struct) -> None:
        await self.send_bytes(encode(frame))

    async def send_bytes(self, frame: bytes) -> None:
        metrics.FRAMES_SENT.inc()
        await self._flow.send_text(frame)

    async def send_problem(self, ref: str | None, problem: Problem) -> None:
        request_error("websocket", problem.code).inc()
        await self.send(ErrorFrame(ref=ref, error=problem.as_error()))
