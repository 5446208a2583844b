"""Files of `/v1/files`: writing a file piece by piece, finding and deleting those of one owner.

A file that is being written has a purpose of its own, under which no request finds it. What a
process that died leaves unfinished is purged after a day.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from http import HTTPStatus

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.utils import timezone

from accounts.owner_lock import lock_owner
from aily.database.outages import require_disk_room
from chat.models import Run, RunState, StoredFile
from chat.models.files import UNFINISHED, UNFINISHED_KEPT, FileWriter, delete_pieces
from chat.openai.errors import OpenAIError
from chat.openai.ids import FILE, id_of, uuid_of
from chat.openai.lists import JsonObject

#: What a file may be sent for. Batches read those of the first; the others are only kept.
PURPOSES = ("batch", "user_data", "assistants", "vision", "fine-tune", "evals")
OUTPUT = "batch_output"
#: How long files of batches are kept unless they say otherwise.
BATCH_FILES_KEPT = timedelta(days=30)
MAX_FILES = 10_000
_MAX_ID_CHARS = 100
#: For how long one turn of the schedule deletes.
PURGE_SECONDS = 20.0


def file_object(file: StoredFile) -> JsonObject:
    fields: JsonObject = {
        "id": id_of(FILE, file.pk),
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at.timestamp()),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }
    if file.expires_at is not None:
        fields["expires_at"] = int(file.expires_at.timestamp())
    return fields


# --- Room ---------------------------------------------------------------------------------------
def check_room(owner_id: int, size: int = 0) -> None:
    """Raise OpenAIError or StorageFull unless the owner may have another file of this size."""
    require_disk_room()
    own = own_files(owner_id).aggregate(files=Count("pk"), size=Sum("bytes", default=0))
    limit = settings.FILES_MAX_BYTES_PER_USER
    if own["files"] >= MAX_FILES or own["size"] + size > limit:
        raise OpenAIError(
            HTTPStatus.BAD_REQUEST,
            f"You may have {MAX_FILES} files of {limit} bytes together: delete some.",
            param="file",
            code="storage_limit_exceeded",
        )


def publish(
    owner_id: int, writer: FileWriter, purpose: str, expires_at: datetime | None, name: str
) -> StoredFile:
    """Let a file that was written be found. Raises as `check_room`."""
    with transaction.atomic():
        lock_owner(owner_id)
        check_room(owner_id, writer.size)
        return writer.publish(purpose, expires_at, name)


# --- Finding and deleting -----------------------------------------------------------------------
def own_files(owner_id: int) -> QuerySet[StoredFile]:
    """The owner's files that have not expired."""
    lasting = Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now())
    return StoredFile.objects.filter(lasting, owner=owner_id, purpose__in=[*PURPOSES, OUTPUT])


def find_file(owner_id: int, name: str) -> StoredFile:
    """One of the owner's files. Raises OpenAIError (404)."""
    file_id = uuid_of(FILE, name)
    file = own_files(owner_id).filter(pk=file_id).first() if file_id is not None else None
    if file is None:
        message = f"No such File object: {name[:_MAX_ID_CHARS]}"
        raise OpenAIError(HTTPStatus.NOT_FOUND, message, param="id")
    return file


def delete_file(owner_id: int, name: str) -> None:
    """Delete a file. Raises OpenAIError: 409 while a batch that is being validated reads it."""
    file = find_file(owner_id, name)
    with transaction.atomic():
        # A batch that is being made of it has locked the row (chat/openai/batches/creation.py).
        if not StoredFile.objects.select_for_update().filter(pk=file.pk).exists():
            return
        if Run.objects.filter(input_file=file.pk, state=RunState.VALIDATING).exists():
            raise OpenAIError(
                HTTPStatus.CONFLICT,
                "A batch reads this file: delete it when the batch is validated, or cancel it.",
                headers={"x-should-retry": "false"},
            )
        # Found by no request from here on, and purged if this process dies.
        expires_at = timezone.now() + UNFINISHED_KEPT
        StoredFile.objects.filter(pk=file.pk).update(purpose=UNFINISHED, expires_at=expires_at)
    delete_pieces(file.pk)
    StoredFile.objects.filter(pk=file.pk).delete()


def purge_expired() -> int:
    """Delete files whose time is over, as many as PURGE_SECONDS allow, but those that a batch is
    being made of. Returns how many."""
    deadline = time.monotonic() + PURGE_SECONDS
    validating = Run.objects.filter(state=RunState.VALIDATING, input_file__isnull=False)
    old = StoredFile.objects.filter(expires_at__lt=timezone.now()).exclude(
        pk__in=validating.values("input_file")
    )
    deleted = 0
    for file_id in old.values_list("pk", flat=True)[:1000]:
        delete_pieces(file_id)
        StoredFile.objects.filter(pk=file_id).delete()
        deleted += 1
        if time.monotonic() > deadline:
            break
    return deleted
