"""Pages are in the reader's language; what programs ask for is not."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import APIKey, LoginEvent, User
from aily.routing import routes
from aily.settings import LANGUAGES
from chat.models import LLMModel
from tests.communicators import HttpCommunicator

CHINESE = "zh-CN,zh;q=0.9,en;q=0.5"


def browser(accepts: str = "", chosen: str = "", **options: Any) -> Client:
    client = Client(headers={"Accept-Language": accepts} if accepts else None, **options)
    if chosen:
        client.cookies["django_language"] = chosen
    return client


@pytest.mark.parametrize(
    ("accepts", "chosen", "heading"),
    [
        ("", "", "Log in"),
        ("en-GB,en;q=0.8", "", "Log in"),
        (CHINESE, "", "登录"),
        ("zh-Hans-SG", "", "登录"),
        ("de,fr;q=0.9", "", "Log in"),
        ("de;q=0.9,zh-CN;q=0.8", "", "登录"),
        # What the reader has chosen goes before what the browser asks for.
        (CHINESE, "en", "Log in"),
        ("en", "zh-hans", "登录"),
        ("en", "no-such-language", "Log in"),
    ],
)
@pytest.mark.django_db
def test_a_page_is_in_the_language_chosen_or_asked_for(
    accepts: str, chosen: str, heading: str
) -> None:
    response = browser(accepts, chosen).get("/login/")
    language = "zh-hans" if heading == "登录" else "en"
    assert f"<h1>{heading}</h1>" in response.text
    assert f'<html lang="{language}"' in response.text
    assert response["Content-Language"] == language
    assert {"accept-language", "cookie"} <= {
        name.strip().lower() for name in response["Vary"].split(",")
    }


@pytest.mark.django_db
def test_a_choice_lasts_and_leads_back() -> None:
    client = browser("en", enforce_csrf_checks=True)
    page = client.get("/login/?next=/account/")
    # Each by its own name, whatever the page is in.
    assert all(f">{name}</button>" in page.text for _code, name in LANGUAGES)
    assert ">English</button>" in browser("zh-CN").get("/login/").text
    form = {"language": "zh-hans", "next": "/login/?next=/account/"}
    assert client.post("/language/", form).status_code == 403
    form["csrfmiddlewaretoken"] = client.cookies["csrftoken"].value
    response = client.post("/language/", form)
    assert (response.status_code, response["Location"]) == (302, "/login/?next=/account/")
    cookie = client.cookies["django_language"]
    assert (cookie.value, cookie["max-age"], cookie["samesite"]) == ("zh-hans", 31_536_000, "Lax")
    # The web app's settings page reads and writes it as well.
    assert not cookie["httponly"]
    assert "<h1>登录</h1>" in client.get("/login/").text


@pytest.mark.parametrize("language", ["de", "no-such-language", "zh-hans\r\nSet-Cookie: a=b", ""])
@pytest.mark.django_db
def test_a_language_that_pages_are_not_in_changes_nothing(language: str) -> None:
    client = browser("zh-CN")
    assert client.post("/language/", {"language": language}).status_code == 302
    assert "<h1>登录</h1>" in client.get("/login/").text


@pytest.mark.django_db
def test_a_choice_leads_to_no_other_site() -> None:
    form = {"language": "en", "next": "https://evil.example/"}
    assert browser().post("/language/", form)["Location"] == "/"


async def test_requests_at_the_same_moment_keep_their_languages(transactional_db: None) -> None:
    async def heading(accepts: str) -> str:
        headers = [(b"host", b"127.0.0.1"), (b"accept-language", accepts.encode())]
        communicator = HttpCommunicator(routes, "GET", "/login/", b"", headers)
        body: bytes = (await communicator.get_response(20))["body"]
        await communicator.wait()
        found = re.search(r"<h1>(.*)</h1>", body.decode())
        assert found is not None
        return found[1]

    asked = ["en", CHINESE] * 10
    headings = await asyncio.gather(*map(heading, asked))
    assert headings == ["Log in", "登录"] * 10
    await sync_to_async(connections.close_all)()


# --- Pages of errors ------------------------------------------------------------------------------
@pytest.mark.django_db
def test_what_is_not_there_is_said_in_chinese() -> None:
    response = browser(CHINESE).get("/no-such-page/")
    assert response.status_code == 404
    assert "<h1>页面不存在</h1>" in response.text
    assert 'lang="zh-hans"' in response.text


def test_what_is_not_allowed_is_said_in_chinese(alice: User) -> None:
    client = browser(CHINESE)
    client.force_login(alice)
    refused = client.get("/admin/")
    assert refused.status_code == 302
    assert "您的账户无权打开此页面" in client.get(refused["Location"]).text
    forged = browser(CHINESE, enforce_csrf_checks=True).post("/login/", {"username": "alice"})
    assert forged.status_code == 403
    assert "<h1>请重试</h1>" in forged.text


@pytest.mark.parametrize(
    ("error", "status", "heading"),
    [(OperationalError("away"), 503, "请稍后重试"), (RuntimeError("fault"), 500, "出错了")],
)
def test_what_went_wrong_is_said_in_chinese(
    alice: User, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, heading: str
) -> None:
    def fail(user: Any) -> Any:
        raise error

    monkeypatch.setattr("chat.views.page_data", fail)
    client = browser(CHINESE, raise_request_exception=False)
    client.force_login(alice)
    response = client.get("/")
    assert response.status_code == status
    assert heading in response.text


# --- Programs -------------------------------------------------------------------------------------
def test_rest_answers_the_same_whatever_is_accepted(alice: User, model: LLMModel) -> None:
    _, secret = APIKey.create(alice, "test")
    key = {"Authorization": f"Bearer {secret}"}
    answers = []
    for accepts in ("en", CHINESE):
        client = browser(accepts, chosen="zh-hans" if accepts == CHINESE else "")
        body = {"username": "x" * 200}
        answers.append(
            [
                (response.status_code, response.json())
                for response in (
                    client.get("/api/no-such-thing", headers=key),
                    client.get("/api/keys"),
                    client.get("/api/keys?ordering=wrong", headers=key),
                    client.post("/api/keys", body, "application/json", headers=key),
                    client.post(
                        "/api/me/password",
                        {"old_password": "a", "new_password": "b"},
                        "application/json",
                        headers=key,
                    ),
                )
            ]
        )
        response = client.get("/api/me", headers=key)
        assert "Content-Language" not in response
        assert client.get("/livez").text == "ok"
    assert answers[0] == answers[1]


# --- What is sent by a form -----------------------------------------------------------------------
def test_a_wrong_password_is_refused_in_chinese_and_logged_in_english(alice: User) -> None:
    client = browser(CHINESE)
    wrong = {"username": "alice", "password": "wrong"}
    assert "请输入一个正确的" in client.post("/login/", wrong).text
    assert LoginEvent.objects.get().outcome == "failed"


def test_too_many_tries_are_refused_in_chinese(alice: User, settings: Any) -> None:
    settings.LOGIN_TRIES, settings.LOGIN_HOLD_SECONDS = 1, 0
    client = browser(CHINESE)
    wrong = {"username": "alice", "password": "wrong"}
    client.post("/login/", wrong)
    refused = client.post("/login/", wrong)
    assert refused.status_code == 429
    assert "登录尝试过多，请在" in refused.text


def test_the_account_is_shown_in_chinese(alice: User) -> None:
    client = browser(CHINESE)
    client.force_login(alice)
    page = client.get("/account/").text
    assert "当前登录用户：<strong>alice</strong>。" in page
    assert "（UTC）" in page
    fields = {"old_password": "no", "new_password1": "wonderland-8", "new_password2": "other-9"}
    refused = client.post("/account/password/", fields).text
    assert "密码错误。" in refused
    assert "输入的两个密码不一致。" in refused


# --- The admin ------------------------------------------------------------------------------------
def test_the_admin_is_in_chinese(admin_client: Client) -> None:
    admin_client.cookies["django_language"] = "zh-hans"
    index = admin_client.get("/admin/").text
    for words in ("对话与任务", "提供商", "场景", "预算", "API 密钥", "审计日志", "角色", "账户"):
        assert words in index, words
    tasks = admin_client.get("/admin/chat/task/").text
    for words in ("所有者", "优先级", "排队中", "取消所选任务", "最近一小时"):
        assert words in tasks, words
    provider = admin_client.get("/admin/chat/provider/add/").text
    for words in ("基础 URL", "密钥与请求头", "仅限公网地址", "每行一个"):
        assert words in provider, words


def test_the_audit_log_names_fields_in_chinese(admin_client: Client, alice: User) -> None:
    APIKey.create(alice, "laptop")
    admin_client.cookies["django_language"] = "zh-hans"
    page = admin_client.get("/admin/auditlog/logentry/").text
    assert "API 密钥 - laptop" in page
    assert "前缀" in page
    assert "created_at" not in page


def test_what_djangos_catalogues_lack_is_in_chinese_as_well(admin_client: Client) -> None:
    admin_client.cookies["django_language"] = "zh-hans"
    scripts = admin_client.get("/admin/jsi18n/").text
    assert json.dumps("选择全部%s") in scripts
    assert json.dumps("过滤") in scripts  # Django's own
    short = {"old_password": "password", "new_password1": "Zk3xQ", "new_password2": "Zk3xQ"}
    assert "密码太短，至少需要 8 个字符。" in admin_client.post("/account/password/", short).text


def test_a_plural_takes_no_s_in_chinese(admin_client: Client) -> None:
    admin_client.cookies["django_language"] = "zh-hans"
    assert "任务s" not in admin_client.get("/admin/").text


def test_permissions_are_named_in_chinese(admin_client: Client) -> None:
    admin_client.cookies["django_language"] = "zh-hans"
    page = admin_client.get("/admin/accounts/role/add/").text
    assert "<legend>任务</legend>" in page
    assert "可以查看任务" in page
    assert "可以使用场景" in page
    # Models of packages too: those of permissions on single objects, for example.
    legends = [legend.replace("Webhook", "") for legend in re.findall("<legend>(.*?)<", page)]
    assert len(legends) > 10
    assert not [legend for legend in legends if re.search("[a-z]{4,}", legend)]
    admin_client.cookies["django_language"] = "en"
    page = admin_client.get("/admin/accounts/role/add/").text
    assert "<legend>Task</legend>" in page
    assert "Can view task" in page


def test_what_an_action_did_is_said_in_chinese(admin_client: Client, alice: User) -> None:
    admin_client.cookies["django_language"] = "zh-hans"
    key, _ = APIKey.create(alice, "laptop")
    chosen = {"action": "revoke", "_selected_action": [key.pk]}
    page = admin_client.post("/admin/accounts/apikey/", chosen, follow=True).text
    assert "已吊销 1 个密钥。" in page


# --- Mails ----------------------------------------------------------------------------------------
def test_the_language_of_pages_is_kept_for_mails(
    alice: User,
) -> None:
    client = browser(CHINESE)
    client.force_login(alice)
    client.get("/account/")
    alice.refresh_from_db()
    assert alice.language == "zh-hans"
    with CaptureQueriesContext(connection) as queries:
        client.get("/account/")
    assert not [query for query in queries if query["sql"].startswith("UPDATE")]
    client.cookies["django_language"] = "en"
    client.get("/")
    alice.refresh_from_db()
    assert alice.language == "en"


def test_permissions_of_packages_that_are_gone_are_not_offered(admin_client: Client) -> None:
    gone = ContentType.objects.create(app_label="gone", model="gadget")
    Permission.objects.create(content_type=gone, codename="view_gadget", name="Can view gadget")
    assert "adget" not in admin_client.get("/admin/accounts/role/add/").text
