"""daphne's server and command line, with an orderly shutdown and bounded memory a connection.

At SIGTERM daphne itself drops every request and socket. Here the process first accepts what the
kernel has queued for it and stops listening, so that a proxy goes elsewhere; then requests are
finished, sockets closed with 4503, a few at a time, and streams ended between two events. What is
left after WEB_GRACE_SECONDS is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from daphne.cli import CommandLineInterface
from daphne.http_protocol import HTTPFactory
from daphne.server import Server
from django.conf import settings
from django.utils.module_loading import import_string
from twisted.internet.defer import Deferred
from twisted.internet.tcp import Port
from twisted.web.http import HTTPChannel

from aily.web.access_revocation import CLOSE_RESTART, PING_SECONDS, open_sockets
from aily.web.servers.daphne_http import BoundedRequest, LargeBody
from aily.web.servers.daphne_websocket import BoundedWebSocket
from aily.web.shutdown import shutdown_event

_Protocol = BoundedRequest | BoundedWebSocket

logger = logging.getLogger(__name__)

#: daphne's five seconds are too few for ten thousand clients that reconnect at once: those that it
#: refuses try again, and are refused again.
_CONNECT_SECONDS = 30
#: Connections to accept in one go before listening stops: more than any backlog holds.
_MAX_ACCEPTS = 65_536
#: Pings and timeouts may be late by this.
_TIMEOUT_CHECK_SECONDS = 10.0
_APPLICATION_CHECK_SECONDS = 1.0
#: A request follows its connection within this.
_LINGER_SECONDS = 0.3
#: Extension of a WebSocket's scope, from this server to its own wrapper round the application.
_PROTOCOL = "aily.protocol"
#: The same of a request with a large body.
_BODY = "aily.body"


class DrainingServer(Server):
    """daphne's server, which drains at SIGTERM and uses aily's protocols."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.body_limits = import_string("aily.routing.body_limits")
        self.application: ASGI3Application = _reading_on_demand(self.application)
        self._ports: list[Port] = []
        #: An application has ended or a connection was lost since the last look for such ends.
        self._has_ends = False
        self._is_draining = False

    def listen_success(self, port: Port) -> None:
        """Called within `run` once its factories listen, before the first connection."""
        super().listen_success(port)
        self._ports.append(port)
        self.ws_factory.protocol = BoundedWebSocket
        _make_bounded_requests(self.http_factory)

    def create_application(self, protocol: _Protocol, scope: dict[str, object]) -> object:
        if scope["type"] == "websocket":
            scope["extensions"] = {"websocket.http.response": {}, _PROTOCOL: protocol}
        elif isinstance(protocol, BoundedRequest) and protocol.body is not None:
            scope["extensions"] = {_BODY: protocol.body}
        queue = super().create_application(protocol, scope)
        application = self.connections.get(protocol, {}).get("application_instance")
        if application is not None:
            application.add_done_callback(partial(self._note_end, protocol))
        return queue

    def protocol_disconnected(self, protocol: _Protocol) -> None:
        super().protocol_disconnected(protocol)
        self._has_ends = True

    def _note_end(self, protocol: _Protocol, application: object) -> None:
        self._has_ends = True
        if isinstance(protocol, BoundedRequest):
            protocol.application_ended()

    def application_checker(self) -> None:
        """daphne's, only if something has ended: it goes through all connections each second."""
        if not self._has_ends:
            _call_later(_APPLICATION_CHECK_SECONDS, self.application_checker)
            return
        super().application_checker()
        # Some of these have yet to end.
        self._has_ends = any("disconnected" in details for details in self.connections.values())

    def timeout_checker(self) -> None:
        """daphne's, but every 10 s instead of 2: with ten thousand sockets, 1 % of a core."""
        for protocol in list(self.connections):
            protocol.check_timeouts()
        _call_later(_TIMEOUT_CHECK_SECONDS, self.timeout_checker)

    async def handle_reply(self, protocol: _Protocol, message: ASGISendEvent) -> None:
        """ASGI's `send`. Returns once the client keeps up, or is gone."""
        if isinstance(protocol, BoundedWebSocket):
            await protocol.drained()
            if message["type"] == "websocket.send" and protocol.send_text(message.get("text")):
                return
        if self._is_draining and message["type"] == "http.response.start":
            # The client is to open its next connection elsewhere.
            headers = [*message.get("headers", ()), (b"Connection", b"close")]
            message = {**message, "headers": headers}
        await super().handle_reply(protocol, message)
        if isinstance(protocol, BoundedRequest):
            await protocol.drained()

    def kill_all_applications(self) -> Deferred[None]:
        """Called by daphne at SIGTERM. Twisted waits for the result before it stops."""
        return Deferred.fromFuture(asyncio.ensure_future(self._drain()))

    async def _drain(self) -> None:
        for port in self._ports:
            _stop_listening(port)
        self._is_draining = True
        shutdown_event().set()
        closing = asyncio.ensure_future(
            open_sockets().close_all(CLOSE_RESTART, settings.WEB_GRACE_SECONDS / 2)
        )
        try:
            async with asyncio.timeout(settings.WEB_GRACE_SECONDS):
                await asyncio.sleep(_LINGER_SECONDS)
                while running := self._running():
                    await asyncio.wait(running)
        except TimeoutError:
            logger.warning("%d requests and sockets are dropped", len(self._running()))
        finally:
            closing.cancel()
            await self._drop_rest()

    def _running(self) -> list[asyncio.Future[None]]:
        details = self.connections.values()
        applications = (detail.get("application_instance") for detail in details)
        return [future for future in applications if future is not None and not future.done()]

    async def _drop_rest(self) -> None:
        for application in (running := self._running()):
            application.cancel()
        if running:
            await asyncio.wait(running, timeout=1)


