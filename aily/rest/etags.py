"""Conditional requests: an ETag is the digest of a representation, the same for every reader.

GET answers 304 to the ETag in If-None-Match. PATCH and DELETE with If-Match lock the row, compare
with what a GET would answer now, and write in the same transaction: of two writers that read the
same version, one is refused. A request without If-Match takes no lock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial, wraps
from inspect import signature
from typing import Concatenate, ParamSpec, TypeVar, cast

from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import parse_etags
from ninja import Schema
from ninja.utils import contribute_operation_callback

from aily.problems import NotFound, PreconditionFailed
from aily.rest.openapi import takes_header
from aily.rest.rendering import JsonRenderer

FIELD = "If-Match"
P = ParamSpec("P")
R = TypeVar("R")
Request = TypeVar("Request", bound=HttpRequest)
_Endpoint = Callable[Concatenate[Request, P], R]
Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


def conditional(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Add the ETag to the answer of a GET, or answer 304 if the caller has that version."""
    if request.method != "GET" or response.status_code != 200 or response.streaming:
        return response
    if "ETag" not in response:
        response["ETag"] = etag_of(response.content)
    answer = get_conditional_response(request, etag=response["ETag"], response=response)
    return cast("HttpResponse", answer)


def if_match(
    schema: type[Schema], read: Callable[..., Model]
) -> Callable[[_Endpoint[Request, P, R]], _Endpoint[Request, P, R]]:
    """Make an endpoint honour If-Match: it writes the row that `read` returns, shown as `schema`.

    `read` is the endpoint's GET: it takes the request and the path's parameters.
    """

    def decorate(endpoint: _Endpoint[Request, P, R]) -> _Endpoint[Request, P, R]:
        @wraps(endpoint)
        def honour(request: Request, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if FIELD not in request.headers:
                return endpoint(request, *args, **kwargs)
            with transaction.atomic():
                # From the endpoint's arguments: those of the resolver are not converted.
                path = request.resolver_match.kwargs if request.resolver_match else {}
                given = signature(endpoint).bind(request, *args, **kwargs).arguments
                named = {name: given[name] for name in path}
                _require_match(request, schema, partial(read, request, **named))
                return endpoint(request, *args, **kwargs)

        return takes_if_match(honour)

    return decorate


def takes_if_match(endpoint: Endpoint) -> Endpoint:
    """Document in OpenAPI that the endpoint honours the header."""
    contribute_operation_callback(endpoint, takes_header(FIELD))
    return endpoint


def _require_match(request: HttpRequest, schema: type[Schema], read: Callable[[], Model]) -> None:
    """Lock the row until the transaction ends. Raises PreconditionFailed."""
    row = read()
    # The base manager has no joins, which cannot be locked.
    rows = type(row)._base_manager.select_for_update(no_key=True)  # noqa: SLF001
    if not rows.filter(pk=row.pk).exists():
        raise NotFound("There is no such thing, or it is not yours.")
    data = schema.from_orm(read()).model_dump()
    body = JsonRenderer().render(request, data, response_status=200)
    if not matches(request, body.encode()):
        raise PreconditionFailed("This was changed since it was read.", field=FIELD)


def matches(request: HttpRequest, representation: bytes) -> bool:
    """Whether If-Match, which the request has, names this representation."""
    # A proxy that compresses makes an ETag weak; it names the same representation.
    given = [etag.removeprefix("W/") for etag in parse_etags(request.headers[FIELD])]
    return "*" in given or etag_of(representation) in given


def etag_of(representation: bytes) -> str:
    return f'"{hashlib.sha256(representation).hexdigest()[:32]}"'
