"""The scene whose equal requests share one call, and its answers."""

from __future__ import annotations

from typing import Any

import msgspec

from accounts.models import User
from chat.events import EventId
from chat.llm.simulator.answers import simulated_answer
from chat.models import (
    Scene,
)
from chat.services import scenes
from chat.services.follow import follow
from chat.services.submission import CompositeRequest
from chat.services.submit import Submission


def publish(slug: str = "shared", **fields: Any) -> Scene:
    scene, _ = Scene.objects.get_or_create(slug=slug, title=slug)
    written = {"user_template": "{{ text }}", "single_flight": True, **fields}
    scenes.publish(scenes.create_version(scene, None, written))
    return scene


def submission(owner: User, text: str, key: str | None = None, **fields: Any) -> Submission:
    body = {"scene": "shared", "variables": {"text": text}, **fields}
    return Submission(owner.pk, CompositeRequest.model_validate(body), idempotency_key=key)


def answer_to(text: str) -> str:
    messages = [{"role": "user", "content": text}]
    return simulated_answer({"model": "deepseek-flash", "messages": messages}).text


async def resumed(task_id: str, owner: User, after: str) -> list[Any]:
    following = follow(task_id, owner.pk, EventId.parse(after))
    return [msgspec.json.decode(followed.frame) async for followed in following]
