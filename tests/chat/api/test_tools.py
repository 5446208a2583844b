"""Tool servers and tools over REST: what staff set, what is never shown, and what users see."""

from __future__ import annotations

import json
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from guardian.models import GroupObjectPermission
from pytest_django import Settings

from accounts.models import Role, User
from chat.models import LLMModel, SceneVersion, Tool, ToolServer
from chat.tools import listing
from chat.tools.results import ToolErrorCode, ToolFault
from tests.chat.tools.openapi import OPENAPI
from tests.conftest import ClientOf

JSON = "application/json"
SERVERS, TOOLS = "/api/llmchat/tool-servers", "/api/llmchat/tools"
SECRET = "sk-0123456789abcdef"


@pytest.fixture
def root(transactional_db: None, client_of: ClientOf) -> Client:
    return client_of(User.objects.create_superuser("root", password="uprooted-3"))


@pytest.fixture
def editor(staff: User, client_of: ClientOf) -> Client:
    """Staff with every permission on chat, no superuser."""
    return client_of(staff)


@pytest.fixture
def alices(alice: User, client_of: ClientOf) -> Client:
    return client_of(alice)


def add(client: Client, **fields: Any) -> Any:
    body = {"name": "crm", "url": "https://1.1.1.1/mcp", **fields}
    return client.post(SERVERS, body, content_type=JSON)


def edit(client: Client, path: str, **fields: Any) -> Any:
    return client.patch(path, fields, content_type=JSON)


def field_of(refused: Any) -> Any:
    assert refused.status_code in (400, 422), refused.content
    return refused.json()["errors"][0]["field"]


# --- Servers ------------------------------------------------------------------------------------
def test_a_server_is_added_and_its_secret_never_shown(root: Client) -> None:
    made = add(root, auth="bearer", secret=SECRET, timeout_seconds=5)
    assert made.status_code == 201, made.content
    shown = made.json()
    assert (shown["has_secret"], shown["secret_hint"]) == (True, "…cdef")
    assert ToolServer.objects.get().secret() == SECRET
    pages = [made, root.get(SERVERS), root.get(f"{SERVERS}/crm")]
    logged = json.dumps([entry.changes for entry in LogEntry.objects.all()], default=str)
    for text in [*(page.content.decode() for page in pages), logged]:
        assert SECRET not in text
        assert ToolServer.objects.get().encrypted_secret not in text
    assert LogEntry.objects.filter(object_repr="crm").exists()


_BAD_SERVERS: list[tuple[str, dict[str, Any]]] = [
    ("url", {"url": "ftp://x"}),
    ("url", {"url": "https://u:p@1.1.1.1/"}),
    ("url", {"url": "https://1.1.1.1/?api_key=x"}),
    ("url", {"url": "http://169.254.169.254/latest"}),
    ("url", {"url": 5}),
    ("name", {"name": "a b"}),
    ("kind", {"kind": "stdio"}),
    ("auth", {"auth": "basic"}),
    ("secret", {"auth": "bearer"}),
    ("secret", {"auth": "bearer", "secret": "a\nb"}),
    ("secret", {"auth": "bearer", "secret": "x" * 5000}),
    ("key_header", {"auth": "header", "secret": "x"}),
    ("key_header", {"auth": "header", "secret": "x", "key_header": "host"}),
    ("oauth_client_id", {"auth": "oauth", "secret": "x", "oauth_token_url": "https://1.1.1.1"}),
    (
        "oauth_token_url",
        {"kind": "http", "auth": "oauth", "secret": "x", "oauth_client_id": "c"},
    ),
    (
        "oauth_resource",
        {"auth": "oauth", "secret": "x", "oauth_client_id": "c", "oauth_resource": "no URL"},
    ),
    ("timeout_seconds", {"timeout_seconds": 0}),
    ("timeout_seconds", {"timeout_seconds": 1e9}),
    ("max_concurrent_calls", {"max_concurrent_calls": 0}),
    ("max_result_bytes", {"max_result_bytes": 1_000_000_000}),
    ("list_ttl_seconds", {"list_ttl_seconds": 0}),
    ("unknown", {"unknown": 1}),
]


