"""The second factor of staff: enrolling, logging in with it, and every way around it closed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from auditlog.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.authentication import identify_session
from accounts.models import APIKey, RecoveryCode, TOTPDevice, User
from accounts.sessions.totp import check_code
from accounts.websocket import identify_websocket
from tests.accounts.authenticator import (
    PASSWORD,
    Authenticator,
    end_pause,
    give,
    log_in,
    set_up,
    shown_secret,
    username,
    wait_for_the_next_code,
)
from tests.conftest import ClientOf
from tests.locks import wait_for_a_lock


def socket_user(client: Client) -> str | None:
    """Who a WebSocket handshake with this session is taken for."""
    cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    scope = {"headers": [(b"cookie", cookie.encode())], "subprotocols": []}
    identity = async_to_sync(identify_websocket)(scope)
    return identity.user.username if identity else None


# --- Enrolling ------------------------------------------------------------------------------------
def test_the_page_shows_a_secret_that_stays_until_it_is_set_up(staff: User) -> None:
    client = Client()
    client.force_login(staff)
    page = client.get("/account/totp/")
    assert 'src="data:image/svg+xml' in page.content.decode()
    assert page["Cache-Control"].startswith("max-age=0")
    secret = shown_secret(page.content.decode())
    again = client.get("/account/totp/").content.decode()
    assert shown_secret(again) == secret
    # The session's row holds it encrypted.
    assert secret not in str(dict(client.session))


def test_setting_up_takes_the_code_and_the_password(staff: User) -> None:
    client = Client()
    client.force_login(staff)
    app = Authenticator(shown_secret(client.get("/account/totp/").content.decode()), [])
    for code, password, complaint in (
        (app.wrong_code(), PASSWORD, "This code is wrong"),
        (app.code(), "wrong", "not your password"),
        (app.code(), "", "not your password"),
    ):
        page = client.post("/account/totp/", {"code": code, "password": password})
        assert complaint in page.content.decode()
    staff.refresh_from_db()
    assert not staff.has_totp
    assert not TOTPDevice.objects.exists()


def test_setting_up_ends_other_sessions_and_keeps_this_one(staff: User) -> None:
    here, elsewhere = Client(), Client()
    here.force_login(staff)
    elsewhere.force_login(staff)
    set_up(here)
    assert username(here) == socket_user(here) == "staff"
    assert username(elsewhere) is socket_user(elsewhere) is None


def test_what_is_stored_gives_away_neither_secret_nor_codes(staff: User) -> None:
    client = Client()
    client.force_login(staff)
    app = set_up(client)
    stored = str([*TOTPDevice.objects.values(), *RecoveryCode.objects.values()])
    stored += str(list(LogEntry.objects.values()))
    for secret in (app.secret, *app.recovery_codes):
        assert secret not in stored
        assert secret.replace("-", "") not in stored
    page = client.get("/account/totp/").content.decode()
    assert "10 recovery codes left" in page
    assert app.secret not in page
    assert app.recovery_codes[0] not in page


def test_only_staff_set_it_up_and_only_for_themselves(alice: User) -> None:
    client = Client()
    assert client.get("/account/totp/")["Location"].startswith("/login/")
    client.force_login(alice)
    assert client.get("/account/totp/").status_code == 403
    assert client.post("/account/totp/", {"code": "123456"}).status_code == 403


# --- Logging in -----------------------------------------------------------------------------------
def test_a_password_alone_makes_no_session(staff: User, app: Authenticator) -> None:
    client = Client()
    assert log_in(client, staff) == "/login/code/"
    assert username(client) is socket_user(client) is None
    assert client.get("/")["Location"].startswith("/login/")
    assert client.get("/admin/")["Location"].startswith("/admin/login/")
    assert client.get("/account/totp/")["Location"].startswith("/login/")


def test_password_and_code_log_in_and_lead_on(staff: User, app: Authenticator) -> None:
    client = Client()
    first = client.get("/admin/chat/", follow=True)
    assert first.redirect_chain[-1][0] == "/login/?next=/admin/chat/"
    form = {"username": "staff", "password": PASSWORD, "next": "/admin/chat/"}
    client.post("/login/", form)
    before = client.session.session_key
    answer = client.post("/login/code/", {"code": app.code(1)})
    assert answer["Location"] == "/admin/chat/"
    assert client.session.session_key != before
    assert username(client) == socket_user(client) == "staff"
    assert client.get("/admin/chat/").status_code == 200
    assert client.get("/login/code/")["Location"] == "/login/"


def test_a_code_is_taken_once(staff: User, app: Authenticator) -> None:
    first, second = Client(), Client()
    log_in(first, staff)
    code = app.code(1)
    assert give(first, code) == 302
    log_in(second, staff)
    assert give(second, code) == 200
    # And so is the one that set it up.
    end_pause(staff)
    assert give(second, app.code()) == 200
    assert username(second) is None


def test_of_two_that_send_one_code_at_once_one_gets_in(staff: User, app: Authenticator) -> None:
    client = Client()
    log_in(client, staff)
    code = app.code(1)

    def send() -> int:
        try:
            return give(client, code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            check_code(staff, code)
            # The other one comes while this one has not ended yet.
            sending = threads.submit(send)
            wait_for_a_lock()
        assert sending.result(10) == 200


def test_a_recovery_code_is_taken_once(staff: User, app: Authenticator) -> None:
    first, second = Client(), Client()
    log_in(first, staff)
    # As people copy it.
    assert give(first, f" {app.recovery_codes[0].lower().replace('-', ' ')}") == 302
    log_in(second, staff)
    assert give(second, app.recovery_codes[0]) == 200
    end_pause(staff)
    assert give(second, app.recovery_codes[1]) == 302
    entries = LogEntry.objects.filter(changes__has_key="recovery_codes").order_by("pk")
    assert [entry.changes["recovery_codes"] for entry in entries] == [["10", "9"], ["9", "8"]]


def test_another_users_code_is_refused(staff: User, keeper: User, app: Authenticator) -> None:
    client = Client()
    client.force_login(keeper)
    others = set_up(client, "keys-of-5")
    client = Client()
    log_in(client, staff)
    for code in (others.code(1), others.recovery_codes[0]):
        assert give(client, code) == 200
        end_pause(staff)
    assert username(client) is None


def test_guessing_is_slowed_down_over_all_sessions(staff: User, app: Authenticator) -> None:
    attacker, owner = Client(), Client()
    for _ in range(3):
        log_in(attacker, staff)
        assert give(attacker, app.wrong_code()) == 200
        end_pause(staff)
    give(attacker, app.wrong_code())
    log_in(owner, staff)
    # Even the right one, and a recovery code, while the pause lasts.
    page = owner.post("/login/code/", {"code": app.code(1)}).content.decode()
    assert "Too many wrong codes. Try again in" in page
    assert give(owner, app.recovery_codes[0]) == 200
    end_pause(staff)
    assert give(owner, app.code(1)) == 302
    assert TOTPDevice.objects.get().throttling_failure_count == 0
    wrong = LogEntry.objects.filter(changes__has_key="wrong_codes").order_by("pk")
    assert [entry.changes["wrong_codes"][1] for entry in wrong] == ["1", "2", "3", "4"]


def test_pauses_grow_and_end(staff: User, app: Authenticator) -> None:
    client = Client()
    log_in(client, staff)
    for _ in range(14):
        give(client, app.wrong_code())
        end_pause(staff)
    give(client, app.wrong_code())
    allowed, why = TOTPDevice.objects.get().verify_is_allowed()
    assert not allowed
    device = TOTPDevice.objects.get()
    assert (why["locked_until"] - device.throttling_failure_timestamp).total_seconds() == 512


def test_what_is_no_code_is_refused(staff: User, app: Authenticator) -> None:
    client = Client()
    log_in(client, staff)
    for code in ("", " ", "12345", "1234567", "१२३४५६", "-12345", "x" * 41, "0x1f"):
        assert give(client, code) == 200
        end_pause(staff)
    assert username(client) is None


@pytest.mark.parametrize("change", ["password", "disabled", "reset", "late"])
def test_the_way_to_a_session_ends_as_a_session_does(
    staff: User, app: Authenticator, change: str
) -> None:
    client = Client()
    log_in(client, staff)
    if change == "password":
        staff.refresh_from_db()
        staff.set_password("another-one-8")
        staff.save()
    elif change == "disabled":
        User.objects.filter(pk=staff.pk).update(is_active=False)
    elif change == "reset":
        call_command("reset_totp", "staff", stdout=StringIO())
    else:
        session = client.session
        session["pending_login"]["until"] -= 301
        session.save()
    assert client.post("/login/code/", {"code": app.code(1)})["Location"] == "/login/"
    assert username(client) is None


def test_without_the_first_step_there_is_no_second(staff: User, app: Authenticator) -> None:
    client = Client()
    assert client.get("/login/code/")["Location"] == "/login/"
    assert client.post("/login/code/", {"code": app.code(1)})["Location"] == "/login/"


def test_the_second_step_is_protected_against_other_sites(staff: User, app: Authenticator) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.post("/login/code/", {"code": app.code(1)}).status_code == 403


# --- The admin's own door -------------------------------------------------------------------------
def test_the_admin_takes_no_credentials(staff: User, app: Authenticator) -> None:
    client = Client()
    form = {"username": "staff", "password": PASSWORD, "this_is_the_login_form": "1"}
    for path in ("/admin/login/", "/admin/login/?next=/admin/", "/admin/"):
        answer = client.post(path, form)
        assert answer.status_code == 302
        assert "login" in answer["Location"]
        assert "_auth_user_id" not in client.session
        assert "pending_login" not in client.session
    assert username(client) is None


def test_the_admins_login_leads_nowhere_else(staff: User) -> None:
    client = Client()
    answer = client.get("/admin/login/?next=https://evil.example/")
    assert answer["Location"] == "/login/?next=/admin/"
    client.force_login(staff)
    assert client.get("/admin/login/?next=//evil.example/")["Location"] == "/admin/"
    assert client.get("/admin/login/?next=/admin/chat/")["Location"] == "/admin/chat/"


def test_who_is_no_staff_is_refused_and_not_sent_round(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    assert client.get("/admin/", follow=True).status_code == 403


# --- Required of staff ----------------------------------------------------------------------------
@pytest.fixture
def required(settings: Settings) -> None:
    settings.STAFF_TOTP_REQUIRED = True


@pytest.mark.usefixtures("required")
def test_staff_who_have_not_enrolled_are_led_there_and_may_do_nothing_else(
    staff: User, client_of: ClientOf
) -> None:
    client = Client()
    assert log_in(client, staff) == "/"
    for path in ("/", "/admin/", "/admin/chat/"):
        assert client.get(path, follow=True).redirect_chain[-1][0] == "/account/totp/"
    refused = client.get("/api/me")
    assert refused.status_code == 403
    assert refused.json()["code"] == "forbidden"
    assert "/account/totp/" in refused.json()["detail"]
    # A key would outlive the want of a second factor.
    made = client.post("/api/keys", {"name": "way round"}, content_type="application/json")
    assert made.status_code == 403
    assert not APIKey.objects.exists()
    assert socket_user(client) is None
    # Keys go without: they are made by who has given one.
    assert username(client_of(staff)) == "staff"

    assert "Staff need one" in client.get("/account/totp/").content.decode()
    set_up(client)
    assert username(client) == socket_user(client) == "staff"
    assert client.get("/admin/").status_code == 200


@pytest.mark.usefixtures("required")
def test_other_users_need_none(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    assert client.get("/").status_code == 200
    assert username(client) == socket_user(client) == "alice"


@pytest.mark.usefixtures("required")
def test_who_becomes_staff_needs_one_from_then_on(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    alice.is_staff = True
    alice.save()
    assert username(client) is socket_user(client) is None


def test_a_session_that_was_never_asked_is_none(staff: User, app: Authenticator) -> None:
    client = Client()
    staff.refresh_from_db()
    client.force_login(staff)  # what no door does
    assert username(client) is socket_user(client) is None
    assert client.get("/account/totp/").status_code == 403
    assert client.get("/admin/", follow=True).status_code == 403


def test_it_costs_a_session_no_query(
    staff: User, app: Authenticator, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = Client()
    log_in(client, staff)
    assert give(client, app.code(1)) == 302
    session_key = client.session.session_key
    assert session_key is not None
    assert identify_session(session_key) is not None
    # As without: session and user are cached.
    with django_assert_num_queries(0):
        assert identify_session(session_key) is not None


# --- New codes, and none any more -----------------------------------------------------------------
@pytest.fixture
def owner(staff: User) -> tuple[Client, Authenticator]:
    client = Client()
    client.force_login(staff)
    return client, set_up(client)


def act(client: Client, action: str, code: str) -> Any:
    return client.post("/account/totp/", {"action": action, "code": code})


def test_new_recovery_codes_replace_the_old(
    staff: User, owner: tuple[Client, Authenticator]
) -> None:
    client, app = owner
    page = act(client, "renew", app.code(1)).content.decode()
    assert app.recovery_codes[0] not in page
    assert RecoveryCode.objects.count() == 10
    other = Client()
    log_in(other, staff)
    assert give(other, app.recovery_codes[0]) == 200


def test_they_take_a_code(owner: tuple[Client, Authenticator]) -> None:
    client, app = owner
    digests = set(RecoveryCode.objects.values_list("digest", flat=True))
    for action in ("renew", "remove"):
        act(client, action, app.wrong_code())
    act(client, "something else", app.code(1))
    assert set(RecoveryCode.objects.values_list("digest", flat=True)) == digests
    assert TOTPDevice.objects.exists()


def test_one_who_has_removed_it_logs_in_with_the_password(
    staff: User, owner: tuple[Client, Authenticator]
) -> None:
    client, app = owner
    assert act(client, "remove", app.recovery_codes[0])["Location"] == "/account/totp/"
    assert username(client) == "staff"
    assert shown_secret(client.get("/account/totp/").content.decode()) != app.secret
    other = Client()
    assert log_in(other, staff) == "/"
    assert username(other) == "staff"


def test_resetting_ends_sessions_and_brings_none_back(staff: User) -> None:
    before, client = Client(), Client()
    before.force_login(staff)
    client.force_login(staff)
    set_up(client)
    out = StringIO()
    call_command("reset_totp", "staff", stdout=out)
    assert "staff has no second factor now" in out.getvalue()
    assert username(client) is username(before) is None
    assert not RecoveryCode.objects.exists()
    changes = LogEntry.objects.get_for_object(staff).first().changes
    assert changes["has_totp"] == ["True", "False"]
    with pytest.raises(CommandError, match="has set up no TOTP"):
        call_command("reset_totp", "staff")
    with pytest.raises(CommandError, match="no user named 'nobody'"):
        call_command("reset_totp", "nobody")


def test_in_the_admin_it_is_reset_for_others_by_who_may_change_users(
    staff: User, keeper: User, app: Authenticator
) -> None:
    action = {"action": "reset_totp", "_selected_action": [staff.pk, keeper.pk]}
    client = Client()
    log_in(client, staff)
    give(client, app.code(1))
    assert client.post("/admin/accounts/user/", action).status_code == 403
    # Nobody takes the second factor of those away who may do more.
    client = Client()
    client.force_login(keeper)
    client.post("/admin/accounts/user/", action)
    staff.refresh_from_db()
    assert staff.has_totp

    keeper.user_permissions.add(*staff.user_permissions.all())
    client = Client()
    client.force_login(keeper)
    set_up(client, "keys-of-5")
    client.post("/admin/accounts/user/", action)
    staff.refresh_from_db()
    keeper.refresh_from_db()
    assert (staff.has_totp, keeper.has_totp) == (False, True)
    entry = LogEntry.objects.get_for_object(staff).first()
    assert (entry.actor, entry.changes["has_totp"]) == (keeper, ["True", "False"])


def test_a_lost_secret_key_leaves_the_recovery_codes(
    staff: User, app: Authenticator, settings: Settings
) -> None:
    settings.SECRET_KEY = "another one"
    client = Client()
    log_in(client, staff)
    assert give(client, app.code(1)) == 200
    end_pause(staff)
    assert give(client, app.recovery_codes[0]) == 302


def test_an_old_secret_key_among_the_fallbacks_still_reads(
    staff: User, app: Authenticator, settings: Settings
) -> None:
    before = Client()
    log_in(before, staff)
    assert give(before, app.code(1)) == 302
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another one"
    assert username(before) == "staff"
    wait_for_the_next_code(staff)
    client = Client()
    log_in(client, staff)
    assert give(client, app.code()) == 302
