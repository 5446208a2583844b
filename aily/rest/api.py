"""The REST surface: one NinjaAPI whose every error is an RFC 9457 problem document."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from http import HTTPStatus
from threading import Lock
from typing import Annotated, Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.core.exceptions import ValidationError as ModelValidationError
from django.core.signals import got_request_exception
from django.db import IntegrityError
from django.db.models import Model, ProtectedError, QuerySet, RestrictedError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern, URLResolver, re_path
from django.utils.datastructures import MultiValueDict
from django.views.decorators.csrf import csrf_exempt
from ninja import Field, NinjaAPI, Router, Schema
from ninja.errors import HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema
from ninja.pagination import LimitOffsetPagination
from ninja.parser import Parser
from ninja.responses import NinjaJSONEncoder
from psycopg.errors import UniqueViolation
from pydantic import AfterValidator, AwareDatetime, ConfigDict

from aily.database.outages import AWAY, as_problem, is_away
from aily.database.replica import anote_write, note_write
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
    UnsupportedMediaType,
)
from aily.redis.rates import Rate
from aily.rest.etags import conditional, etag_of
from aily.rest.json_input import decode_json
from aily.rest.openapi import PROBLEM_TYPE, complete

logger = logging.getLogger(__name__)

AnyModel = TypeVar("AnyModel", bound=Model)
Rows = TypeVar("Rows", bound=QuerySet[Any])

#: Of the fields that are wrong, so many are named.
MAX_ERRORS = 100
#: Django's own endings of a request, as problems.
_BY_STATUS: dict[int, type[Problem]] = {
    problem.status: problem
    for problem in (InvalidRequest, Unauthenticated, Forbidden, NotFound, Conflict, TooLarge)
}


class RequestSchema(Schema):
    """Base of every request body: a field that is not known is an error, not a surprise."""

    model_config = ConfigDict(extra="forbid")


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


#: A point in time, with its offset from UTC; PostgreSQL does not know every offset.
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class Page(LimitOffsetPagination):
    """`?limit=&offset=`, answered with `{items, count}`."""

    class Input(Schema):
        limit: int = Field(20, ge=1, le=100)
        # PostgreSQL walks over all it skips.
        offset: int = Field(0, ge=0, le=100_000)

    def paginate_queryset(self, *args: Any, **kwargs: Any) -> Any:
        """With its rows loaded: from where the endpoint may read."""
        page = super().paginate_queryset(*args, **kwargs)
        return {**page, "items": list(page["items"])}


def matching(rows: Rows, **wanted: Any) -> Rows:
    """Those rows whose fields are as wanted; None: whatever they are."""
    return rows.filter(**{name: value for name, value in wanted.items() if value is not None})


def ordered(rows: QuerySet[Any], ordering: str) -> QuerySet[Any]:
    """By a field of an allow-list, equal ones by their ids: pages never overlap."""
    return rows.order_by(ordering, "-pk" if ordering.startswith("-") else "pk")


# --- Rows ---------------------------------------------------------------------------------------
def assign(row: Model, fields: Mapping[str, Any]) -> None:
    """Set the fields of a row that is not saved yet. Raises Django's ValidationError."""
    for name, value in fields.items():
        setattr(row, name, value)
    row.full_clean()


def add(row: AnyModel) -> AnyModel:
    """Check and insert a new row. Raises Django's ValidationError."""
    row.full_clean()
    row.save(force_insert=True)
    return row


def change(row: Model, fields: Mapping[str, Any], *touched: str) -> None:
    """Set, check and save these fields alone, and those `touched` that saving sets by itself.

    Raises Django's ValidationError.
    """
    assign(row, fields)
    row.save(update_fields=[*fields, *touched])


# --- Reading requests ---------------------------------------------------------------------------
class StrictParser(Parser):
    """Accepts only what PostgreSQL can store."""

    def parse_body(self, request: HttpRequest) -> Any:
        if request.content_type != "application/json" and request.body:
            raise UnsupportedMediaType("Send the body as application/json.", field="Content-Type")
        return decode_json(request.body)

    def parse_querydict(
        self, data: MultiValueDict[str, Any], list_fields: list[str], request: HttpRequest
    ) -> dict[str, Any]:
        for name, values in data.lists():
            if any("\0" in value for value in values):
                message = "Text must not contain the character U+0000."
                raise InvalidRequest(message, field=f"query.{name}")
        return super().parse_querydict(data, list_fields, request)


