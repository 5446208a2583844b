"""OpenAI's API as bytes: what SDKs take for granted, and what only a broken client sends."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx

from tests.clients import openai_schemas

MODEL = "deepseek-flash"


def chat_body(prompt: str = "Hello", **fields: Any) -> dict[str, Any]:
    """A chat completion that is answered at once."""
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}], **fields}


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of a response, which must have this status and OpenAI's form."""
    assert response.status_code == status, (response.status_code, response.text)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    openai_schemas.check("ErrorResponse", body)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    assert error["message"]
    return error


def events_of(response: httpx.Response) -> list[Any]:
    """The data of a stream: JSON but for the end mark, and nothing that breaks Python's SDK."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for line in response.text.splitlines():
        if not line or line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        # After an `id:` line Python's SDK takes each blank line for an event without data.
        assert field in ("data", "event"), line
        if field == "data":
            found.append(value.strip() if value.strip() == "[DONE]" else json.loads(value))
    return found


def exchange(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send the bytes and read until the server closes: status, headers, body."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return int(first.split()[1]), headers, body
