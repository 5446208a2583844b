"""Logging in at the front door, as a browser does, and what only a session may do."""

from __future__ import annotations

import re
from typing import Any

import httpx

#: Of the users of the end-to-end tests.
PASSWORD = "front-door-7"


def log_in(client: httpx.Client, username: str, password: str) -> None:
    page = client.get("/login/")
    form = {
        "csrfmiddlewaretoken": csrf_token(page.text),
        "username": username,
        "password": password,
    }
    response = client.post("/login/", data=form, headers={"Referer": str(client.base_url)})
    assert response.status_code == 200
    assert "sessionid" in client.cookies


def log_out(client: httpx.Client) -> None:
    page = client.get("/")
    client.post("/logout/", data={"csrfmiddlewaretoken": csrf_token(page.text)})


def csrf_token(page: str) -> str:
    match = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert match is not None
    return match[1]


def make_keys(base_url: str, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
    """API keys of Alice, with their secrets: a key makes none."""
    with httpx.Client(base_url=base_url, follow_redirects=True, timeout=30) as client:
        log_in(client, "alice", PASSWORD)
        headers = {"X-CSRFToken": client.cookies["csrftoken"], "Referer": base_url}
        answers = [client.post("/api/keys", json=body, headers=headers) for body in bodies]
    assert {answer.status_code for answer in answers} == {201}
    return [answer.json() for answer in answers]
