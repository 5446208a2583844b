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
#: Recognised by that nothing in the file contradicts them, in this order.
_STRICT: tuple[Encoding, ...] = ("utf-8", "gb18030")
#: UTF-16 without a mark is recognised by its zeros, of which text in UTF-8 or GB18030 has none.
_SAMPLE_BYTES = 4096
_MARK = "\ufeff"
_ZERO_SHARE = 0.2


def refuse_packed(head: bytes) -> None:
    """Raise FileError for archives: nothing is unpacked here, however small it is."""
    for magic, what in _PACKED:
        if head.startswith(magic):
            raise FileError("packed_file", f"This is {what}. Send it as plain text.")


def detect_encoding(pieces: Iterable[bytes]) -> Encoding:
    """The encoding of a file. Reads all of it, unless its first bytes say it."""
    detector = EncodingDetector()
    for piece in pieces:
        detector.feed(piece)
        if detector.is_certain:
            break
    return detector.encoding or "gb18030"


class EncodingDetector:
    """Recognises the encoding of a file by its pieces, in their order."""

    def __init__(self) -> None:
        self._by_first_bytes: Encoding | None = None
        self._is_first = True
        #: Decoders of what the file may still be.
        self._decoders = {
            encoding: codecs.getincrementaldecoder(encoding)() for encoding in _STRICT
        }

    @property
    def is_certain(self) -> bool:
        """Whether the rest of the file changes nothing."""
        return self._by_first_bytes is not None or "utf-8" not in self._decoders

    @property
    def encoding(self) -> Encoding | None:
        """None: it is no text in UTF-8, UTF-16 or GB18030, as far as it was fed."""
        return self._by_first_bytes or next(iter(self._decoders), None)

    def feed(self, piece: bytes, *, is_last: bool = False) -> None:
        if self._is_first:
            self._is_first = False
            self._by_first_bytes = encoding_by_first_bytes(piece)
        if self._by_first_bytes is not None:
            return
        for encoding, decoder in list(self._decoders.items()):
            try:
                decoder.decode(piece, is_last)
            except UnicodeDecodeError:
                del self._decoders[encoding]


def encoding_by_first_bytes(head: bytes) -> Encoding | None:
    """The encoding that a file's first bytes show; None where all of it has to be read."""
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
    """Give the lines with their numbers from 1, each with an end; None in place of one that is too
    long. A byte order mark before a line is left out: files are put together with theirs.

    Raises FileError for bytes that are no text.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    number, kept, is_too_long, end = 1, "", False, ""
    try:
        for text in _decoded(pieces, decoder):
            end = end or _line_end(text)
            *whole, rest = text.split(end)
            for line in whole:
                joined = (kept + line).lstrip(_MARK)
                is_too_long = is_too_long or len(joined) > max_line_chars
                yield number, None if is_too_long else joined + "\n"
                number, kept, is_too_long = number + 1, "", False
            if is_too_long or len(kept) + len(rest) > max_line_chars:
                kept, is_too_long = "", True
            else:
                kept += rest
    except UnicodeDecodeError as error:
        raise _no_text(error, encoding, number) from None
    if kept or is_too_long:
        yield number, None if is_too_long else kept.lstrip(_MARK)


def _line_end(text: str) -> str:
    """The end of lines in a file that begins like this: CR alone, as old programs for the Mac write
    it, or LF, which a CR may precede."""
    return "\r" if "\r" in text[:-1] and "\n" not in text else "\n"


def _no_text(error: UnicodeDecodeError, encoding: Encoding, line: int) -> FileError:
    """`line`: the one in which the piece that cannot be decoded begins."""
    before = error.object[: error.start].decode(encoding, "ignore")
    name = encoding.upper()
    message, params = f"This is no text in {name}.", {"encoding": name}
    return FileError("invalid_encoding", message, line=line + before.count("\n"), params=params)


def _decoded(pieces: Iterable[bytes], decoder: codecs.IncrementalDecoder) -> Iterator[str]:
    for piece in pieces:
        if text := decoder.decode(piece):
            yield text
    yield decoder.decode(b"", final=True)
