"""Idempotency-Key on what is created over REST: said twice, made once, answered alike."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import Client
from pytest_django import Settings

from accounts.idempotency import _lock
from accounts.models import IDEMPOTENCY_LIFETIME, APIKey, IdempotencyRecord, User
from aily.problems import Conflict, InvalidRequest
from chat.models import Conversation, LLMModel, Provider, Scene, WebhookEndpoint
from chat.services import webhooks
from tests.conftest import ClientOf

CONVERSATIONS = "/api/conversations"


@pytest.fixture
def client(alice: User, client_of: ClientOf) -> Client:
    return client_of(alice)


def post(client: Client, path: str, body: Any, key: str = "k-1") -> Any:
    return client.post(
        path, body, content_type="application/json", headers={"Idempotency-Key": key}
    )


def test_the_same_request_makes_one_thing_and_is_answered_the_same_twice(client: Client) -> None:
    first = post(client, CONVERSATIONS, {"title": "Once"}, '"quoted"')
    again = post(client, CONVERSATIONS, '{ "title":"Once" }', "quoted")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert first["Content-Type"] == again["Content-Type"]
    shown = client.get(f"{CONVERSATIONS}/{first.json()['id']}")
    assert shown.json() == first.json()
    assert Conversation.objects.count() == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [(CONVERSATIONS, {"title": "Another"}), ("/api/keys", {"name": "Once"})],
)
def test_another_request_with_the_same_key_is_a_mismatch(
    client: Client, path: str, body: Any
) -> None:
    post(client, CONVERSATIONS, {"title": "Once"})
    keys = APIKey.objects.count()
    refused = post(client, path, body)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_mismatch")
    assert (Conversation.objects.count(), APIKey.objects.count()) == (1, keys)


def test_keys_of_two_users_have_nothing_to_do_with_each_other(
    client: Client, bob: User, client_of: ClientOf
) -> None:
    mine = post(client, CONVERSATIONS, {"title": "Same"}).json()["id"]
    theirs = post(client_of(bob), CONVERSATIONS, {"title": "Same"}).json()["id"]
    assert mine != theirs


def test_a_request_that_failed_stores_nothing_and_may_be_corrected(client: Client) -> None:
    assert post(client, CONVERSATIONS, {"title": "x" * 201}).status_code == 422
    assert IdempotencyRecord.objects.count() == 0
    assert post(client, CONVERSATIONS, {"title": "short"}).status_code == 201


def test_a_refusal_by_the_database_stores_nothing_either(staff: User, client_of: ClientOf) -> None:
    client = client_of(staff)
    Scene.objects.create(slug="taken", title="Taken")
    assert post(client, "/api/scenes", {"slug": "taken", "title": "Mine"}).status_code == 409
    assert post(client, "/api/scenes", {"slug": "free", "title": "Mine"}).status_code == 201


def test_the_secret_of_a_key_is_neither_stored_nor_shown_again(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    made = post(client, "/api/keys", {"name": "laptop"})
    again = post(client, "/api/keys", {"name": "laptop"})
    assert (made.status_code, again.status_code) == (201, 409)
    assert made.json()["secret"] not in again.content.decode()
    assert "cannot be shown again" in " ".join(again.json()["detail"].split())
    assert APIKey.objects.filter(name="laptop").count() == 1
    assert IdempotencyRecord.objects.get().body is None


def test_every_creating_call_of_staff_honours_the_key(staff: User, client_of: ClientOf) -> None:
    client = client_of(staff)
    calls: list[tuple[str, Any]] = [
        ("/api/providers", {"name": "p", "base_url": "https://1.1.1.1"}),
        ("/api/models", {"name": "m", "provider": "p"}),
        ("/api/scenes", {"slug": "s", "title": "S"}),
        ("/api/scenes/s/versions", {"user_template": "Say {{ text }}"}),
    ]
    for number, (path, body) in enumerate(calls):
        first, again = (post(client, path, body, f"key-{number}") for _ in range(2))
        assert (first.status_code, first.content) == (201, again.content), path
    assert (Provider.objects.count(), LLMModel.objects.count()) == (1, 1)
    assert Scene.objects.get().versions.count() == 1


def test_while_the_first_request_runs_a_second_is_told_so(alice: User) -> None:
    def second() -> None:
        try:
            with transaction.atomic():
                _lock(alice.pk, "k")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            _lock(alice.pk, "k")
            with pytest.raises(Conflict) as conflict:
                pool.submit(second).result(timeout=10)
        pool.submit(second).result(timeout=10)
    assert (conflict.value.status, conflict.value.retry_after_seconds) == (409, 1)


def test_of_many_requests_at_once_one_makes_something(alice: User, client_of: ClientOf) -> None:
    clients = [client_of(alice) for _ in range(8)]

    def ask(client: Client) -> int:
        try:
            return int(post(client, CONVERSATIONS, {"title": "Once"}).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(clients)) as pool:
        statuses = list(pool.map(ask, clients))
    assert set(statuses) <= {201, 409}
    assert Conversation.objects.count() == 1


def test_a_record_is_forgotten_after_its_time(client: Client) -> None:
    post(client, CONVERSATIONS, {"title": "Once"})
    record = IdempotencyRecord.objects.get()
    assert not IdempotencyRecord.objects.expired().exists()
    before = record.created_at - IDEMPOTENCY_LIFETIME
    IdempotencyRecord.objects.update(created_at=before)
    assert IdempotencyRecord.objects.expired().exists()
    assert post(client, CONVERSATIONS, {"title": "Anew"}).status_code == 201
    assert IdempotencyRecord.objects.count() == 1


# --- What may have changed since ----------------------------------------------------------------
def test_a_repeat_is_answered_although_the_permission_is_gone(
    staff: User, client_of: ClientOf
) -> None:
    client = client_of(staff)
    body = {"slug": "s", "title": "S"}
    first = post(client, "/api/scenes", body)
    staff.is_staff = False
    staff.save()
    staff.user_permissions.clear()
    again = post(client, "/api/scenes", body)
    assert (again.status_code, again.content) == (201, first.content)
    refused = post(client, "/api/scenes", {"slug": "t", "title": "T"}, "another")
    assert refused.status_code == 403


def test_a_repeat_is_answered_although_what_it_made_has_changed_or_gone(client: Client) -> None:
    first = post(client, CONVERSATIONS, {"title": "Once"})
    path = f"{CONVERSATIONS}/{first.json()['id']}"
    client.patch(path, {"title": "Twice"}, content_type="application/json")
    assert post(client, CONVERSATIONS, {"title": "Once"}).content == first.content
    client.delete(path)
    assert post(client, CONVERSATIONS, {"title": "Once"}).content == first.content
    assert Conversation.objects.count() == 0


def test_a_repeat_is_answered_over_the_limit_a_minute_and_nothing_else_is(
    client: Client, bob: User, client_of: ClientOf, settings: Settings
) -> None:
    first = post(client, CONVERSATIONS, {"title": "Once"})
    settings.RATE_LIMIT_PER_MINUTE = 1
    again = post(client, CONVERSATIONS, {"title": "Once"})
    assert (again.status_code, again.content) == (201, first.content)
    mismatch = post(client, CONVERSATIONS, {"title": "Another"})
    assert (mismatch.status_code, mismatch.json()["code"]) == (422, "idempotency_mismatch")
    for refused in (
        post(client, CONVERSATIONS, {"title": "Once"}, "another"),
        client.post(CONVERSATIONS, {"title": "Once"}, content_type="application/json"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    post(client_of(bob), CONVERSATIONS, {"title": "One"}, "bob")
    refused = post(client_of(bob), CONVERSATIONS, {"title": "Once"})
    assert refused.status_code == 429
    assert Conversation.objects.count() == 2


def test_an_endpoint_is_not_looked_up_again_for_a_repeat(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trust(url: str) -> None:
        pass

    async def refuse(url: str) -> None:
        raise InvalidRequest("This address is not public any more.", field="url")

    monkeypatch.setattr(webhooks, "require_safe", trust)
    body = {"url": "https://hooks.example/x"}
    first = post(client, "/api/webhooks", body)
    assert first.status_code == 201
    monkeypatch.setattr(webhooks, "require_safe", refuse)
    again = post(client, "/api/webhooks", body)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert "carried out before" in again.json()["detail"]
    mismatch = post(client, "/api/webhooks", {"url": "https://other.example/x"})
    assert (mismatch.status_code, mismatch.json()["code"]) == (422, "idempotency_mismatch")
    assert post(client, "/api/webhooks", body, "another").status_code == 400
    assert WebhookEndpoint.objects.count() == 1


def test_what_is_kept_of_a_request_does_not_let_a_password_be_guessed(
    keeper: User,
) -> None:
    client = Client()
    client.force_login(keeper)
    body = {"username": "carol", "password": "long-enough-7"}
    assert post(client, "/api/users", body).status_code == 201
    text = json.dumps(body, sort_keys=True)
    guess = hashlib.sha256(f"POST /api/users\n{text}".encode()).hexdigest()
    record = IdempotencyRecord.objects.get()
    assert guess != record.digest
    assert "long-enough-7" not in (record.body or "")
    assert post(client, "/api/users", {**body, "username": "eve"}).status_code == 422
