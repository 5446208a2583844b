"""The pieces of a text, joined as far as a limit allows."""

from __future__ import annotations

from chat.llm.types import storable


def take(pieces: list[str], room: int, *, is_last: bool) -> tuple[str, int]:
    """Join and remove the pieces. Returns the text, as far as there is room for it in bytes, and
    what room is left: -1 where the text was cut.

    A lone surrogate stays for its other half unless `is_last`.
    """
    text = "".join(pieces)
    pieces.clear()
    if text.isascii() and "\0" not in text and len(text) <= room:  # the common case
        return text, room - len(text)
    left = room
    if text.isascii():
        left -= len(text)
    elif not is_last and "\ud800" <= text[-1] <= "\udbff":
        pieces.append(text[-1])
        text = text[:-1]
    text = storable(text)
    if not text.isascii():
        left -= len(text.encode())
    if left < 0:
        text, left = text.encode()[:left].decode("utf-8", "ignore"), -1
    return text, left
