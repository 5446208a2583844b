"""Texts of models: translated when they are shown, though models are written in plain English."""

from __future__ import annotations

from django.apps import apps
from django.db.models import Model
from django.utils.translation import override

from accounts.models import LoginEvent, RoleLimits, User
from aily.admin.model_texts import own_fields, translate_models
from chat.models import Provider, Status, Task


def texts(model: type[Model], name: str) -> tuple[str, str]:
    field = model._meta.get_field(name)
    return str(getattr(field, "verbose_name", "")), str(getattr(field, "help_text", ""))


def test_names_and_help_are_in_the_language_of_the_moment() -> None:
    assert texts(User, "queue_weight")[0] == "queue weight"
    with override("zh-hans"):
        name, help_text = texts(User, "queue_weight")
        assert name == "队列权重"
        assert help_text.startswith("在同一优先级中")
        assert str(Provider._meta.verbose_name_plural) == "提供商"
        assert str(RoleLimits._meta.verbose_name) == "角色限额"
    assert str(RoleLimits._meta.verbose_name_plural) == "role limits"


def test_choices_are_translated_and_their_values_are_not() -> None:
    with override("zh-hans"):
        assert statuses()[Status.QUEUED.value] == "排队中"
        assert LoginEvent(outcome="failed").get_outcome_display() == "失败"
    assert statuses()[Status.QUEUED.value] == "Queued"


def statuses() -> dict[str, str]:
    choices = Task._meta.get_field("status").flatchoices
    return {str(value): str(label) for value, label in choices}


def test_djangos_own_texts_are_djangos() -> None:
    with override("zh-hans"):
        assert texts(User, "first_name")[0] == "名字"


def test_models_may_be_wrapped_again() -> None:
    before = [texts(User, field.name) for field in own_fields(User)]
    translate_models(apps.get_app_config("accounts"))
    assert [texts(User, field.name) for field in own_fields(User)] == before


def test_migrations_know_english_whatever_is_shown() -> None:
    field = User._meta.get_field("queue_weight")
    with override(None):
        _name, _path, _args, options = field.deconstruct()
        assert (
            options["help_text"] == "Share of a lane's capacity: 2 gets twice as many turns as 1."
        )
        # A derived name stays derived.
        assert "verbose_name" not in options
