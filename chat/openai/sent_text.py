"""How much of an answer a client was sent: text cannot be taken back on this surface."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class TextReplacedError(Exception):
    """A further attempt gives another text, and some of the one before was sent already."""


class SentText:
    """What was sent of one attempt's text and reasoning.

    Within an attempt the text only grows: a snapshot begins with all that was sent before it.
    """

    def __init__(self) -> None:
        self._attempt = 0
        self._sent_text = self._sent_reasoning = 0
        #: Where the next delta begins; behind what was sent while a snapshot comes in pieces.
        self._text_at = self._reasoning_at = 0
        self._is_step_over = False

    @property
    def is_empty(self) -> bool:
        return not (self._sent_text or self._sent_reasoning)

    def begin(self, attempt: int) -> None:
        """Note which attempt an event is of. Raises TextReplacedError."""
        if attempt == self._attempt:
            return
        if not self.is_empty:
            if not self._is_step_over:
                raise TextReplacedError
            self._sent_text = self._sent_reasoning = 0
        self._is_step_over = False
        self._attempt = attempt
        self._text_at = self._reasoning_at = 0

    def end_step(self) -> None:
        """The attempt has asked for tool calls: what the next one says comes after its text."""
        self._is_step_over = True

    def rewind(self) -> None:
        """What comes next is the text from its beginning."""
        self._text_at = self._reasoning_at = 0

    def unsent(self, text: str, reasoning: str) -> tuple[str, str]:
        """What of the next piece was not sent yet; from now on it counts as sent."""
        text, self._text_at, self._sent_text = _rest(text, self._text_at, self._sent_text)
        reasoning, self._reasoning_at, self._sent_reasoning = _rest(
            reasoning, self._reasoning_at, self._sent_reasoning
        )
        return text, reasoning


def _rest(piece: str, start: int, sent: int) -> tuple[str, int, int]:
    """The unsent part of a piece that begins at `start`, its end, and how much is sent then."""
    end = start + len(piece)
    if start == sent:
        return piece, end, end
    return piece[max(sent - start, 0) :], end, max(sent, end)


class SentLogprobs:
    """How many log probabilities of one attempt were sent.

    Deltas have them, snapshots have none: after a snapshot, the rest comes with the end.
    """

    def __init__(self) -> None:
        self._attempt = self._sent = 0
        self._waits = False

    def begin(self, attempt: int) -> None:
        """Note which attempt an event is of."""
        if attempt != self._attempt:
            self._attempt, self._sent, self._waits = attempt, 0, False

    def wait_for_end(self) -> None:
        self._waits = True

    def unsent(self, logprobs: Sequence[msgspec.Raw]) -> Sequence[msgspec.Raw]:
        """Those of the next delta that are to be sent now; they count as sent."""
        if self._waits:
            return ()
        self._sent += len(logprobs)
        return logprobs

    def rest(self, whole: Sequence[object]) -> Sequence[msgspec.Raw]:
        """What of all log probabilities of the answer was not sent."""
        return [msgspec.Raw(msgspec.json.encode(entry)) for entry in whole[self._sent :]]
