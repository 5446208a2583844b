"""Server-sent events out of the bytes of a provider's response."""

from __future__ import annotations

import re
from typing import NamedTuple

from chat.llm.errors import AnswerTooLargeError

MAX_EVENT_BYTES = 1024 * 1024
#: Of what is no event, as a plain text of an error is none.
MAX_STRAY_BYTES = 2048
_BETWEEN = b"\n\ndata: "
_COMMA = b",".ljust(len(_BETWEEN))
_END_MARK = b"data: [DONE]\n\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK_LINES = re.compile(b"\n{3,}")
_FIELDS = frozenset({b"id", b"retry"})


class Event(NamedTuple):
    """`is_error`: it was announced as one, by `event: error`."""

    data: bytes
    is_error: bool = False


#: The data of one event, or of several as a JSON array; whether it is one; whether the end mark
#: follows. A plain tuple: there is one for each read.
WholeEvents = tuple[bytes, bool, bool]


class EventDecoder:
    """Gives the events, from bytes that may be cut anywhere.

    It works on bytes, so that a cut inside a character needs no care. Comments, `id:` and `retry:`
    mean nothing here. `stray` is the beginning of what stood on lines that are no field, `lines`
    counts all but blank ones in a row.
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
        """Of the event that is not complete yet."""
        return len(self._line) + self._data_bytes

    def whole(self, chunk: bytes) -> WholeEvents | None:
        """The data of `chunk` where all events are whole and of one line each, as most are. None
        where they are not: `feed` then takes any.

        Nothing is done for each event here, and in place of what separates them comes something as
        long: a twentieth of what `feed` costs.
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
        # A line's end elsewhere: an event of several lines, or none.
        return None if b"\n" in array else (array, False, is_last)

    @staticmethod
    def separate(chunk: bytes, count: int) -> list[bytes]:
        """The data of the last `count` events of what `whole` has taken."""
        return chunk.removesuffix(_END_MARK)[6:-2].rsplit(_BETWEEN, count)[-count:]

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. Raises AnswerTooLargeError."""
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
        """An event that the end of the stream left without its blank line."""
        events: list[Event] = []
        self._take_line(bytes(self._line), events)
        self._line.clear()
        self._take_line(b"", events)
        return events

    def _with_plain_line_ends(self, chunk: bytes) -> bytes:
        """Lines may end with LF, CR LF or CR, and chunks between the two."""
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
            self._take_data(line[6:] if line.startswith(b"data: ") else line[5:])
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
        elif line.startswith(b"{") and not self._data:
            # An error that a server wrote into its stream without the form of an event.
            events.append(Event(line))
        elif name not in _FIELDS and len(self.stray) < MAX_STRAY_BYTES:
            self.stray = (self.stray + line + b"\n")[:MAX_STRAY_BYTES]

    def _too_large(self) -> AnswerTooLargeError:
        return AnswerTooLargeError(f"an event is larger than {self._max_event_bytes} bytes")
