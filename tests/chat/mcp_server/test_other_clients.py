"""Programs of others against `/mcp`: the protocol's conformance tests, Inspector and FastMCP."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings
from starlette.types import Receive, Scope, Send

from aily.database.threads import in_database
from aily.routing import routes
from chat.runner.runtime import Runtime
from tests.chat.mcp_server.conformance import CONFORMANCE, NODE, SOURCES, checks_in, run_in_node
from tests.chat.mcp_server.conftest import LEGACY, MODERN, publish, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_INSPECTOR = Path("node_modules") / ".bin" / "mcp-inspector"

#: What the conformance tests look for in a list of tools.
_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
_SECONDS = {
    "type": "object",
    "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}},
    "required": ["seconds"],
}

#: Scenarios for what aily offers: tools. It has neither resources nor prompts, asks its client for
#: nothing, and answers with text.
_BOTH = [
    "tools-list",
    "tools-call-simple-text",
    "tools-call-error",
    "tools-call-with-progress",
    "json-schema-2020-12",
    "dns-rebinding-protection",
    "server-sse-multiple-streams",
]
_SCENARIOS = [
    *((MODERN, name) for name in [*_BOTH, "server-stateless", "caching", "http-header-validation"]),
    *((LEGACY, name) for name in [*_BOTH, "server-initialize", "ping", "server-session-lifecycle"]),
    *(
        ("extension", name)
        for name in [
            "tasks-lifecycle",
            "tasks-capability-negotiation",
            "tasks-wire-fields",
            "tasks-request-state-removal",
            "tasks-request-headers",
            "tasks-dispatch-and-envelope",
        ]
    ),
]
#: Checks that fail, as they are for what no scene can do.
_NOT_OFFERED = {
    # Tools that need a capability of the client.
    "sep-2575-missing-capability-http-400",
    "sep-2575-server-rejects-undeclared-capability",
    # Prompts and resources.
    "sep-2549-prompts-list-caching-hints",
    "sep-2549-resources-list-caching-hints",
    "sep-2549-resources-templates-list-caching-hints",
    # A tool whose call ends in an error of the protocol, and one that says "Hello, sep-2243!".
    "sep-2663-tasks-get-status-failed",
    "tasks-headers-tolerate-mcp-method-on-tools-call",
}


@pytest.fixture
async def open_address(key: str, worker: Runtime, settings: Settings) -> AsyncIterator[str]:
    """Where aily serves without a key: the conformance tests know none."""
    # `greet` is to answer by itself, and `slow_compute` to become a task.
    settings.MCP_TASK_AFTER_SECONDS = 0.5
    written: Sequence[tuple[str, dict[str, Any]]] = (
        ("test_simple_text", {"user_template": "Say something simple."}),
        ("test_error_handling", {"user_template": "[sim:status=400]"}),
        ("test_tool_with_progress", {"user_template": "Count."}),
        (
            "json_schema_2020_12_tool",
            {"user_template": "{{ name }}", "variables_schema": _SCHEMA},
        ),
        ("greet", {"user_template": "Greet {{ name }}."}),
        (
            "slow_compute",
            {
                "user_template": "[sim:latency={{ seconds }}] {{ label }}",
                "variables_schema": _SECONDS,
            },
        ),
        ("failing_job", {"user_template": "[sim:status=400,latency=1]"}),
        ("confirm_delete", {"user_template": "Delete {{ filename }}?"}),
        ("test_logging_tool", {"user_template": "Log."}),
        ("test_streaming_elicitation", {"user_template": "Stream."}),
    )
    for slug, fields in written:
        await in_database(partial(publish, slug, **fields))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if not any(name == b"authorization" for name, _ in scope["headers"]):
            scope["headers"] = [*scope["headers"], (b"authorization", f"Bearer {key}".encode())]
        await routes(scope, receive, send)

    async with serving(app) as address:
        yield address


@pytest.mark.parametrize(("revision", "scenario"), _SCENARIOS)
async def test_conformance(revision: str, scenario: str, open_address: str, tmp_path: Path) -> None:
    chosen = [] if revision == "extension" else ["--spec-version", revision]
    command = ["server", "--url", f"{open_address}/mcp", "--scenario", scenario, *chosen]
    output = await run_in_node(
        *(NODE / "bin" / "node", CONFORMANCE, *command, "-o", tmp_path), may_fail=True
    )
    checks = checks_in(tmp_path)
    failed = {check["id"] for check in checks if check["status"] == "FAILURE"}
    assert failed <= _NOT_OFFERED, output
    assert any(check["status"] in ("SUCCESS", "INFO") for check in checks), output


# --- Clients ------------------------------------------------------------------------------------
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_inspector(era: str, address: str, key: str, worker: Runtime) -> None:
    await in_database(publish, "echo")
    inspector = (NODE / "bin" / "node", _INSPECTOR, "--cli", f"{address}/mcp")
    options = ("--transport", "http", "--header", f"Authorization: Bearer {key}")
    chosen = ("--protocol-era", era)
    listed = _first_json(await run_in_node(*inspector, *options, *chosen, "--method", "tools/list"))
    assert "echo" in [tool["name"] for tool in listed["tools"]]
    call = ("--method", "tools/call", "--tool-name", "echo", "--tool-arg", "text=Hello")
    result = _first_json(await run_in_node(*inspector, *options, *chosen, *call))
    assert result["content"][0]["text"]
    assert not result.get("isError")


def _first_json(output: str) -> Any:
    """The document that a program has printed, before what it says of it."""
    return json.JSONDecoder().raw_decode(output.lstrip())[0]


_FASTMCP = """
import asyncio, json, sys
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
async def main(url, key):
    transport = StreamableHttpTransport(url, headers={"Authorization": f"Bearer {key}"})
    async with Client(transport) as client:
        names = [tool.name for tool in await client.list_tools()]
        result = await client.call_tool("echo", {"text": "Hello"})
        print(json.dumps([names, result.content[0].text]))
asyncio.run(main(*sys.argv[1:]))
"""


async def test_fastmcp(address: str, key: str, worker: Runtime) -> None:
    await in_database(publish, "echo")
    output = await run_in_node(_fastmcp_python(), "-c", _FASTMCP, f"{address}/mcp", key)
    names, text = json.loads(output.strip().splitlines()[-1])
    assert "echo" in names
    assert text


def _fastmcp_python() -> Path:
    """The interpreter of the environment with FastMCP, installed once."""
    lock = SOURCES / "fastmcp.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    directory = Path(django_settings.BASE_DIR) / "var" / "clients" / f"fastmcp-{digest}"
    python = directory / "bin" / "python"
    if not (directory / "installed").exists():
        venv.create(directory, clear=True)
        uv = Path(sys.executable).with_name("uv")
        options = ["pip", "install", "--quiet", "--no-config", "--no-deps"]
        command: list[str | Path] = [uv, *options, "--python", python, "--requirement", lock]
        subprocess.run(command, check=True, timeout=240)
        (directory / "installed").touch()
    return python
