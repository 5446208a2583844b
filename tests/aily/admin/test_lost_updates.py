"""Two editors of one row in the admin: no save undoes what its editor has not seen."""

from __future__ import annotations

import re
import threading
from html import unescape
from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.test import Client

from accounts.models import MenuItem, Role, User
from aily.admin.lost_updates import LostUpdateGuard
from chat.models import LLMModel, Provider, Scene
from chat.services.scenes import create_version
from tests.waiting import wait_until


@pytest.fixture
def admin(transactional_db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def _fields(page: Any) -> dict[str, Any]:
    """What a browser would send back of the page's form, unchanged."""
    form = page.context["adminform"].form
    forms = [form]
    fields: dict[str, Any] = {}
    for inline in page.context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    for bound in (field for each in forms for field in each):
        value = bound.value()
        if value is None or value is False or bound.field.disabled:
            continue
        fields[bound.html_name] = [*map(str, value)] if isinstance(value, list) else value
        if bound.field.show_hidden_initial:
            fields[bound.html_initial_name] = value
    [seen] = re.findall(r'name="_seen" value="([^"]*)"', page.content.decode())
    return {**fields, "_seen": unescape(seen)}


def _errors(page: Any) -> str:
    return " ".join(map(str, page.context["errors"])) if page.status_code == 200 else ""


def test_the_second_save_of_a_draft_is_refused_and_shows_what_changed(admin: Client) -> None:
    scene = Scene.objects.create(slug="greet", title="Greet")
    draft = create_version(scene, None, {"user_template": "Hi", "notes": "first"})
    path = f"/admin/chat/sceneversion/{draft.pk}/change/"
    hers, his = _fields(admin.get(path)), _fields(admin.get(path))
    assert admin.post(path, {**hers, "user_template": "Her <b>text</b>"}).status_code == 302
    refused = admin.post(path, {**his, "notes": "his notes"})
    assert "Not saved: somebody else changed this" in _errors(refused)
    assert "Her &lt;b&gt;text&lt;/b&gt;" in _errors(refused)
    assert "his notes" in refused.content.decode()
    draft.refresh_from_db()
    assert (draft.user_template, draft.notes) == ("Her <b>text</b>", "first")
    # The same page again is refused again; the page that was just shown is not.
    assert admin.post(path, {**his, "notes": "his notes"}).status_code == 200
    merged = {**_fields(refused), "user_template": "Both"}
    assert admin.post(path, merged).status_code == 302
    draft.refresh_from_db()
    assert (draft.user_template, draft.notes) == ("Both", "his notes")


def test_the_refusal_is_in_the_language_of_the_page(admin: Client) -> None:
    role = Role.objects.create(name="editors")
    path = f"/admin/accounts/role/{role.pk}/change/"
    page = _fields(admin.get(path))
    Role.objects.update(name="authors")
    refused = admin.post(path, {**page, "name": "x"}, headers={"Accept-Language": "zh-hans"})
    assert "未保存" in _errors(refused)


@pytest.mark.parametrize("field", ["is_enabled", "max_concurrency", "params"])
def test_every_kind_of_field_is_guarded(admin: Client, field: str) -> None:
    provider = Provider.objects.create(name="acme", base_url="https://api.acme.example")
    model = LLMModel.objects.create(name="acme-1", provider=provider)
    path = f"/admin/chat/llmmodel/{model.pk}/change/"
    page = _fields(admin.get(path))
    other = {"is_enabled": False, "max_concurrency": 7, "params": {"top_p": 0.5}}[field]
    LLMModel.objects.update(**{field: other})
    assert "Not saved" in _errors(admin.post(path, {**page, "currency": "EUR"}))
    assert LLMModel.objects.values_list(field, "currency").get() == (other, "USD")


def test_many_to_many_fields_and_unshown_secrets_are_guarded(admin: Client) -> None:
    role = Role.objects.create(name="editors")
    path = f"/admin/accounts/role/{role.pk}/change/"
    page = _fields(admin.get(path))
    role.permissions.add(Permission.objects.get(codename="view_task"))
    assert "Not saved" in _errors(admin.post(path, page))
    assert role.permissions.count() == 1

    provider = Provider.objects.create(name="acme", base_url="https://api.acme.example")
    path = f"/admin/chat/provider/{provider.pk}/change/"
    page = _fields(admin.get(path))
    provider.set_api_keys(["sk-of-somebody-else"])
    provider.save()
    assert "Not saved" in _errors(admin.post(path, {**page, "api_keys": "sk-of-mine-1234567"}))
    provider.refresh_from_db()
    assert provider.api_keys() == ["sk-of-somebody-else"]


def test_changes_of_what_the_form_does_not_show_refuse_nothing(admin: Client) -> None:
    user = User.objects.create_user("carol")
    path = f"/admin/accounts/user/{user.pk}/change/"
    page = _fields(admin.get(path))
    user.set_password("another-one-9")
    user.save()
    names = {"last_login_0": "", "last_login_1": ""}
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    admin.post(path, {**page, **names, **joined, "first_name": "Carol"})
    user.refresh_from_db()
    assert user.first_name == "Carol"


def test_rows_of_an_editable_list_that_were_not_touched_stay(admin: Client) -> None:
    for position, label in enumerate("abc"):
        MenuItem.objects.create(label=label, position=position)
    path = "/admin/accounts/menuitem/"
    page = admin.get(path)
    formset = page.context["cl"].formset
    bound = [field for form in formset.forms for field in form]
    fields = {
        **{field.html_name: field.value() for field in (*formset.management_form, *bound)},
        **{f.html_initial_name: f.value() for f in bound if f.field.show_hidden_initial},
        "_save": "Save",
    }
    assert 'name="initial-form-0-position"' in page.content.decode()
    MenuItem.objects.filter(label="a").update(position=1)
    MenuItem.objects.filter(label="b").update(position=0)
    # This editor moves the last to the top, and has seen the others in their old order.
    assert admin.post(path, {**fields, "form-2-position": "0"}).status_code == 302
    assert list(MenuItem.objects.order_by("position").values_list("label", flat=True)) == [*"cba"]
    refused = admin.post(path, {**fields, "form-2-position": "1"})
    assert "Somebody else changed this to: 0" in refused.content.decode()
    assert list(MenuItem.objects.order_by("position").values_list("label", flat=True)) == [*"cba"]


def test_of_two_saves_at_the_same_moment_one_is_refused(admin: Client) -> None:
    """The first has not committed when the second one comes."""
    scene = Scene.objects.create(slug="greet", title="Greet")
    path = f"/admin/chat/scene/{scene.pk}/change/"
    page = _fields(admin.get(path))
    answers: list[Any] = []

    def save() -> None:
        try:
            answers.append(admin.post(path, {**page, "title": "Second"}))
        finally:
            connection.close()

    with transaction.atomic():
        Scene.objects.filter(pk=scene.pk).update(title="First")
        second = threading.Thread(target=save)
        second.start()
        wait_until(_count_waiting, "a session that waits for the row")
    second.join(20)
    assert "Not saved" in _errors(answers[0])
    assert Scene.objects.get(pk=scene.pk).title == "First"


def _count_waiting() -> int:
    """Count the sessions of this database that wait for a row's lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])


def test_every_admin_is_guarded() -> None:
    assert all(
        isinstance(registered, LostUpdateGuard)
        for registered in django_admin.site._registry.values()
    )
