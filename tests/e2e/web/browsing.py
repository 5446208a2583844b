"""What a user does in the web app, in a few words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    StorageState,
    ViewportSize,
    expect,
)

from tests.e2e import sessions
from tests.stack import Stack

PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
#: Collects what the page's content security policy refuses.
RECORD_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


#: Contexts that no test uses at the moment, by their browser and options.
_free: dict[tuple[Browser, str], list[BrowserContext]] = {}


@contextmanager
def warm_context(
    browser: Browser, stack: Stack, session: StorageState | None = None, **options: Any
) -> Iterator[BrowserContext]:
    """A context with nothing but the session, and the files of the web app in its cache: without
    them a page takes half as long again to start.

    Each page has a process of its own: one that hangs must not hold up the next test's.
    """
    free = _free.setdefault((browser, repr(sorted(options.items()))), [])
    context = free.pop() if free else browser.new_context(base_url=stack.base_url, **options)
    use_session(context, session)
    try:
        yield context
    except BaseException:
        context.close()
        raise
    for page in context.pages:
        page.close()
    context.unroute_all()
    context.set_offline(False)
    free.append(context)


def use_session(context: BrowserContext, session: StorageState | None) -> None:
    """Replace all that the context knows of its user."""
    cookies = session["cookies"] if session else []
    context.set_storage_state({"cookies": cookies, "origins": []})


@contextmanager
def visit(
    browser: Browser,
    stack: Stack,
    session: StorageState,
    *,
    viewport: Any = None,
    color_scheme: Any = None,
    reduced_motion: Any = None,
    **options: Any,
) -> Iterator[Page]:
    """A page of a context of its own, whose errors and refused content fail the test.

    What a page can have of its own is set on the page, so that there are few contexts.
    """
    with warm_context(browser, stack, session, **options) as context, open_page(context) as page:
        if viewport:
            page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=color_scheme, reduced_motion=reduced_motion)
        yield page


@contextmanager
def open_page(context: BrowserContext) -> Iterator[Page]:
    """A page whose errors and refused content fail the test. The next one of the same context has
    the files of the web app in its cache."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script(RECORD_VIOLATIONS)
    yield page
    assert page.evaluate("violations") == []
    assert errors == []
    page.close()


def make_session(stack: Stack, username: str, password: str) -> StorageState:
    """The cookies of a user who has logged in, without a page."""
    with httpx.Client(base_url=stack.base_url, follow_redirects=True, timeout=30) as client:
        sessions.log_in(client, username, password)
        cookies = client.cookies.items()
    return {
        "cookies": [
            {"name": name, "value": value, "domain": "127.0.0.1", "path": "/"}
            for name, value in cookies
        ]
    }


def log_in(page: Page, username: str, password: str) -> None:
    page.goto("/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    wait_for_connection(page)


def wait_for_connection(page: Page) -> None:
    expect(page.locator("#connection")).to_have_attribute("data-state", "open")


def send(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_label("Message").press("Enter")


def last_answer(page: Page) -> Locator:
    return page.get_by_role("article", name="Answer").last


def wait_for_end(page: Page) -> Locator:
    answer = last_answer(page)
    expect(answer).to_have_attribute("aria-busy", "false")
    return answer
