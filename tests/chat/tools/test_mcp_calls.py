"""Calls of tools of MCP servers, of both revisions, over real connections."""

from __future__ import annotations

import asyncio

import pytest
from mcp.server.mcpserver import Context

from aily.database.threads import in_database
from chat.models import Tool, ToolServer
from chat.tools.calling import call_tool
from chat.tools.listing import refresh
from tests.chat.tools.conftest import (
    LEGACY,
    MODERN,
    REVISIONS,
    Counted,
    MakeTool,
    Sum,
    running_mcp,
)
from tests.waiting import until


@REVISIONS
async def test_the_text_of_a_result(
    mcp_server: Counted, make_tool: MakeTool, revision: str
) -> None:
    tool = await make_tool(mcp_server.url, server_protocol_version=revision)
    result = await call_tool(tool, {"text": "Guten Tag, 世界"}, call_id="c1")
    assert (result.text, result.is_error, result.code) == ("Guten Tag, 世界", False, "")
    assert result.bytes == len("Guten Tag, 世界".encode())
    assert 0 < result.duration_seconds < 20
    assert mcp_server.calls == ["Guten Tag, 世界"]


@REVISIONS
async def test_a_structured_result(mcp_server: Counted, make_tool: MakeTool, revision: str) -> None:
    tool = await make_tool(mcp_server.url, "add", server_protocol_version=revision)
    result = await call_tool(tool, {"a": 2, "b": 3}, call_id="c1")
    assert result.structured == {"total": 5}
    assert '"total"' in result.text


@REVISIONS
async def test_a_tool_that_fails(mcp_server: Counted, make_tool: MakeTool, revision: str) -> None:
    tool = await make_tool(mcp_server.url, "fail", server_protocol_version=revision)
    result = await call_tool(tool, {"message": "No such order."}, call_id="c1")
    assert result.is_error
    assert result.code == "tool_error"
    assert "No such order." in result.text


@REVISIONS
async def test_a_call_that_takes_too_long_is_given_up(
    mcp_server: Counted, make_tool: MakeTool, revision: str
) -> None:
    tool = await make_tool(
        mcp_server.url, "wait", server_protocol_version=revision, server_timeout_seconds=0.3
    )
    result = await call_tool(tool, {"seconds": 30}, call_id="c1")
    assert (result.code, result.text) == ("tool_timeout", "The tool did not answer within 0.3 s.")
    assert result.duration_seconds < 15


async def test_cancelling_a_call_ends_it_at_its_server(make_tool: MakeTool) -> None:
    async with running_mcp() as mcp_server:
        tool = await make_tool(mcp_server.url, "wait", server_protocol_version=MODERN)
        call = asyncio.ensure_future(call_tool(tool, {"seconds": 30}, call_id="c1"))
        await until(lambda: mcp_server.protocol_methods)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: mcp_server.calls == ["cancelled"])


async def test_a_call_of_the_current_revision_is_one_request(make_tool: MakeTool) -> None:
    async with running_mcp() as mcp_server:
        tool = await make_tool(mcp_server.url, server_protocol_version=MODERN)
        await call_tool(tool, {"text": "a"}, call_id="c1")
        assert mcp_server.protocol_methods == [f"POST {MODERN}"]


@pytest.mark.parametrize(("known", "speaks"), [("", MODERN), ("", LEGACY), (MODERN, LEGACY)])
async def test_a_server_that_speaks_another_revision_than_is_known(
    make_tool: MakeTool, known: str, speaks: str
) -> None:
    async with running_mcp(LEGACY if speaks == LEGACY else None) as mcp_server:
        tool = await make_tool(mcp_server.url, server_protocol_version=known)
        result = await call_tool(tool, {"text": "a"}, call_id="c1")
        assert (result.text, mcp_server.calls) == ("a", ["a"])


@REVISIONS
async def test_leave_to_call_is_asked_for_when_the_session_stands(
    mcp_server: Counted, make_tool: MakeTool, revision: str
) -> None:
    """Its beginning may take long: the tool may have been disabled meanwhile."""
    tool = await make_tool(mcp_server.url, server_protocol_version=revision)
    asked: list[int] = []

    async def may_begin() -> bool:
        asked.append(len(mcp_server.protocol_methods))
        return False

    result = await call_tool(tool, {"text": "x"}, call_id="c1", may_begin=may_begin)
    assert (result.code, mcp_server.calls) == ("tool_unavailable", [])
    # By then a session of an earlier revision was begun; of the current one nothing was sent.
    assert [bool(requests) for requests in asked] == [revision == LEGACY]


@REVISIONS
async def test_a_tool_that_its_server_does_not_have(
    mcp_server: Counted, make_tool: MakeTool, revision: str
) -> None:
    tool = await make_tool(mcp_server.url, "gone", server_protocol_version=revision)
    result = await call_tool(tool, {}, call_id="c1")
    assert result.is_error
    assert result.code in ("tool_refused", "tool_error")
    assert "gone" in result.text


async def test_a_question_of_an_earlier_revision_is_an_error(make_tool: MakeTool) -> None:
    async with running_mcp(LEGACY) as mcp_server:

        @mcp_server.server.tool()
        async def ask(ctx: Context) -> str:
            await ctx.elicit("How much is it?", Sum)
            return "answered"

        tool = await make_tool(mcp_server.url, "ask", server_protocol_version=LEGACY)
        result = await call_tool(tool, {}, call_id="c1")
        assert (result.is_error, result.asked) == (True, None)


@pytest.mark.parametrize(
    ("auth", "fields", "sent"),
    [
        ("bearer", {}, "Bearer s3cret-token-value"),
        ("header", {"server_key_header": "authorization"}, "s3cret-token-value"),
        ("none", {}, None),
    ],
)
async def test_credentials(
    make_tool: MakeTool, auth: str, fields: dict[str, str], sent: str | None
) -> None:
    async with running_mcp() as mcp_server:
        tool = await make_tool(
            mcp_server.url, server_auth=auth, server_secret="s3cret-token-value", **fields
        )
        await call_tool(tool, {"text": "a"}, call_id="c1")
        assert set(mcp_server.authorizations) == {sent}


@REVISIONS
async def test_listing(mcp_server: Counted, make_tool: MakeTool, revision: str) -> None:
    known = await make_tool(mcp_server.url, "echo")
    gone = await make_tool(mcp_server.url, "gone")
    server = await in_database(ToolServer.objects.get)
    changes = await refresh(server)
    assert (changes.new, changes.vanished) == (("add", "fail", "wait"), ("gone",))
    assert changes.total == 4
    await in_database(server.refresh_from_db)
    assert server.protocol_version == revision
    assert server.listed_at is not None
    rows = await in_database(lambda: list(Tool.objects.select_related("server")))
    known, gone = (next(row for row in rows if row.pk == tool.pk) for tool in (known, gone))
    assert known.is_enabled
    assert known.description == "Say it again."
    assert known.input_schema["required"] == ["text"]
    assert gone.vanished_at is not None
    result = await call_tool(gone, {}, call_id="c1")
    assert result.code == "tool_unavailable"


@REVISIONS
async def test_a_secret_that_is_echoed_is_not_shown(
    mcp_server: Counted, make_tool: MakeTool, revision: str
) -> None:
    tool = await make_tool(
        mcp_server.url,
        server_protocol_version=revision,
        server_auth="bearer",
        server_secret="s3cret-token-value",
    )
    result = await call_tool(tool, {"text": "Bearer s3cret-token-value"}, call_id="c1")
    assert (result.text, result.is_error) == ("Bearer ***", False)
    assert "s3cret" not in str(result)
