"""Submits by API keys, past Django: what most of these requests need, and nothing else.

The answers are those of `chat.api.tasks`, to the byte. A request with anything unusual, such as a
body that is refused, an unknown parameter or a key that does not work, is passed on to Django with
all of its body, so each error and each rare case is in one place.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.http import HttpRequest
from ninja import Schema
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from accounts.bearer import KeyCaller, bearer_secret
from accounts.idempotency import FIELD, parse_key
from accounts.lost_access import lost_credentials
from aily.database.outages import AWAY
from aily.http.application import USER_ID, answer
from aily.http.bodies import read_body
from aily.http.errors import problem_of
from aily.http.event_streams import EventStreamResponse
from aily.http.exchange import Exchange
from aily.http.security import check_host, https_redirect
from aily.problems import InvalidRequest
from aily.rest.json_input import decode_json
from aily.rest.problem_documents import problem_document
from aily.rest.rendering import JsonRenderer
from aily.web.connections import connections
from aily.web.turns import end_body_turn
from chat.api.event_streams import server_sent_event
from chat.api.shown_tasks import ended_task_json
from chat.api.task_schemas import TaskAccepted, TaskOut
from chat.api.tasks import composite, ends_in_time, load_task, must_wait, task_path
from chat.models import Lane
from chat.services.follow import follow
from chat.services.submission import CompositeRequest, SceneRequest
from chat.services.submit import Accepted, Submission, submit
from chat.services.waiting import ends_of

_SYNC = {b"": None, b"sync=true": True, b"sync=false": False}
_JSON_BODY = "application/json"
_JSON_TYPE = "application/json; charset=utf-8"
_NO_STORE = {"cache-control": "no-store"}
#: Paths of scenes, and the others: (template as Django has it, whether it is a stream).
_PATHS = {
    "/api/llmchat/request": ("api/llmchat/request", False),
    "/api/llmchat/request/stream": ("api/llmchat/request/stream", True),
}
_SCENE_PATH = re.compile(r"/api/llmchat/prompts/([-a-zA-Z0-9_]+)/(api|stream)", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Target:
    """What a path addresses: the route's name in metrics, and the scene, if it names one."""

    route: str
    is_stream: bool
    scene: str | None = None


@dataclass(slots=True)
class _Call:
    """A request that is answered here."""

    caller: KeyCaller
    #: None once it is submitted: its answer may be minutes in coming, and a prompt has megabytes.
    body: CompositeRequest | None
    idempotency_key: str | None
    #: The parameter `sync`.
    sync: bool | None

    def take_submission(self, lane: Lane) -> Submission:
        """Return what is to be submitted, and forget it."""
        body, self.body = self.body, None
        if body is None:
            raise RuntimeError("this request was submitted already")
        return Submission(
            owner_id=self.caller.owner_id,
            request=body,
            default_lane=Lane.named(self.caller.key.lane, lane),
            idempotency_key=self.idempotency_key,
            api_key_id=self.caller.key.pk,
            uncounted=(self.caller.owner_id, self.caller.key),
        )


_LEFT_TO_DJANGO: tuple[type[Exception], ...] = (InvalidRequest, ValidationError, *AWAY)


class KeyRequests:
    """ASGI application: submits by API keys are answered here, all else by `django`."""

    def __init__(self, django: ASGIApp) -> None:
        self._django = django

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = _target_of(scope)
        if target is None or not _is_ordinary(scope):
            await self._django(scope, receive, send)
            return
        try:
            content = await read_body(Request(scope, receive))
        except ClientDisconnect:
            return
        call = await _parse(scope, target, content)
        if call is None:
            await self._django(scope, _replayed(content, receive), send)
            return
        del content
        scope[USER_ID] = call.caller.owner_id
        exchange = Exchange(scope, send)
        exchange.route = target.route
        respond = partial(_stream if target.is_stream else _submit, call)
        await answer(exchange, receive, respond, _error_response)


def _target_of(scope: Scope) -> _Target | None:
    if scope["method"] != "POST":
        return None
    path = scope["path"]
    if path in _PATHS:
        return _Target(*_PATHS[path])
    if (match := _SCENE_PATH.fullmatch(path)) is None:
        return None
    scene, kind = match.groups()
    return _Target(f"api/llmchat/prompts/<slug:scene>/{kind}", kind == "stream", scene)


