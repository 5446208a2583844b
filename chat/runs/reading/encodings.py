"""The text encodings of files: UTF-8, UTF-16 and GB18030, recognised by their bytes."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Literal

from chat.runs.reading.records import FileError

Encoding = Literal["utf-8", "utf-16-le", "utf-16-be", "gb18030"]
_BOMS: tuple[tuple[bytes, Encoding], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: First bytes of what is packed or a workbook, and how people call it.
_PACKED = (
    (b"PK\x03\x04", "a ZIP archive or a workbook (XLSX)"),
    (b"\x1f\x8b", "packed by gzip"),
    (b"BZh", "packed by bzip2"),
    (b"\xfd7zXZ\x00", "packed by xz"),
    (b"(\xb5/\xfd", "packed by zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"%PDF-", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "a workbook (XLS)"),
)
#: UTF-16 without a mark is recognised by its zeros, of which text in UTF-8 or GB18030 has none.
_SAMPLE_BYTES = 4096
_ZERO_SHARE = 0.2


def refuse_packed(head: bytes) -> None:
    """Raise FileError for archives: nothing is unpacked here, however small it is."""
    for magic, what in _PACKED:
        if head.startswith(magic):
            raise FileError("packed_file", f"This is {what}. Send it as plain text.")


def detect_encoding(pieces: Iterable[bytes]) -> Encoding:
    """The encoding of a file. Reads all of it, unless its first bytes say it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_first = True
    for piece in pieces:
        if is_first:
            is_first = False
            if (known := _by_first_bytes(piece)) is not None:
                return known
        try:
            decoder.decode(piece)
        except UnicodeDecodeError:
            return "gb18030"
    return "utf-8"


def _by_first_bytes(head: bytes) -> Encoding | None:
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    sample = head[:_SAMPLE_BYTES]
    pairs = max(len(sample) // 2, 1)
    if sample[1::2].count(0) / pairs > _ZERO_SHARE:
        return "utf-16-le"
    if sample[::2].count(0) / pairs > _ZERO_SHARE:
        return "utf-16-be"
    return None


def decode_lines(
    pieces: Iterable[bytes], encoding: Encoding, max_line_chars: int
) -> Iterator[tuple[int, str | None]]:
    """Give the lines with their numbers from 1 and their ends; None in place of one that is too
    long. Raises FileError for bytes that are no text."""
    decoder = codecs.getincrementaldecoder(encoding)()
    number, kept, is_too_long = 1, "", False
    for text in _decoded(pieces, decoder):
        *whole, rest = text.split("\n")
        for line in whole:
            joined = kept + line
            is_too_long = is_too_long or len(joined) > max_line_chars
            yield number, None if is_too_long else joined + "\n"
            number, kept, is_too_long = number + 1, "", False
        if is_too_long or len(kept) + len(rest) > max_line_chars:
            kept, is_too_long = "", True
        else:
            kept += rest
    if kept or is_too_long:
        yield number, None if is_too_long else kept


def _decoded(pieces: Iterable[bytes], decoder: codecs.IncrementalDecoder) -> Iterator[str]:
    is_first = True
    try:
        for piece in pieces:
            text = decoder.decode(piece)
            if is_first and text:
                text, is_first = text.removeprefix("\ufeff"), False
            yield text
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise FileError("invalid_encoding", f"The file is no text in {error.encoding}.") from None
