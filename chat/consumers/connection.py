"""One WebSocket connection: its handshake, the frames that come in, and its close."""

from __future__ import annotations

import json
import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer
from django.conf import settings
from django.db import Error as DatabaseError

from accounts.authentication import Identity
from accounts.websocket import identify_websocket, websocket_holds_seconds
from aily.observability.context import begin_request
from aily.observability.metrics import WEBSOCKETS_OPEN, WEBSOCKETS_OPENED, frame_received
from aily.problems import LimitReached, Problem
from aily.web.access_revocation import CLOSE_RESTART, CLOSE_UNAUTHENTICATED, open_sockets
from aily.web.connections import connections
from aily.web.flow_control import FlowControl
from aily.web.shutdown import shutdown_event
from chat.consumers.commands import CLOSE_TOO_MANY, Commands
from chat.consumers.sender import FrameSender
from chat.events import PROTOCOL, Hello
from chat.frames import MAX_REF_CHARS, parse_frame

logger = logging.getLogger(__name__)

CLOSE_TOO_LARGE = 1009
CLOSE_TRY_LATER = 1013
CLOSE_BAD_FRAME = 4400
#: Bad frames in a row after which a client is taken for broken.
MAX_BAD_FRAMES = 20

#: A message of ASGI, or a connection's scope.
Message = dict[str, Any]


class ChatConsumer(AsyncConsumer):
    """One socket. It is refused without valid credentials, when its user has too many, and when the
    process stops."""

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        # Not the base class's: a channel-layer channel a socket would cost two subscriptions and a
        # queue, and the hub does its work for a whole process (figures in ARCHITECTURE.md).
        self.scope = scope
        begin_request(dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1"))
        self.flow = FlowControl(send)
        self.sender = FrameSender(self.flow)
        #: None before the socket is open.
        self.commands: Commands | None = None
        self.bad_frames = 0
        self.is_closed = False
        self.registrations = AsyncExitStack()
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        finally:
            await self.registrations.aclose()
            self.end_commands()

    async def dispatch(self, message: Message) -> None:
        # Not the base class's: it hops to a thread on every message to close database connections,
        # of which the event loop's thread never has one.
        await getattr(self, get_handler_name(message))(message)

    # --- Opening --------------------------------------------------------------------------------
    async def websocket_connect(self, message: Message) -> None:
        try:
            identity = await self.authenticate()
        except DatabaseError as error:
            logger.warning("a socket could not be authenticated: %s", error)
            await self.flow.send({"type": "websocket.close", "code": CLOSE_TRY_LATER})
            return
        if self.is_closed:
            return
        offered = self.scope.get("subprotocols", [])
        subprotocol = PROTOCOL if PROTOCOL in offered else None
        await self.flow.send({"type": "websocket.accept", "subprotocol": subprotocol})
        if identity is None:
            await self.close(CLOSE_UNAUTHENTICATED)
        elif shutdown_event().is_set():
            await self.close(CLOSE_RESTART)
        else:
            await self.open(identity)

    async def authenticate(self) -> Identity | None:
        """Identify the caller, who from now on is disconnected when access is revoked.

        Raises DatabaseError.
        """
        identity = await identify_websocket(self.scope)
        if identity is None:
            return None
        check = partial(websocket_holds_seconds, self.scope)
        registered = open_sockets().registered(
            identity.access, self.close, check, identity.holds_seconds
        )
        await self.registrations.enter_async_context(registered)
        # It may have been revoked before this socket was registered.
        return await identify_websocket(self.scope, check=True)

    async def open(self, identity: Identity) -> None:
        try:
            self.registrations.enter_context(connections().opened(identity.user.pk))
        except LimitReached:
            await self.close(CLOSE_TOO_MANY)
            return
        self.commands = Commands(identity, self.sender, self.close)
        self.registrations.enter_context(WEBSOCKETS_OPEN.track_inprogress())
        WEBSOCKETS_OPENED.inc()
        await self.sender.send(Hello())
        if not self.is_closed:
            self.commands.subscriptions.start()

    # --- Frames ---------------------------------------------------------------------------------
    async def websocket_receive(self, message: Message) -> None:
        commands = self.commands
        if commands is None or self.is_closed:
            return
        data = message.get("text") or message.get("bytes") or ""
        if len(data) > settings.WEBSOCKET_FRAME_MAX_BYTES:
            # The web server should have stopped reading already.
            await self.close(CLOSE_TOO_LARGE)
            return
        try:
            frame = parse_frame(data)
        except Problem as problem:
            await self.refuse_frame(data, problem)
            return
        self.bad_frames = 0
        frame_received(frame.type).inc()
        await commands.begin(frame, len(data))

    async def refuse_frame(self, data: str | bytes, problem: Problem) -> None:
        self.bad_frames += 1
        frame_received("invalid").inc()
        await self.sender.send_problem(_ref_of(data), problem)
        if self.bad_frames >= MAX_BAD_FRAMES:
            await self.close(CLOSE_BAD_FRAME)

    # --- Closing --------------------------------------------------------------------------------
    async def close(self, code: int) -> None:
        self.is_closed = True
        self.end_commands()
        await self.flow.send({"type": "websocket.close", "code": code})

    async def websocket_disconnect(self, message: Message) -> None:
        raise StopConsumer

    def end_commands(self) -> None:
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
