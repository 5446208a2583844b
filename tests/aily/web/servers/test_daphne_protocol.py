"""The short way takes whole, plain, valid text frames and leaves all else to autobahn."""

from __future__ import annotations

import pytest

from aily.web.servers.daphne_protocol import whole_text

MASK = b"\x37\xfa\x21\x3d"


def frame(payload: bytes, *, first: int = 0x81, mask: bytes = MASK, masked: int = 0x80) -> bytes:
    size = len(payload)
    length = bytes([masked | size]) if size < 126 else bytes([masked | 126]) + size.to_bytes(2)
    hidden = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return bytes([first]) + length + mask + hidden


def test_the_example_of_the_standard() -> None:
    """RFC 6455, section 5.7: a single-frame masked text message."""
    assert whole_text(bytes.fromhex("818537fa213d7f9f4d5158")) == b"Hello"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 125, 126, 127, 1000, 65_535])
def test_texts_of_any_size_that_takes_two_bytes(size: int) -> None:
    payload = bytes(32 + place % 90 for place in range(size))
    assert whole_text(frame(payload)) == payload
    assert whole_text(frame(payload, mask=b"\0\0\0\0")) == payload


def test_text_that_is_no_ascii() -> None:
    payload = "zürich 漢字 🚀".encode()
    assert whole_text(frame(payload)) == payload


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81",
        frame(b""),
        frame(b"a part", first=0x01),
        frame(b"the rest", first=0x80),
        frame(b"binary", first=0x82),
        frame(b"compressed", first=0xC1),
        frame(b"ping", first=0x89),
        frame(b"unmasked", masked=0),
        frame(b"cut off")[:-1],
        frame(b"one")[:7],
        frame(b"one") + frame(b"two"),
        frame(b"one") + b"\x81",
        frame("cut off in a 漢".encode()[:-1]),
        frame(b"no UTF-8 \xff"),
        frame(b"a surrogate \xed\xa0\x80"),
        # A length that is longer than it has to be, and one in eight bytes.
        b"\x81\xfe\x00\x05" + MASK + b"\x7f\x9f\x4d\x51\x58",
        b"\x81\xff" + (5).to_bytes(8) + MASK + b"\x7f\x9f\x4d\x51\x58",
    ],
)
def test_what_is_left_to_autobahn(data: bytes) -> None:
    assert whole_text(data) is None
