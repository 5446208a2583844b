"""One WebSocket connection of aily's own protocol: the frames that come in, and its close."""

from __future__ import annotations

import json

from accounts.authentication import Identity
from accounts.socket_consumer import SocketConsumer
from aily.observability.metrics import frame_received
from aily.problems import Problem
from chat.consumers.commands import Commands
from chat.consumers.sender import FrameSender
from chat.events import PROTOCOL, Hello
from chat.frames import MAX_REF_CHARS, parse_frame

CLOSE_BAD_FRAME = 4400
#: Bad frames in a row after which a client is taken for broken.
MAX_BAD_FRAMES = 20


class ChatConsumer(SocketConsumer):
    """One socket, at `/ws/llmchat/`."""

    #: None before the socket is open.
    commands: Commands | None = None
    bad_frames = 0

    def subprotocol(self) -> str | None:
        return PROTOCOL if PROTOCOL in self.scope.get("subprotocols", []) else None

    async def begin(self, identity: Identity) -> None:
        self.sender = FrameSender(self.flow)
        self.commands = Commands(identity, self.sender, self.close)
        await self.sender.send(Hello())
        if not self.is_closed:
            self.commands.subscriptions.start()

    async def receive(self, data: str | bytes) -> None:
        if self.commands is None:
            return
        try:
            frame = parse_frame(data)
        except Problem as problem:
            await self.refuse_frame(data, problem)
            return
        self.bad_frames = 0
        frame_received(frame.type).inc()
        await self.commands.begin(frame, len(data))

    async def refuse_frame(self, data: str | bytes, problem: Problem) -> None:
        self.bad_frames += 1
        frame_received("invalid").inc()
        await self.sender.send_problem(_ref_of(data), problem)
        if self.bad_frames >= MAX_BAD_FRAMES:
            await self.close(CLOSE_BAD_FRAME)

    def end(self) -> None:
        if self.commands is not None:
            self.commands.cancel()


def _ref_of(data: str | bytes) -> str | None:
    """The `ref` of a frame that is wrong in some other way, so that the client can match it.

    Half a surrogate pair in it, which no frame can have, comes back as U+FFFD.
    """
    try:
        ref = json.loads(data)["ref"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(ref, str) or len(ref) > MAX_REF_CHARS:
        return None
    return ref.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
