"""Guessing passwords is slow, from one place and from many, and never locks the owner out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import Client, override_settings
from pytest_django import Settings

from accounts.models import LoginEvent, User
from accounts.sessions import login_log
from accounts.sessions.keys import login
from accounts.sessions.throttle import account_name
from aily.concurrency.circuit_breaker import breaker_of
from aily.redis.clients import sync_redis
from tests.accounts.authenticator import (
    PASSWORD,
    Authenticator,
    give,
    log_in,
    set_up,
    username,
    wait_for_the_next_code,
)

RIGHT = "wonderland-7"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def browser(address: str = HERE) -> Client:
    return Client(REMOTE_ADDR=address)


def send(client: Client, password: str, name: str = "alice") -> Any:
    return client.post("/login/", {"username": name, "password": password})


def statuses(client: Client, tries: int, name: str = "alice") -> list[int]:
    return [send(client, "wrong", name).status_code for _ in range(tries)]


def pass_seconds(seconds: float) -> None:
    """As if so much time had passed for all gates."""
    redis: Any = sync_redis()
    for key in redis.scan_iter(login("*"), count=1000):
        if b":known:" in key or b":refused:" in key:
            continue
        left = int(float(redis.get(key))) - int(seconds * 1000)
        redis.set(key, left, keepttl=True)


# --- One account ----------------------------------------------------------------------------------
def test_twenty_wrong_passwords_are_slowed_down_and_the_owner_still_gets_in(alice: User) -> None:
    attacker = browser()
    assert statuses(attacker, 20) == [200] * 5 + [429] * 15
    refused = send(attacker, "wrong")
    seconds = int(refused["Retry-After"])
    assert 1 <= seconds <= 15
    assert f"Try again in {seconds} seconds." in refused.content.decode()
    # Even the right one, which an attacker must not find out.
    assert send(attacker, RIGHT).status_code == 429
    # From elsewhere, and from here after a short while.
    assert send(browser(ELSEWHERE), RIGHT).status_code == 302
    pass_seconds(seconds)
    assert send(browser(), RIGHT).status_code == 302


def test_a_browser_that_was_logged_in_before_is_not_held_up_by_others(alice: User) -> None:
    owner = browser()
    assert send(owner, RIGHT).status_code == 302
    owner.post("/logout/")
    assert statuses(browser(), 25)[-1] == 429
    assert send(owner, RIGHT).status_code == 302
    # Who has it and guesses is counted by itself.
    owner.post("/logout/")
    assert statuses(owner, 12) == [200] * 10 + [429] * 2
    assert "aily_device" in owner.cookies
    assert owner.cookies["aily_device"]["httponly"]


def test_the_cookie_of_one_account_is_of_no_use_for_another(alice: User, bob: User) -> None:
    mallory = browser()
    assert send(mallory, "builder-of-9", "bob").status_code == 302
    mallory.post("/logout/")
    assert statuses(mallory, 6) == [200] * 5 + [429]


@pytest.mark.parametrize("value", ["", "x", "W1siYSIsICJiIl1d:1:forged", "é" * 5000])
def test_a_forged_cookie_is_none(alice: User, value: str) -> None:
    client = browser()
    client.cookies["aily_device"] = value
    assert statuses(client, 6) == [200] * 5 + [429]


def test_many_addresses_together_have_few_tries_at_one_account(alice: User) -> None:
    owner = browser()
    assert send(owner, RIGHT).status_code == 302
    found = [statuses(browser(f"203.0.113.{last}"), 1)[0] for last in range(1, 41)]
    assert found == [200] * 30 + [429] * 10
    # The owner, where they have been before: in another browser as well.
    assert send(browser(), RIGHT).status_code == 302
    # Who has never been seen waits a minute at the most.
    stranger = send(browser(ELSEWHERE), RIGHT)
    assert stranger.status_code == 429
    assert int(stranger["Retry-After"]) <= 60
    pass_seconds(60)
    assert send(browser(ELSEWHERE), RIGHT).status_code == 302


def test_a_patient_attacker_at_few_addresses_keeps_no_turn_from_the_owner(alice: User) -> None:
    attackers = [browser(), browser("192.0.2.2")]
    tried = 0
    for _ in range(60):
        tried += sum(statuses(attacker, 1) == [200] for attacker in attackers)
        pass_seconds(15)
    # In a quarter of an hour: fifteen each, and one in five minutes.
    assert 30 <= tried <= 36
    assert send(browser(ELSEWHERE), RIGHT).status_code == 302


def test_an_account_that_is_not_there_is_answered_as_one_that_is(alice: User) -> None:
    def seen(name: str, address: str) -> list[tuple[int, str]]:
        client = browser(address)
        answers = [send(client, "wrong", name) for _ in range(7)]
        token = re.compile(r'name="csrfmiddlewaretoken" value="\w+"')
        return [
            (answer.status_code, token.sub("", answer.content.decode()).replace(name, "NAME"))
            for answer in answers
        ]

    assert seen("alice", HERE) == seen("nobody", ELSEWHERE)


def test_right_passwords_are_not_counted(alice: User) -> None:
    for _ in range(40):
        assert send(browser(), RIGHT).status_code == 302


def test_parallel_tries_are_counted_as_those_one_after_another(alice: User) -> None:
    def one_try(_: int) -> int:
        try:
            return int(send(browser(), "wrong").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(12) as executor:
        found = list(executor.map(one_try, range(24)))
    assert sorted(found) == [200] * 5 + [429] * 19


# --- One address ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "addresses", [[HERE], [f"2001:db8::{last:x}" for last in range(1, 31)]], ids=["v4", "v6"]
)
def test_one_customer_has_few_tries_at_all_accounts(
    transactional_db: None, addresses: list[str]
) -> None:
    found = [
        statuses(browser(addresses[number % len(addresses)]), 1, f"user-{number}")[0]
        for number in range(30)
    ]
    assert found[:20] == [200] * 20
    # One more passes every three seconds.
    assert found.count(429) >= 1
    assert statuses(browser(ELSEWHERE), 1, "user-99") == [200]


def test_a_forwarded_address_counts_only_from_a_proxy_that_is_trusted(
    alice: User, settings: Settings
) -> None:
    def send_from(forwarded: str) -> int:
        client = Client(REMOTE_ADDR="127.0.0.1", headers={"X-Forwarded-For": forwarded})
        return int(send(client, "wrong").status_code)

    assert [send_from(f"203.0.113.{last}") for last in range(6)][-1] == 429
    settings.BEHIND_PROXY = True
    assert [send_from(f"203.0.113.{last}") for last in range(6)] == [200] * 6


# --- Waiting for one's turn -----------------------------------------------------------------------
def test_who_comes_a_moment_too_early_waits_for_the_turn(alice: User, settings: Settings) -> None:
    settings.LOGIN_RETRY_SECONDS = 0.3
    settings.LOGIN_HOLD_SECONDS = 5
    assert statuses(browser(), 7) == [200] * 7


# --- Redis away -----------------------------------------------------------------------------------
@pytest.fixture
def no_redis(settings: Settings) -> Iterator[None]:
    circuit = breaker_of(f"Redis {sync_redis().connection_pool.connection_kwargs['path']}")
    circuit.record_failure()
    circuit._next_probe = float("inf")
    yield
    circuit._next_probe = 0
    circuit.record_success()


def test_while_redis_is_away_each_process_counts_by_itself(alice: User, no_redis: None) -> None:
    attacker = browser("203.0.113.200")
    assert statuses(attacker, 8) == [200] * 5 + [429] * 3
    assert send(browser("203.0.113.201"), RIGHT).status_code == 302


# --- The second factor ----------------------------------------------------------------------------
@pytest.fixture
def app(staff: User) -> Authenticator:
    client = Client()
    client.force_login(staff)
    return set_up(client)


def test_who_knows_the_password_cannot_lock_the_owner_out(staff: User, app: Authenticator) -> None:
    owner, attacker = browser(), browser(ELSEWHERE)
    log_in(owner, staff)
    assert give(owner, app.code(1)) == 302
    owner.post("/logout/")
    log_in(attacker, staff)
    for _ in range(8):
        give(attacker, app.wrong_code())
    log_in(owner, staff)
    wait_for_the_next_code(staff)
    assert give(owner, app.code(1)) == 302
    assert username(owner) == "staff"


def test_a_known_browser_has_few_tries_at_codes(staff: User, app: Authenticator) -> None:
    owner = browser()
    log_in(owner, staff)
    assert give(owner, app.code(1)) == 302
    owner.post("/logout/")
    log_in(owner, staff)
    found = [give(owner, app.wrong_code()) for _ in range(7)]
    assert found == [200] * 5 + [429] * 2


# --- Other doors ----------------------------------------------------------------------------------
def test_ones_own_password_cannot_be_guessed_in_a_session_that_was_left_open(staff: User) -> None:
    client = browser()
    client.force_login(staff)
    form = {"old_password": "wrong", "new_password1": "a long one", "new_password2": "a long one"}
    pages = [client.post("/account/password/", form).content.decode() for _ in range(4)]
    assert all("This is not your password." in page for page in pages)
    totp = client.post("/account/totp/", {"code": "123456", "password": "wrong"})
    assert "not your password" in totp.content.decode()
    # All forms and REST have the same bound together.
    right = {**form, "old_password": PASSWORD}
    assert "Too many wrong passwords." in client.post("/account/password/", right).content.decode()
    body = {"old_password": PASSWORD, "new_password": "a long sentence"}
    refused = client.post("/api/me/password", body, content_type="application/json")
    assert (refused.status_code, refused.json()["limit"]["name"]) == (429, "password_tries")
    assert 1 <= int(refused["Retry-After"]) <= 15
    pass_seconds(15)
    accepted = client.post("/api/me/password", body, content_type="application/json")
    assert accepted.status_code == 204


def test_the_admin_has_no_form_of_its_own(staff: User) -> None:
    client = browser()
    client.force_login(staff)
    assert client.post("/admin/password_change/")["Location"] == "/account/password/"


# --- Log and audit trail --------------------------------------------------------------------------
def test_log_ins_and_failures_are_logged_and_kept(
    alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(REMOTE_ADDR=HERE, headers={"User-Agent": "Browser/1\n[forged]"})
    with caplog.at_level(logging.INFO, "accounts.sessions.login_log"):
        statuses(client, 9)
        send(client, "hunter2", "my-secret-password")
        send(Client(REMOTE_ADDR=ELSEWHERE), RIGHT)
    kept = LoginEvent.objects.order_by("pk").values_list("username", "outcome", "address", "count")
    assert list(kept) == [
        ("alice", "failed", HERE, 5),
        ("alice", "refused", HERE, 1),
        # What was typed as the name may be a password.
        ("", "failed", HERE, 1),
        ("alice", "succeeded", ELSEWHERE, 1),
    ]
    assert LoginEvent.objects.earliest("pk").user_agent == "Browser/1[forged]"
    records: list[Any] = [
        record for record in caplog.records if record.name == "accounts.sessions.login_log"
    ]
    # A flood of refusals is told of once.
    assert [record.outcome for record in records].count("refused") == 1
    assert {(record.event, record.username, record.address) for record in records} == {
        ("login", "alice", HERE),
        ("login", "", HERE),
        ("login", "alice", ELSEWHERE),
    }
    assert not any(word in caplog.text for word in ("hunter2", "my-secret", RIGHT, "wrong"))


def test_a_flood_from_everywhere_leaves_bounded_rows(alice: User, settings: Settings) -> None:
    statuses(browser(), 5)
    send(browser(ELSEWHERE), RIGHT)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(login_log, "MAX_FAILURES", 3)
        for last in range(1, 12):
            statuses(browser(f"203.0.113.{last}"), 1)
        login_log.prune()
    assert LoginEvent.objects.filter(outcome="failed").count() == 3
    assert LoginEvent.objects.filter(outcome="succeeded").count() == 1
    settings.LOGIN_LOG_DAYS = -1
    login_log.prune()
    assert not LoginEvent.objects.exists()


def test_staff_see_the_trail_and_nobody_changes_it(alice: User, keeper: User) -> None:
    statuses(browser(), 6)
    client = Client()
    client.force_login(keeper)
    page = client.get("/admin/accounts/loginevent/").content.decode()
    for word in ("alice", "failed", "refused unchecked", HERE):
        assert word in page
    found = client.get("/admin/accounts/loginevent/", {"q": HERE}).content.decode()
    assert "alice" in found
    event = LoginEvent.objects.earliest("pk")
    assert client.get(f"/admin/accounts/loginevent/{event.pk}/change/").status_code == 200
    for path in ("add/", f"{event.pk}/delete/"):
        assert client.post(f"/admin/accounts/loginevent/{path}").status_code == 403


def test_the_account_is_named_as_the_form_reads_it(alice: User) -> None:
    assert account_name(" alice ") == account_name("alice") == account_name("ａlice")
    with override_settings(LOGIN_TRIES=1):
        assert statuses(browser(), 1) == [200]
        assert statuses(browser(), 1, " ａlice") == [429]
