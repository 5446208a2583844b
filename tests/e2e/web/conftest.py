"""A Chromium, and the running system that it visits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    StorageState,
    expect,
    sync_playwright,
)

from tests.databases import make_database, url_of
from tests.e2e.conftest import ENVIRONMENT
from tests.e2e.web.browsing import (
    DESKTOP,
    make_session,
    use_session,
    visit,
    wait_for_connection,
    warm_context,
)
from tests.e2e.web.demo_tools import MAKE_ASSISTANT, demo_mcp_server
from tests.e2e.web.samples import MAKE_READER, PASSWORD, READER
from tests.prepared import MIGRATED
from tests.stack import Stack

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Each frame of an animation is drawn by the CPU.
    "--force-prefers-reduced-motion",
)
_WAIT_MS = 30_000
_CLIPBOARD = ("clipboard-read", "clipboard-write")
#: The first one takes half the CPU of the others.
_CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def _chromium() -> str:
    for name in _CHROMIUMS:
        if path := shutil.which(name):
            return path
    if os.environ.get("CI"):
        pytest.fail(
            "there is no chromium to test with (Debian: apt install chromium-headless-shell)"
        )
    pytest.skip("there is no chromium (Debian: apt install chromium-headless-shell)")


@pytest.fixture(scope="package")
def stack(database_server: dict[str, str]) -> Iterator[Stack]:
    """What a browser meets, and nothing more: it has a process of pytest-xdist to itself."""
    make_database(database_server, "aily_web", MIGRATED)
    only = ("valkey", "simulator", "worker", "scheduler", "web")
    url, data_dir = url_of(database_server, "aily_web"), Path(settings.DATA_DIR) / "web"
    environment = {**ENVIRONMENT, "CONVERSATION_MAX_TOKENS": "2000"}
    script = MAKE_READER.replace("\nprint(", f"{MAKE_ASSISTANT}\nprint(")
    with demo_mcp_server() as tools_url:
        environment["DEMO_MCP_URL"] = tools_url
        stack = Stack(
            url, data_dir, web_processes=1, environment=environment, only=only, script=script
        )
        with stack as running:
            yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    executable = _chromium()
    expect.set_options(timeout=_WAIT_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=list(_ARGUMENTS))
        yield running
        running.close()


@pytest.fixture
def context(browser: Browser, stack: Stack) -> Iterator[BrowserContext]:
    with warm_context(browser, stack) as context:
        context.grant_permissions(_CLIPBOARD, origin=stack.base_url)
        context.set_default_timeout(_WAIT_MS)
        yield context


@pytest.fixture(scope="package")
def session(stack: Stack) -> StorageState:
    """Demo's cookies: a login costs a second of CPU time."""
    return make_session(stack, "demo", "demo")


@pytest.fixture(scope="package")
def reader_session(stack: Stack) -> StorageState:
    """The cookies of a user with long lists."""
    return make_session(stack, READER, PASSWORD)


@pytest.fixture(scope="package")
def staff_session(stack: Stack) -> StorageState:
    """The cookies of a superuser."""
    return make_session(stack, "admin", "admin")


@pytest.fixture
def page(context: BrowserContext, session: StorageState) -> Page:
    """Logged in as demo, on an empty chat."""
    use_session(context, session)
    page = context.new_page()
    page.goto("/")
    wait_for_connection(page)
    return page


@pytest.fixture
def page_of_tables(browser: Browser, stack: Stack, session: StorageState) -> Iterator[Page]:
    """Logged in as demo, on the list of tables."""
    with visit(browser, stack, session, viewport=DESKTOP, locale="en-US") as page:
        page.context.grant_permissions(_CLIPBOARD, origin=stack.base_url)
        page.goto("/#/tables")
        wait_for_connection(page)
        yield page
