"""Webhook endpoints and e-mail preferences over REST."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat import actors
from chat.models import Delivery, WebhookEndpoint
from chat.services import webhooks
from tests.chat.api.conftest import Api
from tests.subtests import subtested

HOOK = {"url": "https://1.1.1.1/hook"}


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The doorbells rung for deliveries, with no worker to hear them."""
    rung: list[str] = []
    monkeypatch.setattr(actors.deliver, "send", lambda: rung.append("deliver"))
    return rung


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    response = await api.post("/api/webhooks", {**HOOK, **fields})
    assert response.status_code == 201, response.content
    body: dict[str, Any] = response.json()
    return body


async def patch(api: Api, path: str, body: Any) -> Any:
    return await api._client.patch(
        path, body, content_type="application/json", headers=api._headers
    )


async def delete(api: Api, path: str) -> Any:
    return await api._client.delete(path, headers=api._headers)


async def test_an_endpoint_is_made_read_changed_and_deleted(api: Api) -> None:
    new = await made(api, description="ci")
    path = f"/api/webhooks/{new['id']}"
    assert new["events"] == ["task.completed", "task.failed", "task.cancelled", "task.expired"]
    secret = new.pop("secret")
    assert secret.startswith("whsec_")

    assert (await api.get(path)).json() == new
    assert (await api.get("/api/webhooks")).json() == {"items": [new], "count": 1}
    changed = await patch(api, path, {"events": ["task.failed", "task.failed"]})
    assert changed.json() == {**new, "events": ["task.failed"]}
    off = (await patch(api, path, {"is_active": False})).json()
    assert (off["is_active"], off["disabled_reason"]) == (False, "By its owner.")
    on = (await patch(api, path, {"is_active": True})).json()
    assert (on["is_active"], on["disabled_at"], on["disabled_reason"]) == (True, None, "")
    assert (await delete(api, path)).status_code == 204
    assert (await api.get(path)).status_code == 404


async def test_a_secret_is_shown_when_made_and_when_replaced_and_never_again(api: Api) -> None:
    new = await made(api)
    path = f"/api/webhooks/{new['id']}"
    answer = await api.post(f"{path}/rotate")
    assert answer["Cache-Control"] == "no-store"
    rotated = answer.json()
    assert rotated["secret"] != new["secret"]
    assert rotated["previous_secret_expires_at"] is not None
    await api.post(f"{path}/test")
    for shown in (path, "/api/webhooks", f"{path}/deliveries"):
        text = (await api.get(shown)).content.decode()
        assert "whsec_" not in text
        assert new["secret"].removeprefix("whsec_") not in text
        assert rotated["secret"].removeprefix("whsec_") not in text


@subtested(
    ("fields", "field"),
    [
        ({"url": "http://1.1.1.1/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://localhost/"}, "url"),
        ({"url": "https://does-not-exist.invalid/"}, "url"),
        ({"url": "https://1.1.1.1/", "events": []}, "events"),
        ({"url": "https://1.1.1.1/", "events": ["task.started"]}, "events.0"),
        ({"url": "https://1.1.1.1/", "secret": "mine"}, "secret"),
        ({}, "url"),
    ],
)
async def test_bad_input_names_its_field_and_makes_nothing(
    api: Api, fields: dict[str, Any], field: str
) -> None:
    response = await api.post("/api/webhooks", fields)
    assert response.status_code in (400, 422)
    assert response.json()["errors"][0]["field"] == field
    assert not await in_database(WebhookEndpoint.objects.exists)


async def test_a_url_is_judged_when_changed_too(api: Api) -> None:
    new = await made(api)
    refused = await patch(api, f"/api/webhooks/{new['id']}", {"url": "https://10.0.0.1/"})
    assert refused.status_code == 400
    assert (await in_database(WebhookEndpoint.objects.get)).url == HOOK["url"]


