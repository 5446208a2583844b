"""An ASGI application of one surface: its routes, and the one form of all its errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from aily.database.replica import anote_write
from aily.http.exchange import Exchange
from aily.http.security import check_host, https_redirect
from aily.observability import tracing
from aily.problems import MethodNotAllowed, NotFound
from aily.web import cors

Endpoint = Callable[[Request], Awaitable[Response]]
#: Makes the response to an exception that an endpoint has raised, whatever it is.
ErrorResponse = Callable[[Request, Exception], Response]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Key of the scope with the id of the user who makes the request, once that is known.
USER_ID = "aily.user_id"


async def answer(
    exchange: Exchange,
    receive: Receive,
    respond: Callable[[Request, Exchange], Awaitable[Response]],
    error_response: ErrorResponse,
) -> None:
    """Send the response that `respond` makes, or that of the exception which it raises."""
    scope = exchange.scope
    request = Request(scope, receive, exchange.send)
    parent = exchange.traceparent()
    with tracing.span(request.method, kind="server", parent=parent) as exchange.span:
        try:
            response = await respond(request, exchange)
            if request.method not in _SAFE and (user_id := scope.get(USER_ID)) is not None:
                await anote_write(user_id)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - answered, and logged by what answers it
            response = error_response(request, error)
        await response(scope, receive, exchange.send)


class Application:
    """Routes requests to endpoints. Every answer, errors too, has an id and is counted."""

    def __init__(self, routes: Sequence[Route], error_response: ErrorResponse) -> None:
        self._error_response = error_response
        #: Routes without parameters by their path: most requests need no regular expression.
        self._fixed: dict[str, list[Route]] = {}
        self._patterns: list[Route] = []
        for route in routes:
            if route.param_convertors:
                self._patterns.append(route)
            else:
                self._fixed.setdefault(route.path, []).append(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, send)
        await answer(exchange, receive, self._respond, self._error_response)

    async def _respond(self, request: Request, exchange: Exchange) -> Response:
        check_host(request.scope)
        if (redirect := https_redirect(request)) is not None:
            return redirect
        if (preflight := cors.preflight_headers(request.scope)) is not None:
            return Response(headers=preflight)
        route = self._find(request.scope)
        exchange.route = route.path[1:]
        return await cast("Endpoint", route.endpoint)(request)

    def _find(self, scope: Scope) -> Route:
        """Return the route of the request. Raises NotFound and MethodNotAllowed."""
        path, method = scope["path"], scope["method"]
        # No name of a row contains U+0000, and PostgreSQL refuses a query for one.
        found = [] if "\0" in path else self._fixed.get(path) or self._matching(scope)
        for route in found:
            if route.methods is None or method in route.methods:
                return route
        if found:
            raise MethodNotAllowed({name for route in found for name in route.methods or ()})
        raise NotFound("There is no such path.")

    def _matching(self, scope: Scope) -> list[Route]:
        """The routes with parameters that match the path; sets the parameters of the best one."""
        found = []
        for route in self._patterns:
            match = route.path_regex.match(scope["path"])
            if match is None:
                continue
            found.append(route)
            if "path_params" not in scope and scope["method"] in (route.methods or ()):
                scope["path_params"] = {
                    name: route.param_convertors[name].convert(value)
                    for name, value in match.groupdict().items()
                }
        return found
