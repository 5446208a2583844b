"""What a web process and its rendering processes send each other: JSON after its length in four
bytes."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from chat.tool_calls import PromptMessage

if TYPE_CHECKING:
    from pydantic import JsonValue

#: Bytes of a job or a reply. JSON of a byte may take six.
MAX_BYTES = 16 * 1024 * 1024

#: What a reply calls a MemoryError; other problems go by the names of their classes.
OUT_OF_MEMORY = "out_of_memory"


class Job(TypedDict):
    """What a process is asked to render or, without variables, to check."""

    system: str
    user: str
    schema: dict[str, JsonValue]
    variables: Mapping[str, JsonValue] | None
    #: The fields of Limits.
    limits: dict[str, Any]


class OutputJob(TypedDict):
    """An answer to check against a schema or, without a text, the schema itself to check."""

    output_schema: dict[str, JsonValue]
    text: str | None
    #: The fields of Limits.
    limits: dict[str, Any]


class Reply(TypedDict, total=False):
    """What a process sends: `field` for each field that it comes to, and at last one of the others.

    With a `problem` come its `message`, `field` and `params`. `fitting` is the JSON of an answer
    that fits, None of one that does not, as its `errors` say.
    """

    field: str | None
    messages: list[PromptMessage]
    schema: dict[str, JsonValue]
    fitting: str | None
    errors: list[str]
    problem: str
    message: str
    params: Mapping[str, str | float]


def encode(message: Job | OutputJob | Reply) -> bytes:
    body = json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body


def send(connection: socket.socket, message: Job | OutputJob | Reply) -> None:
    connection.sendall(encode(message))


def receive(connection: socket.socket) -> bytes | None:
    """The next JSON; None at the end. Raises OSError, TimeoutError among them."""
    head = _read(connection, 4)
    length = int.from_bytes(head, "big")
    if len(head) < 4 or length > MAX_BYTES:
        return None
    body = _read(connection, length)
    return body if len(body) == length else None


def _read(connection: socket.socket, length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0:
        part = connection.recv(min(length, 262_144))
        if not part:
            break
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
