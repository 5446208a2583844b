"""`manage.py pauses`: what is paused, and its end."""

from __future__ import annotations

import time
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from aily.redis.clients import sync_redis
from chat.models import LLMModel
from chat.scheduler.keys import deployment_keys


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("pauses", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def paused(model: LLMModel) -> LLMModel:
    """A paused model, and a provider that is left alone for the third time."""
    until = str(time.time() + 100)
    sync_redis().hset(deployment_keys(model.own_key).limit, "paused_until", until)
    sync_redis().hset(
        deployment_keys(model.own_key).breaker, mapping={"open_until": until, "opened": 3}
    )
    return model


def test_it_lists_what_is_paused_and_for_how_long() -> None:
    provider, model = run().splitlines()
    assert provider.startswith("provider simulator: ")
    assert provider.endswith(" s left, for the 3. time in a row")
    assert model.startswith("model deepseek-flash: ")
    assert 90 < float(model.split()[2]) <= 100


def test_it_lifts_one_by_its_name() -> None:
    assert run("--lift", "deepseek-flash") == "deepseek-flash: lifted\n"
    assert run("--lift", "deepseek-flash") == "deepseek-flash: was not paused\n"
    assert run().count("\n") == 1
    assert run("--lift", "simulator") == "simulator: lifted\n"
    assert run() == "nothing is paused\n"


def test_it_lifts_all() -> None:
    assert run("--lift-all") == "simulator: lifted\ndeepseek-flash: lifted\n"
    assert run("--lift-all") == "nothing is paused\n"


def test_a_name_that_there_is_not_is_an_error() -> None:
    with pytest.raises(CommandError, match="There is no model, provider or deployment 'gpt-0'"):
        run("--lift", "gpt-0")
