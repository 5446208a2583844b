"""The arguments of one tool call, from fragments that go on, or that each repeat all so far."""

from __future__ import annotations

import json

import msgspec

from chat.llm.types import storable

_decoder = json.JSONDecoder(strict=False)
#: How often a fragment is longer than the one before, with which it begins, until they count as
#: snapshots: objects within objects of the same keys may look like it once.
_CERTAIN = 2


class Arguments:
    """Joins fragments. `length` is that of all of them, in characters."""

    __slots__ = ("_grow", "_growths", "_pieces", "length")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.length = 0
        #: Whether each fragment so far began with the one before.
        self._grow = True
        self._growths = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    @property
    def last(self) -> str:
        """The last fragment."""
        return self._pieces[-1] if self._pieces else ""

    def add(self, fragment: str) -> str:
        """Take a fragment. Returns what is new in it, as far as that is known yet."""
        if self._pieces == ["{}"] and fragment.lstrip().startswith("{"):
            # Some servers send an empty object before the arguments.
            self._replace(fragment)
            return fragment
        last = self.last
        # The comparison takes no longer than the fragment is, also in a flood.
        self._grow = self._grow and fragment.startswith(last)
        if self._grow and 0 < len(last) < len(fragment):
            self._growths += 1
        if self._growths >= _CERTAIN and fragment.lstrip().startswith("{"):
            self._replace(fragment)
            return fragment.removeprefix(last)
        self._pieces.append(fragment)
        self.length += len(fragment)
        return fragment

    def is_repeated_by(self, fragment: str) -> bool:
        """Whether a fragment is an object that says all so far once more."""
        is_object = fragment.startswith("{") and fragment.rstrip().endswith("}")
        # The length first: joining for each fragment of a flood would take a quadratic time.
        return is_object and len(fragment) == self.length and fragment == "".join(self._pieces)

    def whole(self) -> list[str]:
        """The arguments of the call. More than one where a server has glued those of several calls
        together. Many send none for a function without parameters, which is `{}`."""
        text = storable("".join(self._pieces))
        if text.startswith('"'):
            text = _decoded_again(text)
        if not text.strip():
            return ["{}"]
        if _is_json(text):
            return [text]
        if self._grow and len(self._pieces) > 1 and _is_json(last := storable(self.last)):
            return [last]
        return _separate_objects(text) or [text]

    def _replace(self, fragment: str) -> None:
        self._pieces = [fragment]
        self.length = len(fragment)


def _decoded_again(text: str) -> str:
    """An object that its server has encoded twice; anything else as it is."""
    try:
        inner = msgspec.json.decode(text, type=str)
    except (msgspec.DecodeError, UnicodeError):
        return text
    return inner if inner.lstrip().startswith("{") else text


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _separate_objects(text: str) -> list[str]:
    """The objects that follow one another in `text`, without those that a later one says again;
    none where it is anything else."""
    objects: list[str] = []
    end = 0
    before: object = None
    try:
        while (start := _next(text, end)) < len(text):
            value, end = _decoder.raw_decode(text, start)
            if not isinstance(value, dict):
                return []
            if before is not None and _goes_on(before, value):
                objects.pop()
            objects.append(text[start:end])
            before = value
    except (ValueError, RecursionError):
        return []
    return objects


def _next(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _goes_on(before: object, after: object) -> bool:
    """Whether `after` is what `before` was on its way to."""
    if isinstance(before, dict) and isinstance(after, dict):
        return all(name in after and _goes_on(before[name], after[name]) for name in before)
    if isinstance(before, list) and isinstance(after, list):
        return len(before) <= len(after) and all(map(_goes_on, before, after))
    if isinstance(before, str) and isinstance(after, str):
        return after.startswith(before)
    return before == after
