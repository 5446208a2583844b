"""Progress notifications of a call: its task's place in the queue, and the text's length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import msgspec

from chat.mcp_server.results import waiting_message
from chat.services.follow import follow
from chat.services.submit import Accepted

#: Sends a notification: the number, which only grows, and a sentence.
Report = Callable[[float, str], Awaitable[None]]

#: The shortest time between two notifications of the text's length.
TEXT_SECONDS = 0.5
#: How long a call that has ended waits for its last notifications to be sent.
_END_SECONDS = 1.0


@asynccontextmanager
async def reporting(
    report: Report | None, owner_id: int, accepted: Accepted
) -> AsyncIterator[None]:
    """Report the progress of a task inside. The last notifications are sent before the exit, unless
    the client does not read them."""
    if report is None:
        yield
        return
    job = asyncio.create_task(_Progress(report).follow(owner_id, accepted))
    try:
        yield
        await asyncio.wait([job], timeout=_END_SECONDS)
    finally:
        job.cancel()
        await asyncio.wait([job])


class _Progress:
    """The notifications of one call."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._sent = -1
        self._characters = 0
        self._text_sent_at = 0.0

    async def follow(self, owner_id: int, accepted: Accepted) -> None:
        await self._send(waiting_message(accepted.position, accepted.eta_seconds))
        frames = follow(accepted.task_id, owner_id, is_new=accepted.waits_alone)
        async with aclosing(frames):
            async for frame in frames:
                await self._note(frame.type, frame.frame)
                if frame.is_terminal:
                    await self._send(self._length())

    async def _note(self, event_type: str, frame: bytes) -> None:
        event = msgspec.json.decode(frame)
        match event_type:
            case "task.queued":
                await self._send(waiting_message(event["position"], event["eta_seconds"]))
            case "task.started":
                self._characters = 0
                await self._send("Running.")
            case "task.tool_call" if event["state"] != "requires_action":
                await self._send(f"Calling the tool {event['tool']}.")
            case "task.requires_action" if event.get("kind") == "input":
                await self._send(f"The tool {event['tool']} waits for an answer of its user.")
            case "task.requires_action":
                await self._send(f"Waiting for the approval of the tool {event['tool']}.")
            case "task.snapshot":
                self._characters = len(event["text"])
                await self._send_length()
            case "task.delta":
                self._characters += len(event["text"])
                await self._send_length()

    async def _send_length(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._characters and now - self._text_sent_at >= TEXT_SECONDS:
            self._text_sent_at = now
            await self._send(self._length())

    def _length(self) -> str:
        return f"{self._characters} characters."

    async def _send(self, message: str) -> None:
        # It must grow with every notification, also where the text begins anew.
        self._sent = max(self._sent + 1, self._characters)
        await self._report(self._sent, message)
