"""What has come of an answer and was not taken yet: text, reasoning, log probabilities."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Raw

from chat.llm.bounded_text import take
from chat.llm.inline_reasoning import InlineReasoning
from chat.llm.opening_texts import OpeningTexts
from chat.llm.types import AnswerLimits, Delta


class AnswerPieces:
    """The pieces of one answer, each kind up to its limit.

    The loop that each token goes through appends to `text` and `reasoning` itself, and calls
    `sort` once after it.
    """

    def __init__(self, limits: AnswerLimits) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        #: Something has passed its limit.
        self.is_cut = False
        #: While it is open, each text of a delta is for `add_delta`.
        self.opening = OpeningTexts()
        self._inline = InlineReasoning()
        self._has_text = False
        self._text_room = limits.text_bytes
        self._reasoning_room = limits.reasoning_bytes
        self._logprobs: list[Raw] = []
        self._logprobs_room = limits.logprobs_bytes

    @property
    def has_text(self) -> bool:
        """Whether any text has come; reasoning between tags is none."""
        return self._has_text or self._inline.holds_text

    def add_text(self, text: str) -> None:
        if text:
            self.text.append(text)
            self.sort()

    def add_delta(self, text: str) -> None:
        """Add text of a delta, which may repeat all so far."""
        self.add_text(self.opening.new_in(text) if self.opening.is_open else text)

    def add_reasoning(self, text: str) -> None:
        self.reasoning.append(text)
        self.sort()

    def add_logprobs(self, entries: Iterable[Raw]) -> None:
        for entry in entries:
            self._logprobs_room -= len(entry)
            if self._logprobs_room < 0:
                self.is_cut = True
                return
            self._logprobs.append(entry)

    def sort(self) -> None:
        """Separate reasoning in the new texts from text."""
        if self._inline.is_open:
            self._split()
        if self.text:
            self._has_text = True

    def close_opening(self) -> None:
        """Something else than text has come: no text repeats others."""
        if self.opening.is_open:
            self.add_text(self.opening.close())

    def end_opening(self) -> None:
        """The answer has ended, as far as is known."""
        self.add_text(self.opening.end())

    def take(self, *, is_last: bool) -> Delta | None:
        """Return what came since the last call, or None. A lone surrogate, and what may be the
        beginning of a tag, wait for what follows unless `is_last`."""
        if is_last:
            self._release()
        if not (self.text or self.reasoning or self._logprobs):
            return None
        text = reasoning = ""
        if self.text:
            text, self._text_room = take(self.text, self._text_room, is_last=is_last)
        if self.reasoning:
            reasoning, self._reasoning_room = take(
                self.reasoning, self._reasoning_room, is_last=is_last
            )
        if self._text_room < 0 or self._reasoning_room < 0:
            self.is_cut = True
        logprobs, self._logprobs = self._logprobs, []
        return Delta(text, reasoning, logprobs) if text or reasoning or logprobs else None

    def _release(self) -> None:
        if self.has_text and self.opening.is_open:
            self.end_opening()
        # Also called where nothing has come: the call then goes over another connection.
        if self._inline.is_holding:
            self._keep(*self._inline.end())

    def _split(self) -> None:
        if self.reasoning and not self._inline.has_begun:
            # It has a field of its own: tags in the text are text.
            if held := self._inline.close():
                self.text.insert(0, held)
        elif self.text:
            pieces = "".join(self.text)
            self.text.clear()
            self._keep(*self._inline.split(pieces))

    def _keep(self, text: str, reasoning: str) -> None:
        if text:
            self.text.append(text)
            self._has_text = True
        if reasoning:
            self.reasoning.append(reasoning)
