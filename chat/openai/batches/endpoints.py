"""The paths of `/v1/batches`."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from django.db.models.functions import Coalesce, Now
from starlette.requests import Request
from starlette.responses import Response

from accounts.idempotency import FIELD, parse_key
from aily.database.threads import in_database
from aily.http.bodies import read_json
from chat.models import Batch
from chat.openai.batches.creation import create_batch, read_batch
from chat.openai.batches.objects import batch_object, status_of
from chat.openai.callers import caller_of
from chat.openai.errors import JSON_TYPE, OpenAIError
from chat.openai.ids import BATCH, uuid_of
from chat.openai.lists import JsonObject, Page
from chat.runs import control
from chat.runs.actors import ring_feeder

DEFAULT_PAGE, MAX_PAGE = 20, 100
_MAX_ID_CHARS = 100


async def create(request: Request) -> Response:
    """Make a batch of a file. It is validated and run in the background."""
    caller = await caller_of(request)
    new = read_batch(await read_json(request))
    key = parse_key(request.headers.get(FIELD))

    def work() -> JsonObject:
        batch = create_batch(caller, new, key)
        ring_feeder()
        return batch_object(batch)

    return _json(await in_database(work))


async def list_batches(request: Request) -> Response:
    """The caller's batches, the newest first."""
    caller = await caller_of(request)
    page = Page.asked(request.query_params, default=DEFAULT_PAGE, max_limit=MAX_PAGE)
    own = Batch.objects.filter(run__owner=caller.owner_id).select_related("run")
    return _json(await in_database(page.of, own, BATCH, batch_object))


async def retrieve(request: Request) -> Response:
    caller = await caller_of(request)
    name = request.path_params["batch_id"]
    return _json(await in_database(lambda: batch_object(_find(caller.owner_id, name))))


async def cancel(request: Request) -> Response:
    """Stop a batch for good. What has been answered by then is in its file."""
    caller = await caller_of(request)
    name = request.path_params["batch_id"]
    return _json(await in_database(_cancel, caller.owner_id, name))


def _cancel(owner_id: int, name: str) -> JsonObject:
    batch = _find(owner_id, name)
    control.cancel(batch.run)
    batch = _find(owner_id, name)
    status = status_of(batch.run)
    if status not in ("cancelling", "cancelled"):
        message = f"Cannot cancel a batch with status '{status}'."
        headers = {"x-should-retry": "false"}
        raise OpenAIError(HTTPStatus.CONFLICT, message, headers=headers)
    first = Coalesce("cancelling_at", Now())
    Batch.objects.filter(pk=batch.pk).update(cancelling_at=first)
    ring_feeder()
    return batch_object(_find(owner_id, name))


def _find(owner_id: int, name: str) -> Batch:
    """One of the owner's batches. Raises OpenAIError (404)."""
    run_id = uuid_of(BATCH, name)
    own = Batch.objects.filter(pk=run_id, run__owner=owner_id).select_related("run")
    batch = own.first() if run_id is not None else None
    if batch is None:
        message = f"No batch found with id '{name[:_MAX_ID_CHARS]}'."
        raise OpenAIError(HTTPStatus.NOT_FOUND, message)
    return batch


def _json(body: JsonObject) -> Response:
    return Response(msgspec.json.encode(body), media_type=JSON_TYPE)
