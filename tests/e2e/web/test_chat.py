"""The web app in a real Chromium, on the whole running system: chats and scenes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Dialog, Page, WebSocketRoute, expect

from tests.e2e.web.browsing import last_answer, log_in, send, wait_for_connection, wait_for_end
from tests.waiting import wait_until

pytestmark = pytest.mark.browser


def _wait_for_blocks(page: Page, count: int) -> list[str]:
    """The texts of the blocks of a running answer, once it has that many."""
    expect(last_answer(page).locator(".answer-text > .md-block").nth(count - 1)).to_be_visible()
    expect(last_answer(page)).to_have_attribute("aria-busy", "true")
    return _blocks(page)


def _blocks(page: Page) -> list[str]:
    return last_answer(page).locator(".answer-text > .md-block").all_text_contents()


def _copied(page: Page) -> str:
    """The raw text of the last answer, as its copy button gives it."""
    last_answer(page).get_by_role("button", name="Copy answer").click()
    expect(last_answer(page).get_by_role("button", name="Copied")).to_be_visible()
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def _stored_task(page: Page) -> dict[str, Any]:
    """The newest task of the conversation that is open, from the REST interface."""
    conversation_id = page.url.rpartition("/c/")[2]
    response = page.request.get(f"/api/llmchat/tasks?conversation_id={conversation_id}&limit=1")
    assert response.ok, response.text()
    [item] = response.json()["items"]
    task: dict[str, Any] = page.request.get(f"/api/llmchat/tasks/{item['task_id']}").json()
    return task


def _stored_count(page: Page) -> int:
    """How many tasks the conversation that is open has, failed ones included."""
    conversation_id = page.url.rpartition("/c/")[2]
    response = page.request.get(f"/api/llmchat/tasks?conversation_id={conversation_id}")
    count: int = response.json()["count"]
    return count


#: Notes what is said of the connection from now on.
RECORD_STATES = """
window.states = [];
new MutationObserver(() => states.push(document.querySelector("#connection").dataset.state))
  .observe(document.querySelector("#connection"), {attributeFilter: ["data-state"]});
