"""What a process has loaded is used again until somebody changes it, and not a moment longer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accounts.models import User
from chat.models import LLMModel, Provider, Scene
from chat.services import catalog
from chat.services.scenes import create_version, publish

pytestmark = pytest.mark.django_db


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
