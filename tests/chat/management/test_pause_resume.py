"""`manage.py pause`, `resume` and `reset-breaker`."""

from __future__ import annotations

import time
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from aily.redis.clients import sync_redis
from chat.models import Deployment, LLMModel, Provider
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


def test_a_deployment_is_paused_and_resumed_by_the_name_that_pauses_list(model: LLMModel) -> None:
    second = Provider.objects.create(name="second", base_url="http://127.0.0.1:9")
    more = Deployment.objects.create(model=model, name="more", provider=second)
    name, own = "deepseek-flash@more", "deepseek-flash@simulator"
    assert run("pause", name, own) == f"{name}: paused\n{own}: paused\n"
    assert run("pauses").splitlines() == [
        f"deployment {own}: paused by staff",
        f"deployment {name}: paused by staff",
    ]
    assert run("resume", own) == f"{own}: resumed\n"
    until = str(time.time() + 100)
    keys = deployment_keys(more.key)
    sync_redis().hset(keys.breaker, mapping={"open_until": until, "opened": 3})
    sync_redis().hset(keys.limit, "paused_until", until)
    assert [line.split(":")[0] for line in run("pauses").splitlines()] == [f"deployment {name}"] * 3
    assert run("reset_breaker", "second") == "second: closed\n"
    assert run("pauses", "--lift-all") == f"{name}: lifted\n{name}: was not paused\n"
    assert run("pauses") == "nothing is paused\n"


@pytest.mark.parametrize("command", ["pause", "resume", "reset_breaker"])
def test_a_name_that_there_is_not_is_an_error_and_changes_nothing(
    command: str, model: LLMModel
) -> None:
    with pytest.raises(CommandError, match="'gpt-0'"):
        run(command, "simulator", "gpt-0")
    assert run("pauses") == "nothing is paused\n"
