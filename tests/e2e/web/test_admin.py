"""The admin in a real Chromium: what a browser decides of the console, the theme and the forms."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, StorageState, expect

from tests.e2e.web.browsing import (
    DESKTOP,
    PHONE,
    send,
    use_session,
    wait_for_connection,
    wait_for_end,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

DARK, LIGHT = "rgb(22, 23, 21)", "rgb(251, 250, 248)"


@pytest.fixture
def admin(context: BrowserContext, staff_session: StorageState) -> Iterator[Page]:
    """A page of a superuser. What fails in it, or what the CSP refuses, fails the test."""
    use_session(context, staff_session)
    page = context.new_page()
    faults: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            faults.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    assert faults == []


def _set_theme(page: Page, theme: str) -> None:
    page.goto("/admin/")
    page.evaluate("theme => { document.cookie = `theme=${theme}; path=/` }", theme)
    page.reload()


def _background(page: Page) -> str:
    color: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return color


def _task_page(page: Page) -> str:
    """Ask something in the web app. Returns the path of the task's page in the admin."""
    page.goto("/")
    wait_for_connection(page)
    send(page, "**Bold** words <script>document.title = 'stolen'</script> [sim:tokens=5]")
    wait_for_end(page)
    listed = page.request.get("/api/llmchat/tasks?limit=1").json()["items"]
    return f"/admin/chat/task/{listed[0]['task_id']}/change/"


#: Opaque colours of a canvas.
COLORS = """
(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const colors = new Set();
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] === 255) colors.add(data.slice(at, at + 3).join());
  }
  return [...colors];
}
"""


def test_the_console_is_live_and_draws_its_charts(admin: Page) -> None:
    _set_theme(admin, "dark")
    expect(admin.locator("#console-state")).to_have_text("Live")
    expect(admin.locator("#figure-workers")).to_have_text("1")
    expect(admin.locator("#console-models tr").first).to_contain_text("/")
    expect(admin.locator("#chart-load canvas")).to_be_visible()
    expect(admin.locator("#chart-spending canvas")).to_be_visible()
    with admin.expect_response("**/admin/console/"):
        pass
    # In the page's colours: black on dark cannot be read.
    chart = admin.locator("#chart-load canvas")
    colors = wait_until(lambda: chart.evaluate(COLORS), "a chart that is drawn")
    assert "0,0,0" not in colors


def test_the_console_says_when_its_figures_are_old(context: BrowserContext, admin: Page) -> None:
    admin.goto("/admin/")
    expect(admin.locator("#console-state")).to_have_text("Live")
    context.route("**/admin/console/", lambda route: route.fulfill(json={"models": 1}))
    expect(admin.locator("#console-state")).to_contain_text("old")


def test_the_admin_has_the_web_apps_theme(admin: Page) -> None:
    _set_theme(admin, "dark")
    assert _background(admin) == DARK
    admin.emulate_media(color_scheme="dark")
    _set_theme(admin, "light")
    assert _background(admin) == LIGHT
    admin.locator(".theme-toggle").first.click()
    assert _background(admin) == DARK
    assert "theme=dark" in admin.evaluate("document.cookie")
    admin.goto("/")
    expect(admin.locator("html")).to_have_attribute("data-theme", "dark")


@pytest.mark.slow
def test_the_buttons_of_a_deletion_can_be_read(admin: Page) -> None:
    admin.goto("/admin/chat/scene/1/delete/")
    form = admin.locator("#content form")
    options = {"runOnly": ["color-contrast"]}
    for scheme in ("light", "dark"):
        admin.evaluate("theme => { document.cookie = `theme=${theme}; path=/` }", scheme)
        admin.reload()
        expect(form.get_by_role("button")).to_be_visible()
        found = Axe().run(admin, context="#content form", options=options).response["violations"]
        assert [node["html"] for violation in found for node in violation["nodes"]] == [], scheme


@pytest.mark.slow
def test_the_language_is_chosen_on_the_page(admin: Page) -> None:
    admin.goto("/admin/")
    admin.get_by_role("button", name="简体中文").click()
    expect(admin.get_by_role("heading", name="队列与槽位")).to_be_visible()
    admin.get_by_role("button", name="English").click()
    expect(admin.get_by_role("heading", name="Queue and slots")).to_be_visible()


def test_a_tasks_page_shows_markdown_and_retries(admin: Page) -> None:
    path = _task_page(admin)
    admin.goto(path)
    prompt = admin.locator('.prompt-message[data-role="user"] .markdown').last
    expect(prompt.locator("strong")).to_have_text("Bold")
    expect(prompt).to_contain_text("document.title")
    assert "stolen" not in admin.title()
    expect(admin.locator(".timeline li")).not_to_have_count(0)
    admin.get_by_role("button", name="Retry as a new task").click()
    expect(admin.get_by_text("This is the new task, with the same prompt.")).to_be_visible()
    assert not admin.url.endswith(path)


def test_no_page_is_wider_than_the_screen(admin: Page) -> None:
    path = _task_page(admin)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for target in ("/admin/", path, "/admin/accounts/role/add/"):
        admin.goto(target)
        for size in (PHONE, DESKTOP):
            admin.set_viewport_size(size)
            assert admin.evaluate(wide) <= 0, (target, size)


@pytest.mark.slow
def test_ids_are_on_one_line(admin: Page) -> None:
    _task_page(admin)
    admin.set_viewport_size({"width": 1024, "height": 700})
    admin.goto("/admin/chat/task/")
    cell = admin.locator(".field-short_id").first
    lines = (
        "cell => cell.getClientRects().length && cell.querySelector('a').getClientRects().length"
    )
    assert cell.evaluate(lines) == 1
    expect(admin.locator("td.field-created_at").first).to_have_text(
        re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")
    )


@pytest.mark.slow
def test_the_second_of_two_editors_sees_what_the_first_one_changed(
    context: BrowserContext, admin: Page
) -> None:
    admin.goto("/admin/chat/scene/")
    admin.locator("#result_list tbody th a").first.click()
    other = context.new_page()
    other.goto(admin.url)
    admin.get_by_label("Description").fill("The first text")
    admin.get_by_role("button", name="Save and continue editing").click()
    expect(admin.locator(".messagelist .success")).to_be_visible()
    other.get_by_label("Description").fill("The second text")
    other.get_by_role("button", name="Save and continue editing").click()
    expect(other.locator(".errorlist")).to_contain_text("somebody else changed this")
    expect(other.locator(".changed-meanwhile")).to_contain_text("The first text")
    expect(other.get_by_label("Description")).to_have_value("The second text")
