"""Idempotency-Key for requests that create something: sent twice, they create it once.

The response is stored in the transaction that creates the object, so that there are both or
neither. Tasks have a mechanism of their own, in their row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import TypeVar, cast

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac
from ninja import Schema, Status
from ninja.utils import contribute_operation_callback

from accounts.authentication import AuthenticatedRequest
from accounts.models import IdempotencyRecord
from accounts.repeats import MAX_KEY_CHARS, bare_key
from aily.database.rows import fetch_column
from aily.problems import Conflict, IdempotencyMismatch, InvalidRequest
from aily.rest.json_input import decode_json
from aily.rest.openapi import takes_header
from aily.rest.rendering import JsonRenderer

FIELD = "Idempotency-Key"
Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


def idempotency_key(request: HttpRequest) -> str | None:
    """Return the Idempotency-Key, bare or a structured-field string. Raises InvalidRequest."""
    return parse_key(request.headers.get(FIELD))


def parse_key(header: str | None) -> str | None:
    """Return the key of an Idempotency-Key header, None without one. Raises InvalidRequest."""
    if header is None:
        return None
    key = bare_key(header)
    if not 1 <= len(key) <= MAX_KEY_CHARS or not key.isprintable():
        message = "An idempotency key has 1 to 255 printable characters."
        raise InvalidRequest(message, field=FIELD, params={"rule": "idempotency_key"})
    return key


def idempotent(schema: type[Schema], *, has_secret: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Let an endpoint that returns `Status(code, row)`, described by `schema`, honour the header.

    With `has_secret` the response is not stored, and a repeated request gets a 409 that says so.
    """

    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        def honour(request: AuthenticatedRequest, *args: object, **kwargs: object) -> object:
            key = idempotency_key(request)
            if key is None:
                return endpoint(request, *args, **kwargs)
            with transaction.atomic():
                _lock(request.auth.user.pk, key)
                digest = _digest(request)
                stored = _stored(request.auth.user.pk, key)
                if stored is not None:
                    return _replay(stored, digest)
                result = cast("Status[object]", endpoint(request, *args, **kwargs))
                status, body = result.status_code, _render(request, schema, result)
                IdempotencyRecord.objects.create(
                    owner=request.auth.user,
                    key=key,
                    digest=digest,
                    status=status,
                    body=None if has_secret else body,
                )
            return _response(status, body)

        return takes_idempotency_key(cast("Endpoint", honour))

    return decorate


def replay(request: AuthenticatedRequest) -> HttpResponse | None:
    """Return the stored response if this request repeats another, else None.

    For endpoints that read other state before their `idempotent` part, which may have changed
    since. Raises as a repeated request does.
    """
    key = idempotency_key(request)
    stored = _stored(request.auth.user.pk, key) if key is not None else None
    return _replay(stored, _digest(request)) if stored is not None else None


def forget(request: AuthenticatedRequest) -> None:
    """Delete the stored response of a request that has failed after it was stored: sent again, it
    is carried out."""
    if (key := idempotency_key(request)) is not None:
        stored = IdempotencyRecord.objects.filter(owner=request.auth.user, key=key)
        stored.filter(digest=_digest(request)).delete()


def takes_idempotency_key(endpoint: Endpoint) -> Endpoint:
    """Document in OpenAPI that the endpoint honours the header."""
    contribute_operation_callback(endpoint, takes_header(FIELD))
    return endpoint


def _lock(owner_id: int, key: str) -> None:
    """Lock the key until the transaction ends. A process that dies releases it."""
    name = f"idempotency:{owner_id}:{key}"
    lock = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
    [is_locked] = fetch_column(bool, lock, [name])
    if not is_locked:
        raise Conflict(
            "A request with this idempotency key is still running.",
            field=FIELD,
            retry_after_seconds=1,
            params={"rule": "key_in_use"},
        )


def _digest(request: HttpRequest) -> str:
    body = json.dumps(decode_json(request.body), sort_keys=True) if request.body else ""
    # Keyed: a body may hold a password, which could be guessed from a plain hash in a dump.
    value = f"{request.method} {request.path}\n{body}"
    return salted_hmac("accounts.idempotency", value, algorithm="sha256").hexdigest()


def _stored(owner_id: int, key: str) -> IdempotencyRecord | None:
    records = IdempotencyRecord.objects.filter(owner_id=owner_id, key=key)
    records.expired().delete()
    stored: IdempotencyRecord | None = records.first()
    return stored


def _replay(stored: IdempotencyRecord, digest: str) -> HttpResponse:
    if stored.digest != digest:
        message = "This idempotency key was used with another request."
        raise IdempotencyMismatch(message, field=FIELD)
    if stored.body is None:
        raise Conflict(
            "This request was carried out before, and the secret it made was shown then. It cannot "
            "be shown again: delete what was made, and make another with a new idempotency key.",
            field=FIELD,
            params={"rule": "secret_shown"},
        )
    return _response(stored.status, stored.body)


def _render(request: HttpRequest, schema: type[Schema], result: Status[object]) -> str:
    data = schema.from_orm(result.value).model_dump()
    body: str = JsonRenderer().render(request, data, response_status=result.status_code)
    return body


def _response(status: int, body: str) -> HttpResponse:
    return HttpResponse(body, status=status, content_type="application/json; charset=utf-8")
