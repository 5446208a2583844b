"""What one connection remembers of responses that are not stored, so that the next can go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from chat.openai.responses.objects import JsonObject
from chat.tool_calls import PromptMessage

#: Responses of a connection, and bytes of their messages. The oldest are forgotten.
MAX_RESPONSES = 64
MAX_BYTES = 2_097_152
#: Bytes of the messages that all connections of one owner to this process remember together. The
#: one that would pass it forgets its own.
MAX_OWNER_BYTES = 67_108_864

#: By owner: bytes that connections of this process remember.
_of_owners: Counter[int] = Counter()


@dataclass(frozen=True, slots=True)
class _Remembered:
    messages: Sequence[PromptMessage]
    items: Mapping[str, JsonObject]
    size: int


@dataclass(slots=True)
class Memory:
    """The last responses of one connection, by their ids, oldest first."""

    owner_id: int
    _responses: dict[str, _Remembered] = field(default_factory=dict)
    _size: int = 0
    _is_closed: bool = False

    def add(self, response: JsonObject, messages: Sequence[PromptMessage]) -> None:
        """Remember a response with its output. `messages` are all up to its end."""
        if self._is_closed:
            return
        items = {item["id"]: item for item in response["output"]}
        size = len(msgspec.json.encode([messages, items]))
        self._responses[response["id"]] = _Remembered(messages, items, size)
        self._resize(size)
        while self._responses and self._is_full():
            self._resize(-self._responses.pop(next(iter(self._responses))).size)

    def clear(self) -> None:
        """Forget everything, for good: the connection is closed."""
        self._is_closed = True
        self._responses.clear()
        self._resize(-self._size)

    def _is_full(self) -> bool:
        is_too_large = self._size > MAX_BYTES or _of_owners[self.owner_id] > MAX_OWNER_BYTES
        return is_too_large or len(self._responses) > MAX_RESPONSES

    def _resize(self, size: int) -> None:
        self._size += size
        _of_owners[self.owner_id] += size
        if not _of_owners[self.owner_id]:
            del _of_owners[self.owner_id]

    def messages(self, response_id: str | None) -> list[PromptMessage] | None:
        """The messages up to the end of a response; None if it is not known here."""
        found = self._responses.get(response_id or "")
        return list(found.messages) if found is not None else None

    def items(self) -> dict[str, JsonObject]:
        """All output items that are remembered, by their ids."""
        return {
            name: item
            for remembered in self._responses.values()
            for name, item in remembered.items.items()
        }
