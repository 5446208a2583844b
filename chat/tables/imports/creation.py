"""Storing the file of an import as it comes: a piece is in memory at a time."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.owner_lock import lock_owner
from aily.database.outages import require_disk_room
from aily.problems import (
    Conflict,
    IdempotencyMismatch,
    InvalidRequest,
    LimitReached,
    TooLarge,
)
from chat.exceptions import EmptyFile, PackedFile, because
from chat.models.files import PIECE_BYTES, FileWriter
from chat.reasons import Reason
from chat.runs.reading.encodings import EncodingDetector, refuse_packed
from chat.runs.reading.records import FileError
from chat.tables.fields import check_name
from chat.tables.imports.inspecting import KEPT, PURPOSE
from chat.tables.models import Import, Table, TransferState
from chat.tables.models.tables import MAX_NAME_CHARS
from chat.tables.models.transfers import ENDED_TRANSFERS

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
#: The same file twice within this time is most likely a mistake.
TWICE = timedelta(days=1)
_FORMATS = {
    **dict.fromkeys(("csv", "tsv", "txt"), "csv"),
    **dict.fromkeys(("jsonl", "ndjson", "json"), "jsonl"),
    "xlsx": "xlsx",
}


@dataclass(frozen=True, slots=True)
class NewImport:
    """`table` None: a new one of the name `new_table`. `format` "": guessed from the file's name,
    else from its first bytes."""

    owner_id: int
    table: Table | None
    file_name: str
    format: str = ""
    new_table: str = ""
    key: str | None = None


def create_import(new: NewImport, content: Iterable[bytes]) -> tuple[Import, bool]:
    """Store the file and its import. Returns it, and whether it is new: a request repeated under
    its idempotency key gives the import of the first. Raises Problem."""
    name = _file_name(new.file_name)
    new_table = _table_name(new, name)
    if new.key is None:
        _check_room(new.owner_id)
    upload = _Upload(FileWriter(new.owner_id, name), new.format or _format_of(name))
    try:
        upload.read(content)
        digest = _digest(new, upload.format, upload.sha256)
        if new.key is not None:
            if (earlier := _earlier(new.owner_id, new.key, digest)) is not None:
                upload.writer.discard()
                return earlier, False
            _check_room(new.owner_id)
        job = Import(
            table=new.table,
            new_table=new_table,
            owner_id=new.owner_id,
            format=upload.format,
            file_name=name,
            sha256=upload.sha256,
            options={"encoding": upload.encoding, "chosen": {}},
            idempotency_key=new.key,
            request_digest=digest if new.key else "",
        )
        _publish(job, upload.writer)
    except BaseException:
        upload.writer.discard()
        raise
    return job, True


def _publish(job: Import, writer: FileWriter) -> None:
    try:
        with transaction.atomic():
            lock_owner(job.owner_id)
            _check_room(job.owner_id)
            job.file = writer.publish(PURPOSE, timezone.now() + KEPT)
            job.save(force_insert=True)
    except IntegrityError:
        raise because(
            Conflict, Reason("key_in_use"), field="Idempotency-Key", retry_after_seconds=1
        ) from None


class _Upload:
    """A file that is being stored: unpacked, digested, and its encoding recognised."""

    def __init__(self, writer: FileWriter, form: str) -> None:
        self.writer = writer
        #: Once something was read it is known.
        self.format = form
        self._digest = hashlib.sha256()
        self._detector = EncodingDetector()

    def read(self, content: Iterable[bytes]) -> None:
        """Store it all. Raises Problem."""
        size = 0
        for piece in self._unpacked(iter(content)):
            if not size:
                self._check_head(piece)
            size += len(piece)
            self._check_size(size)
            self.writer.write(piece)
            self._digest.update(piece)
            self._detector.feed(piece)
        self._detector.feed(b"", is_last=True)
        self.writer.flush()
        if not size:
            raise EmptyFile("The file is empty.", field="body")

    def _check_size(self, size: int) -> None:
        is_workbook = self.format == "xlsx"
        limit: int = (
            settings.IMPORT_MAX_WORKBOOK_BYTES if is_workbook else settings.IMPORT_MAX_BYTES
        )
        if size > limit:
            raise TooLarge(f"A file has at most {limit} bytes, unpacked.", field="body")

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def encoding(self) -> str:
        """Empty if it is not recognised."""
        return self._detector.encoding or ""

    def _unpacked(self, content: Iterator[bytes]) -> Iterator[bytes]:
        """The content; unpacked, a piece at a time, if it is packed by gzip."""
        first = b""
        while len(first) < len(_ZIP) and (chunk := next(content, b"")):
            first += chunk
        if not first.startswith(_GZIP) or self.format == "xlsx":
            yield first
            yield from content
            return
        unpacker = zlib.decompressobj(wbits=31)
        try:
            for packed in _and_rest(first, content):
                rest = packed
                while rest:
                    yield unpacker.decompress(rest, PIECE_BYTES)
                    rest = unpacker.unconsumed_tail
                if unpacker.unused_data:
                    raise _not_unpacked("Pack the file once, as one part.", "packed_twice")
        except zlib.error:
            raise _not_unpacked("The file cannot be unpacked.", "not_unpacked") from None
        if not unpacker.eof:
            raise _not_unpacked("The packed file ends early.", "packed_ends")

    def _check_head(self, head: bytes) -> None:
        self.format = self.format or _format_by(head)
        if self.format == "xlsx":
            if not head.startswith(_ZIP):
                message = "This is no workbook (XLSX)."
                raise InvalidRequest(message, field="body", params={"rule": "no_workbook"})
            return
        try:
            refuse_packed(head)
        except FileError as error:
            raise PackedFile(error.message, field="body") from None


def _not_unpacked(message: str, rule: str) -> InvalidRequest:
    return InvalidRequest(message, field="body", params={"rule": rule})


def _and_rest(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _file_name(name: str) -> str:
    """The last part of a path, without control characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in last if character.isprintable())[:MAX_NAME_CHARS]


