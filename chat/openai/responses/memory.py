"""What one connection remembers of responses that are not stored, so that the next can go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from chat.openai.responses.objects import JsonObject
from chat.tool_calls import PromptMessage

#: Responses of a connection, and bytes of their messages. The oldest are forgotten.
MAX_RESPONSES = 64
MAX_BYTES = 2_097_152


@dataclass(frozen=True, slots=True)
class _Remembered:
    messages: Sequence[PromptMessage]
    items: Mapping[str, JsonObject]
    size: int


@dataclass(slots=True)
class Memory:
    """The last responses of one connection, by their ids, oldest first."""

    _responses: dict[str, _Remembered] = field(default_factory=dict)
    _size: int = 0

    def add(self, response: JsonObject, messages: Sequence[PromptMessage]) -> None:
        """Remember a response with its output. `messages` are all up to its end."""
        items = {item["id"]: item for item in response["output"]}
        size = len(msgspec.json.encode([messages, items]))
        self._responses[response["id"]] = _Remembered(messages, items, size)
        self._size += size
        while self._size > MAX_BYTES or len(self._responses) > MAX_RESPONSES:
            self._size -= self._responses.pop(next(iter(self._responses))).size

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