def test_bad_input_names_its_field(root: Client) -> None:
    for field, fields in _BAD_SERVERS:
        assert field in str(field_of(add(root, **fields))), fields
    assert not ToolServer.objects.exists()


def test_private_addresses_are_superusers(root: Client, editor: Client) -> None:
    assert field_of(add(editor, url="http://127.0.0.1:9/mcp")) == "url"
    made = add(root, url="http://127.0.0.1:9/mcp")
    assert (made.status_code, made.json()["public_only"]) == (201, False)
    assert edit(editor, f"{SERVERS}/crm", timeout_seconds=9).status_code == 200
    moved = edit(editor, f"{SERVERS}/crm", url="https://1.1.1.2/mcp")
    assert (moved.status_code, moved.json()["public_only"]) == (200, True)
    assert edit(editor, f"{SERVERS}/crm", public_only=False).status_code == 403


@pytest.mark.parametrize(
    "moved",
    [
        {"url": "https://1.1.1.2/mcp"},
        {"url": "http://1.1.1.1/mcp"},
        {"oauth_token_url": "https://1.1.1.2/token"},
    ],
)
def test_a_secret_does_not_go_to_another_host(
    root: Client, editor: Client, moved: dict[str, str]
) -> None:
    add(root, auth="bearer", secret=SECRET)
    assert field_of(edit(editor, f"{SERVERS}/crm", **moved)) == "secret"
    assert edit(editor, f"{SERVERS}/crm", url="https://1.1.1.1/other").status_code == 200
    assert edit(editor, f"{SERVERS}/crm", **moved, secret="new one").status_code == 200


def test_another_address_is_another_server(root: Client) -> None:
    add(root)
    ToolServer.objects.update(protocol_version="2026-07-28", listed_at="2026-01-01T00:00:00Z")
    changed = edit(root, f"{SERVERS}/crm", url="https://1.1.1.2/mcp").json()
    assert (changed["protocol_version"], changed["listed_at"]) == ("", None)


def test_servers_are_for_staff(alices: Client, root: Client) -> None:
    add(root)
    for method, path in [
        ("get", SERVERS), ("post", SERVERS), ("get", f"{SERVERS}/crm"),
        ("patch", f"{SERVERS}/crm"), ("delete", f"{SERVERS}/crm"),
        ("post", f"{SERVERS}/crm/refresh"), ("post", f"{SERVERS}/crm/import"),
        ("post", TOOLS), ("get", f"{TOOLS}/x"), ("patch", f"{TOOLS}/x"), ("delete", f"{TOOLS}/x"),
    ]:  # fmt: skip
        body: dict[str, Any] = {}
        if method == "post" and path == SERVERS:
            body = {"name": "x", "url": "https://1.1.1.1"}
        if path == TOOLS:
            body = {"server": "crm", "name": "x", "method": "GET"}
        if path.endswith("import"):
            body = {"document": OPENAPI, "operations": ["getOrder"]}
        sent = {"data": body, "content_type": JSON} if method != "get" else {}
        answer = getattr(alices, method)(path, **sent)
        assert answer.status_code == 403, (method, path, answer.content)


def test_two_writers(root: Client) -> None:
    add(root)
    seen = root.get(f"{SERVERS}/crm")["ETag"]
    assert edit(root, f"{SERVERS}/crm", timeout_seconds=9).status_code == 200
    stale = root.patch(
        f"{SERVERS}/crm", {"timeout_seconds": 8}, content_type=JSON, headers={"If-Match": seen}
    )
    assert stale.status_code == 412


def test_a_server_is_deleted_with_its_tools(root: Client) -> None:
    add(root)
    Tool.objects.create(server=ToolServer.objects.get(), name="a", function_name="a")
    assert root.delete(f"{SERVERS}/crm").status_code == 204
    assert not Tool.objects.exists()