async def test_private_addresses_need_a_setting(api: Api, settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = True
    settings.WEBHOOK_REQUIRE_HTTPS = False
    assert (await made(api, url="http://localhost:9/"))["url"] == "http://localhost:9/"


async def test_there_is_a_most_number_of_endpoints(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MAX_ENDPOINTS", 1)
    await made(api)
    assert (await api.post("/api/webhooks", HOOK)).status_code == 409


async def test_a_test_event_is_queued_once_and_can_be_sent_again(
    api: Api, rings: list[str]
) -> None:
    path = f"/api/webhooks/{(await made(api))['id']}"
    sent = await api.post(f"{path}/test")
    assert sent.status_code == 202
    assert (await api.post(f"{path}/test")).status_code == 409
    delivery = sent.json()
    assert (delivery["event"], delivery["status"]) == ("webhook.test", "pending")
    again = f"{path}/deliveries/{delivery['id']}/redeliver"
    assert (await api.post(again)).status_code == 409

    await in_database(Delivery.objects.update, state="failed", attempts=10)
    assert (await api.get(f"{path}/deliveries?status=pending")).json()["count"] == 0
    redelivered = await api.post(again)
    assert redelivered.status_code == 202
    assert (redelivered.json()["id"], redelivered.json()["attempts"]) == (delivery["id"], 0)
    assert rings == ["deliver", "deliver"]
    listed = (await api.get(f"{path}/deliveries")).json()
    assert listed == {"items": [redelivered.json()], "count": 1}
    assert (await api.get(f"{path}/deliveries/{delivery['id']}")).json() == redelivered.json()
    other_task = f"{path}/deliveries?task_id={delivery['id']}"
    assert (await api.get(other_task)).json()["count"] == 0
    assert (await api.get("/api/webhooks?is_active=false")).json()["count"] == 0


async def test_an_idempotency_key_makes_one_endpoint_and_one_secret(api: Api) -> None:
    first = await api.post("/api/webhooks", HOOK, Idempotency_Key="once")
    assert first.status_code == 201
    assert (await api.post("/api/webhooks", HOOK, Idempotency_Key="once")).status_code == 409
    path = f"/api/webhooks/{first.json()['id']}"
    assert (await api.post(f"{path}/rotate", Idempotency_Key="twice")).status_code == 200
    before = await in_database(WebhookEndpoint.objects.get)
    assert (await api.post(f"{path}/rotate", Idempotency_Key="twice")).status_code == 409
    assert (await in_database(WebhookEndpoint.objects.get)).secret == before.secret


async def test_a_disabled_endpoint_is_sent_nothing(api: Api, rings: list[str]) -> None:
    path = f"/api/webhooks/{(await made(api, is_active=False))['id']}"
    assert (await api.post(f"{path}/test")).status_code == 409
    assert rings == []


async def test_another_users_endpoint_is_not_there(api: Api, bob_api: Api) -> None:
    path = f"/api/webhooks/{(await made(api))['id']}"
    delivery = (await api.post(f"{path}/test")).json()["id"]
    await in_database(Delivery.objects.update, state="failed")
    assert (await bob_api.get("/api/webhooks")).json()["count"] == 0
    responses = [
        await bob_api.get(path),
        await patch(bob_api, path, {"is_active": False}),
        await patch(bob_api, path, {"url": "https://1.0.0.1/"}),
        await delete(bob_api, path),
        await bob_api.post(f"{path}/rotate"),
        await bob_api.post(f"{path}/test"),
        await bob_api.get(f"{path}/deliveries"),
        await bob_api.get(f"{path}/deliveries/{delivery}"),
        await bob_api.post(f"{path}/deliveries/{delivery}/redeliver"),
    ]
    assert [response.status_code for response in responses] == [404] * len(responses)
    endpoint = await in_database(WebhookEndpoint.objects.get)
    assert (endpoint.is_active, endpoint.url, endpoint.previous_secret) == (True, HOOK["url"], "")


async def test_a_delivery_is_redelivered_under_its_own_endpoint_only(api: Api) -> None:
    first, second = await made(api), await made(api)
    delivery = (await api.post(f"/api/webhooks/{first['id']}/test")).json()["id"]
    await in_database(Delivery.objects.update, state="failed")
    path = f"/api/webhooks/{second['id']}/deliveries/{delivery}"
    assert (await api.get(path)).status_code == 404
    assert (await api.post(f"{path}/redeliver")).status_code == 404


async def test_mail_preferences_are_off_until_asked_for(api: Api, alice: User) -> None:
    off = {
        "email_on_finished": False,
        "email_on_failed": False,
        "email_on_requires_action": False,
        "email_on_budget_near_end": False,
    }
    assert (await api.get("/api/notifications")).json() == off
    refused = await patch(api, "/api/notifications", {"email_on_failed": True})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "email")

    await in_database(User.objects.filter(pk=alice.pk).update, email="alice@wonderland.example")
    on = await patch(api, "/api/notifications", {"email_on_failed": True})
    assert on.json() == {**off, "email_on_failed": True}
    more = await patch(api, "/api/notifications", {"email_on_finished": True})
    assert more.json() == {**off, "email_on_failed": True, "email_on_finished": True}
    assert (await api.get("/api/notifications")).json() == more.json()


# --- Filters, and the webhook of one task ---------------------------------------------------------
FILTERS = {
    "only_scenes": ["reply"],
    "only_models": ["deepseek-flash"],
    "only_metadata": {"customer": "acme", "count": 1, "paid": True},
    "only_named": True,
}


async def test_an_endpoint_has_filters(api: Api) -> None:
    plain = await made(api)
    assert {name: plain[name] for name in FILTERS} == {
        "only_scenes": [],
        "only_models": [],
        "only_metadata": {},
        "only_named": False,
    }
    new = await made(api, **FILTERS)
    assert {name: new[name] for name in FILTERS} == FILTERS
    path = f"/api/webhooks/{new['id']}"
    changed = await patch(api, path, {"only_scenes": ["a", "b", "a"], "only_named": False})
    assert changed.json()["only_scenes"] == ["a", "b"]
    assert (await api.get(path)).json()["only_metadata"] == FILTERS["only_metadata"]


@subtested(
    ("field", "value"),
    [
        ("only_scenes", [""]),
        ("only_scenes", ["x" * 51]),
        ("only_models", [f"m{number}" for number in range(51)]),
        ("only_metadata", {"deep": {"a": 1}}),
        ("only_metadata", {"long": "x" * 201}),
        ("only_metadata", {f"m{number}": 1 for number in range(9)}),
        ("only_metadata", {"none": None}),
        ("only_named", "perhaps"),
    ],
)
async def test_a_filter_that_is_none_is_refused_by_its_name(
    api: Api, field: str, value: Any
) -> None:
    response = await api.post("/api/webhooks", {**HOOK, field: value})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"].split(".")[0] == field


REQUEST = "/api/llmchat/request"
PROMPT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}


