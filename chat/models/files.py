"""Files that users send, kept in PostgreSQL in pieces: every host can read them, and a backup of
the database has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar
from uuid import UUID

from django.conf import settings
from django.db import models

from aily.database.rows import fetch_column
from chat.models.ids import tagged_id

#: Bytes of a piece, and so of what a reader or writer has in memory.
PIECE_BYTES = 1_048_576

_PIECE = "SELECT data FROM chat_filepiece WHERE file_id = %s AND number = %s"


class StoredFile(models.Model):
    """A file of a user. Its bytes are in its pieces, and do not change."""

    id = models.UUIDField(primary_key=True, default=tagged_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="+"
    )
    name = models.CharField(max_length=200)
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


def append_pieces(file_id: UUID, pieces: Iterable[bytes]) -> None:
    """Insert the pieces of a new file, one statement each: one is in memory at a time."""
    for number, piece in enumerate(pieces):
        FilePiece.objects.create(file_id=file_id, number=number, data=piece)


def read_pieces(file_id: UUID) -> Iterator[bytes]:
    """Give the bytes of a file, a piece at a time; no connection is held in between."""
    number = 0
    while found := fetch_column(bytes, _PIECE, [file_id, number]):
        yield found[0]
        number += 1
