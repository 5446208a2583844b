"""Background responses while processes are killed: every client gets to the same end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from django.conf import settings
from openai import OpenAI

from tests.databases import make_database, url_of
from tests.prepared import MIGRATED
from tests.stack import Stack
from tests.waiting import wait_until

_SCRIPT = """
from accounts.models import APIKey, User
from chat.models import LLMModel
model = LLMModel.objects.get(is_default=True)
model.params = {"thinking": {"type": "disabled"}}
model.save()
print(APIKey.create(User.objects.create_user("alice"), "killed")[1])
"""
#: Every attempt takes some seconds.
PROMPT = "Tell me a long story [sim:tokens=160,tps=40]"
_LOST = (openai.APIError, openai.APIConnectionError)


@pytest.fixture(scope="module")
def stack(database_server: dict[str, str]) -> Iterator[Stack]:
    make_database(database_server, "aily_killed", MIGRATED)
    data_dir = Path(settings.DATA_DIR) / "killed"
    environment = {"WORKER_LEASE_SECONDS": "2", "EVENT_LOG_TTL_SECONDS": "2"}
    stack = Stack(
        url_of(database_server, "aily_killed"), data_dir, environment=environment, script=_SCRIPT
    )
    with stack:
        yield stack


@pytest.fixture
def sdk(stack: Stack) -> Iterator[OpenAI]:
    [key] = stack.made
    with OpenAI(base_url=f"{stack.base_url}/v1", api_key=key) as client:
        yield client


class Reader:
    """A client that reads a background response, and resumes it wherever it is cut off."""

    def __init__(self, sdk: OpenAI) -> None:
        self.sdk = sdk
        self.events: list[Any] = []

    def begin(self, count: int) -> None:
        """Create the response, and read the first `count` deltas of its text."""
        with self.sdk.responses.create(
            model="deepseek-flash", input=PROMPT, background=True, stream=True
        ) as stream:
            for event in stream:
                self.events.append(event)
                if len(self.deltas) == count:
                    return

    @property
    def response_id(self) -> str:
        return str(self.events[0].response.id)

    @property
    def deltas(self) -> list[str]:
        return [event.delta for event in self.events if event.type == "response.output_text.delta"]

    @property
    def numbers(self) -> list[int]:
        return [event.sequence_number for event in self.events]

    def resume(self) -> Any:
        """Read on to the end, however often that takes. Returns the last event's response."""

        def last() -> Any:
            stream: Any = self.sdk.responses.retrieve(
                self.response_id, stream=True, starting_after=self.numbers[-1]
            )
            try:
                for event in stream:
                    self.events.append(event)
            except _LOST:
                return None
            event = self.events[-1]
            return event.response if event.type == "response.completed" else None

        return wait_until(last)


def check(reader: Reader, response: Any) -> None:
    """Numbers without a gap; one text an item; what is stored is what was streamed."""
    assert reader.numbers == list(range(len(reader.events)))
    texts: dict[str, str] = {}
    for event in reader.events:
        if event.type == "response.output_text.delta":
            texts[event.item_id] = texts.get(event.item_id, "") + event.delta
    items = {item.id: item for item in response.output}
    assert {name: items[name].content[0].text for name in texts} == texts
    assert response.output_text == "".join(reader.deltas)
    assert reader.sdk.responses.retrieve(response.id) == response


@pytest.mark.slow
def test_a_killed_worker_leaves_an_incomplete_item(stack: Stack, sdk: OpenAI) -> None:
    polled = sdk.responses.create(model="deepseek-flash", input=PROMPT, background=True)
    reader = Reader(sdk)
    reader.begin(3)
    assert sdk.responses.retrieve(polled.id).status == "in_progress"
    stack.kill("worker-0")
    stack.restart("worker-0")
    response = reader.resume()
    first, second = response.output
    assert [first.status, second.status] == ["incomplete", "completed"]
    assert second.content[0].text.startswith(first.content[0].text)
    check(reader, response)
    assert list(sdk.responses.retrieve(response.id, stream=True)) == reader.events
    # Of one that is polled nobody was sent what the lost attempt had.
    wait_until(lambda: sdk.responses.retrieve(polled.id).status == "completed")
    [message] = sdk.responses.retrieve(polled.id).output
    assert message.type == "message"
    assert message.status == "completed"


@pytest.mark.slow
def test_a_killed_web_process_is_resumed_elsewhere(stack: Stack, sdk: OpenAI) -> None:
    reader = Reader(sdk)
    reader.begin(3)
    for name in ("web-0", "web-1"):
        stack.kill(name)
        stack.restart(name)
    stack.wait_until_ready()
    response = reader.resume()
    assert [item.status for item in response.output] == ["completed"]
    check(reader, response)
