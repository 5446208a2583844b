"""Which tools a model is told of, for which user; and names of tools over all servers."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone
from guardian.models import GroupObjectPermission

from accounts.models import Role, User
from aily.problems import InvalidRequest
from chat.models import Tool, ToolPolicy, ToolServer
from chat.tools.names import function_name
from chat.tools.offers import definitions, load_tool, narrowed, offered_tools


@pytest.fixture
def server(transactional_db: None) -> ToolServer:
    return ToolServer.objects.create(name="demo", url="http://127.0.0.1:9")


def add(server: ToolServer, name: str, **fields: Any) -> Tool:
    given = {"function_name": name, "is_enabled": True, **fields}
    return Tool.objects.create(server=server, name=name, **given)


def names(tools: list[Tool]) -> list[str]:
    return [tool.function_name for tool in tools]


def test_only_what_can_be_called_is_offered(server: ToolServer, alice: User) -> None:
    add(server, "clock")
    add(server, "off", is_enabled=False)
    add(server, "never", policy=ToolPolicy.NEVER)
    add(server, "gone", vanished_at=timezone.now())
    add(server, "odd", problem="Its schema is none.")
    add(server, "ask", policy=ToolPolicy.ASK)
    wanted = ["ask", "off", "never", "gone", "odd", "unknown", "clock", "clock"]
    offered = offered_tools(wanted, alice.pk)
    assert names(offered) == ["ask", "clock"]
    assert all(tool.is_offered for tool in offered)
    server.is_enabled = False
    server.save()
    assert offered_tools(wanted, alice.pk) == []


def test_restricted_tools_are_for_those_with_permission(
    server: ToolServer, alice: User, bob: User
) -> None:
    tool = add(server, "refund", is_restricted=True)
    role = Role(name="support")
    role.save()
    alice.groups.add(role)
    permission = Permission.objects.get(codename="use_tool")
    granted = GroupObjectPermission.objects.create(
        group=role, permission=permission, content_type=permission.content_type, object_pk=tool.pk
    )
    assert names(offered_tools(["refund"], alice.pk)) == ["refund"]
    assert offered_tools(["refund"], bob.pk) == []
    assert load_tool("refund", bob.pk) is None
    # As soon as it is taken away, nothing more is called.
    granted.delete()
    assert load_tool("refund", alice.pk) is None
    alice.user_permissions.add(permission)
    assert load_tool("refund", alice.pk) == tool


def test_a_request_narrows_what_its_scene_offers() -> None:
    assert narrowed(["a", "b", "c"], None, "tools") == ["a", "b", "c"]
    assert narrowed(["a", "b", "c"], ["c", "a"], "tools") == ["a", "c"]
    assert narrowed(["a"], [], "tools") == []
    with pytest.raises(InvalidRequest, match="offers no tool 'x'") as refused:
        narrowed(["a"], ["x"], "tools")
    assert refused.value.field == "tools"


def test_definitions_are_what_providers_take(server: ToolServer) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "string"}}}
    tools = [
        add(server, "getOrder", description="One order.", input_schema=schema),
        add(server, "clock"),
    ]
    first, second = definitions(tools)
    assert first == {
        "type": "function",
        "function": {"name": "getOrder", "description": "One order.", "parameters": schema},
    }
    assert second["function"]["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("tool", "taken", "name"),
    [
        ("clock", [], "clock"),
        ("get.order:v1", [], "get_order_v1"),
        ("clock", ["clock"], "demo_clock"),
        ("clock", ["clock", "demo_clock"], "demo_clock_2"),
        ("x" * 128, [], "x" * 64),
        ("x" * 64, ["x" * 64], "demo_" + "x" * 59),
        ("x" * 64, ["x" * 64, "demo_" + "x" * 59], "demo_" + "x" * 57 + "_2"),
        ("工具", [], "__"),
    ],
)
def test_function_names(tool: str, taken: list[str], name: str) -> None:
    assert function_name("demo", tool, taken) == name