# --- Errors -------------------------------------------------------------------------------------
def _respond(
    request: HttpRequest,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[Mapping[str, str]] = (),
    details: Mapping[str, Any] | None = None,
) -> HttpResponse:
    metrics.request_error("rest", code).inc()
    body: dict[str, Any] = {
        "type": f"urn:aily:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.path,
        "code": code,
        **(details or {}),
    }
    if errors:
        body["errors"] = list(errors)
    response = HttpResponse(json.dumps(body), status=status, content_type=PROBLEM_TYPE)
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    return response


def render_problem(request: HttpRequest, problem: Problem) -> HttpResponse:
    errors = [{"field": problem.field, "message": problem.message}] if problem.field else []
    response = _respond(
        request,
        problem.status,
        problem.code,
        problem.title,
        problem.message,
        errors,
        problem.details(),
    )
    for name, value in problem.headers.items():
        response[name] = value
    if problem.retry_after_seconds is not None:
        response["Retry-After"] = str(problem.retry_after_seconds)
    return response


def _render_status(request: HttpRequest, status: int, message: str) -> HttpResponse:
    if status in _BY_STATUS:
        return render_problem(request, _BY_STATUS[status](message))
    http = HTTPStatus(status)
    return _respond(request, status, http.name.lower(), http.phrase, message)


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    # Ninja wraps whatever the parser raised.
    if isinstance(error.__cause__, Problem):
        return render_problem(request, error.__cause__)
    return _render_status(request, error.status_code, error.message)


def _wrong_fields(request: HttpRequest, errors: Sequence[Mapping[str, str]]) -> HttpResponse:
    detail = "; ".join(f"{error['field']}: {error['message']}" for error in errors[:3])
    code, title = InvalidRequest.code, InvalidRequest.title
    return _respond(request, HTTPStatus.UNPROCESSABLE_ENTITY, code, title, detail, errors)


def _field_path(location: Sequence[str | int]) -> str:
    source, *path = location
    if source == "body":
        # Then comes the name of the endpoint's argument, which no caller knows. The field itself
        # goes by its own name, as it does where a service or a frame refuses it.
        path = path[1:]
        if path:
            source, *path = path
    # The types of a union are in brackets: nobody named one.
    parts = (str(part) for part in (source, *path))
    return ".".join(part for part in parts if not part.startswith("("))


