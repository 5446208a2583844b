"""Login by OpenID Connect: the whole way over HTTP with a real provider, and each wrong turn."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from auditlog.models import LogEntry
from django.conf import settings
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.cached_db import SessionStore
from django.db import connection
from django.test import Client

from accounts.authentication import identify_session
from accounts.models import Role, TOTPDevice, User
from aily.environment import ConfigurationError
from tests.accounts.authenticator import Authenticator, set_up
from tests.accounts.oidc_site import OIDCSite
from tests.databases import url_of
from tests.fresh_settings import import_settings
from tests.oidc_provider import CLIENT_SECRET, OpenIDProvider
from tests.waiting import wait_until


# --- The provider, and two installations that trust it --------------------------------------------
@pytest.fixture(scope="module")
def running_provider() -> Iterator[OpenIDProvider]:
    with OpenIDProvider() as running:
        yield running


@pytest.fixture
def provider(running_provider: OpenIDProvider, transactional_db: None) -> OpenIDProvider:
    running_provider.reset()
    return running_provider


def environment(provider: OpenIDProvider, server: dict[str, str]) -> dict[str, str]:
    database = str(connection.settings_dict["NAME"])
    return {"DATABASE_URL": url_of(server, database), "OIDC_ISSUER": provider.issuer}


@pytest.fixture(scope="module")
def site(
    running_provider: OpenIDProvider, database_server: dict[str, str], django_db_setup: None
) -> Iterator[OIDCSite]:
    """It makes users, links those it has by e-mail, and follows groups."""
    chosen = {
        "OIDC_LINK_BY_EMAIL": "true",
        "OIDC_ROLES": "writers=authors,helpers=support",
        "OIDC_STAFF_GROUP": "operators",
        # Whoever held one while waiting for the provider would hold up everybody.
        "DATABASE_POOL_SIZE": "1",
    }
    known = environment(running_provider, database_server)
    with OIDCSite(Path(settings.DATA_DIR), "site", {**known, **chosen}, migrate=True) as running:
        yield running


@pytest.fixture(scope="module")
def strict_site(
    site: OIDCSite, running_provider: OpenIDProvider, database_server: dict[str, str]
) -> Iterator[OIDCSite]:
    """Only who is linked already gets in, and the provider has asked for a second factor."""
    chosen = {"OIDC_CREATE_USERS": "false", "OIDC_TRUST_MFA": "true", "STAFF_TOTP_REQUIRED": "true"}
    known = environment(running_provider, database_server)
    with OIDCSite(Path(settings.DATA_DIR), "strict", {**known, **chosen}, migrate=False) as running:
        yield running


@pytest.fixture
def browser(site: OIDCSite, provider: OpenIDProvider) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.base_url, follow_redirects=True, timeout=30) as client:
        yield client


def username(client: httpx.Client) -> str | None:
    answer = client.get("/api/me")
    return str(answer.json()["username"]) if answer.status_code == 200 else None


def callback(client: httpx.Client) -> str:
    """Where the provider sends the browser back to, which it has not gone yet."""
    answer = client.get("/login/oidc/", follow_redirects=False)
    return client.get(answer.headers["Location"], follow_redirects=False).headers["Location"]


def alert(page: httpx.Response) -> str:
    match = re.search(r'role="alert">([^<]+)<', page.text)
    assert match is not None
    return match[1]


def link(user: User, provider: OpenIDProvider) -> None:
    """What an earlier login of theirs left."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO socialaccount_socialaccount"
            " (user_id, provider, uid, last_login, date_joined, extra_data)"
            " VALUES (%s, %s, %s, now(), now(), '{}')",
            [user.pk, provider.issuer, provider.person["sub"]],
        )


