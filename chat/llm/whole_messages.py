"""Whole messages in a stream: some servers send in each what is new, others all so far."""

from __future__ import annotations

from chat.llm.wire import WireMessage


class WholeMessages:
    """What the messages of one answer said."""

    def __init__(self) -> None:
        self._text = _Growing()
        self._reasoning = _Growing()

    def leave_new(self, message: WireMessage) -> None:
        """Leave only what no message has said before."""
        message.content = self._text.new_in(message.content or "")
        if message.reasoning_content or message.reasoning:
            said = message.reasoning_content or message.reasoning or ""
            message.reasoning_content = self._reasoning.new_in(said)
            message.reasoning = None


class _Growing:
    def __init__(self) -> None:
        #: All so far; None: a text did not begin with it, so each is new.
        self._known: str | None = ""

    def new_in(self, text: str) -> str:
        if self._known is None or not text:
            return text
        if not text.startswith(self._known):
            self._known = None
            return text
        new = text[len(self._known) :]
        self._known = text
        return new
