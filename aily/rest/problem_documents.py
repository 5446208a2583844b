"""Problem documents (RFC 9457): every error of the REST API is answered with one."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.core.exceptions import ValidationError as ModelValidationError
from django.core.signals import got_request_exception
from django.db import IntegrityError
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from psycopg.errors import UniqueViolation

from aily.database.outages import AWAY, as_problem, is_away
from aily.observability import metrics
from aily.problems import (
    MAX_FIELD_CHARS,
    MAX_MESSAGE_CHARS,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    Problem,
    TooLarge,
    Unauthenticated,
    Unexpected,
)
from aily.rest.openapi import PROBLEM_TYPE
from aily.rest.schema_rules import rule_of, rule_of_model

logger = logging.getLogger(__name__)

#: At most so many wrong fields are named.
MAX_ERRORS = 100
#: Problems for statuses that Django and ninja answer by themselves.
_BY_STATUS: dict[int, type[Problem]] = {
    problem.status: problem
    for problem in (InvalidRequest, Unauthenticated, Forbidden, NotFound, Conflict, TooLarge)
}


def _respond(
    request: HttpRequest,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[Mapping[str, object]] = (),
    details: Mapping[str, object] | None = None,
) -> HttpResponse:
    body = _document(request.path, status, code, title, detail, errors, details)
    response = HttpResponse(body, status=status, content_type=PROBLEM_TYPE)
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    return response


def _document(
    path: str,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[Mapping[str, object]] = (),
    details: Mapping[str, object] | None = None,
) -> str:
    """The body of a response, which is counted by its code."""
    metrics.request_error("rest", code).inc()
    body: dict[str, object] = {
        "type": f"urn:aily:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": path,
        "code": code,
        **(details or {}),
    }
    if errors:
        body["errors"] = list(errors)
    return json.dumps(body)


def problem_document(path: str, problem: Problem) -> tuple[str, dict[str, str]]:
    """Body and headers of the response to a problem that does not pass through Django."""
    title = problem.title
    if isinstance(problem, Unexpected):
        title = HTTPStatus(problem.status).phrase
    body = _document(
        path,
        problem.status,
        problem.code,
        title,
        problem.message,
        _named_fields(problem),
        problem.details(),
    )
    headers = {"content-type": PROBLEM_TYPE}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    headers.update(problem.headers)
    if problem.retry_after_seconds is not None:
        headers["retry-after"] = str(problem.retry_after_seconds)
    return body, headers


def _named_fields(problem: Problem) -> list[dict[str, str]]:
    return [{"field": problem.field, "message": problem.message}] if problem.field else []


def render_problem(request: HttpRequest, problem: Problem) -> HttpResponse:
    """The problem document of a Problem, with its headers."""
    response = _respond(
        request,
        problem.status,
        problem.code,
        problem.title,
        problem.message,
        _named_fields(problem),
        problem.details(),
    )
    for name, value in problem.headers.items():
        response[name] = value
    if problem.retry_after_seconds is not None:
        response["Retry-After"] = str(problem.retry_after_seconds)
    return response


def render_status(request: HttpRequest, status: int, message: str) -> HttpResponse:
    """The problem document of a status."""
    if status in _BY_STATUS:
        return render_problem(request, _BY_STATUS[status](message))
    http = HTTPStatus(status)
    return _respond(request, status, http.name.lower(), http.phrase, message)


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    # Ninja wraps errors of the parser.
    if isinstance(error.__cause__, Problem):
        return render_problem(request, error.__cause__)
    return render_status(request, error.status_code, error.message)


def _wrong_fields(request: HttpRequest, errors: Sequence[Mapping[str, object]]) -> HttpResponse:
    detail = "; ".join(f"{error['field']}: {error['message']}" for error in errors[:3])
    code, title = InvalidRequest.code, InvalidRequest.title
    # As the field of a problem is the first one's, so is the rule.
    params = errors[0].get("params") if errors else None
    details = {"params": params} if params else None
    return _respond(request, HTTPStatus.UNPROCESSABLE_ENTITY, code, title, detail, errors, details)


def _field_path(location: Sequence[str | int]) -> str:
    """The field's name for the caller, such as `query.limit` or `items.0.name`."""
    source, *path = location
    if source in ("form", "file") and path:
        source, *path = path
    elif source == "body":
        # The name of the endpoint's argument comes first: it means nothing to a caller. The field
        # itself has its own name, as when a service or a frame refuses it.
        path = path[1:]
        if path:
            source, *path = path
    # Types of a union are in brackets: they are no names of fields.
    parts = (str(part) for part in (source, *path))
    return ".".join(part for part in parts if not part.startswith("("))


