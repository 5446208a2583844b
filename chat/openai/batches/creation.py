"""A request for a batch, and its file, become a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

import msgspec
from django.db import transaction
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aily.problems import IdempotencyMismatch
from chat.models import Batch, Run, StoredFile
from chat.models.runs import Start
from chat.openai.batches.objects import WINDOW
from chat.openai.batches.requests import check_endpoint
from chat.openai.callers import Caller
from chat.openai.errors import OpenAIError
from chat.openai.files.endpoints import expiry_of
from chat.openai.files.store import find_file
from chat.openai.requests import as_object, missing, of_validation
from chat.runs import clock
from chat.runs.creation import insert_run, require_room

KIND = "batch"
_WINDOWS = {WINDOW: timedelta(hours=24)}
_MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
_MetadataValue = Annotated[str, Field(max_length=512)]


class _Expiry(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    anchor: str
    seconds: int


class _Fields(BaseModel):
    """Unknown fields are ignored, as OpenAI adds some every month."""

    model_config = ConfigDict(extra="ignore", strict=True)

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Annotated[dict[_MetadataKey, _MetadataValue], Field(max_length=16)] = Field(
        default_factory=dict
    )
    output_expires_after: _Expiry | None = None


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a caller asks for, checked as far as that needs no database."""

    input_file_id: str
    endpoint: str
    window: timedelta
    metadata: dict[str, str]
    output_expires_seconds: int | None

    def digest(self) -> str:
        parts = [self.input_file_id, self.endpoint, self.metadata, self.output_expires_seconds]
        return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


def read_batch(body: object) -> NewBatch:
    """Read a decoded body. Raises OpenAIError, which names the field."""
    given = as_object(body)
    for name in ("input_file_id", "endpoint", "completion_window"):
        if name not in given:
            raise missing(name)
    try:
        fields = _Fields.model_validate(given)
    except ValidationError as error:
        raise of_validation(error) from None
    endpoint = check_endpoint(fields.endpoint)
    window = _WINDOWS.get(fields.completion_window)
    if window is None:
        raise _invalid(f"The completion window is {WINDOW}.", "completion_window")
    return NewBatch(fields.input_file_id, endpoint, window, fields.metadata, _kept_seconds(fields))


def _kept_seconds(fields: _Fields) -> int | None:
    expiry = fields.output_expires_after
    if expiry is None:
        return None
    if expiry.anchor != "created_at":
        raise _invalid("The anchor is created_at.", "output_expires_after.anchor")
    seconds = expiry_of(expiry.seconds, "output_expires_after.seconds")
    return int(seconds.total_seconds())


def create_batch(caller: Caller, new: NewBatch, key: str | None) -> Batch:
    """Store the batch, whose file is validated by a worker. A request that is repeated under its
    Idempotency-Key gives the batch of the first. Raises Problem and OpenAIError."""
    owner_id = caller.owner_id
    if key is not None and (earlier := _earlier(owner_id, key, new)) is not None:
        return earlier
    file = find_input(owner_id, new.input_file_id)
    require_room(owner_id)
    with transaction.atomic():
        # A delete of the file waits for this row, or has been faster.
        if not StoredFile.objects.select_for_update().filter(pk=file.pk, purpose="batch").exists():
            raise _no_file(new.input_file_id)
        run = _row(caller, new, file)
        run.idempotency_key, run.request_digest = key, new.digest() if key else ""
        insert_run(run)
        batch = Batch(
            run=run,
            endpoint=new.endpoint,
            metadata=new.metadata,
            input_file_id=file.pk,
            output_expires_seconds=new.output_expires_seconds,
        )
        batch.save(force_insert=True)
    return batch


def find_input(owner_id: int, name: str) -> StoredFile:
    try:
        file = find_file(owner_id, name)
    except OpenAIError:
        raise _no_file(name) from None
    if file.purpose != "batch":
        message = f"The purpose of this file is {file.purpose}: that of a batch's is batch."
        raise _invalid(message, "input_file_id")
    return file


def _no_file(name: str) -> OpenAIError:
    message = f"No such File object: {name[:100]}"
    return OpenAIError(HTTPStatus.NOT_FOUND, message, param="input_file_id")


def _earlier(owner_id: int, key: str, new: NewBatch) -> Batch | None:
    run = Run.objects.filter(owner=owner_id, idempotency_key=key).first()
    if run is None:
        return None
    if run.kind != KIND or run.request_digest != new.digest():
        message = "This idempotency key was used with another request."
        raise IdempotencyMismatch(message, field="Idempotency-Key")
    return Batch.objects.select_related("run").get(pk=run.pk)


def _row(caller: Caller, new: NewBatch, file: StoredFile) -> Run:
    return Run(
        owner_id=caller.owner_id,
        api_key_id=caller.api_key_id,
        kind=KIND,
        name=file.name,
        input_file=file,
        source={"format": "jsonl", "rows": "requests"},
        start=Start.NOW,
        deadline_at=clock.now() + new.window,
    )


def _invalid(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")
