"""Frames between a web process and its rendering processes: four bytes of length, and JSON."""

from __future__ import annotations

import json
import socket
from typing import Any

#: Of a job or an answer. JSON of a byte may take six.
MAX_FRAME_BYTES = 16 * 1024 * 1024

#: What an answer calls a MemoryError; other problems go by the names of their classes.
OUT_OF_MEMORY = "out_of_memory"


def encode(message: dict[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body


def write_frame(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(encode(message))


def read_frame(connection: socket.socket) -> dict[str, Any] | None:
    """The next frame; None at the end. Raises OSError, TimeoutError among them."""
    head = _read(connection, 4)
    length = int.from_bytes(head, "big")
    if len(head) < 4 or length > MAX_FRAME_BYTES:
        return None
    body = _read(connection, length)
    if len(body) < length:
        return None
    message: dict[str, Any] = json.loads(body)
    return message


def _read(connection: socket.socket, length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0:
        part = connection.recv(min(length, 262_144))
        if not part:
            break
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
