"""Providers in the admin: secrets are never shown, and only superusers allow private addresses."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from chat.models import LLMModel, Provider
from tests.subtests import subtested

FORM = {
    "name": "acme", "base_url": "https://1.1.1.1/v1", "is_enabled": "on", "api_key_env": "",
    "key_header": "api-key", "request_fields": '{"stream_options": null}', "connect_seconds": "",
    "first_token_seconds": "300", "between_tokens_seconds": "", "total_seconds": "",
    "proxy_url": "", "ca_bundle": "", "api_keys": "", "extra_headers": "", "proxy_credentials": "",
}  # fmt: skip
SECRETS = {
    "api_keys": "sk-0123456789abcdef\r\n\r\nsk-fedcba9876543210\r\n",
    "extra_headers": "HTTP-Referer: https://site.example:8443/\r\nX-Token: of-header",
    "proxy_url": "http://1.1.1.2:3128",
    "proxy_credentials": "me:passw0rd",
}
ADD = "/admin/chat/provider/add/"


@pytest.fixture
def root(transactional_db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="uprooted-3"))
    return client


@pytest.fixture
def editor(staff: User) -> Client:
    """Staff with every permission on chat, no superuser."""
    client = Client()
    client.force_login(staff)
    return client


def path() -> str:
    return f"/admin/chat/provider/{Provider.objects.get().pk}/change/"


def save(client: Client, url: str | None = None, **fields: Any) -> dict[str, list[str]]:
    """Send the form; returns its errors."""
    answer = client.post(url or path(), {**FORM, **fields})
    if answer.status_code == 302:
        return {}
    assert answer.status_code == 200
    errors: dict[str, list[str]] = answer.context["adminform"].form.errors
    assert errors
    return errors


def test_a_provider_is_added_with_secrets_that_no_page_shows(root: Client) -> None:
    assert save(root, ADD, **SECRETS) == {}
    provider = Provider.objects.get()
    assert provider.api_keys() == ["sk-0123456789abcdef", "sk-fedcba9876543210"]
    assert provider.headers() == {
        "HTTP-Referer": "https://site.example:8443/", "X-Token": "of-header"
    }  # fmt: skip
    assert provider.proxy_credentials() == "me:passw0rd"
    assert provider.request_fields == {"stream_options": None}
    assert (provider.first_token_seconds, provider.total_seconds) == (300, None)
    assert provider.public_only is False
    pages = [path(), "/admin/chat/provider/", f"{path().removesuffix('change/')}history/"]
    shown = "".join(root.get(page).content.decode() for page in pages)
    for secret in ("0123456789ab", "of-header", "site.example", "passw0rd", "gAAAA"):
        assert secret not in shown
    assert "…cdef, …3210" in shown
    assert "HTTP-Referer, X-Token" in shown
    # Nor does the form that is sent back with an error in it.
    again = root.post(path(), {**FORM, **SECRETS, "base_url": "nowhere"}).content.decode()
    assert "passw0rd" not in again


def test_empty_keeps_secrets_and_others_replace_or_remove_them(root: Client) -> None:
    save(root, ADD, **SECRETS)
    proxy = {"proxy_url": SECRETS["proxy_url"]}
    before = Provider.objects.get()
    assert save(root, is_enabled="", **proxy) == {}
    after = Provider.objects.get()
    assert after.is_enabled is False
    assert after.api_keys() == before.api_keys()
    assert after.headers() == before.headers()
    assert after.secrets_changed_at == before.secrets_changed_at

    assert save(root, api_keys="sk-new", extra_headers="x-token:\nx-new: 1", **proxy) == {}
    provider = Provider.objects.get()
    assert provider.api_keys() == ["sk-new"]
    assert provider.headers() == {"HTTP-Referer": "https://site.example:8443/", "x-new": "1"}
    assert provider.proxy_credentials() == "me:passw0rd"
    assert save(root, remove_api_keys="on", remove_proxy_credentials="on", **proxy) == {}
    provider = Provider.objects.get()
    assert (provider.api_keys(), provider.proxy_credentials()) == ([], "")
    assert not provider.has_api_key


@subtested(
    ("field", "value"),
    [
        ("base_url", "https://u:p@1.1.1.1"),
        ("base_url", "https://1.1.1.1/v1?key=1"),
        ("api_key_env", "SECRET_KEY"),
        ("api_keys", "schlüssel"),
        ("extra_headers", "no colon"),
        ("extra_headers", "Host: x"),
        ("request_fields", '{"model": null}'),
        ("request_fields", '["x"]'),
        ("total_seconds", "-1"),
        ("proxy_url", "socks5://1.1.1.1"),
        ("proxy_credentials", "nobody"),
        ("ca_bundle", "none"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(root: Client, field: str, value: str) -> None:
    assert field in save(root, ADD, **{field: value})
    assert not Provider.objects.exists()


def test_only_a_superuser_lets_calls_go_inside(root: Client, editor: Client) -> None:
    inside, linked = "http://127.0.0.1:8000/v1", "http://169.254.169.254/"
    assert "base_url" in save(editor, ADD, base_url=inside)
    assert "proxy_url" in save(editor, ADD, proxy_url="http://localhost:3128")
    for client in (root, editor):
        assert "base_url" in save(client, ADD, base_url=linked)
    assert save(root, ADD, base_url=inside) == {}
    # Others change what is not an address, and their own check box counts for nothing.
    assert save(editor, base_url=inside, is_enabled="", only_public="on") == {}
    assert Provider.objects.get().public_only is False
    assert "base_url" in save(editor, base_url="http://127.0.0.1:9000")
    assert save(editor) == {}
    assert Provider.objects.get().public_only is True
    assert "base_url" in save(editor, base_url=inside)
    assert "base_url" in save(root, base_url=inside, only_public="on")
    assert save(root, base_url=inside) == {}
    assert Provider.objects.get().public_only is False


def test_who_moves_a_provider_does_not_get_its_keys(root: Client, editor: Client) -> None:
    save(root, ADD, api_keys="sk-0123456789abcdef")
    assert "api_keys" in save(editor, base_url="https://1.1.1.3/v1")
    assert save(editor, base_url="https://1.1.1.3/v1", api_keys="sk-own") == {}
    assert Provider.objects.get().api_keys() == ["sk-own"]


def test_a_models_parameters_follow_the_rule_of_requests(root: Client) -> None:
    save(root, ADD)
    form = {
        "provider": Provider.objects.get().pk, "name": "m", "max_concurrency": "5",
        "default_max_tokens": "100", "input_price": "0", "cached_input_price": "0",
        "output_price": "0", "currency": "USD", "params": '{"temperature": "hot"}',
        "guardian-groupobjectpermission-content_type-object_pk-TOTAL_FORMS": "0",
        "guardian-groupobjectpermission-content_type-object_pk-INITIAL_FORMS": "0",
    }  # fmt: skip
    page = root.post("/admin/chat/llmmodel/add/", form)
    assert "params" in page.context["adminform"].form.errors
    form["params"] = '{"temperature": null, "extra_body": {"x": 1}}'
    assert root.post("/admin/chat/llmmodel/add/", form).status_code == 302
    assert LLMModel.objects.get().params == {"temperature": None, "extra_body": {"x": 1}}
