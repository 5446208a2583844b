"""What aily.web.servers relies on of daphne and autobahn. See docs/private-parts.md."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from autobahn.websocket.protocol import WebSocketProtocol as AutobahnProtocol
from autobahn.websocket.types import ConnectionDeny
from daphne.http_protocol import WebRequest
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from twisted.web.http import Request

SIGNATURES = {
    "create_application": ["self", "protocol", "scope"],
    "handle_reply": ["self", "protocol", "message"],
    "application_checker": ["self"],
    "timeout_checker": ["self"],
    "kill_all_applications": ["self"],
    "listen_success": ["self", "port"],
    "protocol_disconnected": ["self", "protocol"],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_methods_that_the_server_replaces(name: str) -> None:
    assert list(inspect.signature(getattr(Server, name)).parameters) == SIGNATURES[name]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("run", ["self.http_factory = ", "self.ws_factory = ", "addCallback(self.listen_success)"]),
        ("run", ['addSystemEventTrigger("before", "shutdown", self.kill_all_applications)']),
        ("create_application", ['self.connections[protocol]["application_instance"]']),
        ("create_application", ["receive=input_queue.get", "partial(self.handle_reply, protocol)"]),
        ("application_checker", ["protocol.handle_exception(exception)"]),
        ("protocol_disconnected", ['self.connections[protocol]["disconnected"]']),
    ],
)
def test_how_the_server_calls_and_keeps_them(method: str, words: list[str]) -> None:
    source = inspect.getsource(getattr(Server, method))
    assert [word for word in words if word not in source] == []


def test_a_body_is_read_to_its_end_by_process() -> None:
    source = inspect.getsource(inspect.unwrap(WebRequest.process))
    for words in (
        "self.content.seek(0, 0)",
        "chunk = self.content.read(buffer_size)",
        "self.content.closed",
        '"type": "http.request"',
    ):
        assert words in source


def test_how_a_request_is_made_and_refused() -> None:
    names = list(inspect.signature(WebRequest.basic_error).parameters)
    assert names == ["self", "status", "status_text", "body"]
    assert "http.Request.__init__(self, *args, **kwargs)" in inspect.getsource(WebRequest.__init__)
    assert "parsePOSTFormSubmission" in inspect.signature(Request.__init__).parameters
    assert "self.channel.factory.log(self)" in inspect.getsource(Request.finish)


def test_a_response_that_has_begun_is_known() -> None:
    assert "self._response_started = True" in inspect.getsource(WebRequest.handle_reply)
    assert list(inspect.signature(WebRequest.handle_exception).parameters) == ["self", "exception"]


def test_names_of_the_websocket_protocol() -> None:
    for name in ("onMessage", "onConnect", "handle_reply", "sendHttpErrorResponse", "sendData"):
        assert callable(getattr(WebSocketProtocol, name))
    assert list(inspect.signature(WebSocketProtocol.serverClose).parameters) == ["self", "code"]
    source = inspect.getsource(WebSocketProtocol)
    assert "self.application_queue = application_queue" in source
    assert "self.handshake_deferred = defer.Deferred()" in source
    assert WebSocketProtocol.STATE_OPEN != WebSocketProtocol.STATE_CONNECTING


def test_a_read_begins_a_message_unless_these_say_otherwise() -> None:
    """How text frames are decoded without autobahn: `dataReceived` of BoundedWebSocket."""
    source = inspect.getsource(AutobahnProtocol)
    for words in (
        "self.data += data",
        "self.data = self.data[",
        "if self.current_frame is None:",
        "self.current_frame = None",
        "if not self.inside_message:",
        "self.inside_message = False",
        "0 < self.maxMessagePayloadSize < ",
        "0 < self.maxFramePayloadSize < ",
    ):
        assert words in source


def test_a_handshake_is_denied_with_a_status() -> None:
    denial = ConnectionDeny(404, "Not Found")  # type: ignore[no-untyped-call]
    assert (denial.code, denial.reason) == (404, "Not Found")


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_reactor_that_is_installed_is_kept() -> None:
    loop = run("""
import uvloop
from twisted.internet import asyncioreactor
asyncioreactor.install(uvloop.new_event_loop())
import daphne.server
print(type(daphne.server.reactor._asyncioEventloop).__module__)
""")
    assert loop == "uvloop"


def test_a_server_changes_nothing_but_itself() -> None:
    """Its protocols are set on its own factories."""
    unchanged = run("""
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "aily.settings"
from daphne import http_protocol, server, ws_protocol
def parts():
    classes = (server.Server, http_protocol.HTTPFactory, ws_protocol.WebSocketFactory)
    return [dict(vars(kind)) for kind in classes], http_protocol.WebRequest
before = parts()
from aily.web.servers.daphne_server import DrainingServer
DrainingServer(lambda scope, receive, send: None, endpoints=["tcp:0"])
print(parts() == before)
""")
    assert unchanged == "True"
