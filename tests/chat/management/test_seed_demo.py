"""The demo content: made where it is missing, and otherwise left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import authenticate
from django.core.management import call_command
from pytest_django import Settings

from accounts.models import User
from chat.accounting.prices import price_at
from chat.models import (
    LLMModel,
    Provider,
    Scene,
    SceneVersion,
    Seed,
    TaskKind,
    Tool,
    ToolServer,
)
from chat.services.rendering import render
from chat.services.scenes import create_version, publish


@pytest.fixture(autouse=True)
def _no_key(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)


def everything() -> dict[str, list[dict[str, Any]]]:
    models: list[Any] = [*apps.get_app_config("chat").get_models(), User]
    return {model.__name__: list(model.objects.order_by("pk").values()) for model in models}


def test_a_new_installation_can_be_tried_at_once(settings: Settings) -> None:
    call_command("seed_demo")
    for name in ("demo", "admin"):
        user = authenticate(username=name, password=name)
        assert user is not None
        assert (user.is_staff, user.is_superuser) == ((name == "admin"),) * 2
    models = LLMModel.objects.select_related("provider").order_by("name")
    assert [(m.name, m.capability, m.max_concurrency, m.is_default) for m in models] == [
        ("deepseek-flash", "chat", 2500, True),
        ("deepseek-v4-pro", "chat", 500, False),
        ("simulated-embeddings", "embeddings", 500, False),
    ]
    assert {(m.provider.name, m.provider.is_simulated) for m in models} == {("simulator", True)}
    assert {m.provider.base_url for m in models} == {settings.SIMULATOR_URL}
    monday_morning = datetime(2026, 11, 23, 7, tzinfo=UTC)
    for hours, factor in ((0, 2), (4, 1)):
        price = price_at(models[0], monday_morning + timedelta(hours=hours))
        assert price.output_price == models[0].output_price * factor


def test_where_others_can_reach_it_no_user_has_a_known_password() -> None:
    call_command("seed_demo", locked=True)
    admin = User.objects.get(username="admin")
    assert (admin.is_superuser, admin.has_usable_password()) == (True, False)
    # Begun on loopback, and opened to others later; one of them has a password of its own by then.
    admin.set_password("admin")
    admin.save()
    demo = User.objects.get(username="demo")
    demo.set_password("chosen")
    demo.save()
    call_command("seed_demo", locked=True)
    assert authenticate(username="admin", password="admin") is None
    assert authenticate(username="demo", password="chosen") == demo


@pytest.mark.parametrize(
    ("slug", "variables"),
    [
        ("summarize", {"text": "Once upon a time."}),
        ("translate", {"text": "Once upon a time.", "language": "French"}),
    ],
)
def test_the_scenes_are_live_and_take_their_variables(slug: str, variables: dict[str, str]) -> None:
    call_command("seed_demo")
    version = Scene.objects.usable().get(slug=slug).live_version
    assert version is not None
    system, user = render(version, variables)
    assert variables["text"] in str(user["content"])
    prompt = f"{system['content']}{user['content']}"
    assert all(value in prompt for value in variables.values())
    properties = version.variables_schema["properties"]
    assert properties.keys() == variables.keys()
    assert all(schema["description"] for schema in properties.values())


def test_a_second_run_changes_nothing() -> None:
    call_command("seed_demo")
    before = everything()
    call_command("seed_demo")
    assert everything() == before


def test_what_people_changed_stays() -> None:
    call_command("seed_demo")
    demo = User.objects.get(username="demo")
    demo.set_password("my-own-secret")
    demo.save()
    scene = Scene.objects.get(slug="summarize")
    publish(create_version(scene, None, {"user_template": "mine {{ text }}"}))
    Scene.objects.filter(slug="translate").update(title="Mine", is_enabled=False)
    LLMModel.objects.filter(name="deepseek-v4-pro").update(max_concurrency=3)
    LLMModel.objects.get(name="deepseek-v4-pro").delete()
    other = Provider.objects.create(name="mine", base_url="https://mine.example")
    LLMModel.objects.filter(name="deepseek-flash").update(provider=other, is_default=False)
    mine = LLMModel.objects.create(name="mine", provider=other, is_default=True)
    call_command("seed_demo")
    assert authenticate(username="demo", password="my-own-secret") is not None
    assert SceneVersion.objects.filter(scene=scene).count() == 2
    assert Scene.objects.get(slug="translate").title == "Mine"
    assert LLMModel.objects.get(name="deepseek-flash").provider == other
    assert LLMModel.objects.get(is_default=True) == mine


def test_the_address_that_staff_gave_the_simulator_stays(settings: Settings) -> None:
    call_command("seed_demo")
    Provider.objects.update(base_url="http://127.0.0.1:7", is_simulated=False, public_only=True)
    settings.SIMULATOR_URL = "http://127.0.0.1:9999"
    for _ in range(2):
        call_command("seed_demo")
    provider = Provider.objects.get()
    assert provider.base_url == "http://127.0.0.1:7"
    assert (provider.is_simulated, provider.public_only) == (False, True)


def test_what_people_deleted_or_renamed_does_not_come_back() -> None:
    call_command("seed_demo")
    User.objects.filter(username="demo").delete()
    Scene.objects.filter(slug="summarize").update(slug="kurz")
    Scene.objects.filter(slug="translate").delete()
    LLMModel.objects.get(name="deepseek-flash").delete()
    LLMModel.objects.filter(name="deepseek-v4-pro").update(name="pro")
    LLMModel.objects.get(name="simulated-embeddings").delete()
    Provider.objects.update(name="practice")
    before = everything()
    for locked in (False, True):
        call_command("seed_demo", locked=locked)
        if not locked:
            assert everything() == before
    assert not User.objects.filter(username="demo").exists()
    assert [model.name for model in LLMModel.objects.all()] == ["pro"]


def test_a_model_that_staff_moved_by_hand_stays_whatever_key_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call_command("seed_demo")
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-test")
    call_command("seed_demo")
    simulator = Provider.objects.get(name="simulator")
    LLMModel.objects.filter(name="deepseek-v4-pro").update(provider=simulator)
    for key in ("sk-test", "", "sk-test"):
        monkeypatch.setenv("DEEPSEEK_API_KEY", key)
        call_command("seed_demo")
        assert LLMModel.objects.get(name="deepseek-v4-pro").provider == simulator
    assert LLMModel.objects.get(name="deepseek-flash").provider.name == "deepseek"


def test_an_installation_of_before_is_taken_over_as_it_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_command("seed_demo")
    Seed.objects.all().delete()
    settings.SIMULATOR_URL = "http://127.0.0.1:9999"
    call_command("seed_demo")
    assert Provider.objects.get(name="simulator").base_url == "http://127.0.0.1:9999"
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-test")
    call_command("seed_demo")
    assert _providers() == {"deepseek"}


def _providers() -> set[str]:
    """The providers of the models that answer with text: DeepSeek makes no vectors."""
    models = LLMModel.objects.filter(capability=TaskKind.CHAT).select_related("provider")
    return {model.provider.name for model in models}


def test_with_a_key_the_models_move_to_deepseek_and_without_it_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call_command("seed_demo")
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-test")
    call_command("seed_demo")
    deepseek = Provider.objects.get(name="deepseek")
    assert deepseek.base_url == "https://api.deepseek.com"
    assert (deepseek.api_key_env, deepseek.is_simulated) == ("DEEPSEEK_API_KEY", False)
    assert _providers() == {"deepseek"}
    monkeypatch.delenv("DEEPSEEK_API_KEY")
    call_command("seed_demo")
    assert _providers() == {"simulator"}


def test_the_simulators_address_follows_the_settings(settings: Settings) -> None:
    call_command("seed_demo")
    settings.SIMULATOR_URL = "http://127.0.0.1:9999"
    call_command("seed_demo")
    assert Provider.objects.get(name="simulator").base_url == "http://127.0.0.1:9999"


def test_the_demo_mcp_server_is_registered_with_its_tools(settings: Settings) -> None:
    call_command("seed_demo")
    assert not ToolServer.objects.exists()
    settings.DEMO_MCP_URL = "http://127.0.0.1:8010/mcp"
    call_command("seed_demo")
    policies = dict(Tool.objects.values_list("function_name", "policy"))
    assert policies == dict.fromkeys(["clock", "calculate", "slow", "ask", "fail"], "automatic")
    assert all(tool.is_offered for tool in Tool.objects.select_related("server"))
    scene = Scene.objects.get(slug="use-tools")
    assert scene.live_version is not None
    assert scene.live_version.tools == ["ask", "calculate", "clock", "fail", "slow"]
    # Its address goes along with the port, until staff give it another.
    settings.DEMO_MCP_URL = "http://127.0.0.1:8020/mcp"
    Tool.objects.filter(name="fail").delete()
    call_command("seed_demo")
    assert ToolServer.objects.get().url == "http://127.0.0.1:8020/mcp"
    assert not Tool.objects.filter(name="fail").exists()
    ToolServer.objects.update(url="https://mine.example/mcp")
    settings.DEMO_MCP_URL = "http://127.0.0.1:8030/mcp"
    call_command("seed_demo")
    assert ToolServer.objects.get().url == "https://mine.example/mcp"
