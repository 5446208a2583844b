"""`check_mcp`: which tool servers answer, as workers would call them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import StringIO
from subprocess import DEVNULL, PIPE, Popen

import pytest
from django.core.management import CommandError, call_command

from chat.models import Tool, ToolServer
from tests.ports import free_ports


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """The demo server's address."""
    command = [sys.executable, "-m", "aily.demo_mcp_server", "--port", "0"]
    with Popen(command, stdout=PIPE, stderr=DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def check(*arguments: str) -> str:
    out = StringIO()
    call_command("check_mcp", *arguments, stdout=out)
    return out.getvalue()


def test_what_a_server_lists(transactional_db: None, demo: str) -> None:
    server = ToolServer.objects.create(name="demo", url=demo)
    Tool.objects.create(server=server, name="clock", function_name="clock", is_enabled=True)
    Tool.objects.create(server=server, name="slow", function_name="slow")
    said = check()
    assert "demo: it answers by 2026-07-28, and lists 5 tools" in said
    assert "demo: clock (enabled)" in said
    assert "demo: slow (disabled)" in said
    assert "demo: ask (new)" in said
    # It only looks.
    assert Tool.objects.count() == 2
    server.refresh_from_db()
    assert server.listed_at is None


def test_one_that_is_down_fails_the_command(transactional_db: None, demo: str) -> None:
    port = free_ports(1)[0]
    ToolServer.objects.create(name="down", url=f"http://127.0.0.1:{port}/mcp")
    ToolServer.objects.create(name="plain", kind="http", url=f"http://127.0.0.1:{port}")
    ToolServer.objects.create(name="works", url=demo, is_enabled=False)
    with pytest.raises(CommandError, match="Not every tool server"):
        check()
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("check_mcp", stdout=out)
    assert "down: tool_unreachable" in out.getvalue()
    assert "plain: tool_unreachable" in out.getvalue()
    assert "works" not in out.getvalue()
    assert "works: it answers" in check("works")
    with pytest.raises(CommandError, match="There is no tool server 'none'"):
        check("none")


def test_an_http_service_is_connected_to(transactional_db: None, demo: str) -> None:
    ToolServer.objects.create(name="plain", kind="http", url=demo)
    assert check() == "plain: a connection can be made\n"


def test_without_any(transactional_db: None) -> None:
    assert "no enabled tool servers" in check()