def test_a_server_with_tools_keeps_its_kind(root: Client) -> None:
    add(root)
    assert edit(root, f"{SERVERS}/crm", kind="http").status_code == 200
    Tool.objects.create(server=ToolServer.objects.get(), name="a", function_name="a")
    assert edit(root, f"{SERVERS}/crm", kind="mcp").status_code == 409


def test_listing_on_demand(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refreshed(server: ToolServer) -> listing.Changes:
        if server.name == "down":
            raise ToolFault(ToolErrorCode.UNREACHABLE, "The tool's server cannot be reached.")
        return listing.Changes(new=("clock",), total=1)

    monkeypatch.setattr(listing, "refresh", refreshed)
    add(root)
    add(root, name="down")
    add(root, name="plain", kind="http")
    listed = root.post(f"{SERVERS}/crm/refresh")
    assert (listed.status_code, listed.json()["new"]) == (200, ["clock"])
    down = root.post(f"{SERVERS}/down/refresh")
    assert (down.status_code, down.json()["code"]) == (409, "tool_server_failed")
    assert "cannot be reached" in down.json()["detail"]
    assert root.post(f"{SERVERS}/plain/refresh").status_code == 409
    assert root.post(f"{SERVERS}/none/refresh").status_code == 404


# --- Tools over HTTP ----------------------------------------------------------------------------
def add_tool(client: Client, **fields: Any) -> Any:
    body = {"server": "shop", "name": "getOrder", "method": "GET", "path": "/orders", **fields}
    return client.post(TOOLS, body, content_type=JSON)


@pytest.fixture
def shop(root: Client) -> ToolServer:
    add(root, name="shop", kind="http", url="https://1.1.1.1/api")
    return ToolServer.objects.get(name="shop")


def test_a_tool_over_http_is_added(root: Client, shop: ToolServer) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "string"}}}
    parameters = {"id": {"in": "path", "name": "id"}}
    made = add_tool(root, path="/orders/{id}", input_schema=schema, parameters=parameters)
    assert made.status_code == 201, made.content
    shown = made.json()
    assert (shown["name"], shown["server"], shown["is_enabled"]) == ("getOrder", "shop", False)
    assert (shown["policy"], shown["input_schema"]) == ("ask", schema)
    again = add_tool(root, name="getOrder")
    assert again.status_code in (409, 422)
    enabled = edit(root, f"{TOOLS}/getOrder", is_enabled=True, policy="automatic", price="0.01")
    assert (enabled.status_code, float(enabled.json()["price"])) == (200, 0.01)
    assert root.delete(f"{TOOLS}/getOrder").status_code == 204


_BAD_TOOLS: list[tuple[str, dict[str, Any]]] = [
    ("server", {"server": "none"}),
    ("server", {"server": "crm"}),
    ("name", {"name": "a b"}),
    ("name", {"name": ""}),
    ("method", {"method": "TRACE"}),
    ("path", {"path": "orders"}),
    ("path", {"path": "//evil.example"}),
    ("path", {"path": "/a?b=c"}),
    ("path", {"path": "/a/../b"}),
    ("path", {"path": "/a/{b"}),
    ("path", {"path": "/" + "x" * 600}),
    ("parameters", {"parameters": {"id": {"in": "cookie"}}}),
    ("parameters", {"parameters": {"id": {"in": "path", "name": "id"}}}),
    ("parameters", {"parameters": {"id": {"in": "header", "name": "host"}}}),
    ("parameters", {"parameters": {"id": {"in": "query", "more": "x"}}}),
    ("parameters", {"parameters": {"id": {}}}),
    ("input_schema", {"input_schema": {"type": "array"}}),
    ("input_schema", {"input_schema": {"type": "object", "properties": 5}}),
    ("input_schema", {"input_schema": {"type": "object", "title": "x" * 70_000}}),
    ("output_schema", {"output_schema": {"type": "no"}}),
    ("description", {"description": "x" * 20_000}),
    ("price", {"price": "-1"}),
    ("policy", {"policy": "sometimes"}),
]