# --- Off ------------------------------------------------------------------------------------------
def test_it_is_off_by_default_and_then_nothing_of_it_is_there(client: Client, db: None) -> None:
    assert client.get("/login/oidc/").status_code == 404
    assert client.get("/login/oidc/callback/").status_code == 404
    assert "oidc" not in client.get("/login/").content.decode()
    loaded = [name for name in sys.modules if name.startswith(("allauth", "accounts.oidc"))]
    assert loaded == []


@pytest.mark.parametrize(
    ("issuer", "client_id", "complaint"),
    [
        ("http://id.example", "aily", "must be an https address"),
        ("https://id.example/", "", "needs OIDC_CLIENT_ID"),
    ],
)
def test_what_is_set_wrongly_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, issuer: str, client_id: str, complaint: str
) -> None:
    monkeypatch.setenv("OIDC_ISSUER", issuer)
    monkeypatch.setenv("OIDC_CLIENT_ID", client_id)
    with pytest.raises(ConfigurationError, match=complaint):
        import_settings()


# --- The way in -----------------------------------------------------------------------------------
def test_a_new_user_is_made_once_and_logged_in_as_by_password(
    site: OIDCSite, provider: OpenIDProvider, browser: httpx.Client
) -> None:
    page = browser.get("/login/", params={"next": "/api/me"}).text
    match = re.search(r'href="(/login/oidc/[^"]+)"[^>]*>Log in with Example ID<', page)
    assert match is not None
    answer = browser.get(match[1])
    assert answer.json()["username"] == "carol"

    [asked] = provider.requests
    assert asked["redirect_uri"] == f"{site.base_url}/login/oidc/callback/"
    assert set(asked["scope"].split()) == {"openid", "profile", "email"}
    assert CLIENT_SECRET not in str(asked)
    carol = User.objects.get()
    assert (carol.first_name, carol.is_staff, carol.email) == ("Carol", False, "")
    assert not carol.has_usable_password()
    identity = identify_session(browser.cookies["sessionid"])
    assert identity is not None
    assert identity.user == carol
    made = LogEntry.objects.filter(content_type__model="socialaccount").get()
    assert provider.issuer in made.changes["provider"]

    token = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', browser.get("/").text)
    assert token is not None
    browser.post("/logout/", data={"csrfmiddlewaretoken": token[1]})
    assert username(browser) is None
    # By the subject alone, whatever else has changed.
    provider.person |= {"preferred_username": "caroline", "email": "c@x.example"}
    browser.get("/login/oidc/")
    assert username(browser) == "carol"
    assert User.objects.count() == 1


def test_a_name_that_is_taken_is_somebody_elses(
    provider: OpenIDProvider, browser: httpx.Client, alice: User
) -> None:
    provider.person["preferred_username"] = "Alice"
    browser.get("/login/oidc/")
    assert username(browser) == "Alice-2"
    with httpx.Client(base_url=browser.base_url, follow_redirects=True, timeout=30) as other:
        provider.person = {"sub": "1002", "preferred_username": "a\0 <b>/ö"}
        other.get("/login/oidc/")
        assert username(other) == "abö"


def test_a_disabled_user_is_refused(
    provider: OpenIDProvider, browser: httpx.Client, alice: User
) -> None:
    link(alice, provider)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    page = browser.get("/login/oidc/")
    assert (page.status_code, alert(page)) == (403, "Your account here is disabled.")
    assert username(browser) is None


def test_it_leads_nowhere_else(browser: httpx.Client) -> None:
    for target in ("https://evil.example/", "//evil.example", "javascript:alert(1)"):
        page = browser.get("/login/oidc/", params={"next": target})
        assert str(page.url) == f"{browser.base_url}/"


def test_other_sites_cannot_begin_a_login(provider: OpenIDProvider, browser: httpx.Client) -> None:
    for site in ("cross-site", "same-site"):
        page = browser.get("/login/oidc/?next=/admin/", headers={"Sec-Fetch-Site": site})
        assert page.url.path == "/login/"
        assert page.url.params["next"] == "/admin/"
    assert browser.post("/login/oidc/").status_code in (403, 405)
    assert provider.requests == []