def _schema_error(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return _wrong_fields(
        request,
        [
            {
                "field": _field_path(item["loc"])[:MAX_FIELD_CHARS],
                "message": item["msg"][:MAX_MESSAGE_CHARS],
            }
            for item in error.errors[:MAX_ERRORS]
        ],
    )


def _model_error(request: HttpRequest, error: ModelValidationError) -> HttpResponse:
    if not hasattr(error, "error_dict"):
        return _wrong_fields(request, [{"field": "body", "message": " ".join(error.messages)}])
    errors = [
        {"field": "body" if field == "__all__" else field, "message": message}
        for field, messages in error.message_dict.items()
        for message in messages
    ]
    codes = {item.code for items in error.error_dict.values() for item in items}
    if codes & {"unique", "unique_together"}:
        detail = " ".join(item["message"] for item in errors)
        return _respond(request, Conflict.status, Conflict.code, Conflict.title, detail, errors)
    return _wrong_fields(request, errors)


def _in_use(request: HttpRequest, error: ProtectedError | RestrictedError) -> HttpResponse:
    return render_problem(request, Conflict("This is still in use and cannot be deleted."))


def _integrity_error(request: HttpRequest, error: IntegrityError) -> HttpResponse:
    if isinstance(error.__cause__, UniqueViolation):
        return render_problem(request, Conflict("Another one has this name already."))
    return _unexpected(request, error)


def _away(request: HttpRequest, error: Exception) -> HttpResponse:
    if not is_away(error):
        return _unexpected(request, error)
    logger.warning("%s %s: %s", request.method, request.path, error)
    return render_problem(request, as_problem(error))


def _unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    # Error reporters, and Django's test client, listen to this.
    got_request_exception.send(sender=None, request=request)
    return _render_status(request, 500, "Something went wrong here. It has been logged.")


def _add_exception_handlers(api: NinjaAPI) -> None:
    def always(problem: Problem) -> Callable[[HttpRequest, Exception], HttpResponse]:
        return lambda request, error: render_problem(request, problem)

    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        Problem: render_problem,
        HttpError: _http_error,
        ValidationError: _schema_error,
        ModelValidationError: _model_error,
        Http404: always(NotFound("There is no such thing, or it is not yours.")),
        PermissionDenied: always(Forbidden("You may not do this.")),
        RequestDataTooBig: always(TooLarge("The request body is too large.")),
        ProtectedError: _in_use,
        RestrictedError: _in_use,
        IntegrityError: _integrity_error,
        **dict.fromkeys(AWAY, _away),
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


# --- The API ------------------------------------------------------------------------------------
class _API(NinjaAPI):
    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        document = super().get_openapi_schema(**options)
        complete(document)
        return document


class Document:
    """The OpenAPI document, made once a process, by a thread: it takes half a second."""

    def __init__(self, api: NinjaAPI) -> None:
        self._api = api
        self._lock = Lock()
        #: None until somebody has asked for it.
        self._body: bytes | None = None
        self._etag = ""

    async def view(self, request: HttpRequest) -> HttpResponse:
        if self._body is None:
            # Those who ask meanwhile wait, on the few threads of the loop's own pool.
            await sync_to_async(self._make, thread_sensitive=False)()
        response = HttpResponse(self._body, content_type="application/json")
        response["ETag"] = self._etag
        return response

    def _make(self) -> None:
        with self._lock:
            if self._body is None:
                document = self._api.get_openapi_schema()
                body = json.dumps(document, cls=NinjaJSONEncoder).encode()
                self._etag = etag_of(body)
                self._body = body


def build_api(
    routers: Mapping[str, Router | Sequence[Router]], auth: Sequence[Callable[..., Any]]
) -> NinjaAPI:
    """The API of these routers by their prefix, each behind `auth` unless it says otherwise."""
    api = _API(title="aily", version="1", auth=auth, parser=StrictParser())
    _add_exception_handlers(api)
    for prefix, mounted in routers.items():
        for router in [mounted] if isinstance(mounted, Router) else mounted:
            api.add_router(prefix, router)
    return api


def api_urls(api: NinjaAPI) -> tuple[list[URLPattern | URLResolver], str, str]:
    """`api.urls`, with problem documents for unknown paths and wrong methods as well."""
    urls, app_name, namespace = api.urls
    patterns = cast("list[Any]", urls)
    for pattern in patterns:
        # Ninja's root exists for its path; asked for, it is a 404 in HTML.
        if pattern.name == "api-root":
            pattern.callback = unknown_path
            continue
        is_document = pattern.name == "openapi-json"
        view = Document(api).view if is_document else pattern.callback
        pattern.callback = _with_problems(view)
    # No row has U+0000 in its name, and PostgreSQL refuses to be asked for one.
    first, last = re_path(r".*\x00", unknown_path), re_path("", unknown_path)
    return [first, *patterns, last], app_name, namespace


@csrf_exempt
async def unknown_path(request: HttpRequest) -> HttpResponse:
    return render_problem(request, NotFound("There is no such path."))


def _writer(request: HttpRequest) -> int | None:
    """Who may have changed something with this request."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    identity = getattr(request, "auth", None)
    return None if identity is None else int(identity.user.pk)


def _keep_private(request: HttpRequest, response: HttpResponse) -> None:
    """Let no cache keep what is one user's: a read is asked for again with its ETag, and what else
    is answered, secrets among it, is stored nowhere."""
    may_revalidate = request.method in ("GET", "HEAD") and response.has_header("ETag")
    response.setdefault("Cache-Control", "private, no-cache" if may_revalidate else "no-store")


def _with_problems(view: Callable[..., Any]) -> Callable[..., Any]:
    """What ninja answers by itself, plain text for a wrong method; and where the rate stands."""

    def translate(request: HttpRequest, response: HttpResponse) -> HttpResponse:
        rate: Rate | None = getattr(request, "rate", None)
        for name, value in (rate.headers() if rate else {}).items():
            response.setdefault(name, value)
        response = conditional(request, response)
        if isinstance(response, HttpResponseNotAllowed):
            allowed = response["Allow"]
            detail = f"Allowed here: {allowed}"
            response = _render_status(request, HTTPStatus.METHOD_NOT_ALLOWED, detail)
            response["Allow"] = allowed
        _keep_private(request, response)
        return response

    @wraps(view)
    async def async_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = await view(request, *args, **kwargs)
        if (writer := _writer(request)) is not None:
            await anote_write(writer)
        return translate(request, response)

    @wraps(view)
    def sync_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if (writer := _writer(request)) is not None:
            note_write(writer)
        return translate(request, response)

    return async_view if iscoroutinefunction(view) else sync_view
