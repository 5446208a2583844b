"""How an answer ended, by the finish reasons that its provider has sent."""

from __future__ import annotations

import msgspec

from chat.llm.finish_reasons import MAY_BE_EMPTY, NO_REASON, PLAIN, SAME_AS, TELLING, failure, plain
from chat.llm.types import storable

_MAX_REASON_CHARS = 200


class AnswerEnd(msgspec.Struct, gc=False):
    """The finish reason of one answer, and whether it is to be believed."""

    reason: str | None = None
    went_on: bool = False
    """Whether a part of the answer came after it."""
    other_ended: bool = False
    """Whether a choice that is not read has ended."""
    _was_alone: bool = False
    """Whether the reason stood by itself; some send one with each piece of text."""
    _payloads: int = 0

    @property
    def has_failed(self) -> bool:
        """Whether the provider says that it gave up."""
        return self.reason is not None and failure(self.reason) is not None

    def take(self, reason: str, payloads: int, *, is_alone: bool) -> bool:
        """Note a reason that came after so many payloads. Returns False if it is none."""
        known = plain(reason)
        if known in NO_REASON:
            return False
        has_gone_on = payloads > self._payloads
        # The reason is a payload too.
        self._payloads = payloads + 1
        self._was_alone = is_alone
        # A reason that says the provider gave up is final: a later one does not replace it.
        is_final = self.has_failed
        # A bare `stop` says less than that the answer was cut, unless more of it has come since.
        is_less = known in PLAIN and plain(self.reason or "") in TELLING and not has_gone_on
        if not (is_final or is_less):
            written = SAME_AS.get(known) or reason.strip()[-len(known) :]
            self.reason = storable(written)[:_MAX_REASON_CHARS]
        return True

    def is_certain(self, *, has_answer: bool) -> bool:
        """Whether the reason is known to be the answer's end: nothing more is needed."""
        if self.reason is None or not self._was_alone or self.went_on:
            return False
        return has_answer or plain(self.reason) in MAY_BE_EMPTY or self.has_failed

    def is_proven(self, *, is_done: bool, is_framed: bool, has_answer: bool) -> bool:
        """Whether nothing is missing of an answer of which no more comes.

        Text after a finish reason shows that the reason was premature, and so may be a reason
        that came with text. Then only the end mark, or a response that ended by its own framing,
        proves it.
        """
        if is_done or self.reason is None:
            # Pieces of one answer with an index each: only the first was read.
            is_another = self.reason is None and self.other_ended
            return is_done and not is_another
        if is_framed or self.went_on:
            return is_framed
        return self._was_alone or not has_answer
