"""The first texts of a stream: some servers send in each delta all so far, not what is new."""

from __future__ import annotations

#: How often a text has to be longer than the one before, with which it begins, and how long it has
#: to be, to show that: `ha`, `haha` and `-`, `--`, `---` may be what is new.
_CERTAIN_TIMES, _CERTAIN_CHARS = 2, 16
#: Where an answer has but two: how long the first has to be.
_LONG_CHARS = 8
#: How often a text in doubt may come again, until that shows that each is new: a model that repeats
#: itself is not held back.
_MAX_REPEATS = 3


class OpeningTexts:
    """Finds out by the first texts which of both a server sends. Those in doubt are held back."""

    def __init__(self) -> None:
        #: Whether texts are to be given to `new_in`.
        self.is_open = True
        self._given = ""
        self._held: list[str] = []
        #: How often a text was longer than the one before.
        self._times = 0
        #: How often one in doubt came again.
        self._repeats = 0
        self._are_snapshots = False

    def new_in(self, text: str) -> str:
        """Return what is to be passed on of this text, and of those held back."""
        last = self._held[-1] if self._held else self._given
        if self._are_snapshots:
            return self._rest_of(text) if text.startswith(self._given) else text
        if not last:
            self._given = text
            return text
        is_longer = len(text) > len(last)
        self._repeats += not is_longer
        is_repeat = is_longer or (bool(self._held) and self._repeats <= _MAX_REPEATS)
        if not is_repeat or not text.startswith(last):
            return self.close() + text
        self._held.append(text)
        self._times += is_longer
        if self._times < _CERTAIN_TIMES or len(text) < _CERTAIN_CHARS:
            return ""
        self._are_snapshots = True
        self._held.clear()
        return self._rest_of(text)

    def close(self) -> str:
        """Return what was held back: each text was new. No more texts are to be given."""
        self.is_open = False
        held, self._held = self._held, []
        return "".join(held)

    def end(self) -> str:
        """Return what is new in the texts held back, at the end of the answer."""
        is_long = len(self._given) >= _LONG_CHARS
        if self._held and (self._times >= _CERTAIN_TIMES or is_long):
            self._held = [self._held[-1][len(self._given) :]]
        return self.close()

    def _rest_of(self, text: str) -> str:
        rest = text[len(self._given) :]
        self._given = text
        return rest
