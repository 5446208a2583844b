"""A row that has ended becomes a line of a batch's files: in the output file if it has succeeded,
else in the error file. The body is what the endpoint itself would have answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

import msgspec

from aily.database.rows import Row
from aily.rest.json_input import decode_json, one_line
from chat.models import Batch, Task
from chat.openai import embeddings
from chat.openai.batches.lines import BODY
from chat.openai.batches.requests import EMBEDDINGS, RESPONSES
from chat.openai.chat_completions.answers import Answer
from chat.openai.chat_completions.body import read_request_now
from chat.openai.errors import OpenAIError
from chat.openai.responses.fields import read_call
from chat.openai.responses.objects import ResponseFacts
from chat.openai.responses.row_replay import object_of_task
from chat.openai.task_errors import error_of_failure

_encode = msgspec.json.encode
#: Code and message of a line that has no response, by its state.
_WITHOUT = {
    "cancelled": ("batch_cancelled", "This request was not run, as its batch was cancelled."),
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
}
_GONE = OpenAIError(
    HTTPStatus.INTERNAL_SERVER_ERROR, "The answer of this request is gone.", code="internal"
)


class EndedRow(Row, frozen=True):
    """`payload` and `error` are JSON."""

    number: int
    key: str
    state: str
    payload: str
    error: str | None
    task_id: UUID | None


def line_of(batch: Batch, row: EndedRow, task: Task | None) -> tuple[bool, Iterator[bytes]]:
    """Whether the line is for the output file, and the line, in pieces."""
    if row.state != "succeeded":
        return False, iter([_failed(batch, row, task)])
    if task is None:
        return False, iter([_with_error(batch, row, _GONE)])
    try:
        body = _body(batch.endpoint, row, task)
    except OpenAIError as error:
        return False, iter([_with_error(batch, row, error)])
    return True, _pieces(batch, row, body)


def _pieces(batch: Batch, row: EndedRow, body: Iterator[bytes]) -> Iterator[bytes]:
    yield _head(batch, row) + _response_head(batch, row, HTTPStatus.OK)
    for piece in body:
        yield one_line(piece)
    yield b'},"error":null}\n'


def _head(batch: Batch, row: EndedRow) -> bytes:
    name = f"batch_req_{_line_id(batch, row)}"
    return b'{"id":%b,"custom_id":%b' % (_encode(name), one_line(_encode(row.key)))


def _line_id(batch: Batch, row: EndedRow) -> str:
    return f"{batch.run_id.hex}{row.number:05x}"


def _response_head(batch: Batch, row: EndedRow, status: int) -> bytes:
    # A line that was refused became no task: it is named by its place in the batch.
    request_id = f"req_{row.task_id.hex if row.task_id else _line_id(batch, row)}"
    return b',"response":{"status_code":%d,"request_id":%b,"body":' % (status, _encode(request_id))


# --- What has succeeded -------------------------------------------------------------------------
def _body(endpoint: str, row: EndedRow, task: Task) -> Iterator[bytes]:
    asked = decode_json(msgspec.json.decode(row.payload)[BODY])
    if endpoint == EMBEDDINGS:
        return embeddings.stored_answer(
            embeddings.read_call(asked, {}).form, task.pk, task.usage or {}
        )
    if endpoint == RESPONSES:
        # It is in the file: nothing else is kept that could be retrieved.
        facts = ResponseFacts(task.pk, {**read_call(asked, {}).echo, "store": False})
        return iter([_encode(object_of_task(facts, task))])
    answer = Answer(str(task.pk), read_request_now(asked, {}).form)
    return iter([answer.whole(task.result(), task.usage)])


# --- What has not -------------------------------------------------------------------------------
def _failed(batch: Batch, row: EndedRow, task: Task | None) -> bytes:
    if row.state in _WITHOUT:
        code, message = _WITHOUT[row.state]
        error = _encode({"code": code, "message": message})
        return _head(batch, row) + b',"response":null,"error":%b}\n' % error
    kept: Mapping[str, Any] = msgspec.json.decode(row.error) if row.error else {}
    if "status" in kept:
        # It was refused before it became a task.
        fields = {name: kept.get(name) for name in ("type", "param", "code")}
        refused = OpenAIError(kept["status"], str(kept["message"]), **fields)
        return _with_error(batch, row, refused)
    error_found = error_of_failure(task.error if task is not None and task.error else kept)
    if batch.endpoint == RESPONSES and error_found.param == "messages":
        error_found.param = "input"
    return _with_error(batch, row, error_found)


def _with_error(batch: Batch, row: EndedRow, error: OpenAIError) -> bytes:
    head = _head(batch, row) + _response_head(batch, row, error.status)
    return head + one_line(_encode(error.body())) + b'},"error":null}\n'
