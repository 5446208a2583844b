"""`POST /v1/embeddings`: the vectors of texts or tokens, which a task like all others has made.

Small vectors come with the task's end. Large ones are read from their table a part at a time while
the client takes them, so that an answer of megabytes costs a process no more than a small one.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import NamedTuple
from uuid import UUID

import msgspec
from django.conf import settings
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from accounts.lost_access import while_accessible
from aily.database.threads import in_database
from aily.http.bodies import decode_body, read_body
from chat.events import TaskCompleted
from chat.models.vectors import VectorsSize, read_floats, size_of
from chat.openai.accepting import Incoming
from chat.openai.callers import Caller, caller_of
from chat.openai.ends import naming, run_to_end
from chat.openai.errors import JSON_TYPE, OpenAIError
from chat.openai.requests import as_object, embeddings_request, invalid_value, run_options
from chat.services.submission import EmbeddingsRequest
from chat.vectors import FLOAT_BYTES, little_endian

#: Bytes of vectors that are read at once.
PART_BYTES = 131_072
#: Bytes of a body, beside its input.
OTHER_BYTES = 65_536
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class VectorsForm:
    """In which form vectors are to come."""

    model: str
    encoding_format: str


class EmbeddingsCall(NamedTuple):
    """What a caller asks for, and in which form the vectors are to come."""

    task: EmbeddingsRequest
    form: VectorsForm


def max_body_bytes() -> int:
    """The largest input, and room for what stands around it."""
    limit: int = settings.EMBEDDINGS_MAX_INPUT_BYTES
    return limit + OTHER_BYTES


async def create_embeddings(request: Request) -> Response:
    """Make the vectors of an input, and wait for them."""
    began = perf_counter()
    caller = await caller_of(request)
    incoming, form = await _read(request)
    task, end = await run_to_end(request, caller, incoming)
    with naming(task):
        response = await _answer(form, end, caller)
    response.headers.update(task.headers())
    response.headers["openai-processing-ms"] = str(round((perf_counter() - began) * 1000))
    return response


async def _read(request: Request) -> tuple[Incoming, VectorsForm]:
    body = await read_body(request)
    task, form = read_call(decode_body(request, body), request.headers)
    return Incoming(body, task), form


def read_call(body: object, headers: Mapping[str, str]) -> EmbeddingsCall:
    """Read a decoded body, and aily's own headers. Raises OpenAIError, which names the field."""
    given = as_object(body)
    encoding_format = given.get("encoding_format", "float")
    if not isinstance(encoding_format, str) or encoding_format not in _WRITERS:
        raise invalid_value("There are the formats float and base64.", "encoding_format")
    fields = {**given, **run_options(headers, given)}
    task = embeddings_request(fields)
    return EmbeddingsCall(task, VectorsForm(task.model, encoding_format))


# --- The answer ---------------------------------------------------------------------------------
_HEAD = b'{"object":"list","data":['
#: A vector as JSON: numbers, or base64.
_Write = Callable[[bytes], bytes]


async def _answer(form: VectorsForm, end: TaskCompleted, caller: Caller) -> Response:
    write = _WRITERS[form.encoding_format]
    tail = _tail(form.model, end.usage)
    sent = end.result["embeddings"]
    if sent is not None:
        items = _items(0, [write(b64decode(vector)) for vector in sent])
        return Response(_HEAD + items + tail, media_type=JSON_TYPE)
    task_id = UUID(end.task_id)
    size = await in_database(size_of, task_id)
    if size is None:
        raise _deleted()
    parts = while_accessible(_parts(task_id, size, write, tail), caller.lost_access())
    return StreamingResponse(parts, media_type=JSON_TYPE)


async def _parts(
    task_id: UUID, size: VectorsSize, write: _Write, tail: bytes
) -> AsyncGenerator[bytes]:
    """Yield the answer. The next part is read when the client has taken the one before."""
    yield _HEAD
    bytes_each = FLOAT_BYTES * size.dimensions
    count = max(PART_BYTES // bytes_each, 1)
    for first in range(0, size.count, count):
        floats = await in_database(read_floats, task_id, first * bytes_each, count * bytes_each)
        if not floats:
            raise _deleted()
        starts = range(0, len(floats), bytes_each)
        yield _items(first, [write(floats[start : start + bytes_each]) for start in starts])
    yield tail


def stored_answer(form: VectorsForm, task_id: UUID, usage: Mapping[str, int]) -> Iterator[bytes]:
    """The answer of an ended task, in parts, for a thread. Raises OpenAIError if it was deleted."""
    size = size_of(task_id)
    if size is None:
        raise _deleted()
    return _stored_parts(form, task_id, size, usage)


def _stored_parts(
    form: VectorsForm, task_id: UUID, size: VectorsSize, usage: Mapping[str, int]
) -> Iterator[bytes]:
    write = _WRITERS[form.encoding_format]
    bytes_each = FLOAT_BYTES * size.dimensions
    count = max(PART_BYTES // bytes_each, 1)
    yield _HEAD
    for first in range(0, size.count, count):
        floats = read_floats(task_id, first * bytes_each, count * bytes_each)
        starts = range(0, len(floats), bytes_each)
        yield _items(first, [write(floats[start : start + bytes_each]) for start in starts])
    yield _tail(form.model, usage)


def _items(first: int, vectors: Iterable[bytes]) -> bytes:
    """Items of the list; `first`: the index of the first one. A comma goes before each but 0."""
    items = b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, vector)
        for index, vector in enumerate(vectors, first)
    )
    return b"," + items if first else items


def _as_base64(floats: bytes) -> bytes:
    return b'"' + b64encode(floats) + b'"'


def _as_numbers(floats: bytes) -> bytes:
    return _encode(little_endian(floats).tolist())


_WRITERS: dict[str, _Write] = {"base64": _as_base64, "float": _as_numbers}


def _tail(model: str, usage: Mapping[str, int]) -> bytes:
    prompt_tokens = usage.get("prompt_tokens", 0)
    total_tokens = usage.get("total_tokens") or prompt_tokens
    tokens = {"prompt_tokens": prompt_tokens, "total_tokens": total_tokens}
    return b'],"model":' + _encode(model) + b',"usage":' + _encode(tokens) + b"}"


def _deleted() -> OpenAIError:
    """The error of a request that is repeated by its key after its vectors were deleted."""
    message = (
        f"The vectors are kept for {settings.EMBEDDINGS_KEPT_SECONDS} seconds: "
        "send the request with another Idempotency-Key."
    )
    return OpenAIError(HTTPStatus.GONE, message, code="result_deleted")
