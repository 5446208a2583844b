"""Frames that a WebSocket client may send, checked before anything acts on them."""

from __future__ import annotations

from typing import Annotated, Literal, get_args
from uuid import UUID

from pydantic import AfterValidator, Discriminator, Field, Tag, TypeAdapter, ValidationError

from aily.problems import InvalidRequest
from aily.rest.json_input import decode_json
from aily.rest.schema_rules import rule_of
from chat.events import EventId
from chat.models.tool_calls import REASON_CHARS
from chat.reasons import Reason
from chat.services.parameters import Object, Strict, path_of
from chat.services.refused_values import refused
from chat.services.submission import CompositeRequest


def _is_event_id(value: str) -> str:
    try:
        EventId.parse(value)
    except ValueError:
        raise refused(Reason("event_id")) from None
    return value


MAX_REF_CHARS = 100
Ref = Annotated[str, Field(max_length=MAX_REF_CHARS)]


class TaskSubmit(CompositeRequest):
    """`stream: false` asks for life-cycle events only."""

    type: Literal["task.submit"]
    ref: Ref | None = None
    stream: bool = True
    idempotency_key: str | None = Field(None, min_length=1, max_length=255)


class TaskSubscribe(Strict):
    """`after` is the last event id seen; none: from the start."""

    type: Literal["task.subscribe"]
    ref: Ref | None = None
    task_id: UUID
    after: Annotated[str, AfterValidator(_is_event_id)] | None = None


class TaskUnsubscribe(Strict):
    type: Literal["task.unsubscribe"]
    ref: Ref | None = None
    task_id: UUID


class TaskCancel(Strict):
    type: Literal["task.cancel"]
    ref: Ref | None = None
    task_id: UUID


class TaskApprove(Strict):
    """Has a tool call made that waits for approval, with these arguments if there are any; or has
    it go on with `input`, the answer to its tool's question number `question`."""

    type: Literal["task.approve"]
    ref: Ref | None = None
    task_id: UUID
    call_id: UUID
    arguments: Object | None = None
    input: Object | None = None
    question: Annotated[int, Field(ge=1, le=100)] | None = None


class TaskReject(Strict):
    """Leaves a tool call unmade that waits for approval, or declines to answer its question."""

    type: Literal["task.reject"]
    ref: Ref | None = None
    task_id: UUID
    call_id: UUID
    reason: str = Field("", max_length=REASON_CHARS)
    question: Annotated[int, Field(ge=1, le=100)] | None = None


class RunSubscribe(Strict):
    """The run's progress now, and until it has ended."""

    type: Literal["run.subscribe"]
    ref: Ref | None = None
    run_id: UUID


class RunUnsubscribe(Strict):
    type: Literal["run.unsubscribe"]
    ref: Ref | None = None
    run_id: UUID


def _kind_of_cursor(value: object) -> str:
    """An error is about the type that is meant; its name is no part of the field's."""
    return "(id)" if isinstance(value, str) else "(revision)"


TableCursor = Annotated[
    Annotated[int, Field(ge=0, lt=2**53), Tag("(revision)")]
    | Annotated[str, Field(pattern=r"^[0-9]{1,15}(-[0-9]{1,15})?$"), Tag("(id)")],
    Discriminator(_kind_of_cursor),
]


class TableSubscribe(Strict):
    """What changes in a table. `after`: a revision of it, or the id of a frame."""

    type: Literal["table.subscribe"]
    ref: Ref | None = None
    table: int = Field(ge=1, lt=2**63)
    after: TableCursor | None = None


class TableUnsubscribe(Strict):
    type: Literal["table.unsubscribe"]
    ref: Ref | None = None
    table: int = Field(ge=1, lt=2**63)


class ImportSubscribe(Strict):
    """The import's progress now, and until it has ended."""

    type: Literal["import.subscribe"]
    ref: Ref | None = None
    import_id: UUID


class ImportUnsubscribe(Strict):
    type: Literal["import.unsubscribe"]
    ref: Ref | None = None
    import_id: UUID


class ExportSubscribe(Strict):
    """The export's progress now, and until it has ended."""

    type: Literal["export.subscribe"]
    ref: Ref | None = None
    export_id: UUID


class ExportUnsubscribe(Strict):
    type: Literal["export.unsubscribe"]
    ref: Ref | None = None
    export_id: UUID


class Ping(Strict):
    type: Literal["ping"]
    ref: Ref | None = None


Frame = (
    TaskSubmit
    | TaskSubscribe
    | TaskUnsubscribe
    | TaskCancel
    | TaskApprove
    | TaskReject
    | RunSubscribe
    | RunUnsubscribe
    | TableSubscribe
    | TableUnsubscribe
    | ImportSubscribe
    | ImportUnsubscribe
    | ExportSubscribe
    | ExportUnsubscribe
    | Ping
)
#: The types of frames.
_TAGS = frozenset(
    tag for frame in get_args(Frame) for tag in get_args(frame.model_fields["type"].annotation)
)
_adapter: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="type")])


def parse_frame(data: str | bytes) -> Frame:
    """Decode one frame. Raises InvalidRequest, naming the field."""
    try:
        return _adapter.validate_python(decode_json(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # The first part of a location is the frame's type, which the client has sent.
        path = path_of([part for part in first["loc"] if not _is_tag(part)])
        if first["type"].startswith("union_tag"):
            path = "type"
        raise InvalidRequest(first["msg"], field=path or None, params=rule_of(first)) from error


def _is_tag(part: int | str) -> bool:
    return part in _TAGS
