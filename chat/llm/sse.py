"""Decoder of server-sent events from the bytes of a provider's response."""

from __future__ import annotations

import re
from typing import NamedTuple

from chat.llm.errors import AnswerTooLargeError

MAX_EVENT_BYTES = 1024 * 1024
#: Limit of kept lines that are no event, such as a plain-text error.
MAX_STRAY_BYTES = 2048
_BETWEEN = b"\n\ndata: "
_COMMA = b",".ljust(len(_BETWEEN))
_END_MARK = b"data: [DONE]\n\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK_LINES = re.compile(b"\n{3,}")
_FIELDS = frozenset({b"id", b"retry"})
_OBJECT_OR_END = (b"{", b"[DONE]")


class Event(NamedTuple):
    """`is_error`: it had the field `event: error`."""

    data: bytes
    is_error: bool = False


#: The data of one event, or of several as a JSON array; whether it is a single event; whether the
#: end mark follows. A plain tuple, as each read makes one.
WholeEvents = tuple[bytes, bool, bool]


class EventDecoder:
    """Decodes events from bytes that may be cut anywhere, also inside a character.

    Ignores comments, `id:` and `retry:`. `stray` keeps the beginning of lines that are no field;
    `lines` counts lines, several blank ones in a row as one.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._line = bytearray()  # the start of a line whose end has not come
        self._data: list[bytes] = []  # the data lines of the event so far
        self._data_bytes = 0
        self._is_error = False
        self._is_first_line = True
        self._ended_with_cr = False  # an LF at the start of the next chunk belongs to it
        self.stray = b""
        self.lines = 0

    @property
    def pending_bytes(self) -> int:
        """Size of the incomplete event."""
        return len(self._line) + self._data_bytes

    def whole(self, chunk: bytes) -> WholeEvents | None:
        """Return the data of `chunk` if all its events are whole and of one line, the usual form.
        None otherwise: use `feed`.

        It costs a twentieth of `feed`: no work for each event, and the separators are replaced by
        equally long ones.
        """
        if self._line or self._data or self._is_error or len(chunk) > self._max_event_bytes:
            return None
        is_last = chunk.endswith(_END_MARK)
        events = chunk.removesuffix(_END_MARK) if is_last else chunk
        if is_last and not events:
            return b"[]", False, True
        if not (events.startswith(b"data: ") and events.endswith(b"\n\n")):
            return None
        data = events[6:-2]
        if b"\r" in data:
            return None
        if b"\n" not in data:
            return data, True, is_last
        array = b"[%b]" % data.replace(_BETWEEN, _COMMA)
        # A line end elsewhere: an event of several lines, or another field.
        return None if b"\n" in array else (array, False, is_last)

    @staticmethod
    def separate(chunk: bytes, count: int) -> list[bytes]:
        """Return the data of the last `count` events of a chunk that `whole` accepted."""
        return chunk.removesuffix(_END_MARK)[6:-2].rsplit(_BETWEEN, count)[-count:]

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes. Raises AnswerTooLargeError."""
        chunk = self._with_plain_line_ends(chunk)
        events: list[Event] = []
        self._line += chunk
        if b"\n" in chunk:
            lines = _BLANK_LINES.sub(b"\n\n", bytes(self._line)).split(b"\n")
            self._line = bytearray(lines.pop())
            self.lines += len(lines)
            for line in lines:
                self._take_line(line, events)
        if self.pending_bytes > self._max_event_bytes:
            raise self._too_large()
        return events

    def flush(self) -> list[Event]:
        """Return the last event of a stream that ended without a blank line."""
        events: list[Event] = []
        self._take_line(bytes(self._line), events)
        self._line.clear()
        self._take_line(b"", events)
        return events

    def _with_plain_line_ends(self, chunk: bytes) -> bytes:
        """Normalise line ends (LF, CR LF, CR); a chunk may end between CR and LF."""
        if self._ended_with_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._ended_with_cr = False
        if b"\r" not in chunk:
            return chunk
        self._ended_with_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take_line(self, line: bytes, events: list[Event]) -> None:
        if self._is_first_line:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._is_first_line = False
        if line.startswith(b"data:"):
            data = line[6:] if line.startswith(b"data: ") else line[5:]
            # An object cannot follow another without a comma: the blank line is missing.
            if self._data and self._data[-1].endswith(b"}") and data.startswith(_OBJECT_OR_END):
                self._end_event(events)
            self._take_data(data)
        elif not line:
            self._end_event(events)
        elif not line.startswith(b":"):
            self._take_other(line, events)

    def _take_data(self, data: bytes) -> None:
        self._data.append(data)
        self._data_bytes += len(data) + 1
        if self._data_bytes > self._max_event_bytes:
            raise self._too_large()

    def _end_event(self, events: list[Event]) -> None:
        if self._data or self._is_error:
            data = b"\n".join(self._data) if len(self._data) != 1 else self._data[0]
            events.append(Event(data, self._is_error))
            self._data.clear()
            self._data_bytes = 0
            self._is_error = False

    def _take_other(self, line: bytes, events: list[Event]) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._take_data(b"")
        elif name == b"event":
            self._is_error = value.strip().lower() == b"error"
        elif name == b"error":  # llama.cpp's
            events.append(Event(value, is_error=True))
        elif line.startswith(_OBJECT_OR_END) and not self._data:
            # Lines of JSON without `data:`: a whole stream of them, or an error within one.
            events.append(Event(line))
        elif name not in _FIELDS and len(self.stray) < MAX_STRAY_BYTES:
            self.stray = (self.stray + line + b"\n")[:MAX_STRAY_BYTES]

    def _too_large(self) -> AnswerTooLargeError:
        return AnswerTooLargeError(f"an event is larger than {self._max_event_bytes} bytes")
