"""A WebSocket connection of a user: its handshake, its limits, and its close.

What is sent and received over it is a subclass's: aily's own protocol, OpenAI's.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer
from django.conf import settings
from django.db import Error as DatabaseError

from accounts.authentication import Identity
from accounts.websocket import identify_websocket, websocket_valid_seconds
from aily.observability.context import begin_request
from aily.observability.metrics import WEBSOCKETS_OPEN, WEBSOCKETS_OPENED
from aily.problems import LimitReached
from aily.web.access_revocation import CLOSE_RESTART, CLOSE_UNAUTHENTICATED, open_sockets
from aily.web.connections import connections
from aily.web.flow_control import FlowControl
from aily.web.shutdown import shutdown_event

logger = logging.getLogger(__name__)

CLOSE_TOO_LARGE = 1009
CLOSE_TRY_LATER = 1013
CLOSE_TOO_MANY = 4429

#: A message of ASGI, or a connection's scope.
Message = dict[str, Any]


class SocketConsumer(AsyncConsumer):
    """One socket. It is refused without valid credentials, when its user has too many, and when the
    process stops."""

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        # Not the base class's: a channel-layer channel a socket would cost two subscriptions and a
        # queue, and the hub does its work for a whole process (figures in docs/decisions/hub.md).
        self.scope = scope
        begin_request(dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1"))
        self.flow = FlowControl(send)
        self.is_open = False
        self.is_closed = False
        self.registrations = AsyncExitStack()
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        finally:
            await self.registrations.aclose()
            self.end()

    async def dispatch(self, message: Message) -> None:
        # Not the base class's: it hops to a thread on every message to close database connections,
        # of which the event loop's thread never has one.
        await getattr(self, get_handler_name(message))(message)

    # --- For subclasses -------------------------------------------------------------------------
    async def begin(self, identity: Identity) -> None:
        """The socket is open."""
        raise NotImplementedError

    async def receive(self, data: str | bytes) -> None:
        """A message came, which is not too large. The next is read when this returns."""
        raise NotImplementedError

    def end(self) -> None:
        """End all work, but for the caller if it is a part of it. May be called again."""
        raise NotImplementedError

    async def refuse(self, code: int) -> None:
        """Refuse the handshake, for the reason of this close code."""
        await self.accept()
        await self.close(code)

    def subprotocol(self) -> str | None:
        """The subprotocol that is chosen of those offered."""
        return None

    # --- Opening --------------------------------------------------------------------------------
    async def websocket_connect(self, message: Message) -> None:
        try:
            identity = await self.authenticate()
        except DatabaseError as error:
            logger.warning("a socket could not be authenticated: %s", error)
            await self.refuse_in_outage()
            return
        if self.is_closed:
            return
        if identity is None:
            await self.refuse(CLOSE_UNAUTHENTICATED)
        elif shutdown_event().is_set():
            await self.refuse(CLOSE_RESTART)
        else:
            await self.open(identity)

    async def authenticate(self) -> Identity | None:
        """Identify the caller, who from now on is disconnected when access is revoked.

        Raises DatabaseError.
        """
        identity = await identify_websocket(self.scope)
        if identity is None:
            return None
        check = partial(websocket_valid_seconds, self.scope)
        registered = open_sockets().registered(
            identity.access, self.close, check, identity.valid_seconds
        )
        await self.registrations.enter_async_context(registered)
        # It may have been revoked before this socket was registered.
        return await identify_websocket(self.scope, check=True)

    async def open(self, identity: Identity) -> None:
        try:
            self.registrations.enter_context(connections().opened(identity.user.pk))
        except LimitReached:
            await self.refuse(CLOSE_TOO_MANY)
            return
        await self.accept()
        self.is_open = True
        self.registrations.enter_context(WEBSOCKETS_OPEN.track_inprogress())
        WEBSOCKETS_OPENED.inc()
        await self.begin(identity)

    async def accept(self) -> None:
        await self.flow.send({"type": "websocket.accept", "subprotocol": self.subprotocol()})

    async def refuse_in_outage(self) -> None:
        await self.flow.send({"type": "websocket.close", "code": CLOSE_TRY_LATER})

    # --- Messages -------------------------------------------------------------------------------
    async def websocket_receive(self, message: Message) -> None:
        if not self.is_open or self.is_closed:
            return
        data = message.get("text") or message.get("bytes") or ""
        if len(data) > settings.WEBSOCKET_FRAME_MAX_BYTES:
            # The web server should have stopped reading already.
            await self.close(CLOSE_TOO_LARGE)
            return
        await self.receive(data)

    # --- Closing --------------------------------------------------------------------------------
    async def close(self, code: int) -> None:
        self.is_closed = True
        self.end()
        await self.flow.send({"type": "websocket.close", "code": code})

    async def websocket_disconnect(self, message: Message) -> None:
        raise StopConsumer