# --- Who one is here ------------------------------------------------------------------------------
def test_a_verified_address_links_and_an_unverified_one_does_not(
    provider: OpenIDProvider, browser: httpx.Client, alice: User
) -> None:
    User.objects.filter(pk=alice.pk).update(email="Alice@x.example")
    provider.person["email"] = "alice@x.example"
    for is_verified in (False, None, "false", 0, "yes"):
        provider.person |= {"sub": f"stranger {is_verified}", "email_verified": is_verified}
        browser.get("/login/oidc/")
        assert username(browser) not in (None, "alice")
        browser.cookies.clear()
    assert not User.objects.exclude(pk=alice.pk).exclude(email="").exists()

    # As many providers do, it tells that elsewhere.
    provider.person = {"sub": "1001"}
    provider.userinfo = {"email": "alice@x.example", "email_verified": True}
    browser.get("/login/oidc/")
    assert username(browser) == "alice"
    alice.refresh_from_db()
    assert alice.check_password("wonderland-7")

    # The address was given to somebody else: not hers for that.
    browser.cookies.clear()
    provider.person = {"sub": "1002"}
    page = browser.get("/login/oidc/")
    assert page.status_code == 403
    assert "not clear which account" in alert(page)


def test_an_address_of_two_links_to_neither(
    provider: OpenIDProvider, browser: httpx.Client, alice: User, bob: User
) -> None:
    User.objects.update(email="team@x.example")
    provider.person |= {"email": "team@x.example", "email_verified": True}
    assert browser.get("/login/oidc/").status_code == 403
    assert username(browser) is None


def test_a_strict_site_makes_no_users_and_links_none(
    strict_site: OIDCSite, provider: OpenIDProvider, alice: User
) -> None:
    User.objects.filter(pk=alice.pk).update(email="alice@x.example")
    provider.person |= {"email": "alice@x.example", "email_verified": True}
    with httpx.Client(base_url=strict_site.base_url, follow_redirects=True, timeout=30) as browser:
        page = browser.get("/login/oidc/")
        assert page.status_code == 403
        assert "no account here" in alert(page)
        assert User.objects.get() == alice
        link(alice, provider)
        browser.get("/login/oidc/")
        assert username(browser) == "alice"


def test_a_subject_of_another_issuer_is_somebody_else(
    provider: OpenIDProvider, browser: httpx.Client, alice: User
) -> None:
    issuer, provider.issuer = provider.issuer, "https://earlier.example"
    link(alice, provider)
    provider.issuer = issuer
    browser.get("/login/oidc/")
    assert username(browser) == "carol"


def test_groups_give_and_take_roles_and_staff(
    provider: OpenIDProvider, browser: httpx.Client
) -> None:
    authors, support, other = (
        Role.objects.create(name=name) for name in ("authors", "support", "other")
    )
    steps: list[tuple[Any, set[Any], bool]] = [
        (["writers", "operators", "unknown"], {authors}, True),
        (["helpers", 7, None], {support}, False),
        ("writers", {authors}, False),
        (None, set(), False),
    ]
    for groups, roles, is_staff in steps:
        provider.person["groups"] = groups
        browser.get("/login/oidc/")
        carol = User.objects.get()
        # What the installation gave by itself stays.
        assert {*Role.objects.filter(user=carol)} - {other} == roles
        assert (carol.is_staff, carol.is_superuser) == (is_staff, False)
        carol.groups.add(other)
        browser.cookies.clear()
    assert carol.groups.filter(pk=other.pk).exists()


