"""Frames of text as clients send them, decoded without autobahn."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode

from aily.web.servers.masked_frames import text_of


def test_the_example_of_the_standard() -> None:
    """RFC 6455, section 5.7: a single-frame masked text message."""
    assert text_of(bytes.fromhex("818537fa213d7f9f4d5158")) == b"Hello"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 125, 126, 127, 1000, 65_535])
def test_texts_of_any_size(size: int) -> None:
    text = bytes(32 + place % 90 for place in range(size))
    assert text_of(Frame(Opcode.TEXT, text).serialize(mask=True)) == text


def test_text_outside_of_ascii() -> None:
    text = "你好 🙂".encode()
    assert text_of(Frame(Opcode.TEXT, text).serialize(mask=True)) == text


WHOLE = Frame(Opcode.TEXT, b"Hello").serialize(mask=True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(WHOLE[:1], id="half a head"),
        pytest.param(WHOLE[:-1], id="a part"),
        pytest.param(WHOLE + WHOLE[:1], id="the next one's first byte"),
        pytest.param(WHOLE + WHOLE, id="two"),
        pytest.param(Frame(Opcode.TEXT, b"").serialize(mask=True), id="empty"),
        pytest.param(Frame(Opcode.TEXT, b"Hello").serialize(mask=False), id="without a mask"),
        pytest.param(Frame(Opcode.BINARY, b"Hello").serialize(mask=True), id="binary"),
        pytest.param(Frame(Opcode.PING, b"Hello").serialize(mask=True), id="ping"),
        pytest.param(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True), id="close"),
        pytest.param(Frame(Opcode.CONT, b"Hello").serialize(mask=True), id="continuation"),
        pytest.param(Frame(Opcode.TEXT, b"a", fin=False).serialize(mask=True), id="not the last"),
        pytest.param(b"\xc1" + WHOLE[1:], id="compressed"),
        pytest.param(Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True), id="not UTF-8"),
        pytest.param(Frame(Opcode.TEXT, b"\xed\xa0\x80").serialize(mask=True), id="a surrogate"),
        pytest.param(Frame(Opcode.TEXT, b"a" * 65_536).serialize(mask=True), id="64 KiB"),
        pytest.param(b"\x81\xfe\x00\x05\0\0\0\0Hello", id="a short length in the long form"),
        pytest.param(b"\x81\xfe\x00", id="half a length"),
    ],
)
def test_everything_else_is_left_to_autobahn(data: bytes) -> None:
    assert text_of(data) is None
