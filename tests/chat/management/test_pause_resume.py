"""`manage.py pause`, `resume` and `reset-breaker`."""

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
    call_command(*arguments, stdout=out)
    return out.getvalue()


def open_breaker(model: LLMModel) -> None:
    until = str(time.time() + 100)
    breaker = deployment_keys(model.own_key).breaker
    sync_redis().hset(breaker, mapping={"open_until": until, "opened": 3})


def test_pause_and_resume_a_model_and_a_provider(model: LLMModel) -> None:
    assert run("pause", "deepseek-flash") == "deepseek-flash: paused\n"
    assert run("pause", "deepseek-flash", "simulator") == (
        "deepseek-flash: was paused already\nsimulator: paused\n"
    )
    assert run("pauses").splitlines() == [
        "provider simulator: paused by staff",
        "model deepseek-flash: paused by staff",
    ]
    assert run("resume", "deepseek-flash") == "deepseek-flash: resumed\n"
    assert run("resume", "deepseek-flash") == "deepseek-flash: was not paused\n"
    assert run("pauses", "--lift", "simulator") == "simulator: lifted\n"
    assert run("pauses") == "nothing is paused\n"


def test_resume_ends_what_began_by_itself_as_well(model: LLMModel) -> None:
    open_breaker(model)
    assert run("resume", "simulator") == "simulator: resumed\n"
    assert run("pauses") == "nothing is paused\n"


def test_reset_breaker_leaves_a_pause_by_staff(model: LLMModel) -> None:
    open_breaker(model)
    run("pause", "simulator")
    assert run("reset_breaker", "simulator") == "simulator: closed\n"
    assert run("reset_breaker", "simulator") == "simulator: was not open\n"
    assert run("pauses") == "provider simulator: paused by staff\n"


@pytest.mark.parametrize("command", ["pause", "resume", "reset_breaker"])
def test_a_name_that_there_is_not_is_an_error_and_changes_nothing(
    command: str, model: LLMModel
) -> None:
    with pytest.raises(CommandError, match="'gpt-0'"):
        run(command, "simulator", "gpt-0")
    assert run("pauses") == "nothing is paused\n"
