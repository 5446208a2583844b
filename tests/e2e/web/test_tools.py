"""Calls of tools in the web app: seen, approved, rejected and edited, in one tab and in two."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, StorageState, WebSocketRoute, expect

from tests.e2e.web.browsing import (
    DESKTOP,
    PHONE,
    last_answer,
    visit,
    wait_for_connection,
    wait_for_end,
)
from tests.e2e.web.demo_tools import ASSISTANT
from tests.stack import Stack

pytestmark = pytest.mark.browser

ASKS = '[sim:tools=calculate {"expression": "6 * 7"}]'
AXE_TAGS = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.fixture
def user(browser: Browser, stack: Stack, session: StorageState) -> Iterator[Page]:
    with visit(browser, stack, session, viewport=DESKTOP, locale="en-US") as page:
        yield page


def _ask(page: Page, text: str) -> None:
    """Run the scene, and be where its answer comes."""
    page.goto(f"/#/s/{ASSISTANT}")
    wait_for_connection(page)
    page.get_by_role("textbox").first.fill(text)
    page.get_by_role("button", name=re.compile("^(Run|运行)$")).click()
    expect(page).to_have_url(re.compile("#/c/"))


def _question(page: Page) -> Locator:
    return page.get_by_role("region", name=re.compile("wants to call calculate"))


def _answered(page: Page) -> Locator:
    expect(last_answer(page).locator(".answer-text")).not_to_be_empty()
    return wait_for_end(page).locator(".answer-text")


def _task(page: Page) -> Any:
    conversation_id = page.url.rpartition("/c/")[2]
    listed = page.request.get(f"/api/llmchat/tasks?conversation_id={conversation_id}&limit=1")
    [item] = listed.json()["items"]
    return page.request.get(f"/api/llmchat/tasks/{item['task_id']}").json()


# --- Calls that are made at once ----------------------------------------------------------------
@pytest.mark.slow
def test_calls_are_shown_with_arguments_results_and_state(user: Page) -> None:
    _ask(user, '[sim:tools=clock | slow {"seconds": 0.1} ; fail {"message": "as asked"}]')
    answer = _answered(user)
    expect(answer).to_contain_text("Waited 0.1 s.")
    calls = last_answer(user).get_by_role("list", name="Calls of tools").get_by_role("listitem")
    expect(calls).to_have_count(3)
    for call, words in zip(calls.all(), ("clock Done", "slow Done", "fail Failed"), strict=True):
        for word in words.split():
            expect(call.locator("summary")).to_contain_text(word)
    slow = calls.nth(1)
    expect(slow.get_by_text("Waited 0.1 s.")).to_be_hidden()
    slow.locator("summary").focus()
    user.keyboard.press("Enter")
    expect(slow.get_by_text("Waited 0.1 s.")).to_be_visible()
    expect(slow.get_by_role("region", name="Arguments")).to_contain_text('"seconds": 0.1')
    # They are there for whoever comes later, too.
    user.reload()
    expect(calls).to_have_count(3)


# --- Decisions ----------------------------------------------------------------------------------
def test_a_call_is_approved(user: Page) -> None:
    _ask(user, ASKS)
    question = _question(user)
    expect(question.get_by_role("region", name="Arguments")).to_contain_text('"6 * 7"')
    expect(last_answer(user)).to_contain_text("Waiting for your decision")
    badge = user.get_by_role("link", name="Waiting for you")
    expect(badge).to_contain_text("1")
    expect(user).to_have_title(re.compile(r"^\(1\) "))
    question.get_by_role("button", name="Approve", exact=True).click()
    expect(_answered(user)).to_contain_text("42")
    expect(badge).to_be_hidden()
    expect(user).not_to_have_title(re.compile(r"^\("))


@pytest.mark.slow
def test_a_call_is_rejected_with_a_reason(user: Page) -> None:
    _ask(user, ASKS)
    question = _question(user)
    question.get_by_role("button", name="Reject…").click()
    reason = question.get_by_label("Reason")
    expect(reason).to_be_focused()
    user.keyboard.press("Escape")
    expect(reason).to_have_count(0)
    expect(question.get_by_role("button", name="Approve", exact=True)).to_be_focused()
    question.get_by_role("button", name="Reject…").click()
    reason.fill("Do it in your head")
    question.get_by_role("button", name="Reject", exact=True).click()
    expect(_answered(user)).to_contain_text("Do it in your head")
    expect(last_answer(user).locator(".tool-call summary")).to_contain_text("Rejected")
    [call] = _task(user)["tool_calls"]
    assert (call["state"], call["reason"]) == ("rejected", "Do it in your head")


@pytest.mark.slow
def test_arguments_are_edited_and_checked(user: Page) -> None:
    _ask(user, ASKS)
    question = _question(user)
    question.get_by_role("button", name="Edit arguments…").click()
    editor, send = question.get_by_label("Arguments (JSON)"), "Approve with these arguments"
    expect(editor).to_be_focused()
    assert '"expression": "6 * 7"' in editor.input_value()
    for text, complaint in (
        ("{not JSON", "This has to be a JSON object."),
        ("[1]", "This has to be a JSON object."),
        ('{"expression": 7}', "expression"),
    ):
        editor.fill(text)
        question.get_by_role("button", name=send).click()
        expect(question.get_by_role("alert")).to_contain_text(complaint)
        expect(editor).to_have_value(text)
        expect(editor).to_have_attribute("aria-invalid", "true")
    editor.fill('{"expression": "6 * 8"}')
    editor.press("Control+Enter")
    expect(_answered(user)).to_contain_text("48")
    [call] = _task(user)["tool_calls"]
    assert "6 * 8" in call["edited_arguments"]


@pytest.mark.slow
def test_what_waits_survives_a_reload(user: Page) -> None:
    _ask(user, ASKS)
    expect(_question(user)).to_be_visible()
    user.reload()
    wait_for_connection(user)
    expect(_question(user).get_by_role("region", name="Arguments")).to_contain_text('"6 * 7"')
    _question(user).get_by_role("button", name="Approve", exact=True).click()
    expect(_answered(user)).to_contain_text("42")


@pytest.mark.slow
def test_a_waiting_call_is_stopped_with_its_task(user: Page) -> None:
    _ask(user, ASKS)
    expect(_question(user)).to_be_visible()
    user.get_by_role("button", name="Stop the answer").click()
    wait_for_end(user)
    expect(_question(user)).to_have_count(0)
    expect(last_answer(user).locator(".tool-call summary")).to_contain_text("Stopped")


# --- A tool that asks in the middle of its call ---------------------------------------------------
def _asking(page: Page) -> Locator:
    return page.get_by_role("region", name=re.compile("^(ask asks you|ask 请您回答)$"))


@pytest.mark.slow
def test_a_tool_asks_the_user_and_goes_on_with_the_answer(user: Page) -> None:
    _ask(user, '[sim:tools=ask {"question": "Which colour?"}]')
    form = _asking(user)
    expect(form).to_contain_text("Which colour?")
    answer = form.get_by_role("textbox")
    form.get_by_role("button", name="Answer").click()
    expect(answer).to_be_focused()
    _check(user)
    user.reload()
    wait_for_connection(user)
    answer.fill("Ultramarine")
    form.get_by_role("button", name="Answer").click()
    expect(_answered(user)).to_contain_text("Ultramarine")
    [call] = _task(user)["tool_calls"]
    assert (call["state"], call["text"]) == ("succeeded", "Ultramarine")


@pytest.mark.slow
def test_a_tool_is_answered_and_refused_on_the_page_of_what_waits(
    browser: Browser, stack: Stack, session: StorageState
) -> None:
    with visit(browser, stack, session, locale="zh-CN") as page:
        for _ in range(2):
            _ask(page, '[sim:tools=ask {"question": "Which colour?"}]')
            expect(_asking(page)).to_be_visible()
        page.goto("/#/waiting")
        expect(_asking(page)).to_have_count(2)
        first = _asking(page).first
        first.get_by_role("textbox").fill("Ochre")
        first.get_by_role("button", name="回答", exact=True).click()
        expect(_asking(page)).to_have_count(1)
        _asking(page).get_by_role("button", name="拒绝回答…").click()
        _asking(page).get_by_role("button", name="拒绝回答", exact=True).click()
        expect(_asking(page)).to_have_count(0)


# --- Two tabs -----------------------------------------------------------------------------------
@pytest.mark.slow
def test_two_tabs_show_the_same(user: Page) -> None:
    _ask(user, ASKS)
    other = user.context.new_page()
    other.goto(user.url)
    expect(_question(other)).to_be_visible()
    _question(user).get_by_role("button", name="Approve", exact=True).click()
    expect(_question(other)).to_have_count(0)
    expect(_answered(other)).to_contain_text("42")


@pytest.mark.slow
def test_the_second_of_two_answers_is_told_so(user: Page) -> None:
    _ask(user, ASKS)
    other = user.context.new_page()
    is_deaf = False

    def connect(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        server.on_message(lambda message: None if is_deaf else socket.send(message))

    other.route_web_socket("**/ws/llmchat/", connect)
    other.goto(user.url)
    expect(_question(other)).to_be_visible()
    is_deaf = True
    _question(user).get_by_role("button", name="Reject…").click()
    _question(user).get_by_role("button", name="Reject", exact=True).click()
    expect(_question(user)).to_have_count(0)
    with other.expect_response(lambda answer: answer.request.method == "POST") as refused:
        _question(other).get_by_role("button", name="Approve", exact=True).click()
    assert refused.value.status == 409
    expect(other.get_by_role("alert").filter(has_text="decided already")).to_be_visible()
    # What became of it is shown in place of the question.
    expect(_question(other)).to_have_count(0)
    expect(other.locator(".tool-call summary")).to_contain_text("Rejected")


# --- The page of what waits ---------------------------------------------------------------------
@pytest.mark.slow
def test_what_waits_is_on_a_page_of_its_own(user: Page) -> None:
    for _ in range(2):
        _ask(user, ASKS)
        expect(_question(user)).to_be_visible()
    link = user.get_by_role("link", name="Waiting for you")
    expect(link).to_contain_text("2")
    link.click()
    expect(_question(user)).to_have_count(2)
    expect(user.get_by_role("heading", level=2).first).to_be_visible()
    for left in (1, 0):
        _question(user).first.get_by_role("button", name="Approve", exact=True).click()
        expect(_question(user)).to_have_count(left)
    expect(user.get_by_text("Nothing waits for you.")).to_be_visible()


# --- Everywhere ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("viewport", "theme"),
    [(DESKTOP, "dark"), pytest.param(PHONE, "light", marks=pytest.mark.slow)],
    ids=["desktop", "phone"],
)
def test_axe_finds_nothing_and_nothing_sticks_out(
    browser: Browser,
    stack: Stack,
    session: StorageState,
    viewport: dict[str, int],
    theme: Any,
    tmp_path: Path,
) -> None:
    options = {"viewport": viewport, "color_scheme": theme, "locale": "en-US"}
    with visit(browser, stack, session, **options) as page:
        _ask(page, f'[sim:tools=clock ; calculate {{"expression": "{"1 + " * 40}1"}}]')
        question = _question(page)
        for name in ("Reject…", "Cancel", "Edit arguments…"):
            question.get_by_role("button", name=name).click()
            _check(page)
        page.goto("/#/waiting")
        expect(_question(page).first).to_be_visible()
        _check(page)
        _question(page).first.get_by_role("button", name="Approve", exact=True).click()
        expect(page.get_by_text("Nothing waits for you.")).to_be_visible()


def _check(page: Page) -> None:
    results = Axe().run(page, options=AXE_TAGS)
    assert results.response["violations"] == [], results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_chinese(browser: Browser, stack: Stack, session: StorageState) -> None:
    with visit(browser, stack, session, locale="zh-CN") as page:
        _ask(page, ASKS)
        question = page.get_by_role("region", name="模型想要调用 calculate")
        question.get_by_role("button", name="批准", exact=True).click()
        expect(page.locator("article.answer .answer-text")).to_contain_text("42")
        expect(page.locator(".tool-call summary")).to_contain_text("完成")


# --- The workshop -------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_workshop_chooses_the_tools_of_a_version(
    browser: Browser, stack: Stack, staff_session: StorageState
) -> None:
    with visit(browser, stack, staff_session, viewport=DESKTOP, locale="en-US") as page:
        page.goto(f"/#/w/{ASSISTANT}")
        wait_for_connection(page)
        tools = page.get_by_role("group", name="Tools")
        clock = tools.get_by_role("checkbox", name="clock")
        expect(clock).to_be_checked()
        expect(clock).to_be_disabled()
        page.get_by_role("button", name="New version from the live one").click()
        expect(clock).to_be_enabled()
        expect(clock).to_be_checked()
        clock.uncheck()
        steps = page.get_by_role("spinbutton", name="Most steps of tool calls")
        steps.fill("1001")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#version-max_tool_steps-error")).not_to_be_empty()
        steps.fill("3")
        page.get_by_role("spinbutton", name="Most cost of model and tools").fill("0.25")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#announcer")).to_have_text("The draft is saved.")
        expect(clock).not_to_be_checked()
        listed = page.request.get(f"/api/scenes/{ASSISTANT}/versions").json()["items"]
        assert "clock" not in listed[0]["tools"]
        assert (listed[0]["max_tool_steps"], listed[0]["max_tool_cost"]) == (3, "0.250000")
        assert listed[0]["max_tool_seconds"] is None
        assert {"calculate", "slow"} <= set(listed[0]["tools"])
        differences = page.get_by_role("region", name="Differences to the live version")
        expect(differences.locator("del").first).to_contain_text("clock")
        expect(differences).to_contain_text("Most steps of tool calls")
        assert Axe().run(page, options=AXE_TAGS).response["violations"] == []
        page.get_by_role("button", name="Delete draft").click()
        expect(clock).to_be_disabled()
