"""Creating a run: its file and options are stored together, or neither."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction
from pydantic import JsonValue, ValidationError

from accounts.owner_lock import lock_owner
from aily.database.outages import require_disk_room
from aily.problems import (
    Conflict,
    IdempotencyMismatch,
    InvalidRequest,
    LimitReached,
    NotFound,
    Problem,
    TooLarge,
)
from chat.exceptions import (
    EmptyFile,
    InvalidVariable,
    ModelDisabled,
    PackedFile,
    UnknownColumn,
    because,
)
from chat.models import Lane, Run, StoredFile, WebhookEndpoint
from chat.models.files import PIECE_BYTES, append_pieces
from chat.models.runs import ENDED_RUNS, Start
from chat.reasons import Reason
from chat.runs import clock
from chat.runs.file_runs import KIND
from chat.runs.reading.encodings import refuse_packed
from chat.runs.reading.records import FileError, Params
from chat.services.submission import CompositeRequest
from chat.services.submit import NeedsRenderingError, Submission
from chat.services.submit.draft import draft_tasks
from chat.services.validation import invalid_request_of

#: Fields of requests that a run sets by itself, or that make no sense in many at once.
_NOT_OPTIONS = frozenset(
    {"scene", "variables", "version", "messages", "conversation_id", "replaces"}
    | {"lane", "deadline_seconds", "webhook"}
)
MAX_MAPPED = 200
MAX_DEADLINE = timedelta(days=7)
PURPOSE = "run"


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run is made of, beside its file."""

    name: str
    format: str
    rows: str = ""
    encoding: str = ""
    delimiter: str = ""
    key_column: str = ""
    scene: str = ""
    version: int | None = None
    mapping: Mapping[str, JsonValue] = field(default_factory=dict)
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    lane: Lane = Lane.BATCH
    deadline_at: datetime | None = None
    max_cost: Decimal | None = None
    max_open: int | None = None
    webhook: int | None = None
    start: str = ""
    start_at: datetime | None = None

    def digest(self, sha256: str) -> str:
        parts = {name: getattr(self, name) for name in self.__slots__ if name != "deadline_at"}
        encoded = msgspec.json.encode([parts, sha256], order="sorted", enc_hook=str)
        return hashlib.sha256(encoded).hexdigest()


def create_run(
    owner_id: int,
    api_key_id: int | None,
    new: NewRun,
    content: Iterable[bytes],
    key: str | None = None,
) -> tuple[Run, bool]:
    """Store a file and the run that is made of it. Returns the run, and whether it is new: a
    request that is repeated under its idempotency key gives the run of the first.

    `content` is read once, and stored in pieces as it comes. Raises Problem.
    """
    if key is None:
        _check(owner_id, api_key_id, new)
    with transaction.atomic():
        stored = _store_file(owner_id, new.name, content)
        digest = new.digest(stored.sha256)
        if key is not None:
            if (earlier := _earlier(owner_id, key, digest)) is not None:
                transaction.set_rollback(True)
                return earlier, False
            _check(owner_id, api_key_id, new)
        run = _row(owner_id, api_key_id, new, stored)
        run.idempotency_key, run.request_digest = key, digest if key else ""
        insert_run(run)
    return run, True


def insert_run(run: Run) -> None:
    """Insert it, in the caller's transaction. Raises LimitReached, and Conflict where another
    request with its idempotency key is making one."""
    lock_owner(run.owner_id)
    require_room(run.owner_id)
    try:
        with transaction.atomic():
            run.save(force_insert=True)
    except IntegrityError:
        raise because(
            Conflict, Reason("key_in_use"), field="Idempotency-Key", retry_after_seconds=1
        ) from None


def _store_file(owner_id: int, name: str, content: Iterable[bytes]) -> StoredFile:
    """Store a run's file in pieces, with its size and digest. Raises Problem."""
    stored = StoredFile.objects.create(owner_id=owner_id, name=name, purpose=PURPOSE)
    sha256 = hashlib.sha256()

    def checked() -> Iterator[bytes]:
        for piece in _pieces(content):
            if not stored.bytes:
                _refuse_packed(piece)
            stored.bytes += len(piece)
            if stored.bytes > settings.RUN_MAX_FILE_BYTES:
                message = f"A file has at most {settings.RUN_MAX_FILE_BYTES} bytes."
                raise TooLarge(message, field="file")
            sha256.update(piece)
            yield piece

    append_pieces(stored.pk, checked())
    if not stored.bytes:
        raise EmptyFile("The file is empty.", field="file")
    stored.sha256 = sha256.hexdigest()
    stored.save(update_fields=["bytes", "sha256"])
    return stored


def _pieces(content: Iterable[bytes]) -> Iterator[bytes]:
    """The content in pieces of PIECE_BYTES."""
    kept = bytearray()
    for chunk in content:
        kept += chunk
        while len(kept) >= PIECE_BYTES:
            yield bytes(kept[:PIECE_BYTES])
            del kept[:PIECE_BYTES]
    if kept:
        yield bytes(kept)


def _refuse_packed(head: bytes) -> None:
    try:
        refuse_packed(head)
    except FileError as error:
        raise PackedFile(error.message, field="file") from None


def _earlier(owner_id: int, key: str, digest: str) -> Run | None:
    run = Run.objects.filter(owner=owner_id, idempotency_key=key).first()
    if run is not None and run.request_digest != digest:
        message = "This idempotency key was used with another request."
        raise IdempotencyMismatch(message, field="Idempotency-Key")
    return run


