"""What the app says of what it cannot see: a dead network, refused questions, other tabs."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from tests.e2e.web.browsing import send, wait_for_connection, wait_for_end

pytestmark = pytest.mark.browser

#: Within so many seconds, a dead network is noticed.
NOTICED_SECONDS = 10
#: Of those that there are, at first.
CONVERSATIONS_LISTED = 50


def test_a_dead_network_is_noticed_within_ten_seconds(page: Page) -> None:
    """Nothing is closed, nothing comes: packets are lost, as in a lift."""
    is_dead = False
    pings: list[str] = []

    def connect(socket: WebSocketRoute) -> None:
        if is_dead:
            return  # never answered
        server = socket.connect_to_server()

        def forward(message: str | bytes) -> None:
            if json.loads(message)["type"] == "ping":
                pings.append("ping")
            if not is_dead:
                server.send(message)

        socket.on_message(forward)

    page.clock.install()
    page.route_web_socket("**/ws/llmchat/", connect)
    page.reload()
    wait_for_connection(page)
    indicator = page.locator("#connection")
    # A quiet network is none that is dead.
    page.clock.run_for(5_000)
    expect(indicator).to_have_attribute("data-state", "open")
    is_dead = True
    for _ in range(NOTICED_SECONDS):
        page.clock.run_for(1_000)
    expect(indicator).not_to_have_attribute("data-state", "open")


@pytest.mark.slow
def test_a_refused_first_message_leaves_no_conversation(page: Page) -> None:
    def connect(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def refuse(message: str | bytes) -> None:
            frame = json.loads(message)
            if frame["type"] != "task.submit":
                server.send(message)
                return
            error = {"code": "queue_full", "message": "queue of model x is at MAX_QUEUED"}
            socket.send(json.dumps({"type": "error", "ref": frame["ref"], "error": error}))

        socket.on_message(refuse)

    page.route_web_socket("**/ws/llmchat/", connect)
    page.reload()
    wait_for_connection(page)
    count = page.request.get("/api/conversations").json()["count"]
    listed = min(count, CONVERSATIONS_LISTED)
    expect(page.locator("#conversations > li")).to_have_count(listed)
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        send(page, "Is anybody there?")
    alert = page.get_by_role("alert").filter(has_text="The queue is full")
    expect(alert).to_be_visible()
    # In words, and not in those of the developers.
    expect(page.get_by_text("MAX_QUEUED")).to_have_count(0)
    expect(page.get_by_label("Message")).to_have_value("Is anybody there?")
    page.wait_for_url("**/#/")
    expect(page.locator("#conversations > li")).to_have_count(listed)
    assert page.request.get("/api/conversations").json()["count"] == count


@pytest.mark.slow
def test_what_runs_and_ends_elsewhere_is_marked(page: Page, context: BrowserContext) -> None:
    other = context.new_page()
    other.goto("/")
    wait_for_connection(other)
    send(page, "A long story. [sim:tokens=240,tps=40]")
    row = other.locator("#conversations > li").first
    expect(row.get_by_role("img", name="Answering")).to_be_attached()
    wait_for_end(page)
    expect(row.get_by_role("img", name="New answer")).to_be_attached()
    # There it is looked at: nothing is new.
    expect(page.locator("#conversations .nav-mark")).to_have_count(0)
    row.get_by_role("link").click()
    expect(other.locator("#conversations .nav-mark")).to_have_count(0)