def test_bad_tools_name_their_field(root: Client, shop: ToolServer) -> None:
    add(root)
    for field, fields in _BAD_TOOLS:
        assert field in str(field_of(add_tool(root, **fields))), fields
    assert not Tool.objects.exists()


def test_what_an_mcp_server_says_is_not_changed(root: Client) -> None:
    add(root)
    Tool.objects.create(
        server=ToolServer.objects.get(),
        name="a",
        function_name="a",
        changed_at="2026-01-01T00:00:00Z",
        previous={"description": "Before.", "input_schema": {}, "output_schema": None},
    )
    assert field_of(edit(root, f"{TOOLS}/a", description="Mine.")) == "description"
    assert root.get(f"{TOOLS}/a").json()["previous"]["description"] == "Before."
    seen = edit(root, f"{TOOLS}/a", is_enabled=True, is_seen=True)
    assert seen.status_code == 200, seen.content
    assert (seen.json()["changed_at"], seen.json()["previous"]) == (None, None)
    assert LogEntry.objects.filter(object_repr="a", changes__has_key="is_enabled").exists()


def test_operations_are_chosen_and_imported(root: Client, shop: ToolServer) -> None:
    path = f"{SERVERS}/shop"
    read = root.post(f"{path}/operations", {"document": OPENAPI}, content_type=JSON)
    assert read.status_code == 200, read.content
    good, bad = read.json()
    assert (good["key"], good["problem"], bad["key"]) == ("getOrder", "", "odd")
    assert bad["problem"]
    for wrong, field in [("odd", "operations.0"), ("none", "operations.0")]:
        body = {"document": OPENAPI, "operations": [wrong]}
        refused = root.post(f"{path}/import", body, content_type=JSON)
        assert field_of(refused) == field
    body = {"document": OPENAPI, "operations": ["getOrder"]}
    for _ in range(2):
        made = root.post(f"{path}/import", body, content_type=JSON)
        assert made.status_code == 200, made.content
    (tool,) = Tool.objects.all()
    assert (tool.function_name, tool.method, tool.path) == ("getOrder", "GET", "/orders/{id}")
    assert not tool.is_enabled
    assert tool.parameters == {"id": {"in": "path", "name": "id"}}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"document": {}, "document_url": "https://1.1.1.1"},
        {"document": {"openapi": "2.0"}},
        {"document": 5},
    ],
)
def test_documents_that_are_none(root: Client, shop: ToolServer, body: dict[str, Any]) -> None:
    refused = root.post(f"{SERVERS}/shop/operations", body, content_type=JSON)
    assert "document" in str(field_of(refused))


def test_a_document_at_a_private_address_is_not_fetched(
    root: Client, editor: Client, shop: ToolServer
) -> None:
    ToolServer.objects.update(public_only=True)
    body = {"document_url": "http://127.0.0.1:9/openapi.json"}
    refused = editor.post(f"{SERVERS}/shop/operations", body, content_type=JSON)
    assert (refused.status_code, refused.json()["code"]) == (409, "tool_server_failed")
    assert "may not go to" in refused.json()["detail"]


# --- Users --------------------------------------------------------------------------------------
def test_users_see_what_they_may_use(
    root: Client, alices: Client, alice: User, bob: User, client_of: ClientOf
) -> None:
    add(root)
    server = ToolServer.objects.get()
    for name, fields in {
        "clock": {"is_enabled": True},
        "off": {},
        "refund": {"is_enabled": True, "is_restricted": True},
    }.items():
        Tool.objects.create(server=server, name=name, function_name=name, **fields)
    role = Role(name="support")
    role.save()
    alice.groups.add(role)
    permission = Permission.objects.get(codename="use_tool")
    GroupObjectPermission.objects.create(
        group=role,
        permission=permission,
        content_type=permission.content_type,
        object_pk=Tool.objects.get(name="refund").pk,
    )

    def seen(client: Client, query: str = "") -> list[str]:
        return [tool["name"] for tool in client.get(TOOLS + query).json()["items"]]

    assert seen(alices) == ["clock", "refund"]
    assert seen(client_of(bob)) == ["clock"]
    assert seen(root) == ["clock", "off", "refund"]
    assert seen(root, "?is_enabled=false") == ["off"]
    assert seen(root, "?ordering=-name&is_vanished=false") == ["refund", "off", "clock"]
    assert "url" not in alices.get(TOOLS).json()["items"][0]