def _format_of(name: str) -> str:
    """Return the format of a file by its extension; empty if that is unknown."""
    ending = name.lower().removesuffix(".gz").rpartition(".")[2]
    return _FORMATS.get(ending, "")


def _format_by(head: bytes) -> str:
    if head.startswith(_ZIP):
        return "xlsx"
    return "jsonl" if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"


def _table_name(new: NewImport, file_name: str) -> str:
    """The name of the table to create, by default the file's; empty for a table that is there."""
    if new.table is not None:
        return ""
    return check_name(new.new_table or file_name.partition(".")[0] or "Table", "query.name")


def _digest(new: NewImport, form: str, sha256: str) -> str:
    table = new.table.pk if new.table is not None else ""
    return hashlib.sha256(f"{table}\n{new.new_table}\n{form}\n{sha256}".encode()).hexdigest()


def _earlier(owner_id: int, key: str, digest: str) -> Import | None:
    job = Import.objects.filter(owner=owner_id, idempotency_key=key).first()
    if job is not None and job.request_digest != digest:
        message = "This idempotency key was used with another request."
        raise IdempotencyMismatch(message, field="Idempotency-Key")
    return job


def _check_room(owner_id: int) -> None:
    """Raise StorageFull or LimitReached unless the owner may have another import."""
    require_disk_room()
    limit: int = settings.IMPORTS_MAX_PER_USER
    unended = Import.objects.filter(owner=owner_id).exclude(state__in=ENDED_TRANSFERS)
    if unended.count() >= limit:
        raise LimitReached(
            f"At most {limit} of your imports may not have ended: start or delete some.",
            limit_name="imports_max_per_user",
            limit=limit,
            retry_after_seconds=60,
        )


def duplicate_of(job: Import) -> Import | None:
    """The last import of the same file into the same table, within a day."""
    if job.table_id is None or not job.sha256:
        return None
    same = Import.objects.filter(
        table=job.table_id,
        sha256=job.sha256,
        state__in=[TransferState.DONE, TransferState.RUNNING],
        created_at__gt=timezone.now() - TWICE,
        undone_at=None,
    )
    return same.exclude(pk=job.pk).order_by("-id").first()