async def test_a_task_names_its_webhook_by_id_or_url(api: Api) -> None:
    await made(api, url="https://1.1.1.1/other")
    endpoint_id = (await made(api, only_named=True))["id"]
    for given in (endpoint_id, HOOK["url"]):
        answer = await api.post(REQUEST, {**PROMPT, "webhook": given})
        assert answer.status_code == 202, answer.content
        task = await api.get(f"/api/llmchat/tasks/{answer.json()['task_id']}")
        assert task.json()["webhook"] == endpoint_id


async def test_of_two_endpoints_with_a_url_the_active_one_is_taken(api: Api) -> None:
    first, second = (await made(api))["id"], (await made(api))["id"]
    await patch(api, f"/api/webhooks/{first}", {"is_active": False})
    answer = await api.post(REQUEST, {**PROMPT, "webhook": HOOK["url"]})
    task = await api.get(f"/api/llmchat/tasks/{answer.json()['task_id']}")
    assert task.json()["webhook"] == second


@subtested(
    ("given", "status"),
    [
        ("bob's", 400),
        ("https://nowhere.example/hook", 400),
        (999_999, 400),
        ("disabled", 400),
        (0, 422),
        (-1, 422),
        (True, 422),
        (1.5, 422),
        (2**63, 422),
        ("", 422),
        ("x" * 2_001, 422),
        ([], 422),
        ({"id": 1}, 422),
    ],
)
async def test_a_webhook_that_is_none_of_yours_is_refused_by_its_name(
    api: Api, bob_api: Api, given: Any, status: int
) -> None:
    if given == "bob's":
        given = (await made(bob_api))["id"]
    if given == "disabled":
        given = (await made(api))["id"]
        await patch(api, f"/api/webhooks/{given}", {"is_active": False})
    answer = await api.post(REQUEST, {**PROMPT, "webhook": given})
    assert answer.status_code == status, answer.content
    assert answer.json()["errors"][0]["field"] == "webhook"
    assert (await api.get("/api/llmchat/tasks")).json()["count"] == 0


async def test_a_repeated_request_gets_its_task_though_its_endpoint_is_gone(api: Api) -> None:
    endpoint_id = (await made(api))["id"]
    body = {**PROMPT, "webhook": endpoint_id}
    first = await api.post(REQUEST, body, Idempotency_Key="once")
    await delete(api, f"/api/webhooks/{endpoint_id}")
    again = await api.post(REQUEST, body, Idempotency_Key="once")
    assert (again.status_code, again.json()["task_id"]) == (202, first.json()["task_id"])
    other = await api.post(REQUEST, PROMPT, Idempotency_Key="once")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
