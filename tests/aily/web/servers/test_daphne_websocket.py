"""Frames of text that are written without autobahn."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode

from aily.web.servers.daphne_websocket import text_frame


def test_the_example_of_the_standard() -> None:
    """RFC 6455, section 5.7: a single-frame unmasked text message."""
    assert text_frame(b"Hello") == bytes.fromhex("810548656c6c6f")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 200_000])
def test_texts_of_any_size(size: int) -> None:
    text = bytes(32 + place % 90 for place in range(size))
    assert text_frame(text) == Frame(Opcode.TEXT, text).serialize(mask=False)