"""


def _forward_own(socket: WebSocketRoute) -> None:
    """Pass on to a page only the frames about what it submits itself."""
    server = socket.connect_to_server()
    refs: set[str] = set()

    def send(message: str | bytes) -> None:
        refs.add(json.loads(message).get("ref", ""))
        server.send(message)

    def receive(message: str | bytes) -> None:
        frame = json.loads(message)
        if frame["type"] == "hello" or frame.get("ref") in refs:
            socket.send(message)

    socket.on_message(send)
    server.on_message(receive)


def _record_frames(page: Page) -> list[dict[str, Any]]:
    """What the page receives over its WebSockets from now on."""
    frames: list[dict[str, Any]] = []

    def receive(data: str | bytes) -> None:
        frames.append(json.loads(data))

    page.on("websocket", lambda socket: socket.on("framereceived", receive))
    return frames


def _deltas(frames: list[dict[str, Any]], task_id: str) -> list[dict[str, Any]]:
    return [
        frame for frame in frames if frame["type"] == "task.delta" and frame["task_id"] == task_id
    ]


def test_a_scene_streams_and_a_reload_in_mid_stream_goes_on_without_a_gap(
    context: BrowserContext,
) -> None:
    page = context.new_page()
    page.goto("/")
    expect(page).to_have_title("Log in · aily")
    log_in(page, "demo", "demo")
    page.get_by_role("navigation").get_by_role("link", name="Summarize").click()
    page.get_by_label("Text").fill("A long story. [sim:tokens=400,tps=40]")
    page.get_by_role("button", name="Run").click()
    before = _wait_for_blocks(page, 3)

    frames = _record_frames(page)
    page.reload()
    after = _wait_for_blocks(page, 5)
    wait_for_end(page)

    task = _stored_task(page)
    assert task["status"] == "succeeded"
    assert _copied(page) == task["result"]["text"]
    # What was on the page in the middle was the beginning of the end; a last block was growing.
    assert _blocks(page)[: len(before) - 1] == before[:-1]
    assert _blocks(page)[: len(after) - 1] == after[:-1]
    deltas = _deltas(frames, task["task_id"])
    assert "".join(delta["text"] for delta in deltas) == task["result"]["text"]
    numbers = [int(delta["id"].partition("-")[2]) for delta in deltas]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_lost_connection_is_resumed_after_the_last_event(page: Page) -> None:
    sent: list[dict[str, Any]] = []
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def forward(message: str | bytes) -> None:
            sent.append(json.loads(message))
            server.send(message)

        socket.on_message(forward)
        sockets.append(socket)

    page.route_web_socket("**/ws/llmchat/", connect)
    page.reload()
    expect(page.locator("#connection")).to_have_attribute("data-state", "open")
    send(page, "Tell me more. [sim:tokens=300,tps=40]")
    _wait_for_blocks(page, 3)
    page.evaluate(RECORD_STATES)
    sockets[-1].close(code=1012, reason="restart")
    _wait_for_blocks(page, 4)
    wait_for_end(page)
    # It may have been seen for a moment only.
    assert "waiting" in page.evaluate("states")
    wait_for_connection(page)

    task = _stored_task(page)
    assert _copied(page) == task["result"]["text"]
    resumed = [frame for frame in sent if frame["type"] == "task.subscribe"]
    assert len(resumed) == 1
    assert resumed[0]["task_id"] == task["task_id"]
    assert resumed[0]["after"].startswith("1-")


def test_stopping_keeps_the_part_that_has_come(page: Page) -> None:
    send(page, "Go on for ever. [sim:tokens=2000,tps=150]")
    _wait_for_blocks(page, 3)
    page.get_by_role("button", name="Stop the answer").click()
    answer = wait_for_end(page)
    expect(answer.get_by_text("Stopped", exact=True)).to_be_visible()

    task = _stored_task(page)
    assert task["status"] == "cancelled"
    assert task["result"]["text"]
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert _copied(page) == task["result"]["text"]
    page.reload()
    expect(wait_for_end(page).get_by_text("Stopped", exact=True)).to_be_visible()
    assert _copied(page) == task["result"]["text"]


def test_a_chat_keeps_its_history(page: Page) -> None:
    send(
        page,
        "My name is Rumpelstiltskin, and I have told you many things about me. [sim:tokens=30]",
    )
    wait_for_end(page)
    first = _stored_task(page)
    send(page, "Who am I? [sim:tokens=30]")
    expect(page.get_by_role("article", name="Answer")).to_have_count(2)
    wait_for_end(page)
    second = _stored_task(page)
    assert second["conversation_id"] == first["conversation_id"]
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]

    page.reload()
    # Once it is connected, what is shown was read: the button below is not made anew.
    expect(page.locator("#connection")).to_have_attribute("data-state", "open")
    expect(page.get_by_role("article", name="Answer")).to_have_count(2)
    questions = page.get_by_role("article", name="You")
    expect(questions).to_contain_text(["My name is Rumpelstiltskin", "Who am I?"])
    assert _copied(page) == second["result"]["text"]


def test_markup_in_an_answer_is_shown_and_not_run(page: Page) -> None:
    dialogs: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    send(
        page,
        "<img src=x onerror=alert(1)><svg onload=alert(2)> [a](javascript:alert(3))[sim:tokens=60]",
    )
    answer = wait_for_end(page)
    expect(answer.get_by_text("onerror=alert(1)")).to_be_visible()

    assert answer.locator(".answer-text :is(img, script, iframe, [onerror], [onload])").count() == 0
    assert answer.locator(".answer-text svg:not(.icon)").count() == 0
    hrefs = answer.locator(".answer-text a").evaluate_all("links => links.map(a => a.href)")
    assert all(not href.startswith("javascript:") for href in hrefs)
    assert dialogs == []


def test_a_failed_answer_says_why_and_can_be_asked_again(page: Page) -> None:
    send(page, "This will not do. [sim:status=402]")
    answer = wait_for_end(page)
    expect(answer.get_by_text("The provider account is empty")).to_be_visible()
    expect(answer.get_by_text("provider_balance", exact=True)).to_be_visible()
    first = _stored_task(page)["task_id"]
    answer.get_by_role("button", name="Try again").click()
    expect(last_answer(page)).to_have_attribute("aria-busy", "false")
    expect(last_answer(page).get_by_text("provider_balance", exact=True)).to_be_visible()
    # In the place of the first one, and of the tab that was left behind.
    assert _stored_task(page)["task_id"] != first
    for _ in range(2):
        expect(page.get_by_role("article", name="You")).to_have_count(1)
        expect(page.get_by_role("article", name="Answer")).to_have_count(1)
        page.reload()


@pytest.mark.slow
def test_of_two_tabs_that_ask_again_the_second_is_refused_and_shown_the_first(
    page: Page, context: BrowserContext
) -> None:
    send(page, "Not twice. [sim:status=402]")
    wait_for_end(page)
    other = context.new_page()
    # This tab receives no frames about what the first one does.
    other.route_web_socket("**/ws/llmchat/", _forward_own)
    other.goto(page.url)
    expect(other.get_by_role("article", name="Answer")).to_have_count(1)
    wait_for_end(other)
    page.get_by_role("button", name="Try again").click()
    # It fails at once: that it was under way may never show.
    wait_until(lambda: _stored_count(page) == 2, "the question asked again")
    wait_for_end(page)
    other.get_by_role("button", name="Try again").click()
    expect(other.get_by_text("Asked again already")).to_be_visible()
    expect(other.get_by_role("article", name="You")).to_have_count(1)
    assert _stored_count(page) == 2


@pytest.mark.slow
def test_a_stopped_answer_can_be_asked_again(page: Page) -> None:
    send(page, "Stop me, then try again. [sim:tokens=2000,tps=150]")
    _wait_for_blocks(page, 2)
    page.get_by_role("button", name="Stop the answer").click()
    wait_for_end(page).get_by_role("button", name="Try again").click()
    _wait_for_blocks(page, 1)
    page.get_by_role("button", name="Stop the answer").click()
    expect(wait_for_end(page).get_by_text("Stopped", exact=True)).to_be_visible()
    expect(page.get_by_role("article", name="You")).to_have_count(1)
    expect(page.get_by_role("article", name="Answer")).to_have_count(1)


@pytest.mark.slow
def test_a_long_chat_goes_on_and_says_from_where_it_is_sent(page: Page) -> None:
    line = page.get_by_text("Earlier messages are no longer sent to the model.")
    for number in range(3):
        send(page, f"Part {number} " + "of a long story, " * 140 + "[sim:tokens=20]")
        expect(page.get_by_role("article", name="Answer")).to_have_count(number + 1)
        assert wait_for_end(page).get_by_role("button", name="Try again").is_hidden()
    for _ in range(2):
        expect(line).to_be_visible()
        kinds = page.locator(".turns > *").evaluate_all("all => all.map(e => e.classList[0])")
        assert kinds.count("history-cut") == 1
        assert 0 < kinds.index("history-cut") < len(kinds) - 1
        assert kinds[kinds.index("history-cut") + 1] == "question"
        page.reload()
        wait_for_connection(page)
    assert _stored_task(page)["history_from"]


@pytest.mark.slow
def test_an_answer_is_marked_as_simulated(page: Page) -> None:
    send(page, "Are you real? [sim:tokens=30]")
    expect(wait_for_end(page).get_by_text("Simulated", exact=True)).to_be_visible()


@pytest.mark.slow
def test_a_chat_begun_in_one_tab_goes_on_in_the_other(page: Page, context: BrowserContext) -> None:
    other = context.new_page()
    other.goto("/")
    expect(other.locator("#connection")).to_have_attribute("data-state", "open")
    question = "Which tab am I in, I wonder?"
    send(page, f"{question} [sim:tokens=300,tps=40]")
    other.get_by_role("navigation").get_by_role("link", name=question).first.click()
    _wait_for_blocks(other, 3)
    wait_for_end(page)
    wait_for_end(other)
    assert _copied(other) == _stored_task(page)["result"]["text"]


def test_conversations_are_renamed_and_deleted(page: Page) -> None:
    send(page, "Something to be deleted [sim:tokens=30]")
    wait_for_end(page)
    row = page.get_by_role("listitem").filter(has_text="Something to be deleted")
    row.hover()
    row.get_by_role("button", name="Rename").click()
    page.get_by_label("Title").fill("Soon gone")
    page.get_by_role("button", name="Rename", exact=True).last.click()
    expect(page.get_by_role("heading", name="Soon gone")).to_be_visible()

    row = page.get_by_role("listitem").filter(has_text="Soon gone")
    row.hover()
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    expect(page.get_by_role("heading", name="What can I do for you?")).to_be_visible()


def test_logging_out_closes_the_page_to_others(context: BrowserContext) -> None:
    page = context.new_page()
    log_in(page, "demo", "demo")
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_title("Log in · aily")
    page.goto("/")
    expect(page).to_have_title("Log in · aily")
    assert page.request.get("/api/conversations").status == 401


def test_a_wrong_password_is_refused(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/login/")
    page.get_by_label("Username").fill("demo")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("correct username and password")
