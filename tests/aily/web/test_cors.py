"""Pages of other origins: refused by default, and what they may do where a setting allows them."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.conf import settings as django_settings
from django.test import AsyncClient, Client
from pytest_django import Settings

from accounts.models import User
from aily.environment import ConfigurationError
from aily.routing import routes
from aily.web.cors import ALLOWED_HEADERS, EXPOSED_HEADERS
from tests.communicators import HttpCommunicator
from tests.conftest import ClientOf
from tests.fresh_settings import import_settings

ORIGIN = "https://app.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, idempotency-key",
}


def loaded(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    """The settings as a process with these variables reads them."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return import_settings()


@pytest.fixture
def origins(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """One origin is allowed, by the variable."""
    with pytest.MonkeyPatch.context() as patch:
        found = loaded(patch, CORS_ALLOWED_ORIGINS=f"{ORIGIN},http://localhost:3000")
    for name in found:
        if name == "MIDDLEWARE" or name.startswith("CORS_"):
            setattr(settings, name, found[name])
    return ORIGIN


# --- Off ----------------------------------------------------------------------------------------
def test_by_default_no_answer_has_a_header_for_other_origins(
    alice: User, client_of: ClientOf
) -> None:
    client = client_of(alice)
    read = client.get("/api/me", headers={"Origin": ORIGIN})
    asked = client.options("/api/me", headers=PREFLIGHT)
    assert read.status_code == 200
    assert asked.status_code == 405
    for response in (read, asked):
        names = {name.lower() for name in response.headers}
        assert not [name for name in names if name.startswith("access-control-")]
    assert not any("cors" in name for name in django_settings.MIDDLEWARE)


# --- On -----------------------------------------------------------------------------------------
def test_a_preflight_is_answered_without_credentials(origins: str, client: Client) -> None:
    response = client.options("/api/llmchat/request", headers=PREFLIGHT)
    assert response.status_code == 200
    assert response["Access-Control-Allow-Origin"] == origins
    assert "POST" in response["Access-Control-Allow-Methods"]
    assert "PATCH" in response["Access-Control-Allow-Methods"]
    assert response["Access-Control-Allow-Headers"] == ", ".join(ALLOWED_HEADERS)
    assert int(response["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in response
    assert "origin" in response["Vary"].lower()


@pytest.mark.parametrize("path", ["/api/me", "/api/nothing", "/api/keys?limit=x"])
def test_answers_and_errors_can_be_read_there(
    origins: str, alice: User, client_of: ClientOf, path: str
) -> None:
    for client in (client_of(alice), Client()):
        response = client.get(path, headers={"Origin": origins})
        assert response["Access-Control-Allow-Origin"] == origins
        assert response["Access-Control-Expose-Headers"] == ", ".join(EXPOSED_HEADERS)


@pytest.mark.parametrize("origin", [ORIGIN, "https://evil.example"])
async def test_a_body_that_is_refused_before_django_says_so_there(
    origins: str, origin: str
) -> None:
    sent = [(b"origin", origin.encode()), (b"content-length", b"99999999")]
    communicator = HttpCommunicator(
        routes, "POST", "/api/llmchat/request", b"", [*sent, (b"authorization", b"Bearer x")]
    )
    answer = await communicator.get_response(10)
    headers = dict(answer["headers"])
    assert (answer["status"], headers[b"vary"]) == (413, b"origin")
    allowed = headers.get(b"access-control-allow-origin")
    assert allowed == (ORIGIN.encode() if origin == ORIGIN else None)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://app.example", "https://app.example.evil", "null"]
)
def test_another_origin_gets_no_header(origins: str, client: Client, origin: str) -> None:
    for response in (
        client.get("/api/me", headers={"Origin": origin}),
        client.options("/api/me", headers={**PREFLIGHT, "Origin": origin}),
    ):
        assert "Access-Control-Allow-Origin" not in response


@pytest.mark.parametrize("path", ["/login/", "/livez"])
def test_pages_are_not_for_other_origins(origins: str, client: Client, db: None, path: str) -> None:
    response = client.get(path, headers={"Origin": origins})
    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response


def test_a_preflight_is_not_redirected_to_https(
    origins: str, client: Client, settings: Settings
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert client.options("/api/me", headers=PREFLIGHT).status_code == 200


async def test_it_takes_no_thread(origins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hops: list[str] = []
    call = SyncToAsync.__call__

    async def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        hops.append(getattr(self.func, "__qualname__", repr(self.func)))
        return await call(self, *args, **kwargs)

    monkeypatch.setattr(SyncToAsync, "__call__", noted)
    await AsyncClient().get("/api/nothing", headers={"Origin": origins})
    assert not [name for name in hops if "Cors" in name]


@pytest.mark.parametrize("origin", ["https://anything.example", "http://localhost:5173"])
def test_every_origin_may_be_allowed(
    settings: Settings, client: Client, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = loaded(monkeypatch, CORS_ALLOWED_ORIGINS="*")
    for name in found:
        if name == "MIDDLEWARE" or name.startswith("CORS_"):
            setattr(settings, name, found[name])
    response = client.get("/api/me", headers={"Origin": origin})
    assert response["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in response


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("https://App.Example:443", ["https://app.example"]),
        ("http://localhost:3000", ["http://localhost:3000"]),
        ("http://[::1]:3000, ", ["http://[::1]:3000"]),
        ("", []),
    ],
)
def test_origins_are_read_as_browsers_write_them(
    monkeypatch: pytest.MonkeyPatch, given: str, read: list[str]
) -> None:
    assert loaded(monkeypatch, CORS_ALLOWED_ORIGINS=given)["CORS_ALLOWED_ORIGINS"] == read


@pytest.mark.parametrize(
    "given",
    [
        "app.example",
        "https://app.example/",
        "https://app.example/path",
        "https://*.example",
        "*,https://app.example",
        "ftp://app.example",
        "https://user@app.example",
        "https://",
        "null",
        "https://app.example:port",
    ],
)
def test_what_is_no_origin_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    with pytest.raises(ConfigurationError, match="CORS_ALLOWED_ORIGINS"):
        loaded(monkeypatch, CORS_ALLOWED_ORIGINS=given)


# --- HSTS ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({}, None),
        ({"HTTPS": "true"}, "max-age=31536000"),
        (
            {"HTTPS": "true", "HSTS_INCLUDE_SUBDOMAINS": "true"},
            "max-age=31536000; includeSubDomains",
        ),
        (
            {"HTTPS": "true", "HSTS_INCLUDE_SUBDOMAINS": "true", "HSTS_PRELOAD": "true"},
            "max-age=31536000; includeSubDomains; preload",
        ),
    ],
)
def test_subdomains_are_bound_to_https_only_by_a_setting(
    settings: Settings,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    header: str | None,
) -> None:
    found = loaded(monkeypatch, **variables)
    for name in found:
        if name.startswith("SECURE_"):
            setattr(settings, name, found[name])
    response = client.get("/livez", secure=True)
    assert response.headers.get("Strict-Transport-Security") == header


def test_preload_without_subdomains_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="HSTS_PRELOAD"):
        loaded(monkeypatch, HTTPS="true", HSTS_PRELOAD="true")
