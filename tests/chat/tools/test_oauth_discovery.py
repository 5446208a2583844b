"""Servers that say themselves where tokens for them come from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from django.core.management import call_command
from pytest_django import Settings

from aily.database.threads import in_database
from chat.models import ToolServer
from chat.tools import listing
from chat.tools.endpoints import credentials, endpoint_of
from chat.tools.oauth_discovery import TokenSource, discover
from chat.tools.results import ToolFault
from tests.chat.tools.conftest import MakeTool

RESOURCE = "/.well-known/oauth-protected-resource"
AUTHORIZATION = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"


@dataclass
class Issuer:
    """A server and its authorization server in one: `documents` by path, and what was asked."""

    url: str = ""
    challenge: str = "Bearer"
    documents: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        self.bodies.append(await request.text())
        assert "client-secret" not in str(request.headers)
        if request.path == "/token":
            return web.json_response({"access_token": "t1"})
        if request.path in self.documents:
            document = self.documents[request.path]
            if isinstance(document, dict):
                return web.json_response(document)
            return web.Response(text=document)
        if request.path == "/mcp":
            headers = {"www-authenticate": self.challenge}
            return web.Response(status=401, headers=headers)
        raise web.HTTPNotFound

    def publish(self, issuer: str = "", **of_resource: Any) -> None:
        """The metadata as both revisions of the standards have them."""
        issuer = issuer or self.url
        path = issuer.removeprefix(self.url)
        resource = {"resource": f"{self.url}/mcp", "authorization_servers": [issuer]}
        self.documents[f"{RESOURCE}/mcp"] = {**resource, **of_resource}
        tokens = {"issuer": issuer, "token_endpoint": f"{self.url}/token"}
        self.documents[f"{AUTHORIZATION}{path}"] = tokens


@pytest.fixture
async def issuer(tool_loop: None, settings: Settings) -> AsyncIterator[Issuer]:
    issuer = Issuer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", issuer.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield issuer
    await runner.cleanup()


async def found_by(issuer: Issuer) -> TokenSource:
    return await discover(f"{issuer.url}/mcp", None)


async def test_the_metadata_of_the_servers_path(issuer: Issuer) -> None:
    issuer.publish(scopes_supported=["read", "write"])
    found = await found_by(issuer)
    assert found == TokenSource(f"{issuer.url}/token", "read write", f"{issuer.url}/mcp")


async def test_the_challenge_names_metadata_and_scope(issuer: Issuer) -> None:
    issuer.publish(scopes_supported=["read", "write"])
    issuer.documents["/elsewhere"] = issuer.documents.pop(f"{RESOURCE}/mcp")
    place = f"{issuer.url}/elsewhere"
    issuer.challenge = f'Bearer error="x", resource_metadata="{place}", scope="read"'
    assert (await found_by(issuer)).scope == "read"


@pytest.mark.parametrize("place", [f"{OPENID}/tenant", f"/tenant{OPENID}"])
async def test_issuers_with_a_path(issuer: Issuer, place: str) -> None:
    issuer.publish(f"{issuer.url}/tenant")
    issuer.documents[place] = issuer.documents.pop(f"{AUTHORIZATION}/tenant")
    assert (await found_by(issuer)).token_url == f"{issuer.url}/token"


async def test_a_server_that_is_its_own_issuer(issuer: Issuer) -> None:
    issuer.publish()
    del issuer.documents[f"{RESOURCE}/mcp"]
    assert await found_by(issuer) == TokenSource(f"{issuer.url}/token", "", "")


@pytest.mark.parametrize(
    ("path", "document", "words"),
    [
        (f"{RESOURCE}/mcp", "<html>", "not the metadata"),
        (f"{RESOURCE}/mcp", "x" * 300_000, "larger than"),
        (f"{RESOURCE}/mcp", {"resource": "https://other.example"}, "another resource"),
        (f"{RESOURCE}/mcp", {"resource": "{url}/mcpx"}, "another resource"),
        (f"{RESOURCE}/mcp", {"resource": "https://[::1"}, "cannot be used"),
        (
            f"{RESOURCE}/mcp",
            {"resource": "{url}/mcp", "authorization_servers": ["https://[::1"]},
            "cannot be used",
        ),
        (f"{RESOURCE}/mcp", {"resource": "{url}/mcp"}, "no authorization server"),
        (f"{RESOURCE}/mcp", {"resource": "{url}", "authorization_servers": ["ftp://x"]}, "URL"),
        (AUTHORIZATION, {"issuer": "https://other.example", "token_endpoint": "x"}, "issuer"),
        (AUTHORIZATION, {"issuer": "{url}", "token_endpoint": "file:///etc"}, "URL"),
        (AUTHORIZATION, {"issuer": "{url}"}, "not the metadata"),
    ],
)
async def test_metadata_that_cannot_be_used(
    issuer: Issuer, path: str, document: Any, words: str
) -> None:
    issuer.publish()
    if isinstance(document, dict):
        document = {
            name: value.replace("{url}", issuer.url) if isinstance(value, str) else value
            for name, value in document.items()
        }
    issuer.documents[path] = document
    with pytest.raises(ToolFault, match=words) as fault:
        await found_by(issuer)
    assert fault.value.code == "tool_auth"
    assert "POST /token" not in issuer.asked


async def test_a_server_that_publishes_nothing(issuer: Issuer) -> None:
    with pytest.raises(ToolFault, match="no metadata"):
        await found_by(issuer)


async def test_what_is_found_is_stored_once_and_then_holds(
    issuer: Issuer, make_tool: MakeTool, capsys: pytest.CaptureFixture[str]
) -> None:
    issuer.publish(scopes_supported=["read"])
    of_server = {"auth": "oauth", "oauth_client_id": "aily", "secret": "client-secret-value"}
    tool = await make_tool(
        f"{issuer.url}/mcp", **{f"server_{name}": value for name, value in of_server.items()}
    )
    server = tool.server
    await in_database(server.full_clean)
    with pytest.raises(ToolFault, match="have the server's tools listed"):
        await credentials(endpoint_of(server))
    # The check of `check_mcp` stores nothing.
    with pytest.raises(Exception, match="Not every"):
        await in_database(call_command, "check_mcp")
    assert not (await in_database(ToolServer.objects.get)).oauth_token_url
    # It refuses the token: what is stored is where it came from.
    with pytest.raises(ToolFault, match="credentials"):
        await listing.refresh(server)
    stored = await in_database(ToolServer.objects.get)
    assert (stored.oauth_token_url, stored.oauth_scope) == (f"{issuer.url}/token", "read")
    asked = [parse_qs(body) for body in issuer.bodies if "grant_type" in body]
    assert {body["resource"][0] for body in asked} == {f"{issuer.url}/mcp"}

    issuer.documents[AUTHORIZATION]["token_endpoint"] = f"{issuer.url}/evil"
    with pytest.raises(ToolFault, match="credentials"):
        await listing.refresh(stored)
    assert "POST /evil" not in issuer.asked
