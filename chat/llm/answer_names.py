"""By which names an answer goes: its id, the model that gives it, the response's id."""

from __future__ import annotations

import msgspec

from chat.llm.types import storable
from chat.llm.wire import WireName, decode_name

_MAX_ID_CHARS = 200
#: How many first events are searched for the answer's id: some providers send none.
_NAMELESS_EVENTS = 8


class AnswerNames(msgspec.Struct, gc=False):
    """The names of one answer. Each event repeats them, so only the first are searched."""

    model: str
    upstream_id: str | None = None
    request_id: str | None = None
    """The response header to quote to the provider's support."""
    is_known: bool = False
    """Whether no more events are to be searched."""
    _searched: int = 0

    def name_request(self, request_id: str | None) -> None:
        self.request_id = storable(request_id)[:_MAX_ID_CHARS] if request_id else None

    def search(self, data: bytes) -> None:
        """Note the names that an event has."""
        self.take(decode_name(data))
        self._searched += 1
        self.is_known = self.is_known or self._searched >= _NAMELESS_EVENTS

    def take(self, name: WireName) -> None:
        if name.id:
            self.is_known = True
            self.upstream_id = storable(name.id)[:_MAX_ID_CHARS]
        if name.model:
            self.model = storable(name.model)[:_MAX_ID_CHARS]