# --- Scenes -------------------------------------------------------------------------------------
def test_scenes_name_the_tools_that_they_offer(
    root: Client, editor: Client, staff: User, model: LLMModel
) -> None:
    add(root)
    server = ToolServer.objects.get()
    for name in ("clock", "refund"):
        Tool.objects.create(server=server, name=name, function_name=name)
    root.post("/api/scenes", {"slug": "help", "title": "Help"}, content_type=JSON)

    def draft(client: Client, **fields: Any) -> Any:
        body = {"user_template": "{{ text }}", **fields}
        return client.post("/api/scenes/help/versions", body, content_type=JSON)

    made = draft(root, tools=["refund", "clock"])
    assert (made.status_code, made.json()["tools"]) == (201, ["refund", "clock"])
    for wrong in (["none"], ["clock", "clock"], ["x"] * 200, "clock", [5]):
        assert "tools" in str(field_of(draft(root, tools=wrong)))
    assert field_of(draft(root, tools=["clock"], single_flight=True)) == "single_flight"
    assert field_of(draft(root, tools=["clock"], cache_ttl_seconds=9)) == "cache_ttl_seconds"
    limits = {"max_tool_steps": 2, "max_tool_seconds": 9.5, "max_tool_result_bytes": 300}
    limited = draft(root, tools=["clock"], **limits, max_tool_cost="0.25").json()
    assert limits.items() <= limited.items()
    assert limited["max_tool_cost"] == "0.25"
    Tool.objects.filter(name="clock").update(price="0.5", currency="CNY")
    refused = draft(root, tools=["clock"], model=model.name).json()
    assert refused["params"]["rule"] == "tool_currency"
    assert refused["params"]["currency"] == "CNY"
    Tool.objects.filter(name="clock").update(price=0)
    # An editor gives nobody a tool that the editor may not use.
    Tool.objects.filter(name="refund").update(is_restricted=True)
    staff.user_permissions.remove(Permission.objects.get(codename="use_tool"))
    assert field_of(draft(editor, tools=["refund"])) == "tools"
    assert draft(editor, tools=["clock"]).status_code == 201
    assert editor.post("/api/scenes/help/versions/1/publish").status_code == 403
    assert edit(editor, f"{TOOLS}/refund", is_restricted=False).status_code == 403


@pytest.mark.parametrize(
    ("field", "setting", "too_much", "nonsense"),
    [
        ("max_tool_steps", "TOOL_MAX_STEPS", 17, 0),
        ("max_tool_seconds", "TOOL_LOOP_SECONDS", 1801, -1),
        ("max_tool_result_bytes", "TOOL_RESULT_MAX_BYTES", 65_537, 1),
        ("max_tool_cost", "TOOL_LOOP_MAX_COST", "2.000001", "-0.5"),
    ],
)
def test_limits_of_a_version_stay_within_the_settings(
    root: Client, settings: Settings, field: str, setting: str, too_much: Any, nonsense: Any
) -> None:
    settings.TOOL_LOOP_MAX_COST = 2
    root.post("/api/scenes", {"slug": "help", "title": "Help"}, content_type=JSON)
    path = "/api/scenes/help/versions"
    for wrong in (too_much, nonsense, "much"):
        body = {"user_template": "{{ text }}", field: wrong}
        assert field in field_of(root.post(path, body, content_type=JSON))
    refused = root.post(path, {"user_template": "Hi", field: too_much}, content_type=JSON)
    params = refused.json()["params"]
    assert (params["rule"], params["setting"]) == ("above_setting", setting)
    assert not SceneVersion.objects.exists()