def _make_bounded_requests(factory: HTTPFactory) -> None:
    """Have this factory's connections parse requests as BoundedRequest, and log none.

    The factory's own `buildProtocol` names daphne's class.
    """
    build = factory.buildProtocol

    def build_protocol(address: object) -> HTTPChannel:
        channel: HTTPChannel = build(address)
        channel.requestFactory = BoundedRequest
        return channel

    factory.buildProtocol = build_protocol
    # Twisted's access log, which goes nowhere, and is written all the same.
    factory.log = lambda request: None


def _reading_on_demand(application: ASGI3Application) -> ASGI3Application:
    """The application, with WebSockets and large bodies that are read from as it asks for
    messages."""

    # No coroutine: its frame would take 0.3 KiB a socket.
    def wrapped(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Awaitable[None]:
        if scope["type"] == "websocket":
            extensions = scope["extensions"] or {}
            protocol = cast("BoundedWebSocket", extensions.pop(_PROTOCOL))
            receive = partial(protocol.next_message, receive)
        elif scope["type"] == "http" and _BODY in (scope.get("extensions") or {}):
            body = cast("dict[str, LargeBody]", scope["extensions"]).pop(_BODY)
            receive = partial(body.next_message, receive)
        return application(scope, receive, send)

    return wrapped


def _call_later(seconds: float, work: Callable[[], None]) -> None:
    """On Twisted's loop, which is asyncio's."""
    asyncio.get_event_loop().call_later(seconds, work)


def _stop_listening(port: Port) -> None:
    """Accept the connections that wait, which closing would reset, and close.

    Twisted's `stopListening` closes a moment later, and resets the connections made in between.
    """
    port.numberAccepts = _MAX_ACCEPTS
    port.doRead()  # type: ignore[no-untyped-call]
    port.stopReading()  # type: ignore[no-untyped-call]
    port.connectionLost(None)  # type: ignore[no-untyped-call]


class Command(CommandLineInterface):
    """daphne's command line."""

    server_class = DrainingServer

    def __init__(self) -> None:
        super().__init__()
        self.parser.set_defaults(
            ping_interval=PING_SECONDS, websocket_connect_timeout=_CONNECT_SECONDS
        )
