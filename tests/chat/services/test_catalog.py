"""The catalog: a process uses what it has loaded until a row changes, and not a moment longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import Model

from accounts.models import User
from aily.cache import store
from chat.models import LLMModel, Provider, Scene
from chat.services import catalog
from chat.services.scenes import create_version, publish
from tests.chat.api.conftest import queries as queries

# Committed rows: what an open transaction sees is in no cache.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model() -> LLMModel:
    provider = Provider.objects.create(name="catalog", base_url="http://127.0.0.1:1")
    return LLMModel.objects.create(name="catalog-model", provider=provider)


@pytest.fixture
def scene(model: LLMModel) -> Scene:
    scene = Scene.objects.create(slug="catalog", title="Catalog")
    publish(create_version(scene, None, {"user_template": "{{ text }}"}))
    return scene


def _look_up() -> tuple[Scene | None, LLMModel | None]:
    found = catalog.look_up(["catalog"], [])
    return found.scenes.get("catalog"), found.models.get("catalog-model")


def _disable_scene() -> None:
    Scene.objects.filter(slug="catalog").update(is_enabled=False)


def _publish_again() -> None:
    publish(create_version(Scene.objects.get(slug="catalog"), None, {"user_template": "New"}))


def _disable_model() -> None:
    LLMModel.objects.filter(name="catalog-model").update(is_enabled=False)


def _disable_provider() -> None:
    Provider.objects.filter(name="catalog").update(is_enabled=False)


def _delete_scene() -> None:
    Scene.objects.filter(slug="catalog").delete()


def test_what_has_not_changed_is_not_loaded_again(scene: Scene) -> None:
    first, second = _look_up(), _look_up()
    assert first[0] is second[0] is not None
    assert first[1] is second[1] is not None


@pytest.mark.parametrize(
    "change", [_disable_scene, _publish_again, _disable_model, _disable_provider, _delete_scene]
)
def test_every_change_holds_at_once(scene: Scene, change: Callable[[], None]) -> None:
    _look_up()
    change()
    found, model = _look_up()
    stored = Scene.objects.filter(slug="catalog").first()
    assert found == stored
    if found is not None and stored is not None:
        assert found.is_enabled == stored.is_enabled
        assert found.live_version == stored.live_version
    current = LLMModel.objects.get(name="catalog-model")
    assert model is not None
    assert model.is_enabled == current.is_enabled
    assert model.provider.is_enabled == current.provider.is_enabled


def test_weights_are_those_of_now() -> None:
    owner = User.objects.create(username="catalog", queue_weight=2)
    assert catalog.look_up([], [owner.pk]).weights == {owner.pk: 2}
    User.objects.filter(pk=owner.pk).update(queue_weight=3)
    assert catalog.look_up([], [owner.pk]).weights == {owner.pk: 3}


# --- The shared cache ---------------------------------------------------------------------------
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows is asked as by a web process that has just started."""
    monkeypatch.setattr(catalog, "_loaded", catalog._Loaded(""))


def fields(row: Model) -> dict[str, Any]:
    return {column.attname: getattr(row, column.attname) for column in row._meta.concrete_fields}


@pytest.fixture
def rich_scene(model: LLMModel) -> Scene:
    """With a value of every kind there is in its columns."""
    LLMModel.objects.filter(pk=model.pk).update(input_price="0.270001", params={"top_p": 0.5})
    scene = Scene.objects.create(slug="catalog", title="Katalog — 目录", is_restricted=True)
    given = {
        "user_template": "{{ text }}",
        "variables_schema": {"type": "object", "properties": {"text": {"maxLength": 10**30}}},
        "model": model,
        "params": {"stop": ["\n"], "temperature": 0.1},
        "cache_ttl_seconds": 60,
    }
    publish(create_version(scene, None, given))
    return scene


def test_a_new_process_gets_it_from_the_cache_as_the_database_has_it(
    rich_scene: Scene, queries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call_command("warm_cache", "--only", "scenes")
    new_process(monkeypatch)
    queries.clear()
    scene, model = _look_up()
    # That of the versions.
    assert len(queries) == 1
    rows = Scene.objects.select_related("live_version__model__provider")
    stored: Any = rows.get(slug="catalog")
    assert scene is not None
    assert scene.live_version is not None
    assert model is not None
    for got, wanted in (
        (scene, stored),
        (scene.live_version, stored.live_version),
        (model, stored.live_version.model),
        (model.provider, stored.live_version.model.provider),
    ):
        assert fields(got) == fields(wanted)
    assert scene.live_version.model is model


def test_a_process_that_finds_nothing_there_puts_it_there_for_the_next(
    scene: Scene, queries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.client().flushdb()
    for most in (4, 1):
        new_process(monkeypatch)
        queries.clear()
        assert _look_up()[0] == scene
        assert len(queries) == most


def test_a_new_process_sees_what_was_changed_after_the_cache_was_warmed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_command("warm_cache", "--only", "scenes")
    _disable_model()
    _publish_again()
    new_process(monkeypatch)
    found, model = _look_up()
    assert found is not None
    assert found.live_version is not None
    assert found.live_version.user_template == "New"
    assert model is not None
    assert not model.is_enabled
