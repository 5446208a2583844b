"""Files that users send, kept in PostgreSQL in pieces: every host can read them, and a backup of
the database has them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from django.conf import settings
from django.db import models
from django.utils import timezone

from aily.database.rows import fetch_column
from aily.database.threads import in_database
from chat.models.ids import tagged_id

#: Bytes of a piece, and so of what a reader or writer has in memory.
PIECE_BYTES = 1_048_576

MAX_NAME_CHARS = 200
#: The purpose of a file that is being written or deleted: no request finds it.
UNFINISHED = "unfinished"
#: After how long such a file is purged, which a process that died has left behind.
UNFINISHED_KEPT = timedelta(days=1)
#: Pieces deleted by one statement.
_PAGE = 64

_PIECE = "SELECT data FROM chat_filepiece WHERE file_id = %s AND number = %s"


class StoredFile(models.Model):
    """A file of a user. Its bytes are in its pieces, and do not change."""

    id = models.UUIDField(primary_key=True, default=tagged_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="+"
    )
    name = models.CharField(max_length=MAX_NAME_CHARS)
    purpose = models.CharField(max_length=20)
    bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager[StoredFile]] = models.Manager()

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["owner", "-id"], name="file_owner_recent"),
            models.Index(
                fields=["expires_at"],
                condition=models.Q(expires_at__isnull=False),
                name="file_expiry",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class FilePiece(models.Model):
    """Up to PIECE_BYTES of a file. `number` counts from 0."""

    file = models.ForeignKey(
        StoredFile, on_delete=models.CASCADE, db_index=False, related_name="pieces"
    )
    number = models.PositiveIntegerField()
    data = models.BinaryField()

    objects: ClassVar[models.Manager[FilePiece]] = models.Manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["file", "number"], name="one_piece_a_number"),
        ]

    def __str__(self) -> str:
        return f"{self.file_id}[{self.number}]"


class FileWriter:
    """Writes a new file, a piece a statement. Nobody finds it until it is published."""

    def __init__(self, owner_id: int, name: str) -> None:
        self._owner_id = owner_id
        self._name = name[:MAX_NAME_CHARS]
        self._buffer = bytearray()
        self._pieces = 0
        self.size = 0
        #: None as long as nothing was stored.
        self.file_id: UUID | None = None

    def write(self, data: bytes) -> None:
        """Add bytes; they are stored when they fill a piece."""
        self._buffer += data
        while len(self._buffer) >= PIECE_BYTES:
            self.append(bytes(self._buffer[:PIECE_BYTES]))
            del self._buffer[:PIECE_BYTES]

    def append(self, piece: bytes) -> None:
        """Store the next piece."""
        FilePiece.objects.create(file_id=self._created(), number=self._pieces, data=piece)
        self._pieces += 1
        self.size += len(piece)

    def _created(self) -> UUID:
        if self.file_id is None:
            file = StoredFile.objects.create(
                owner_id=self._owner_id,
                name=self._name,
                purpose=UNFINISHED,
                expires_at=timezone.now() + UNFINISHED_KEPT,
            )
            self.file_id = file.pk
        return self.file_id

    def flush(self) -> None:
        """Store the rest of what was written."""
        if self._buffer:
            self.append(bytes(self._buffer))
            self._buffer.clear()

    def publish(self, purpose: str, expires_at: datetime | None, name: str = "") -> StoredFile:
        """Let the file be found, which may be empty. What is written must be flushed."""
        file = StoredFile.objects.get(pk=self._created())
        file.name = name[:MAX_NAME_CHARS] or file.name
        file.purpose, file.bytes, file.expires_at = purpose, self.size, expires_at
        file.save(update_fields=["name", "purpose", "bytes", "expires_at"])
        return file

    def discard(self) -> None:
        if self.file_id is not None:
            delete_pieces(self.file_id)
            StoredFile.objects.filter(pk=self.file_id).delete()


def append_pieces(file_id: UUID, pieces: Iterable[bytes]) -> None:
    """Insert the pieces of a new file, one statement each: one is in memory at a time."""
    for number, piece in enumerate(pieces):
        FilePiece.objects.create(file_id=file_id, number=number, data=piece)


def read_pieces(file_id: UUID) -> Iterator[bytes]:
    """Give the bytes of a file, a piece at a time; no connection is held in between."""
    number = 0
    while (piece := read_piece(file_id, number)) is not None:
        yield piece
        number += 1


def delete_file(file_id: UUID) -> None:
    """Delete a file with its bytes. Harmless if there is none."""
    delete_pieces(file_id)
    StoredFile.objects.filter(pk=file_id).delete()


def read_piece(file_id: UUID, number: int) -> bytes | None:
    """A piece of a file; None behind the last one."""
    found = fetch_column(bytes, _PIECE, [file_id, number])
    return found[0] if found else None


async def stream_pieces(file_id: UUID) -> AsyncGenerator[bytes]:
    """`read_pieces` on an event loop."""
    number = 0
    while (piece := await in_database(read_piece, file_id, number)) is not None:
        yield piece
        number += 1


async def stream_part(file_id: UUID, part: range) -> AsyncGenerator[bytes]:
    """Give these bytes of a file, a piece at a time: all pieces but the last are equally long."""
    for number in range(part.start // PIECE_BYTES, -(-part.stop // PIECE_BYTES)):
        piece = await in_database(read_piece, file_id, number)
        if piece is None:
            return
        before = number * PIECE_BYTES
        yield piece[max(part.start - before, 0) : part.stop - before]


def delete_pieces(file_id: UUID) -> None:
    """Delete the bytes of a file, a page a statement."""
    pieces = FilePiece.objects.filter(file=file_id)
    while numbers := list(pieces.order_by("number").values_list("number", flat=True)[:_PAGE]):
        pieces.filter(number__in=numbers).delete()
