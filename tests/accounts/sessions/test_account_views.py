"""One's own password and sessions: on the pages, and over REST."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from auditlog.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connections, transaction
from django.test import AsyncClient, Client

from accounts.authentication import identify_session
from accounts.models import User, UserSession
from accounts.sessions import user_sessions as sessions
from accounts.sessions.user_sessions import describe
from accounts.websocket import identify_websocket
from aily.cache import store
from aily.concurrency.circuit_breaker import breaker_of
from aily.web.access_revocation import Access, session_hash
from tests.accounts.authenticator import set_up, username
from tests.chat.api.conftest import queries as queries
from tests.conftest import ClientOf

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
NEW = "looking-glass-9"


def browser(user: User, address: str = "192.0.2.1", agent: str = FIREFOX) -> Client:
    client = Client(REMOTE_ADDR=address, headers={"User-Agent": agent})
    client.force_login(user)
    client.get("/account/")
    return client


def key_of(client: Client) -> str:
    return str(client.cookies["sessionid"].value)


def listed(client: Client) -> list[dict[str, Any]]:
    answer = client.get("/api/me/sessions")
    assert answer.status_code == 200
    return list(answer.json()["items"])


def change(client: Client, old: str, new: str, again: str = "") -> Any:
    form = {"old_password": old, "new_password1": new, "new_password2": again or new}
    return client.post("/account/password/", form)


@pytest.fixture
def revoked(monkeypatch: pytest.MonkeyPatch) -> list[Access]:
    """What open sockets are told to close."""
    found: list[Access] = []
    monkeypatch.setattr(
        "aily.web.access_revocation._publish", lambda access, **_: found.append(access)
    )
    return found


# --- The password ---------------------------------------------------------------------------------
def test_a_new_password_keeps_this_session_and_ends_the_others(
    alice: User, revoked: list[Access]
) -> None:
    here, elsewhere = browser(alice), browser(alice)
    before = key_of(here)
    began = UserSession.objects.get(session_key=before).created_at
    assert change(here, "wonderland-7", NEW)["Location"] == "/account/"
    assert "Your password was changed." in here.get("/account/").content.decode()
    assert username(here) == "alice"
    assert username(elsewhere) is None
    assert key_of(here) != before
    assert Access(alice.pk) in revoked
    (session,) = listed(here)
    assert session["is_current"]
    assert UserSession.objects.get().created_at == began
    assert set(Session.objects.values_list("pk", flat=True)) == {key_of(here)}
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    entry = LogEntry.objects.filter(changes__has_key="password").latest("pk")
    assert entry.changes == {"password": ["", "changed"]}
    assert entry.actor_id == alice.pk


@pytest.mark.parametrize(
    ("old", "new", "again", "complaint"),
    [
        ("wrong", NEW, NEW, "This is not your password."),
        ("", NEW, NEW, "This field is required."),
        ("wonderland-7", NEW, "looking-glass-8", "match"),
        ("wonderland-7", "alice", "alice", "too similar to the username"),
        ("wonderland-7", "password", "password", "too common"),
        ("wonderland-7", "8675309867530", "8675309867530", "entirely numeric"),
        ("wonderland-7", "x" * 1001, "x" * 1001, "at most 1000 characters"),
        ("x" * 1001, NEW, NEW, "at most 1000 characters"),
    ],
)
def test_what_is_wrong_with_a_new_password_is_said_and_nothing_changes(
    alice: User, old: str, new: str, again: str, complaint: str
) -> None:
    client = browser(alice)
    page = change(client, old, new, again)
    assert (page.status_code, complaint in page.content.decode()) == (200, True)
    alice.refresh_from_db()
    assert alice.check_password("wonderland-7")
    assert username(client) == "alice"


def test_who_comes_by_a_login_provider_is_told_why_there_is_no_password(alice: User) -> None:
    alice.set_unusable_password()
    alice.save()
    client = browser(alice)
    assert "You have no password here" in client.get("/account/password/").content.decode()
    change(client, "", NEW)
    body = {"old_password": "x", "new_password": NEW}
    answer = client.post("/api/me/password", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    alice.refresh_from_db()
    assert not alice.has_usable_password()


def test_a_password_over_rest(alice: User) -> None:
    here, elsewhere = browser(alice), browser(alice)

    def post(old: str, new: str) -> Any:
        body = {"old_password": old, "new_password": new}
        return here.post("/api/me/password", body, content_type="application/json")

    for old, new, field in (("wrong", NEW, "old_password"), ("wonderland-7", "1", "new_password")):
        answer = post(old, new)
        assert answer.status_code in (400, 422)
        assert {error["field"] for error in answer.json()["errors"]} == {field}
    assert post("wonderland-7", NEW).status_code == 204
    assert username(here) == "alice"
    assert username(elsewhere) is None


def test_a_new_password_needs_the_token_against_forged_requests(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    body = {"old_password": "wonderland-7", "new_password": NEW}
    answer = client.post("/api/me/password", body, content_type="application/json")
    assert answer.status_code == 403
    assert client.post("/account/", {"session": "others"}).status_code == 403


# --- Sessions -------------------------------------------------------------------------------------
def test_a_session_that_somebody_is_changing_still_lets_in(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = browser(alice)
    monkeypatch.setattr(sessions, "LAST_USED_PRECISION", timedelta(0))
    with transaction.atomic():
        held = UserSession.objects.select_for_update().get(user=alice)
        # Its use is noted over another connection, which comes to the lock.
        assert username(here) == "alice"
    monkeypatch.undo()
    assert UserSession.objects.get().last_used_at == held.last_used_at


def test_sessions_are_listed_with_where_they_are_used(alice: User, bob: User) -> None:
    here = browser(alice)
    browser(alice, "2001:db8::7", "curl/8.5")
    browser(bob)
    sessions_of_alice = listed(here)
    assert [(row["device"], row["address"], row["is_current"]) for row in sessions_of_alice] == [
        ("curl", "2001:db8::7", False),
        ("Firefox on Linux", "192.0.2.1", True),
    ]
    page = here.get("/account/").content.decode()
    for word in ("Firefox on Linux", "this one", "2001:db8::7", "End all others"):
        assert word in page
    for secret in Session.objects.values_list("pk", flat=True):
        assert secret not in page
        assert secret not in str(sessions_of_alice)


def test_ending_one_session_ends_it_everywhere_and_no_other(
    alice: User, revoked: list[Access]
) -> None:
    here, gone, stays = browser(alice), browser(alice), browser(alice)
    row = UserSession.objects.get(session_key=key_of(gone))
    assert here.post("/account/", {"session": row.pk})["Location"] == "/account/"
    assert revoked == [Access(alice.pk, session=session_hash(key_of(gone)))]
    assert username(gone) is None
    assert identify_session(key_of(gone)) is None
    assert gone.get("/account/")["Location"].startswith("/login/")
    assert username(here) == username(stays) == "alice"
    assert len(listed(here)) == 2


def test_ending_over_rest(alice: User, bob: User) -> None:
    here, gone, also_gone, bobs = browser(alice), browser(alice), browser(alice), browser(bob)
    ids = {row.session_key: row.pk for row in UserSession.objects.all()}

    def end(client: Client) -> int:
        return here.delete(f"/api/me/sessions/{ids[key_of(client)]}").status_code

    assert end(gone) == 204
    assert end(gone) == 404
    assert end(bobs) == 404
    assert end(here) == 409
    assert here.delete(f"/api/me/sessions/{10**30}").status_code == 404
    assert here.delete("/api/me/sessions").json() == {"ended": 1}
    assert username(gone) is username(also_gone) is None
    assert (username(here), username(bobs)) == ("alice", "bob")


def test_nobody_ends_sessions_of_others_or_this_one_by_the_page(alice: User, bob: User) -> None:
    here, bobs = browser(alice), browser(bob)
    for client in (here, bobs):
        row = UserSession.objects.get(session_key=key_of(client))
        here.post("/account/", {"session": row.pk})
    for chosen in ("", "x", "-1", "²", "9" * 40):
        assert here.post("/account/", {"session": chosen}).status_code == 302
    assert (username(here), username(bobs)) == ("alice", "bob")


def test_a_key_knows_nothing_of_sessions(alice: User, client_of: ClientOf) -> None:
    session = browser(alice)
    client = client_of(alice)
    assert client.get("/api/me/sessions").status_code == 403
    assert client.delete("/api/me/sessions").status_code == 403
    body = {"old_password": "wonderland-7", "new_password": NEW}
    answer = client.post("/api/me/password", body, content_type="application/json")
    assert answer.status_code == 403
    assert username(session) == "alice"


def test_a_session_ends_though_the_cache_is_away(alice: User) -> None:
    """What the cache holds of it is removed before anything is read there again."""
    here, gone = browser(alice), browser(alice)
    assert username(gone) == "alice"
    circuit = breaker_of(f"Redis {store.client().connection_pool.connection_kwargs['path']}")
    circuit.record_failure()
    circuit._next_probe = float("inf")
    try:
        here.post("/account/", {"session": "others"})
    finally:
        circuit._next_probe = 0
        circuit.record_success()
    store.retry_removals()
    assert username(gone) is None


@pytest.mark.parametrize("change", ["password by staff", "disabled", "second factor", "log-out"])
def test_what_ends_sessions_takes_them_from_the_list(staff: User, change: str) -> None:
    client, other = browser(staff), browser(staff)
    match change:
        case "password by staff":
            staff.set_password(NEW)
            staff.save()
        case "disabled":
            staff.is_active = False
            staff.save()
        case "second factor":
            set_up(other)
        case "log-out":
            client.post("/logout/")
    kept = set(UserSession.objects.values_list("session_key", flat=True))
    assert key_of(client) not in kept if "sessionid" in client.cookies else True
    assert kept == ({key_of(other)} if change in ("second factor", "log-out") else set())


def test_one_user_has_a_bounded_number_of_sessions(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    clients = [browser(alice) for _ in range(5)]
    assert [username(client) for client in clients] == [None, None, "alice", "alice", "alice"]
    assert UserSession.objects.count() == Session.objects.count() == 3


def test_sessions_that_ran_out_are_not_listed_and_are_forgotten(alice: User) -> None:
    here, old = browser(alice), browser(alice)
    Session.objects.filter(pk=key_of(old)).delete()
    assert len(listed(here)) == 1
    browser(alice)
    assert UserSession.objects.count() == 2


# --- Noting use -----------------------------------------------------------------------------------
async def test_use_is_noted_once_a_minute_and_costs_no_query_otherwise(
    alice: User, async_client: AsyncClient, queries: list[str]
) -> None:
    await async_client.aforce_login(alice)
    key = async_client.cookies["sessionid"].value
    await UserSession.objects.all().adelete()  # as before there were such rows
    headers = {"User-Agent": FIREFOX}
    queries.clear()
    for _ in range(5):
        assert (await async_client.get("/api/me", headers=headers)).status_code == 200
    assert len([query for query in queries if "accounts_usersession" in query]) == 1
    row = await UserSession.objects.aget()
    assert (row.session_key, row.user_id, row.user_agent) == (key, alice.pk, FIREFOX)
    queries.clear()
    assert (await async_client.get("/api/me", headers=headers)).status_code == 200
    assert queries == []


def test_a_socket_uses_its_session_as_well(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    UserSession.objects.all().delete()
    scope = {
        "client": ("192.0.2.9", 4711),
        "headers": [
            (b"cookie", f"sessionid={key_of(client)}".encode()),
            (b"user-agent", FIREFOX.encode()),
        ],
        "subprotocols": [],
    }
    assert async_to_sync(identify_websocket)(scope) is not None
    row = UserSession.objects.get()
    assert (row.address, row.session_key) == ("192.0.2.9", key_of(client))
    connections.close_all()


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140 Safari/537 Edg/140", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604", "Safari on iPhone"),
        ("python-requests/2.34", "Python"),
        ("Robot/7", "Robot/7"),
        ("", "Unknown device"),
    ],
)  # fmt: skip
def test_devices_are_described_in_few_words(agent: str, device: str) -> None:
    assert describe(agent) == device


def test_the_app_leads_there(alice: User) -> None:
    page = browser(alice).get("/").content.decode()
    assert re.search(r'<a class="user-name" href="/account/"', page)
