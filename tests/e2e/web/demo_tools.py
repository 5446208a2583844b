"""The demo MCP server beside a stack, and a scene that offers its tools."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: A scene whose model calls the tools that its text asks for, and the tool that asks first.
ASSISTANT, ASKING = "helper", "calculate"

#: Run by `manage.py shell`: the server is in the demo content already.
MAKE_ASSISTANT = f"""
from chat.models import Scene, Tool
from chat.services.scenes import create_version, publish
Tool.objects.update(policy="automatic")
schema = {{"type": "object", "properties": {{"expression": {{"type": "string"}}}}}}
Tool.objects.filter(name="{ASKING}").update(policy="ask", input_schema=schema)
names = list(Tool.objects.values_list("function_name", flat=True))
helper = Scene.objects.create(slug="{ASSISTANT}", title="Helper")
publish(create_version(helper, None, {{"user_template": "{{{{ text }}}}", "tools": names}}))
"""


@contextmanager
def demo_mcp_server() -> Iterator[str]:
    """The server as a process. Yields its address, with the path."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aily.demo_mcp_server", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
