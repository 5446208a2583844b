"""daphne, with its own command line, that loses nothing when it is told to stop.

daphne drops every request and socket at SIGTERM. Here the process first takes what the kernel has
queued for it and stops listening, so that a proxy goes elsewhere; then requests are finished,
sockets closed with 4503, a few at a time, and streams ended between two events. After
WEB_GRACE_SECONDS what is left is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import uvloop

# Before daphne makes the loop that Twisted runs on: a tenth less CPU in a web process.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

from daphne import http_protocol  # noqa: E402
from daphne.cli import CommandLineInterface  # noqa: E402
from daphne.server import Server  # noqa: E402
from daphne.ws_protocol import WebSocketFactory  # noqa: E402
from django.conf import settings  # noqa: E402
from django.utils.module_loading import import_string  # noqa: E402
from twisted.internet.defer import Deferred  # noqa: E402

from aily.web.access_revocation import CLOSE_RESTART, PING_SECONDS, open_sockets  # noqa: E402
from aily.web.servers.daphne_http import BoundedRequest  # noqa: E402
from aily.web.servers.daphne_protocol import LeanProtocol  # noqa: E402
from aily.web.shutdown import draining  # noqa: E402

logger = logging.getLogger(__name__)

#: daphne's five seconds are too few for ten thousand clients that come back at once: those it
#: refuses come again, and are refused again.
_CONNECT_SECONDS = 30
#: More connections than any backlog holds.
_ALL = 65_536
#: Pings, and whatever takes too long, may be late by this.
_TIMEOUT_CHECK_SECONDS = 10.0
_APPLICATION_CHECK_SECONDS = 1.0
#: A request follows its connection within this, in seconds.
_LINGER_SECONDS = 0.3


class DrainingServer(Server):
    """daphne's server; only its end is another."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ports: list[Any] = []
        #: An application has ended, or a connection was lost, and daphne is to see to it.
        self._has_ends = False
        self._is_draining = False
        self.application: Any = _reading_on_demand(self.application)
        # Whose instances are made inside of `run`.
        WebSocketFactory.protocol = LeanProtocol
        BoundedRequest.limits = import_string("aily.routing.body_limits")
        http_protocol.WebRequest = BoundedRequest

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        self._ports.append(port)

    def create_application(self, protocol: Any, scope: Any) -> Any:
        if scope["type"] == "websocket":
            scope["extensions"] = {"websocket.http.response": {}}
        queue = super().create_application(protocol, scope)
        application = self.connections.get(protocol, {}).get("application_instance")
        if application is not None:
            application.add_done_callback(self._note_end)
        return queue

    def protocol_disconnected(self, protocol: Any) -> None:
        super().protocol_disconnected(protocol)
        self._has_ends = True

    def _note_end(self, _: object) -> None:
        self._has_ends = True

    def application_checker(self) -> None:
        """daphne's, where there is anything for it to find: it looks closely at each connection."""
        if not self._has_ends:
            _call_later(_APPLICATION_CHECK_SECONDS, self.application_checker)
            return
        super().application_checker()
        # Some of these have yet to end.
        self._has_ends = any("disconnected" in one for one in self.connections.values())

    def timeout_checker(self) -> None:
        """daphne's, which comes every 2 s: ten thousand sockets are a hundredth of a core then."""
        for protocol in list(self.connections):
            protocol.check_timeouts()
        _call_later(_TIMEOUT_CHECK_SECONDS, self.timeout_checker)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if self._is_draining and message["type"] == "http.response.start":
            # The other side is to open its next connection elsewhere.
            headers = [*message.get("headers", ()), (b"Connection", b"close")]
            message = {**message, "headers": headers}
        await super().handle_reply(protocol, message)
        if isinstance(protocol, BoundedRequest):
            await protocol.drained()

    def kill_all_applications(self) -> Deferred[None]:
        """What daphne calls at SIGTERM. Twisted waits for the result before it stops."""
        return Deferred.fromFuture(asyncio.ensure_future(self._drain()))

    async def _drain(self) -> None:
        for port in self._ports:
            _stop_listening(port)
        self._is_draining = True
        draining().set()
        spreading = asyncio.ensure_future(
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
            spreading.cancel()
            await self._drop_rest()

    def _running(self) -> list[asyncio.Future[None]]:
        applications = (one.get("application_instance") for one in self.connections.values())
        return [one for one in applications if one is not None and not one.done()]

    async def _drop_rest(self) -> None:
        for application in (running := self._running()):
            application.cancel()
        if running:
            await asyncio.wait(running, timeout=1)


def _reading_on_demand(application: Any) -> Any:
    """The application, whose sockets are read from as it asks for messages."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            # daphne's `send` is a partial.
            receive = partial(send.args[0].next_message, receive)
        await application(scope, receive, send)

    return wrapped


def _call_later(seconds: float, work: Callable[[], None]) -> None:
    """On Twisted's loop, which is asyncio's."""
    asyncio.get_event_loop().call_later(seconds, work)


def _stop_listening(port: Any) -> None:
    """Take the connections that wait to be accepted, which closing would reset, and close.

    Not Twisted's stopListening: it closes a moment later, and whoever connects in between is reset.
    """
    port.numberAccepts = _ALL
    port.doRead()
    port.stopReading()
    port.connectionLost(None)


class Command(CommandLineInterface):
    """daphne's command line."""

    server_class = DrainingServer

    def __init__(self) -> None:
        super().__init__()
        self.parser.set_defaults(
            ping_interval=PING_SECONDS, websocket_connect_timeout=_CONNECT_SECONDS
        )


if __name__ == "__main__":
    Command.entrypoint()