def test_the_provider_gives_roles_whoever_the_browser_was_logged_in_as(
    provider: OpenIDProvider, browser: httpx.Client, bob: User
) -> None:
    authors = Role.objects.create(name="authors")
    # Which Bob could not give.
    provider.person["groups"] = ["writers", "operators"]
    back = callback(browser)
    # Bob logs in by password meanwhile, in the same session.
    client = Client()
    client.force_login(bob)
    session = client.session
    session.update(dict(SessionStore(browser.cookies["sessionid"]).items()))
    session.save()
    browser.cookies.set("sessionid", str(session.session_key), domain="127.0.0.1")
    assert username(browser) == "bob"
    browser.get(back)
    assert username(browser) == "carol"
    assert User.objects.get(groups=authors, is_staff=True).username == "carol"


def test_the_link_of_a_superuser_is_cut_by_superusers_alone(
    provider: OpenIDProvider, browser: httpx.Client, bob: User, staff: User
) -> None:
    """Else who has the same address at the provider could be linked in their place."""
    User.objects.filter(pk=staff.pk).update(is_superuser=True)
    link(staff, provider)
    # The tests' own apps have no such permissions.
    kind, _ = ContentType.objects.get_or_create(app_label="socialaccount", model="socialaccount")
    for codename in ("view_socialaccount", "delete_socialaccount"):
        bob.user_permissions.add(
            Permission.objects.get_or_create(content_type=kind, codename=codename)[0]
        )
    bob.is_staff = True
    bob.save()
    client = Client()
    client.force_login(bob)
    browser.cookies.set("sessionid", client.cookies["sessionid"].value)
    token = "x" * 32
    browser.cookies.set("csrftoken", token)
    form = {"csrfmiddlewaretoken": token, "post": "yes"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM socialaccount_socialaccount")
        [(pk,)] = cursor.fetchall()
    links = "/admin/socialaccount/socialaccount/"
    assert browser.get(links).status_code == 200
    assert browser.post(f"{links}{pk}/delete/", data=form).status_code == 403
    User.objects.filter(pk=staff.pk).update(is_superuser=False)
    staff.user_permissions.clear()
    assert browser.post(f"{links}{pk}/delete/", data=form).status_code == 200


# --- The second factor ----------------------------------------------------------------------------
@pytest.fixture
def app(staff: User, provider: OpenIDProvider) -> Authenticator:
    """Of staff, who are linked as well."""
    User.objects.filter(pk=staff.pk).update(is_superuser=True)
    link(staff, provider)
    client = Client()
    client.force_login(staff)
    return set_up(client)


def test_the_provider_is_no_way_round_the_second_factor(
    site: OIDCSite, browser: httpx.Client, app: Authenticator
) -> None:
    page = browser.get("/login/oidc/?next=/admin/")
    assert page.url.path == "/login/code/"
    assert username(browser) is None
    form = {"code": app.wrong_code(), "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    assert browser.post("/login/code/", data=form).url.path == "/login/code/"
    assert username(browser) is None
    TOTPDevice.objects.update(throttling_failure_timestamp=None)
    form["code"] = app.code(1)
    assert browser.post("/login/code/", data=form).url.path == "/admin/"
    assert username(browser) == "staff"


def test_unless_the_operator_trusts_it(strict_site: OIDCSite, app: Authenticator) -> None:
    with httpx.Client(base_url=strict_site.base_url, follow_redirects=True, timeout=30) as browser:
        # Though all staff must have one here.
        assert browser.get("/login/oidc/?next=/admin/").url.path == "/admin/"
        assert username(browser) == "staff"
        links = "/admin/socialaccount/socialaccount/"
        assert "1001" in browser.get(links).text
        # Staff without the permission, and nobody.
        User.objects.update(is_superuser=False)
        assert browser.get(links).status_code == 403
        browser.cookies.clear()
        assert browser.get(links).url.path == "/login/"


# --- Wrong turns ----------------------------------------------------------------------------------
def test_a_state_is_good_once_for_the_session_it_was_made_for(browser: httpx.Client) -> None:
    good = callback(browser)
    with httpx.Client(base_url=browser.base_url, follow_redirects=True, timeout=30) as other:
        # A code of an attacker's, whom the victim would be logged in as.
        page = other.get(good)
        assert (page.status_code, username(other)) == (400, None)
        assert "begun elsewhere" in alert(page)
    for wrong in (re.sub(r"state=\w+", "state=x", good), re.sub(r"&state=\w+", "", good)):
        assert browser.get(wrong).status_code == 400
    assert browser.get(good.replace("code=", "code=x")).status_code == 502
    assert browser.get(good).status_code == 400  # the state is used up
    assert username(browser) is None
    assert not User.objects.exists()


def test_a_login_that_was_cancelled_leads_back(browser: httpx.Client) -> None:
    back = callback(browser)
    page = browser.get(re.sub(r"code=[^&]+", "error=access_denied", back))
    assert page.url.path == "/login/"
    assert browser.get("/login/oidc/callback/?error=server_error").status_code == 400


_WRONG: dict[str, dict[str, Any]] = {
    "nonce": {"nonce": "of another login"},
    "no nonce": {"nonce": None},
    "audience": {"aud": "another client"},
    "audiences": {"aud": ["aily", "other"], "azp": "other"},
    "issuer": {"iss": "https://evil.example"},
    "expired": {"exp": 1_700_000_000},
    "future": {"iat": 99_999_999_999},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "number": {"sub": 1001},
}


def test_a_token_that_is_wrong_in_one_thing_is_refused(
    provider: OpenIDProvider, browser: httpx.Client
) -> None:
    for changes in _WRONG.values():

        def tamper(claims: dict[str, Any], changes: dict[str, Any] = changes) -> None:
            claims |= changes

        provider.tamper = tamper
        assert browser.get("/login/oidc/").status_code == 400, changes
        assert username(browser) is None
    provider.reset()
    provider.signs_wrongly = True
    assert browser.get("/login/oidc/").status_code == 400
    provider.reset()
    provider.userinfo = {"sub": "somebody else", "email": "a@x.example"}
    assert browser.get("/login/oidc/").status_code == 400
    assert username(browser) is None
    assert not User.objects.exists()
    provider.reset()
    browser.get("/login/oidc/")
    assert username(browser) == "carol"


def test_a_provider_that_fails_is_said_to(
    site: OIDCSite, provider: OpenIDProvider, browser: httpx.Client
) -> None:
    for path in ("/.well-known/openid-configuration", "/token", "/jwks", "/userinfo"):
        for broken in (path, f"{path} redirects"):
            provider.broken = {broken}
            page = browser.get("/login/oidc/")
            assert page.status_code == 502, broken
            assert "Example ID does not answer" in alert(page)
    assert username(browser) is None
    assert "temporarily_unavailable" in site.log()


def test_nobody_else_waits_for_the_provider(
    site: OIDCSite, provider: OpenIDProvider, browser: httpx.Client
) -> None:
    back = callback(browser)
    provider.answers.clear()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(browser.get, back)
        with httpx.Client(base_url=site.base_url, timeout=30) as other:
            assert provider.is_asked.wait(10)
            # Neither the loop nor the one connection to the database.
            wait_until(lambda: other.get("/readyz").status_code == 200, "readiness")
            form = {"username": "nobody", "password": "x", "csrfmiddlewaretoken": ""}
            form["csrfmiddlewaretoken"] = other.get("/login/").cookies["csrftoken"]
            assert other.post("/login/", data=form).status_code == 200
        assert not waiting.done()
        provider.answers.set()
        assert waiting.result().status_code == 200
    assert username(browser) == "carol"


def test_no_secret_is_logged(site: OIDCSite, browser: httpx.Client) -> None:
    browser.get("/login/oidc/")
    assert username(browser) == "carol"
    log = site.log()
    assert "POST /token" in log  # it is a log of everything
    for secret in (CLIENT_SECRET, "secret-access-token", "eyJ", browser.cookies["sessionid"]):
        assert secret not in log
