"""Errors of rows in the admin: they are stored in English, and shown in the page's language."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db.models import Model
from django.test import Client

from accounts.models import User
from chat.delivery import outcomes
from chat.models import Delivery, LLMModel, Run, Status, Task, ToolServer, WebhookEndpoint
from chat.reasons import Reason
from chat.tables.models import AiField, Export, Import, Table

LANGUAGES = ("en", "zh-hans")
FAILING = Reason.of("rows_failed", count=20)
UNFIT = Reason.of("bad_rows", count=7)

#: A row, and its words in English and in Chinese.
Shown = tuple[Model, str, str]


@pytest.fixture
def admin(transactional_db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def _runs(alice: User) -> Iterator[Shown]:
    def run(reason: str, message: str, params: dict[str, str | float] | None = None) -> Run:
        why = {"reason": reason, "message": message, "reason_params": params}
        return Run.objects.create(owner=alice, kind="run", name="A run", **why)

    yield (
        run("provider_auth", str(FAILING), FAILING.as_params()),
        "The last 20 rows failed, none succeeded meanwhile.",
        "最近 20 行均失败，其间无一成功。",
    )
    # Of an earlier version.
    message = "The last 9 rows failed."
    yield run("provider_auth", message), message, f"提供商拒绝了密钥。原文：{message}"
    yield run("budget_exceeded", ""), "The rest of a budget is too small.", "预算余额不足。"


def _tasks(alice: User, model: LLMModel) -> Iterator[Shown]:
    def task(code: str, message: str) -> Task:
        failed = {"status": Status.FAILED, "error": {"code": code, "message": message}}
        return Task.objects.create(owner=alice, model=model, messages=[], **failed)

    yield task("worker_lost", "It died."), "It died.", "运行它的工作进程多次意外终止。"
    refused = task("provider_bad_request", "max_tokens?")
    yield refused, "max_tokens?", "提供商拒绝了请求。"
    yield refused, "max_tokens?", "max_tokens?"
    yield task("unheard_of", "Words."), "Words.", "Words."


def _transfers(alice: User, table: Table) -> Iterator[Shown]:
    common = {"owner": alice, "table": table, "format": "csv"}
    unfit = {"reason": "bad_rows", "message": str(UNFIT), "reason_params": UNFIT.as_params()}
    yield Import.objects.create(**common, **unfit), "7 rows do not fit.", "7 行不符合要求"
    array = {"reason": "json_array", "message": "An array."}
    yield Import.objects.create(**common, **array), "An array.", "文件是一个 JSON 数组"
    message = "Something went wrong here. It has been logged."
    fault = {"reason": "internal_error", "message": message}
    yield Export.objects.create(**common, **fault), message, "出错了，已记入日志。"


def _deliveries(alice: User) -> Iterator[Shown]:
    endpoint = WebhookEndpoint.objects.create(
        owner=alice, url="https://hooks.example/", disabled_reason=str(outcomes.UNREACHED)
    )
    yield endpoint, "Nothing has reached it for 5 days.", "已有 5 天无法送达。"
    common = {"owner": alice, "kind": "webhook", "endpoint": endpoint, "event": "task.completed"}
    for error, status, chinese in (
        ("The endpoint answered 503.", 503, "端点返回了 503。"),
        ("The endpoint is disabled.", None, "该端点已停用。"),
        ("[Errno 111]", None, "[Errno 111]"),
    ):
        outcome = {"response_status": status, "error": error}
        yield Delivery.objects.create(**common, **outcome, data={}), error, chinese


def _others(alice: User, table: Table) -> Iterator[Shown]:
    message = "No answer within 30 s."
    server = {"name": "crm", "url": "https://crm.example/", "list_error": message}
    yield ToolServer.objects.create(**server), message, f"无法列出工具。原文：{message}"
    rows = Reason.of("policy_rows", limit=5)
    note = {"code": "policy_limit", "params": rows.as_params()}
    ai_field = AiField.objects.create(
        table=table, owner=alice, name="Summary", policy_note=str(rows), policy_reason=note
    )
    yield ai_field, "5 rows an hour are filled.", "每小时"


def test_the_admin_says_in_its_language_what_went_wrong(
    admin: Client, alice: User, model: LLMModel, subtests: pytest.Subtests
) -> None:
    table = Table.objects.create(owner=alice, name="Products")
    groups = (
        *(_runs(alice), _tasks(alice, model), _transfers(alice, table)),
        *(_deliveries(alice), _others(alice, table)),
    )
    for row, *words in (shown for group in groups for shown in group):
        path = f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"
        for language, text in zip(LANGUAGES, words, strict=True):
            with subtests.test(f"{type(row).__name__} {language} {text}"):
                page = admin.get(path, headers={"Accept-Language": language})
                assert text in page.content.decode()


def test_lists_say_it_as_well(admin: Client, alice: User) -> None:
    fields = {"url": "https://hooks.example/", "disabled_reason": str(outcomes.BY_STAFF)}
    WebhookEndpoint.objects.create(owner=alice, **fields)
    for language, text in zip(LANGUAGES, ("By the staff.", "由管理员停用。"), strict=True):
        page = admin.get("/admin/chat/webhookendpoint/", headers={"Accept-Language": language})
        assert text in page.content.decode()
