"""Server-sent events out of the bytes of a provider's response."""

from __future__ import annotations

from chat.llm.errors import InvalidResponseError

MAX_EVENT_BYTES = 1024 * 1024
_BETWEEN = b"\n\ndata: "
_COMMA = b",".ljust(len(_BETWEEN))
_END_MARK = b"data: [DONE]\n\n"


class EventDecoder:
    """Gives the data of each event, from bytes that may be cut anywhere.

    It works on bytes, so that a cut inside a character or between CR and LF needs no care.
    Lines other than `data:` (comments, `event:`, `id:`, `retry:`) mean nothing here.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._line = bytearray()  # the start of a line whose end has not come
        self._data: list[bytes] = []  # the data lines of the event so far
        self._data_bytes = 0

    def array(self, chunk: bytes) -> tuple[bytes, bool] | None:
        """The data of `chunk` as one JSON array, and whether the end mark follows it, where all
        events are whole and of one line each, as most are. None where they are not: `feed` then
        takes any.

        Nothing is done for each event here, and in place of what separates them comes something as
        long: a twentieth of what `feed` costs.
        """
        if self._line or self._data or len(chunk) > self._max_event_bytes:
            return None
        is_last = chunk.endswith(_END_MARK)
        whole = chunk.removesuffix(_END_MARK) if is_last else chunk
        if is_last and not whole:
            return b"[]", True
        if not (whole.startswith(b"data: ") and whole.endswith(b"\n\n")):
            return None
        array = b"[%b]" % whole[6:-2].replace(_BETWEEN, _COMMA)
        # A line's end elsewhere: an event of several lines, or none.
        return None if b"\n" in array or b"\r" in array else (array, is_last)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that `chunk` completes. Raises InvalidResponseError."""
        self._line += chunk
        events: list[bytes] = []
        if b"\n" in chunk:
            lines = bytes(self._line).split(b"\n")
            self._line = bytearray(lines.pop())
            for line in lines:
                self._take_line(line.removesuffix(b"\r"), events)
        if len(self._line) + self._data_bytes > self._max_event_bytes:
            raise self._too_large()
        return events

    def flush(self) -> bytes:
        """The data of an event that the end of the stream left without its blank line."""
        events: list[bytes] = []
        self._take_line(bytes(self._line).removesuffix(b"\r"), events)
        self._line.clear()
        self._take_line(b"", events)
        return events[0] if events else b""

    def _take_line(self, line: bytes, events: list[bytes]) -> None:
        if line.startswith(b"data:"):
            data = line[6:] if line.startswith(b"data: ") else line[5:]
            self._data.append(data)
            self._data_bytes += len(data) + 1
            if self._data_bytes > self._max_event_bytes:
                raise self._too_large()
        elif not line and self._data:
            events.append(b"\n".join(self._data) if len(self._data) > 1 else self._data[0])
            self._data.clear()
            self._data_bytes = 0

    def _too_large(self) -> InvalidResponseError:
        return InvalidResponseError(f"an event is larger than {self._max_event_bytes} bytes")