def _schema_error(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return _wrong_fields(request, [_wrong_field(item) for item in error.errors[:MAX_ERRORS]])


def _wrong_field(item: Mapping[str, Any]) -> dict[str, object]:
    named: dict[str, object] = {
        "field": _field_path(item["loc"])[:MAX_FIELD_CHARS],
        "message": item["msg"][:MAX_MESSAGE_CHARS],
    }
    rule = rule_of(item)
    return {**named, "params": rule} if rule else named


def _model_error(request: HttpRequest, error: ModelValidationError) -> HttpResponse:
    if not hasattr(error, "error_dict"):
        return _wrong_fields(request, [{"field": "body", "message": " ".join(error.messages)}])
    errors = [
        _wrong_model_field("body" if field == "__all__" else field, item)
        for field, items in error.error_dict.items()
        for item in items
    ]
    codes = {item.code for items in error.error_dict.values() for item in items}
    if codes & {"unique", "unique_together"}:
        detail = " ".join(str(item["message"]) for item in errors)
        taken = {"params": {"rule": "name_taken"}} if "unique" in codes else None
        return _respond(
            request, Conflict.status, Conflict.code, Conflict.title, detail, errors, taken
        )
    return _wrong_fields(request, errors)


def _wrong_model_field(field: str, error: ModelValidationError) -> dict[str, object]:
    named: dict[str, object] = {"field": field, "message": " ".join(error.messages)}
    rule = rule_of_model(str(error.code), error.params or {})
    return {**named, "params": rule} if rule else named


def _unreadable_form(request: HttpRequest, error: MultiPartParserError) -> HttpResponse:
    reason = str(error)[:MAX_MESSAGE_CHARS]
    message = f"This form cannot be read: {reason}"
    return render_problem(request, InvalidRequest(message, params={"rule": "unreadable_form"}))


def _still_used(request: HttpRequest, error: ProtectedError | RestrictedError) -> HttpResponse:
    message = "This is still in use and cannot be deleted."
    return render_problem(request, Conflict(message, params={"rule": "still_used"}))


def _integrity_error(request: HttpRequest, error: IntegrityError) -> HttpResponse:
    if isinstance(error.__cause__, UniqueViolation):
        message = "Another one has this name already."
        return render_problem(request, Conflict(message, params={"rule": "name_taken"}))
    return _unexpected(request, error)


def _outage(request: HttpRequest, error: Exception) -> HttpResponse:
    if not is_away(error):
        return _unexpected(request, error)
    logger.warning("%s %s: %s", request.method, request.path, error)
    return render_problem(request, as_problem(error))


def _unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    # Error reporters and Django's test client listen to this signal.
    got_request_exception.send(sender=None, request=request)
    return render_status(request, 500, "Something went wrong here. It has been logged.")


def add_exception_handlers(api: NinjaAPI) -> None:
    """Answer every exception that an operation raises with a problem document."""

    def respond_with(problem: Problem) -> Callable[[HttpRequest, Exception], HttpResponse]:
        return lambda request, error: render_problem(request, problem)

    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        Problem: render_problem,
        HttpError: _http_error,
        ValidationError: _schema_error,
        ModelValidationError: _model_error,
        Http404: respond_with(NotFound("There is no such thing, or it is not yours.")),
        PermissionDenied: respond_with(Forbidden("You may not do this.")),
        RequestDataTooBig: respond_with(TooLarge("The request body is too large.")),
        TooManyFieldsSent: respond_with(
            InvalidRequest("This form has too many fields.", params={"rule": "form_fields"})
        ),
        TooManyFilesSent: respond_with(
            InvalidRequest("This form has too many files.", params={"rule": "form_files"})
        ),
        MultiPartParserError: _unreadable_form,
        UnreadablePostError: respond_with(
            InvalidRequest("The request ends in the middle.", params={"rule": "request_cut"})
        ),
        ProtectedError: _still_used,
        RestrictedError: _still_used,
        IntegrityError: _integrity_error,
        **dict.fromkeys(AWAY, _outage),
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)
