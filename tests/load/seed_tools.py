"""Run inside the measured installation: the bench's tools, and the scene that offers them.

Argument: the URL of the service.
"""

from __future__ import annotations

import os
import sys

import django

#: `ask` waits for its user, `slow` until the service is allowed to answer.
TOOLS = ("fast", "slow", "ask")


def seed_tools(url: str) -> None:
    # Imported late: models need Django's apps.
    from chat.models import LLMModel, Scene, Tool, ToolServer
    from chat.services.scenes import create_version, publish
    from tests.load.recording import MODEL
    from tests.load.tools import SCENE

    server = ToolServer.objects.create(
        name="bench", kind="http", url=url, max_concurrent_calls=5_000, timeout_seconds=3_600
    )
    for name in TOOLS:
        Tool.objects.create(
            server=server,
            name=name,
            function_name=name,
            policy="ask" if name == "ask" else "automatic",
            is_enabled=True,
            method="POST",
            path=f"/{name}",
        )
    scene = Scene.objects.create(slug=SCENE, title="Bench of tools")
    model = LLMModel.objects.get(name=MODEL)
    publish(
        create_version(
            scene, None, {"user_template": "{{ text }}", "tools": [*TOOLS], "model": model}
        )
    )


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
    django.setup()
    seed_tools(sys.argv[1])
