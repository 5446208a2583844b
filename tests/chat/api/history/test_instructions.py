"""System messages, scenes and conversations: one instruction first, then the history."""

from __future__ import annotations

from typing import Any

from aily.database.threads import in_database
from chat.models import LLMModel, Scene
from chat.runner.runtime import Runtime
from chat.services.scenes import create_version, publish
from tests.chat.api.conftest import Api
from tests.chat.api.history.conftest import (
    REQUEST,
    Ask,
    texts,
)


async def test_instructions_go_before_the_history_as_one_message(
    ask: Ask, sent: list[Any], model: LLMModel
) -> None:
    def make_scene() -> None:
        scene = Scene.objects.create(slug="guide", title="Guide")
        fields = {"system_template": "Guide them.", "user_template": "To {{ where }}"}
        publish(create_version(scene, None, fields))

    await in_database(make_scene)
    first = await ask("Hello")
    await ask(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "By train."}],
        scene="guide",
        variables={"where": "Rome"},
    )
    assert texts(sent[-1]) == [
        "Guide them.\n\nBe brief.", "Hello", first["result"]["text"], "To Rome\n\nBy train.",
    ]  # fmt: skip


async def test_in_a_conversation_instructions_go_first_wherever_they_are_given(
    ask: Ask, sent: list[Any]
) -> None:
    first = await ask("Hello")
    own = [{"role": "user", "content": "Where to?"}, {"role": "system", "content": "In a word."}]
    await ask(own)
    assert texts(sent[-1]) == ["In a word.", "Hello", first["result"]["text"], "Where to?"]


async def test_messages_of_ones_own_are_sent_as_they_are(
    api: Api, worker: Runtime, sent: list[Any]
) -> None:
    """Only the caller knows what a list without scene and conversation is meant to be."""
    own = [
        {"role": "user", "content": "One"},
        {"role": "user", "content": "Two"},
        {"role": "system", "content": "Answer both."},
    ]
    await api.post(f"{REQUEST}?sync=true", {"messages": own})
    assert sent == [own]