# --- Requests -----------------------------------------------------------------------------------
def _is_ordinary(scope: Scope) -> bool:
    """Whether the head of a request has nothing that Django is to answer."""
    request = Request(scope)
    if scope["query_string"] not in _SYNC or request.headers.get("content-type") != _JSON_BODY:
        return False
    if not bearer_secret(scope["headers"]) or len(request.headers.getlist(FIELD)) > 1:
        return False
    try:
        check_host(scope)
    except InvalidRequest:
        return False
    return https_redirect(request) is None


async def _parse(scope: Scope, target: _Target, content: bytes) -> _Call | None:
    """Return the call of a valid request by a caller that is known; None: Django is to refuse."""
    if target.is_stream and scope["query_string"]:
        return None
    try:
        caller = await KeyCaller.identify(bearer_secret(scope["headers"]) or "")
        if caller is None:
            return None
        key = parse_key(Request(scope).headers.get(FIELD))
        data = decode_json(content)
        if target.scene is None:
            body = CompositeRequest.model_validate(data)
        else:
            body = composite(target.scene, SceneRequest.model_validate(data))
    except _LEFT_TO_DJANGO:
        return None
    return _Call(caller, body, key, _SYNC[scope["query_string"]])


def _replayed(content: bytes, receive: Receive) -> Receive:
    """A `receive` whose first message is the whole body, which was read already."""
    is_first = True

    async def replay() -> Message:
        nonlocal is_first
        if is_first:
            is_first = False
            return {"type": "http.request", "body": content, "more_body": False}
        return await receive()

    return replay


# --- Responses ----------------------------------------------------------------------------------
async def _submit(call: _Call, request: Request, exchange: Exchange) -> Response:
    if not must_wait(call.sync):
        accepted = await submit(call.take_submission(Lane.NORMAL))
        return _json_response(202, _shown(TaskAccepted, accepted), accepted)
    owner_id = call.caller.owner_id
    async with ends_of(owner_id) as ends:
        accepted = await submit(call.take_submission(Lane.INTERACTIVE))
        end_body_turn(request.scope)
        async with lost_credentials(call.caller) as lost:
            has_ended = await ends_in_time(ends, accepted, lost)
    if has_ended and (shown := await ended_task_json(owner_id, accepted.task_id)) is not None:
        return _json_response(200, shown, accepted)
    task = await load_task(owner_id, UUID(accepted.task_id))
    if has_ended:
        return _json_response(200, _shown(TaskOut, task), accepted)
    return _json_response(202, _shown(TaskOut, task), accepted, {"retry-after": "1"})


def _shown(schema: type[Schema], source: object) -> str:
    """The body that Django would answer with."""
    data = schema.from_orm(source).model_dump()
    body: str = _renderer.render(HttpRequest(), data, response_status=200)
    return body


def _json_response(
    status: int, body: str, accepted: Accepted, headers: dict[str, str] | None = None
) -> Response:
    headers = {**_headers(accepted), **_NO_STORE, **(headers or {})}
    return Response(body, status, headers, _JSON_TYPE)


_renderer = JsonRenderer()


async def _stream(call: _Call, request: Request, exchange: Exchange) -> Response:
    with ExitStack() as resources:
        resources.enter_context(connections().opened(call.caller.owner_id))
        accepted = await submit(call.take_submission(Lane.INTERACTIVE))
        return EventStreamResponse(
            _events(accepted, call.caller.owner_id),
            lost_credentials(call.caller),
            resources=resources.pop_all(),
            headers=_headers(accepted),
        )


async def _events(accepted: Accepted, owner_id: int) -> AsyncGenerator[bytes]:
    async with aclosing(follow(accepted.task_id, owner_id, is_new=accepted.waits_alone)) as frames:
        async for followed in frames:
            yield server_sent_event(followed)


def _headers(accepted: Accepted) -> dict[str, str]:
    headers = {"location": task_path(accepted.task_id)}
    if accepted.rate is not None:
        headers.update(accepted.rate.headers())
    return headers


def _error_response(request: Request, error: Exception) -> Response:
    problem = problem_of(request, error)
    body, headers = problem_document(request.scope["path"], problem)
    return Response(body, problem.status, {**headers, **_NO_STORE})
