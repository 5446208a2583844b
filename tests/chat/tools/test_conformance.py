"""The protocol's conformance tests of clients, against what calls tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from aily.launcher.programs import BASE_DIR
from tests.chat.mcp_server.conformance import CONFORMANCE, NODE, checks_in, run_in_node
from tests.chat.tools.conftest import LEGACY, MODERN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: Those for what aily does as a client: listing and calling tools, with client credentials. It has
#: no user at hand to log in (the others of `auth/...`), nor one who could answer what a server asks
#: in the middle of a call.
_SCENARIOS = [
    *((LEGACY, name) for name in ("initialize", "sse-retry")),
    *((version, "tools_call") for version in (LEGACY, MODERN)),
    *((version, "json-schema-2020-12-preservation") for version in (LEGACY, MODERN)),
    *(
        (MODERN, name)
        for name in (
            "request-metadata",
            "http-standard-headers",
            "http-custom-headers",
            "http-invalid-tool-headers",
            "json-schema-ref-no-deref",
        )
    ),
    ("extension", "auth/client-credentials-basic"),
]


@pytest.mark.parametrize(("revision", "scenario"), _SCENARIOS)
async def test_conformance(
    revision: str, scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(BASE_DIR))
    client = f"{sys.executable} -m tests.chat.tools.conformance_client"
    chosen: tuple[Any, ...] = ("--scenario", scenario, "-o", tmp_path)
    if revision != "extension":
        chosen = (*chosen, "--spec-version", revision)
    output = await run_in_node(
        *(NODE / "bin" / "node", CONFORMANCE, "client", "--command", client, *chosen),
        may_fail=True,
    )
    checks = checks_in(tmp_path)
    assert [check["id"] for check in checks if check["status"] == "FAILURE"] == [], output
    assert any(check["status"] == "SUCCESS" for check in checks), output
