"""The REST API: one NinjaAPI, whose every error is an RFC 9457 problem document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern, URLResolver, re_path
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI, Router
from ninja.errors import ValidationError, ValidationErrorContext
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from aily.database.replica import anote_write, note_write
from aily.problems import NotFound
from aily.redis.rates import Rate
from aily.rest.document import Document
from aily.rest.etags import conditional
from aily.rest.locations import sent_location
from aily.rest.openapi import JsonObject, add_standard_parts
from aily.rest.problem_documents import add_exception_handlers, render_problem, render_status
from aily.rest.query import refuse_unknown_parameters
from aily.rest.rendering import JsonRenderer
from aily.rest.requests import StrictParser

_View = Callable[..., HttpResponse | Awaitable[HttpResponse]]


#: For readers of the document; what it cannot say is in chat/PROTOCOL.md.
_DESCRIPTION = """
Queues LLM calls durably: submit, follow, read results; configure scenes, providers and limits.

- **Authentication**: `Authorization: Bearer <API key>`, or a session with its CSRF token.
- **Errors** are problem details (RFC 9457); programs go by `code`.
- **Repeats**: a POST with an `Idempotency-Key` is carried out once.
- **Lists** come in pages of `limit` from `offset` on. Unknown parameters and fields are refused.
- **Streams** are server-sent events; a lost one goes on after `Last-Event-ID`.
""".strip()


class _API(NinjaAPI):
    def get_openapi_operation_id(self, operation: Operation) -> str:
        """The name of its function: generated clients name their methods by it."""
        return operation.view_func.__name__

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: JsonObject | None = None
    ) -> OpenAPISchema:
        document = super().get_openapi_schema(path_prefix=path_prefix, path_params=path_params)
        add_standard_parts(document)
        return document

    def validation_error_from_error_contexts(
        self, error_contexts: list[ValidationErrorContext[Any]]
    ) -> ValidationError:
        return ValidationError(
            [
                {**error, "loc": sent_location(context.model, error)}
                for context in error_contexts
                for error in context.pydantic_validation_error.errors(
                    include_url=False, include_input=False
                )
            ]
        )


def build_api(
    routers: Mapping[str, Router | Sequence[Router]], auth: Sequence[Callable[..., object]]
) -> NinjaAPI:
    """The API of these routers by their prefix; an operation uses `auth` if it sets no other."""
    api = _API(
        title="aily",
        version="1",
        description=_DESCRIPTION,
        # Wherever the document was read from: aily does not know its own address.
        servers=[{"url": "/", "description": "This server"}],
        auth=auth,
        parser=StrictParser(),
        renderer=JsonRenderer(),
    )
    add_exception_handlers(api)
    for prefix, mounted in routers.items():
        for router in [mounted] if isinstance(mounted, Router) else mounted:
            for path_view in router.path_operations.values():
                for operation in path_view.operations:
                    refuse_unknown_parameters(operation)
            api.add_router(prefix, router)
    return api


def api_urls(api: NinjaAPI) -> tuple[list[URLPattern | URLResolver], str, str]:
    """`api.urls`, with problem documents for unknown paths and wrong methods as well."""
    urls, app_name, namespace = api.urls
    patterns = cast("list[URLPattern]", urls)
    for pattern in patterns:
        # Ninja needs the root for its path alone; its view is a 404 in HTML.
        if pattern.name == "api-root":
            pattern.callback = unknown_path
            continue
        is_document = pattern.name == "openapi-json"
        view = Document(api).view if is_document else pattern.callback
        pattern.callback = _with_problems(cast("_View", view))
    # No name of a row contains U+0000, and PostgreSQL refuses a query for one.
    first, last = re_path(r".*\x00", unknown_path), re_path("", unknown_path)
    return [first, *patterns, last], app_name, namespace


@csrf_exempt
async def unknown_path(request: HttpRequest) -> HttpResponse:
    return render_problem(request, NotFound("There is no such path."))


def _with_problems(view: _View) -> _View:
    """Wrap a view: its response is finished, and a write is noted for the read replica."""

    @wraps(view)
    async def async_view(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        response = await cast("Awaitable[HttpResponse]", view(request, *args, **kwargs))
        if (user_id := _writer_id(request)) is not None:
            await anote_write(user_id)
        return _finish(request, response)

    @wraps(view)
    def sync_view(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        response = cast("HttpResponse", view(request, *args, **kwargs))
        if (user_id := _writer_id(request)) is not None:
            note_write(user_id)
        return _finish(request, response)

    return async_view if iscoroutinefunction(view) else sync_view


def _writer_id(request: HttpRequest) -> int | None:
    """The id of the user who may have changed something with this request."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    identity = getattr(request, "auth", None)
    return None if identity is None else int(identity.user.pk)


def _finish(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Add headers; replace ninja's plain text for a wrong method by a problem document."""
    rate: Rate | None = getattr(request, "rate", None)
    for name, value in (rate.headers() if rate else {}).items():
        response.setdefault(name, value)
    response = conditional(request, response)
    if isinstance(response, HttpResponseNotAllowed):
        allowed = response["Allow"]
        detail = f"Allowed here: {allowed}"
        response = render_status(request, HTTPStatus.METHOD_NOT_ALLOWED, detail)
        response["Allow"] = allowed
    _keep_private(request, response)
    return response


def _keep_private(request: HttpRequest, response: HttpResponse) -> None:
    """Let no cache store a user's data: a read is revalidated by its ETag, and every other answer,
    secrets among them, is not stored at all."""
    may_revalidate = request.method in ("GET", "HEAD") and response.has_header("ETag")
    response.setdefault("Cache-Control", "private, no-cache" if may_revalidate else "no-store")
