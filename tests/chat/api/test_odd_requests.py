"""Requests of odd bytes: each is answered, none with a fault of ours."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from chat.models import LLMModel
from tests.conftest import ClientOf
from tests.subtests import subtested

LONG = "9" * 5_000
IDS = ["0", "-1", LONG, "%00", "%ff", "%ed%a0%80", "x" * 3_000, "..", "a%0ab", "%F0%9F%9A%80"]
PATHS = [
    "/api/keys/{}",
    "/api/users/{}",
    "/api/models/{}",
    "/api/scenes/{}",
    "/api/scenes/x/versions/{}",
    "/api/conversations/{}/messages",
    "/api/llmchat/tasks/{}",
    "/api/llmchat/tasks/{}/events",
    "/api/webhooks/{}/deliveries",
    "/api/{}",
    "/v1/{}",
]
QUERIES = [
    "limit=" + LONG,
    "offset=-1",
    "limit=%00",
    "search=%ed%a0%80",
    "created_after=" + LONG,
    "created_after=0001-01-01T00:00:00%2B23:59",
    "conversation_id=%ff",
    "ordering=",
    "&" * 900 + "=",
    "after=1-" + LONG,
]
KEYS = ["", '"', "x" * 256, "\x85", "\xff", "\u2028", "a\tb", '"half', "aily " * 1_000]


@pytest.fixture
def client(alice: User, model: LLMModel, client_of: ClientOf) -> Client:
    return client_of(alice)


@subtested("path", PATHS)
def test_odd_paths(client: Client, path: str) -> None:
    for odd in IDS:
        for method in (client.get, client.post, client.delete):
            response = method(path.format(odd))
            assert 400 <= response.status_code < 500, (path, odd)
            if response.status_code != 404 or path.startswith("/api"):
                assert response["Content-Type"] == "application/problem+json", (path, odd)


@pytest.mark.parametrize("path", ["/api/llmchat/tasks", "/api/scenes", "/api/conversations"])
def test_odd_queries(client: Client, path: str) -> None:
    for query in QUERIES:
        assert client.get(f"{path}?{query}").status_code in {200, 400, 422}, query


def test_odd_idempotency_keys(client: Client) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    for key in KEYS:
        for path, body in (
            ("/api/llmchat/request", {"messages": messages}),
            ("/api/conversations", {"title": "x"}),
        ):
            headers = {"Idempotency-Key": key}
            response = client.post(path, body, content_type="application/json", headers=headers)
            assert response.status_code in {201, 202, 400}, key
            if response.status_code == 400:
                assert response.json()["errors"][0]["field"] == "Idempotency-Key"


def test_bodies_with_bytes_changed_at_random(client: Client) -> None:
    chance = random.Random(13)
    good: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Hi", "tool_calls": [{"a": 1}]}],
        "metadata": {"a": [1, {"b": "c"}]},
        "deadline_seconds": 7.5,
        "stop": ["x"],
    }
    parts = [b"\\ud800", b"\\u0000", b"[", b"{", b'"', b"1e99", b"-", b"null", b"\xff", b",", b"\\"]
    for _ in range(150):
        data = bytearray(json.dumps(good).encode())
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data))
            data[place : place + chance.randint(0, 3)] = chance.choice(parts)
        response = client.post("/api/llmchat/request", bytes(data), content_type="application/json")
        assert response.status_code in {202, 400, 404, 413, 422}, bytes(data)
