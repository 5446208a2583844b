"""Tool servers and tools in the admin: secrets are never shown, and changes of servers are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from chat.models import Tool, ToolServer
from chat.tools import listing
from chat.tools.results import ToolErrorCode, ToolFault
from tests.chat.tools.openapi import OPENAPI

FORM = {
    "name": "crm", "kind": "mcp", "url": "https://1.1.1.1/mcp", "is_enabled": "on", "auth": "none",
    "key_header": "", "oauth_token_url": "", "oauth_client_id": "", "oauth_scope": "",
    "timeout_seconds": "60", "max_concurrent_calls": "20", "max_result_bytes": "65536",
    "list_ttl_seconds": "3600", "secret": "", "openapi_document": "", "openapi_operations": "",
    "tools-TOTAL_FORMS": "0", "tools-INITIAL_FORMS": "0",
}  # fmt: skip
SECRET = "sk-0123456789abcdef"
ADD, LIST = "/admin/chat/toolserver/add/", "/admin/chat/toolserver/"


@pytest.fixture
def root(transactional_db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="uprooted-3"))
    return client


@pytest.fixture
def editor(staff: User) -> Client:
    """Staff with every permission on chat, no superuser."""
    client = Client()
    client.force_login(staff)
    return client


def page() -> str:
    return f"{LIST}{ToolServer.objects.get().pk}/change/"


def save(client: Client, address: str, /, **fields: Any) -> dict[str, list[str]]:
    """Send the form; returns its errors."""
    answer = client.post(address, {**FORM, **fields})
    if answer.status_code == 302:
        return {}
    assert answer.status_code == 200
    errors: dict[str, list[str]] = answer.context["adminform"].form.errors
    assert errors
    return errors


def test_a_server_is_added_with_a_secret_that_no_page_shows(root: Client) -> None:
    assert "secret" in save(root, ADD, auth="bearer")
    assert save(root, ADD, auth="bearer", secret=SECRET) == {}
    server = ToolServer.objects.get()
    assert (server.secret(), server.public_only) == (SECRET, False)
    for url in (page(), LIST):
        shown = root.get(url).content.decode()
        assert SECRET not in shown
        assert server.encrypted_secret not in shown
    assert "…cdef" in root.get(page()).content.decode()
    # What is not typed in stays.
    assert save(root, page(), auth="bearer", timeout_seconds="9") == {}
    server.refresh_from_db()
    assert (server.secret(), server.timeout_seconds) == (SECRET, 9)
    assert save(root, page(), remove_secret="on") == {}
    assert not ToolServer.objects.get().has_secret


def test_only_superusers_allow_private_addresses(root: Client, editor: Client) -> None:
    assert "url" in save(editor, ADD, url="http://127.0.0.1:9/mcp")
    assert save(editor, ADD, auth="bearer", secret=SECRET) == {}
    assert ToolServer.objects.get().public_only
    assert "secret" in save(editor, page(), auth="bearer", url="https://1.1.1.2/mcp")
    assert save(root, page(), auth="bearer", url="http://127.0.0.1:9/mcp") == {}
    assert not ToolServer.objects.get().public_only


def test_tools_are_imported_from_openapi(root: Client) -> None:
    document = json.dumps(OPENAPI)
    assert "openapi_document" in save(root, ADD, openapi_document=document)
    assert "openapi_document" in save(root, ADD, kind="http", openapi_document="{")
    assert save(root, ADD, kind="http", openapi_document=document) == {}
    (tool,) = Tool.objects.all()
    assert (tool.function_name, tool.path, tool.is_enabled) == ("getOrder", "/orders/{id}", False)
    tool_page = f"/admin/chat/tool/{tool.pk}/change/"
    assert "getOrder" in root.get(tool_page).content.decode()
    answer = root.post(
        page(),
        {**FORM, "kind": "http", "openapi_document": document, "openapi_operations": "none"},
        follow=True,
    )
    assert "Nothing was imported" in answer.content.decode()


def test_tools_are_listed_on_demand(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refreshed(server: ToolServer) -> listing.Changes:
        if server.name == "down":
            raise ToolFault(ToolErrorCode.UNREACHABLE, "The tool's server cannot be reached.")
        return listing.Changes(new=("clock",), total=1)

    monkeypatch.setattr(listing, "refresh", refreshed)
    servers = [ToolServer.objects.create(name=name, url="http://x") for name in ("crm", "down")]
    data = {"action": "list_tools", "_selected_action": [server.pk for server in servers]}
    shown = root.post(LIST, data, follow=True).content.decode()
    assert "Tools of crm: 1; 1 new, 0 changed, 0 vanished." in shown
    assert "The tools of down cannot be listed: The tool&#x27;s server cannot be reached." in shown


def test_tools_are_enabled_and_changes_looked_at(root: Client) -> None:
    server = ToolServer.objects.create(name="crm", url="http://x")
    tool = Tool.objects.create(
        server=server,
        name="a",
        function_name="a",
        description="After <b>.",
        changed_at="2026-01-01T00:00:00Z",
        previous={"description": "Before <i>.", "input_schema": {}, "output_schema": None},
    )
    url = f"/admin/chat/tool/{tool.pk}/change/"
    shown = root.get(url).content.decode()
    assert "- &quot;description&quot;: &quot;Before &lt;i&gt;.&quot;" in shown
    # What its server says has no input.
    assert 'name="description"' not in shown
    assert 'name="policy"' in shown
    for action, field, value in [
        ("enable", "is_enabled", True),
        ("disable", "is_enabled", False),
        ("mark_seen", "changed_at", None),
    ]:
        root.post("/admin/chat/tool/", {"action": action, "_selected_action": [tool.pk]})
        tool.refresh_from_db()
        assert getattr(tool, field) == value
    assert tool.previous is None


def test_who_only_looks_changes_nothing(root: Client, alice: User) -> None:
    server = ToolServer.objects.create(name="crm", url="http://x")
    client = Client()
    client.force_login(alice)
    for url in (LIST, ADD, f"{LIST}{server.pk}/change/", "/admin/chat/tool/"):
        assert client.get(url).status_code in (302, 403)
