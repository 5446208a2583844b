"""Reasoning that a server leaves in the answer's text, between tags at its beginning."""

from __future__ import annotations

import msgspec

#: The tags that models write, and with which vLLM's parsers look for their reasoning.
_TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
}
#: Characters of white space before a tag: so many are held back.
_MAX_BLANKS = 200
_LINE_ENDS = "\r\n"


class InlineReasoning(msgspec.Struct, gc=False):
    """Separates reasoning between tags from the text after them, however the pieces are cut.

    Holds back only what may be the beginning of a tag. Line ends that begin either are removed.
    """

    is_open: bool = True
    """Whether pieces are to be given to `split`; after that all is text."""
    _held: str = ""
    _closing_tag: str = ""
    """What ends the reasoning; empty before it has begun."""
    _has_thought: bool = False
    _has_ended: bool = False

    @property
    def has_begun(self) -> bool:
        """Whether the text began with a tag."""
        return bool(self._closing_tag)

    @property
    def is_holding(self) -> bool:
        """Whether something is held back."""
        return bool(self._held)

    @property
    def holds_text(self) -> bool:
        """Whether something is held back that is text if nothing more comes."""
        return not self._closing_tag and bool(self._held)

    def split(self, piece: str) -> tuple[str, str]:
        """Return what a piece of the answer's text adds to the text, and to the reasoning."""
        piece = self._held + piece
        self._held = ""
        if self._has_ended:
            return self._after(piece), ""
        return self._within(piece) if self._closing_tag else self._before(piece)

    def end(self) -> tuple[str, str]:
        """Return what was held back, as `split` does: the answer has ended."""
        if not self._closing_tag:
            return self.close(), ""
        held, self._held = self._held, ""
        return "", held

    def close(self) -> str:
        """Return what was held back before a tag: all is text. No more pieces are to be given."""
        self.is_open = False
        held, self._held = self._held, ""
        return held

    def _before(self, piece: str) -> tuple[str, str]:
        begun = piece.lstrip()
        if len(piece) - len(begun) > _MAX_BLANKS:
            self.is_open = False
            return piece, ""
        for opening_tag, closing_tag in _TAGS.items():
            if begun.startswith(opening_tag):
                self._closing_tag = closing_tag
                return self._within(begun[len(opening_tag) :])
        if any(tag.startswith(begun) for tag in _TAGS):
            self._held = piece
            return "", ""
        self.is_open = False
        return piece, ""

    def _within(self, piece: str) -> tuple[str, str]:
        if not self._has_thought:
            piece = piece.lstrip(_LINE_ENDS)
            self._has_thought = bool(piece)
        tag = self._closing_tag
        reasoning, found, rest = piece.partition(tag)
        if found:
            self._has_ended = True
            return self._after(rest), reasoning
        # A tag's first character stands nowhere else in it.
        start = piece.rfind(tag[0], max(0, len(piece) - len(tag) + 1))
        if start >= 0 and tag.startswith(piece[start:]):
            self._held = piece[start:]
            return "", piece[:start]
        return "", piece

    def _after(self, piece: str) -> str:
        text = piece.lstrip(_LINE_ENDS)
        self.is_open = not text
        return text
