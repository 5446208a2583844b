"""What an answer may hold besides text and tool calls: speech and images."""

from __future__ import annotations

from chat.llm.errors import EmptyAnswerError, OtherContentError
from chat.llm.wire import WireMessage, has_value


class OtherContent:
    """The words of speech are text. The sound itself, and images, are not kept."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    @staticmethod
    def is_in(message: WireMessage) -> bool:
        return message.audio is not None or bool(message.images and has_value(message.images))

    def take(self, message: WireMessage) -> str:
        """Note what a message has, and return the words of its speech if it has no other text."""
        if message.audio is None:
            self._kinds.add("images or other parts")
            return ""
        self._kinds.add("audio")
        return "" if message.content else message.audio.transcript or ""

    def error(self, reason: str) -> EmptyAnswerError:
        """The error of an answer without text."""
        nothing = f"the answer ({reason}) has neither text nor a tool call"
        if not self._kinds:
            return EmptyAnswerError(nothing)
        return OtherContentError(f"{nothing}, but {' and '.join(sorted(self._kinds))}")
