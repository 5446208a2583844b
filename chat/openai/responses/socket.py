"""The WebSocket at `/v1/responses`, which OpenAI's clients open by `client.responses.connect()`."""

from __future__ import annotations

import json
from http import HTTPStatus

import msgspec

from accounts.authentication import Identity
from accounts.bearer import KeyCaller
from accounts.socket_consumer import CLOSE_TOO_MANY, SocketConsumer
from accounts.websocket import bearer_key
from aily.observability.context import request_id
from aily.observability.metrics import frame_received
from aily.problems import Problem
from aily.rest.json_input import decode_json
from aily.web.access_revocation import CLOSE_RESTART, CLOSE_UNAUTHENTICATED
from chat.observability import metrics
from chat.openai.callers import Caller
from chat.openai.errors import JSON_TYPE, OpenAIError
from chat.openai.responses.lanes import Lanes
from chat.openai.responses.objects import JsonObject

#: The code by which clients connect again at once: they do not know aily's own.
CLOSE_SERVICE_RESTART = 1012
CLOSE_BAD_FRAMES = 4400
#: Bad frames in a row after which a client is taken for broken.
MAX_BAD_FRAMES = 20
_RETRY = {"Retry-After": "1"}
#: Refusals of a handshake, by the close code that other sockets use for the same reason.
_REFUSALS = {
    CLOSE_UNAUTHENTICATED: OpenAIError(
        HTTPStatus.UNAUTHORIZED,
        "This API key is missing, unknown, revoked or expired.",
        code="invalid_api_key",
    ),
    CLOSE_TOO_MANY: OpenAIError(
        HTTPStatus.TOO_MANY_REQUESTS,
        "You have too many connections to this server.",
        code="rate_limit_exceeded",
        headers={"Retry-After": "30"},
    ),
}
_UNAVAILABLE = OpenAIError(HTTPStatus.SERVICE_UNAVAILABLE, "Try again in a moment.", headers=_RETRY)


class ResponsesConsumer(SocketConsumer):
    """One socket. Its frames are requests for responses, and their events."""

    #: None before the socket is open.
    lanes: Lanes | None = None
    bad_frames = 0

    async def refuse(self, code: int) -> None:
        """Answer the handshake by HTTP: clients make an exception of the status."""
        self.is_closed = True
        error = _REFUSALS.get(code, _UNAVAILABLE)
        headers = [
            (name.lower().encode(), value.encode()) for name, value in _headers_of(error).items()
        ]
        start = {"type": "websocket.http.response.start", "status": int(error.status)}
        await self.flow.send({**start, "headers": headers})
        body = json.dumps(error.body()).encode()
        await self.flow.send({"type": "websocket.http.response.body", "body": body})

    async def refuse_in_outage(self) -> None:
        await self.refuse(CLOSE_RESTART)

    async def authenticate(self) -> Identity | None:
        """Only API keys: a session's cookie would come from any page."""
        return await super().authenticate() if bearer_key(self.scope) else None

    async def begin(self, identity: Identity) -> None:
        credentials = await KeyCaller.identify(bearer_key(self.scope) or "")
        if credentials is None:
            await self.close(CLOSE_UNAUTHENTICATED)
            return
        headers = {
            name.decode("latin1"): value.decode("latin1") for name, value in self.scope["headers"]
        }
        self.lanes = Lanes(Caller(credentials), headers, self.send_frame)

    async def send_frame(self, frame: JsonObject) -> None:
        metrics.FRAMES_SENT.inc()
        await self.flow.send_text(msgspec.json.encode(frame))

    async def receive(self, data: str | bytes) -> None:
        lanes = self.lanes
        if lanes is None:
            return
        try:
            frame = _object(data)
            kind = frame.get("type")
            if kind == "response.steer":
                frame_received("response.steer").inc()
                await self.send_frame(_steer_failed(frame))
            elif kind == "response.create":
                frame_received("response.create").inc()
                await lanes.add(frame, len(data))
            else:
                raise _bad_frame("Frames are response.create or response.steer.")
        except OpenAIError as error:
            await self.refuse_frame(lanes, error)
        else:
            self.bad_frames = 0

    async def refuse_frame(self, lanes: Lanes, error: OpenAIError) -> None:
        self.bad_frames += 1
        frame_received("invalid").inc()
        await lanes.send_error(error)
        if self.bad_frames >= MAX_BAD_FRAMES:
            await self.close(CLOSE_BAD_FRAMES)

    async def close(self, code: int) -> None:
        await super().close(CLOSE_SERVICE_RESTART if code == CLOSE_RESTART else code)

    def end(self) -> None:
        if self.lanes is not None:
            self.lanes.cancel()


def _headers_of(error: OpenAIError) -> dict[str, str]:
    headers = {"Content-Type": JSON_TYPE, "x-request-id": request_id.get(), **error.headers}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def _object(data: str | bytes) -> JsonObject:
    try:
        frame = decode_json(data)
    except Problem as problem:
        raise OpenAIError.of(problem) from None
    if not isinstance(frame, dict):
        raise _bad_frame("A frame is a JSON object.")
    return frame


def _bad_frame(message: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param="type", code="invalid_value")


def _steer_failed(frame: JsonObject) -> JsonObject:
    """Refuse input for a running response, and give the input back: responses are not steered."""
    error = {
        "type": "invalid_request_error",
        "code": "steering_not_supported",
        "message": "Running responses cannot be steered: send the input in a new response.",
    }
    steer = {name: frame.get(name) for name in ("input", "previous_response_id")}
    return {"type": "response.steer.failed", "sequence_number": 0, "error": error, "steer": steer}
