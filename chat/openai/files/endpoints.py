"""The paths of `/v1/files`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus

import msgspec
from django.conf import settings
from django.utils import timezone
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from accounts.lost_access import while_accessible
from aily.concurrency.signals import Signal
from aily.database.threads import in_database
from aily.problems import TooLarge
from aily.web.connections import connections
from aily.web.interruptions import Interruption
from chat.models import StoredFile
from chat.models.files import FileWriter, stream_part
from chat.openai.callers import caller_of
from chat.openai.errors import JSON_TYPE, OpenAIError
from chat.openai.files.forms import FILE_FIELD, FormParser
from chat.openai.files.ranges import range_of
from chat.openai.files.store import (
    BATCH_FILES_KEPT,
    PURPOSES,
    check_room,
    delete_file,
    file_object,
    find_file,
    own_files,
    publish,
)
from chat.openai.ids import FILE, id_of
from chat.openai.lists import JsonObject, Page
from chat.openai.requests import missing
from chat.openai.waiting import interrupted

MAX_PAGE = 10_000
#: Least and most seconds of `expires_after`.
MIN_EXPIRY, MAX_EXPIRY = 3_600, 2_592_000
_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"
_FIELDS = ("purpose", _ANCHOR, _SECONDS)


# --- Upload -------------------------------------------------------------------------------------
async def create_file(request: Request) -> Response:
    """Store a file, which is read and stored a piece at a time."""
    caller = await caller_of(request)
    form = FormParser.of(request)
    await in_database(check_room, caller.owner_id)
    writer = FileWriter(caller.owner_id, "")
    with connections().opened(caller.owner_id):
        try:
            async with caller.lost_access() as lost:
                await _store(request, form, writer, lost)
            file = await in_database(_publish, caller.owner_id, writer, form)
        except Exception:
            await in_database(writer.discard)
            raise
    return _json(file_object(file))


async def _store(
    request: Request, form: FormParser, writer: FileWriter, lost_access: Signal
) -> None:
    async for chunk in request.stream():
        if lost_access.is_set():
            raise interrupted(Interruption.ACCESS_LOST)
        for piece in form.feed(chunk):
            await _append(writer, piece)
    for piece in form.finish():
        await _append(writer, piece)


async def _append(writer: FileWriter, piece: bytes) -> None:
    limit: int = settings.RUN_MAX_FILE_BYTES
    if writer.size + len(piece) > limit:
        raise TooLarge(f"A file has at most {limit} bytes.")
    await in_database(writer.append, piece)


def _publish(owner_id: int, writer: FileWriter, form: FormParser) -> StoredFile:
    """Check what was sent with the file, and let it be found. Raises OpenAIError."""
    purpose, expires_at = _options(form.fields)
    if not writer.size:
        raise _invalid("The file is empty.", FILE_FIELD)
    return publish(owner_id, writer, purpose, expires_at, _file_name(form.file_name or ""))


def _options(fields: Mapping[str, str]) -> tuple[str, datetime | None]:
    """The purpose, and when the file expires."""
    purpose = fields.get("purpose")
    if not purpose:
        raise missing("purpose")
    if purpose not in PURPOSES:
        raise _invalid(f"There are the purposes {', '.join(PURPOSES)}.", "purpose")
    if _ANCHOR not in fields and _SECONDS not in fields:
        expires_at = timezone.now() + BATCH_FILES_KEPT if purpose == "batch" else None
        return purpose, expires_at
    if fields.get(_ANCHOR) != "created_at":
        raise _invalid("The anchor is created_at.", _ANCHOR)
    return purpose, timezone.now() + expiry_of(fields.get(_SECONDS), _SECONDS)


def expiry_of(seconds: object, param: str) -> timedelta:
    """The time after which a file expires. Raises OpenAIError."""
    text = str(seconds) if isinstance(seconds, str | int) else ""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_EXPIRY))
    if not (is_number and MIN_EXPIRY <= int(text) <= MAX_EXPIRY):
        raise _invalid(f"It is a number from {MIN_EXPIRY} to {MAX_EXPIRY}.", param)
    return timedelta(seconds=int(text))


def _file_name(name: str) -> str:
    """The last part of a path, without control characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in last if character.isprintable()) or "file"


# --- What is stored -----------------------------------------------------------------------------
async def list_files(request: Request) -> Response:
    """The caller's files, the newest first."""
    caller = await caller_of(request)
    page = Page.asked(request.query_params, default=MAX_PAGE, max_limit=MAX_PAGE)
    return _json(await in_database(_list, caller.owner_id, request.query_params, page))


def _list(owner_id: int, query: Mapping[str, str], page: Page) -> JsonObject:
    files = own_files(owner_id)
    if purpose := query.get("purpose"):
        files = files.filter(purpose=purpose[:100])
    return page.of(files, FILE, file_object)


async def retrieve_file(request: Request) -> Response:
    caller = await caller_of(request)
    file = await in_database(find_file, caller.owner_id, request.path_params["file_id"])
    return _json(file_object(file))


async def delete_stored_file(request: Request) -> Response:
    """Delete a file for good."""
    caller = await caller_of(request)
    name = request.path_params["file_id"]
    await in_database(delete_file, caller.owner_id, name)
    return _json({"id": name, "object": "file", "deleted": True})


async def retrieve_content(request: Request) -> Response:
    """The bytes of a file, or a part, read a piece at a time while the client takes them."""
    caller = await caller_of(request)
    file = await in_database(find_file, caller.owner_id, request.path_params["file_id"])
    name = id_of(FILE, file.pk)
    # The bytes of a file do not change.
    etag = f'"{name}"'
    part = range_of(request.headers, file.bytes, etag)
    chosen = range(file.bytes) if part is None else part
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(len(chosen)),
        "Content-Disposition": f'attachment; filename="{name}"',
        "ETag": etag,
    }
    status = HTTPStatus.OK
    if part is not None:
        status = HTTPStatus.PARTIAL_CONTENT
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.bytes}"
    content = while_accessible(stream_part(file.pk, chosen), caller.lost_access())
    return StreamingResponse(content, status, headers, media_type="application/octet-stream")


def _json(body: JsonObject) -> Response:
    return Response(msgspec.json.encode(body), media_type=JSON_TYPE)


def _invalid(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")