def _row(owner_id: int, api_key_id: int | None, new: NewRun, stored: StoredFile) -> Run:
    is_table = new.format == "csv" or new.rows == "variables" or bool(new.scene)
    source = {"format": new.format, "rows": "variables" if is_table else "requests"}
    source |= {
        name: value
        for name in ("encoding", "delimiter", "key_column")
        if (value := getattr(new, name))
    }
    return Run(
        owner_id=owner_id,
        api_key_id=api_key_id,
        kind=KIND,
        name=new.name,
        input_file=stored,
        source=source,
        scene=new.scene,
        scene_version=new.version,
        mapping=dict(new.mapping),
        options=dict(new.options),
        lane=new.lane,
        deadline_at=new.deadline_at,
        max_cost=new.max_cost,
        max_open=new.max_open,
        webhook_id=new.webhook,
        start=new.start,
        start_at=new.start_at,
    )


# --- Checking -----------------------------------------------------------------------------------
def _check(owner_id: int, api_key_id: int | None, new: NewRun) -> None:
    """Raise a Problem that names the field at fault."""
    require_room(owner_id)
    if new.start and not (new.scene or new.rows == "requests" or new.format == "jsonl"):
        raise because(InvalidRequest, Reason("no_scene"), field="scene")
    check_start(new.start, new.start_at)
    check_fields(owner_id, api_key_id, new)


def check_start(start: str, start_at: datetime | None) -> None:
    if (start == Start.AT) != (start_at is not None):
        raise because(InvalidRequest, Reason("start_time"), field="start_at")


def require_room(owner_id: int) -> None:
    """Raise StorageFull, or LimitReached, unless the owner may have another run."""
    require_disk_room()
    unended = Run.objects.filter(owner=owner_id).exclude(state__in=ENDED_RUNS).count()
    if unended >= settings.RUNS_MAX_PER_USER:
        raise LimitReached(
            f"At most {settings.RUNS_MAX_PER_USER} of your batches and runs may not have ended.",
            limit_name="runs_max_per_user",
            limit=settings.RUNS_MAX_PER_USER,
            retry_after_seconds=60,
        )


def check_fields(owner_id: int, api_key_id: int | None, new: NewRun) -> None:
    """Raise a Problem unless all that the run names is there, and its owner may use it."""
    _check_mapping(new.mapping)
    request = _check_options(new.options)
    if new.deadline_at is not None:
        now = clock.now()
        if not now < new.deadline_at <= now + MAX_DEADLINE:
            message = f"This is in the future, at most {MAX_DEADLINE.days} days."
            params: Params = {"rule": "deadline", "limit": MAX_DEADLINE.days}
            raise InvalidRequest(message, field="deadline_at", params=params)
    if new.webhook is not None and not WebhookEndpoint.objects.filter(
        owner=owner_id, pk=new.webhook, is_active=True
    ):
        raise because(InvalidRequest, Reason("no_active_endpoint"), field="webhook")
    if new.scene or "model" in new.options or "fallbacks" in new.options:
        _check_target(owner_id, api_key_id, new, request)


def _check_mapping(mapping: Mapping[str, JsonValue]) -> None:
    if len(mapping) > MAX_MAPPED:
        raise because(
            InvalidRequest, Reason.of("too_many_mapped", limit=MAX_MAPPED), field="mapping"
        )
    for variable, source in mapping.items():
        is_constant = isinstance(source, dict) and set(source) == {"value"}
        if not is_constant and not isinstance(source, str):
            raise because(InvalidRequest, Reason("column_or_constant"), field=f"mapping.{variable}")


def _check_options(options: Mapping[str, JsonValue]) -> CompositeRequest:
    for name in options:
        if name in _NOT_OPTIONS:
            raise because(InvalidRequest, Reason("no_run_option"), field=f"options.{name}")
    probe: dict[str, Any] = {**options, "messages": [{"role": "user", "content": "?"}]}
    try:
        return CompositeRequest.model_validate(probe)
    except ValidationError as error:
        raise invalid_request_of(error, within="options") from None


#: Fields of a request that say what is asked.
_TARGETS = ("scene", "version", "model", "fallbacks")


def _check_target(
    owner_id: int, api_key_id: int | None, new: NewRun, request: CompositeRequest
) -> None:
    """Check scene and models by what a request without any variables is refused for: only those
    may be missing."""
    if new.scene:
        update = {"scene": new.scene, "version": new.version, "messages": None}
        request = request.model_copy(update=update)
    submission = Submission(owner_id=owner_id, request=request, api_key_id=api_key_id)
    [draft] = draft_tasks([submission])
    if not isinstance(draft, Exception):
        return
    if isinstance(draft, InvalidVariable | NeedsRenderingError):
        return
    if not isinstance(draft, Problem):
        raise draft
    field = (draft.field or "").split(".")[0]
    if isinstance(draft, NotFound | ModelDisabled) or field in _TARGETS:
        raise draft


def require_scene(run: Run) -> None:
    """Raise InvalidRequest if rows are variables, and no scene says of what."""
    if run.source.get("rows") == "variables" and not run.scene:
        raise because(InvalidRequest, Reason("no_scene"), field="scene")


def check_columns(run: Run) -> None:
    """Raise InvalidRequest for a variable that is mapped to a column that is not there."""
    if not run.columns:
        return
    for variable, source in run.mapping.items():
        if isinstance(source, str) and source not in run.columns:
            columns = ", ".join(run.columns[:20])
            message = f"There is no column {source!r}; there are {columns}."
            params = {"column": source, "columns": columns}
            raise UnknownColumn(message, field=f"mapping.{variable}", params=params)
