"""The events of a response as a stream of server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from aily.http.event_streams import Interruption
from aily.rest.json_input import one_line
from chat.openai.errors import OpenAIError
from chat.openai.responses.events import BEFORE_ALL
from chat.openai.responses.objects import ResponseEvent
from chat.openai.waiting import interrupted

_DONE = b"data: [DONE]\n\n"


class SentEvents:
    """Events on their way to a client, to be sent once."""

    def __init__(self, events: AsyncGenerator[ResponseEvent]) -> None:
        self._events = events
        #: Of the last event.
        self._number = BEFORE_ALL

    async def server_sent(self) -> AsyncGenerator[bytes]:
        """Yield nothing first, once the events have begun; then each of them."""
        async with aclosing(self._events):
            event = await anext(self._events, None)
            yield b""
            while event is not None:
                self._number = event.number
                yield _server_sent(event)
                event = await anext(self._events, None)
            yield _DONE

    def last_event(self, reason: Interruption) -> bytes:
        """The last event of a stream that is interrupted. None at a shutdown: a stored response is
        read on from the next process, by its number."""
        error = interrupted(reason)
        if reason is Interruption.SHUTDOWN or not isinstance(error, OpenAIError):
            return b""
        fields = {"code": error.code, "message": error.message, "param": error.param}
        return _server_sent(ResponseEvent("error", self._number + 1, fields))


def _server_sent(event: ResponseEvent) -> bytes:
    # No ids: after one, OpenAI's client takes every blank line for an event.
    data = one_line(msgspec.json.encode(event.body()))
    return b"event: %b\ndata: %b\n\n" % (event.type.encode(), data)
