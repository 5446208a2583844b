"""`manage.py check_providers` against a real server, and against none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.server import running_simulator
from chat.models import Deployment, LLMModel, Provider


@pytest.fixture
def simulator_url() -> Iterator[str]:
    """A provider that takes one key, on a loop and thread of its own."""
    ready, stop = threading.Event(), asyncio.Event()
    urls: list[str] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with running_simulator(SimulatorConfig(port=0, api_key="sk-right")) as simulator:
            urls.append(simulator.url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(20)
    yield urls[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def check() -> str:
    output = StringIO()
    try:
        call_command("check_providers", stdout=output)
    except CommandError as error:
        output.write(f"{error}\n")
    return output.getvalue()


def make(url: str) -> None:
    provider = Provider.objects.create(name="p", base_url=url, api_key_env="LLM_KEY_P")
    LLMModel.objects.create(provider=provider, name="deepseek-flash")
    LLMModel.objects.create(provider=provider, name="mine", upstream_name="not-listed")
    off = LLMModel.objects.create(provider=provider, name="off", is_enabled=False)
    other = Provider.objects.create(name="other", base_url=url, is_enabled=False)
    served = LLMModel.objects.create(provider=other, name="served")
    for model, called in ((served, "further"), (off, "nowhere")):
        Deployment.objects.create(model=model, name="more", provider=provider, upstream_name=called)


@pytest.mark.django_db
def test_a_provider_that_answers_is_told_and_what_it_does_not_list(
    simulator_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(simulator_url)
    monkeypatch.setenv("LLM_KEY_P", "sk-right")
    said = check()
    assert "p: it answers, and lists" in said
    assert "p: it does not list not-listed" in said
    assert "p: it does not list further" in said
    assert "nowhere" not in said
    assert "deepseek-flash" not in said
    assert "Not every" not in said
    assert "sk-" not in said


@pytest.mark.django_db
def test_what_is_wrong_is_named_and_fails(
    simulator_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(simulator_url)
    monkeypatch.delenv("LLM_KEY_P", raising=False)
    assert "p: LLM_KEY_P is not set\nNot every provider" in check()
    monkeypatch.setenv("LLM_KEY_P", "")
    assert "p: LLM_KEY_P is not set\nNot every provider" in check()
    # A row from before there was a rule.
    Provider.objects.update(api_key_env="SECRET_KEY")
    assert "p: SECRET_KEY may not be sent to a provider" in check()
    Provider.objects.update(api_key_env="LLM_KEY_P")
    monkeypatch.setenv("LLM_KEY_P", "sk-wrong")
    assert "p: provider_auth: " in check()
    Provider.objects.update(base_url="http://127.0.0.1:1")
    assert "p: provider_unreachable: " in check()
    Provider.objects.update(is_enabled=False)
    assert check() == ""
