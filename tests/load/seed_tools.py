"""Run inside the measured installation: the bench's tool, and the scene that offers it.

Argument: the URL of the service.
"""

from __future__ import annotations

import os
import sys

import django


def seed_tools(url: str) -> None:
    # Imported late: models need Django's apps.
    from chat.models import LLMModel, Scene, Tool, ToolServer
    from chat.services.scenes import create_version, publish
    from tests.load.recording import MODEL
    from tests.load.tools import SCENE

    server = ToolServer.objects.create(name="bench", kind="http", url=url, max_concurrent_calls=500)
    Tool.objects.create(
        server=server,
        name="fast",
        function_name="fast",
        policy="automatic",
        is_enabled=True,
        method="POST",
        path="/fast",
    )
    scene = Scene.objects.create(slug=SCENE, title="Bench of tools")
    model = LLMModel.objects.get(name=MODEL)
    publish(
        create_version(
            scene, None, {"user_template": "{{ text }}", "tools": ["fast"], "model": model}
        )
    )


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
    django.setup()
    seed_tools(sys.argv[1])
