"""Several people at one table, no connection, telephones, and what axe says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from tests.e2e.web.browsing import DESKTOP, PHONE, visit, wait_for_connection
from tests.e2e.web.samples import READER
from tests.e2e.web.tables import (
    FIELDS,
    QUICK,
    REFUSED,
    add_summary,
    call,
    cell,
    check_access,
    choose,
    fields_shown,
    make_table,
    open_panel,
    open_table,
    panel,
    status,
    type_into,
)
from tests.stack import Stack
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

#: As long as a train is in a tunnel.
OFFLINE_MS = 10_000


# --- Two people, no connection --------------------------------------------------------------------
def test_two_browsers_edit_one_cell(
    page_of_tables: Page, browser: Browser, stack: Stack, session: StorageState
) -> None:
    page = page_of_tables
    table = make_table(page, 10)
    open_table(page, table)
    with visit(browser, stack, session, viewport=DESKTOP, locale="en-US") as other:
        open_table(other, table)
        cell(page, 2, 0).click()
        type_into(page, "First")
        expect(cell(other, 2, 0)).to_have_text("First")
        # What is being typed stays, and is not taken for an edit of what is there by then.
        cell(other, 5, 0).dblclick()
        editor = other.locator(".cell-editor")
        editor.fill("Being written")
        cell(page, 5, 0).click()
        type_into(page, "Faster")
        cell(page, 5, 1).click()
        type_into(page, "77")
        expect(cell(other, 5, 1)).to_have_text("77")
        expect(editor).to_have_value("Being written")
        editor.press("Enter")
        status(other).get_by_role("button", name="1 change was not taken").click()
        expect(panel(other)).to_contain_text("Faster")
        panel(other).get_by_role("button", name="Keep what is there").click()
        panel(other).get_by_role("button", name="Close").click()
        expect(cell(other, 5, 0)).to_have_text("Faster")
        other.context.set_offline(True)
        for row, text in ((2, "Second"), (3, "Kept")):
            cell(other, row, 0).click()
            type_into(other, text)
            expect(cell(other, row, 0)).to_have_text(text)
        expect(status(other)).to_contain_text("No connection: 2 changes are kept here")
        cell(page, 2, 0).click()
        type_into(page, "Third")
        expect(status(page)).not_to_contain_text("Saving")
        other.context.set_offline(False)
        # Only the cell that really has changed is refused.
        expect(cell(page, 3, 0)).to_have_text("Kept")
        expect(status(other)).to_contain_text("1 change was not taken")
        expect(cell(page, 2, 0)).to_have_text("Third")
        status(other).get_by_role("button", name="1 change was not taken").click()
        expect(panel(other)).to_contain_text("Third")
        panel(other).get_by_role("button", name="Write mine").click()
        expect(cell(page, 2, 0)).to_have_text("Second")
        cell(page, 0, 0).click(button="right")
        choose(page, "Delete selected rows")
        expect(status(other)).to_contain_text("1 change, refresh")
        status(other).get_by_role("button", name="1 change, refresh").click()
        expect(status(other)).to_contain_text("9 rows")
        status(page).get_by_role("button", name="Undo").click()
        expect(cell(page, 0, 0)).to_have_text("Ticket 0 <b>")


@pytest.mark.slow
def test_a_table_is_shared_with_somebody_who_only_reads(
    page_of_tables: Page, browser: Browser, stack: Stack, reader_session: StorageState
) -> None:
    page = page_of_tables
    table = make_table(page, 5)
    open_table(page, table)
    page.get_by_role("button", name="More", exact=True).click()
    choose(page, "Share the table")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="User or role").click()
    dialog.get_by_label("Name").fill(READER)
    dialog.get_by_role("button", name="Save").click()
    expect(status(page)).to_contain_text("Shared with 1.")
    with visit(browser, stack, reader_session, viewport=DESKTOP, locale="en-US") as reader:
        open_table(reader, table)
        expect(reader.get_by_role("button", name="New row")).to_have_count(0)
        cell(reader, 1, 0).click()
        type_into(reader, "x")
        page.bring_to_front()
        cell(page, 1, 0).click()
        type_into(page, "By the owner")
        expect(cell(reader, 1, 0)).to_have_text("By the owner")
        reader.locator(".slick-row[data-row='1'] .row-number").dblclick()
        expect(panel(reader)).to_contain_text("By the owner")
        expect(panel(reader).get_by_role("textbox")).to_have_count(0)


@pytest.mark.slow
def test_a_table_that_is_shared_no_more_or_deleted_takes_no_edits(
    page_of_tables: Page, browser: Browser, stack: Stack, reader_session: StorageState
) -> None:
    page = page_of_tables
    table = make_table(page, 5)

    def share(*accesses: str) -> None:
        shares = [{"user": READER, "access": list(accesses)}] if accesses else []
        call(page, "PUT", f"/{table['id']}/shares", {"shares": shares})

    share("read", "edit")
    with visit(browser, stack, reader_session, viewport=DESKTOP, locale="en-US") as other:
        open_table(other, table)
        cell(other, 0, 0).click()
        type_into(other, "Allowed")
        expect(cell(page_of(page, table), 0, 0)).to_have_text("Allowed")
        share("read")
        cell(other, 1, 0).click()
        type_into(other, "Too late")
        expect(status(other)).to_contain_text("Not allowed")
        expect(other.get_by_role("button", name="New row")).to_have_count(0)
        share()
        expect(status(other)).to_contain_text("not shared with you any more")
    with visit(browser, stack, reader_session, viewport=DESKTOP, locale="zh-CN") as other:
        share("read")
        open_table(other, table)
        call(page, "DELETE", f"/{table['id']}")
        expect(status(other)).to_contain_text("已被删除")
        cell(other, 1, 0).click()
        type_into(other, "x")
        expect(cell(other, 1, 0)).not_to_have_text("x")


def page_of(page: Page, table: dict[str, Any]) -> Page:
    open_table(page, table)
    return page


@pytest.mark.slow
def test_who_did_not_start_a_run_can_stop_it_but_not_go_on(
    page_of_tables: Page, browser: Browser, stack: Stack, reader_session: StorageState
) -> None:
    page = page_of_tables
    table = make_table(page, 0)
    field = add_summary(page, table, [REFUSED, *[QUICK] * 3])
    made = call(page, "POST", f"/ai-fields/{field['id']}/runs", {"start": "", "try": 1})
    shares = [{"user": READER, "access": ["read", "run"]}]
    call(page, "PUT", f"/{table['id']}/shares", {"shares": shares})
    with visit(browser, stack, reader_session, viewport=DESKTOP, locale="en-US") as other:
        open_table(other, table)
        open_panel(other, "runs")
        panel(other).locator(".ai-run").first.click()
        expect(panel(other)).to_contain_text("started by demo")
        actions = panel(other).locator(".run-actions .button")
        expect(actions).to_have_text(["Cancel the run"])
        expect(panel(other).get_by_label("Limit of cost")).to_have_count(0)
        call(page, "POST", f"/runs/{made['id']}:cancel")
        expect(panel(other).locator(".run-state")).to_have_text("Cancelled")
        expect(panel(other).get_by_role("button", name=re.compile("Retry"))).to_have_count(0)


@pytest.mark.slow
def test_ten_seconds_without_a_connection_lose_nothing(page_of_tables: Page) -> None:
    page = page_of_tables
    table = make_table(page, 1500)
    call(page, "POST", f"/{table['id']}/views", {"name": "Mine"})
    open_table(page, table)
    page.context.set_offline(True)
    for row in range(3):
        cell(page, row, 0).click()
        type_into(page, f"Offline {row}")
    page.get_by_role("button", name="Field Day").click()
    choose(page, "Hide")
    # Rows that were never read, and a view that cannot be stored.
    page.locator(".slick-viewport-top.slick-viewport-right").evaluate(
        "(element) => (element.scrollTop = element.scrollHeight / 2)"
    )
    expect(status(page)).to_contain_text("No connection: 3 changes are kept here")
    page.wait_for_timeout(OFFLINE_MS)
    page.context.set_offline(False)
    expect(status(page)).not_to_contain_text("No connection")
    expect(page.locator(".slick-row[data-row='755'] .cell").first).to_have_text("Ticket 755 <b>")
    expect(status(page).locator(".status-edits")).to_have_text("")
    page.reload()
    expect(cell(page, 2, 0)).to_have_text("Offline 2")
    expect(fields_shown(page)).to_have_text(["Subject", "Count", "State", "Paid"])


# --- Phones, accessibility ------------------------------------------------------------------------
@pytest.mark.slow
def test_on_a_phone_rows_are_cards(browser: Browser, stack: Stack, session: StorageState) -> None:
    options = {"viewport": PHONE, "locale": "zh-CN", "has_touch": True, "is_mobile": True}
    with visit(browser, stack, session, **options) as page:
        page.goto("/#/tables")
        wait_for_connection(page)
        table = make_table(page, 100)
        page.goto(f"/#/tables/{table['id']}")
        cards = page.locator(".card-row")
        expect(cards.first).to_contain_text("Ticket 0 <b>")
        page.locator(".table-cards").evaluate("(list) => (list.scrollTop = list.scrollHeight)")
        expect(cards.nth(40)).to_contain_text("Ticket 40")
        page.get_by_role("button", name="Ticket 1 <b>").click()
        page.get_by_label("Subject").fill("改过了")
        page.get_by_role("button", name="保存").click()
        page.get_by_role("button", name="关闭").first.click()
        expect(cards.nth(1)).to_contain_text("改过了")
        page.get_by_role("button", name="显示表格").click()
        expect(cell(page, 1, 0)).to_have_text("改过了")

        def height() -> float:
            # None while the grid draws its rows anew.
            box = cell(page, 1, 0).bounding_box()
            return box["height"] if box else 0

        wait_until(lambda: height() >= 44, "rows of a finger's height")


@pytest.mark.parametrize(
    ("viewport", "locale", "scheme"),
    [
        (DESKTOP, "en-US", "dark"),
        pytest.param(PHONE, "zh-CN", "light", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_serious(
    browser: Browser,
    stack: Stack,
    session: StorageState,
    page_of_tables: Page,
    viewport: Any,
    locale: str,
    scheme: Any,
) -> None:
    table = make_table(page_of_tables, 40)
    call(page_of_tables, "POST", f"/{table['id']}/views", {"name": "Frozen", "frozen": 1})
    options = {"color_scheme": scheme, "viewport": viewport, "locale": locale}
    with visit(browser, stack, session, reduced_motion="reduce", **options) as page:
        page.goto("/#/tables")
        expect(page.locator(".table-item").first).to_be_visible()
        check_access(page)
        page.goto(f"/#/tables/{table['id']}")
        expect(page.locator(".cell, .card-row").first).to_be_visible()
        check_access(page)
        for name in ("filter", "runs"):
            open_panel(page, name)
            check_access(page)
            panel(page).locator(".panel-head button").click()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("viewport", "locale", "scheme"), [(DESKTOP, "zh-CN", "light"), (DESKTOP, "en-US", "dark")]
)
def test_axe_finds_nothing_serious_in_menus_dialogs_and_runs(
    browser: Browser, stack: Stack, session: StorageState, viewport: Any, locale: str, scheme: Any
) -> None:
    options = {"color_scheme": scheme, "viewport": viewport, "locale": locale}
    with visit(browser, stack, session, reduced_motion="reduce", **options) as page:
        page.goto("/#/tables")
        wait_for_connection(page)
        for place in range(3):
            page.locator(".tables-head button").nth(place).click()
            check_access(page)
            page.keyboard.press("Escape")
        table = make_table(page, 3)
        summary = add_summary(page, table, [QUICK, REFUSED])
        open_table(page, table)
        page.locator(".view-name").click()
        check_access(page)
        page.keyboard.press("Escape")
        page.locator(".field-menu").first.click()
        check_access(page)
        page.keyboard.press("Escape")
        # All but the first item, which reads the view anew.
        for place in range(1, 7):
            page.locator(".table-tools [aria-haspopup=menu]").last.click()
            page.locator(".table-menu button").nth(place).click()
            expect(page.locator("dialog[open]")).to_be_visible()
            check_access(page)
            page.keyboard.press("Escape")
            expect(page.locator("dialog[open]")).to_have_count(0)
        for name in ("sort", "group", "fields", "runs"):
            open_panel(page, name)
            check_access(page)
        panel(page).locator(".ai-item .button").nth(1).click()
        check_access(page)
        page.keyboard.press("Escape")
        panel(page).locator(".ai-item .button").first.click()
        expect(panel(page).locator(".estimate")).to_be_visible()
        check_access(page)
        panel(page).locator(".run-actions .button").last.click()
        expect(panel(page).locator(".run-reasons li")).to_be_visible()
        check_access(page)
        cell(page, 3, 5).click(button="right")
        page.locator(".table-menu button").nth(1).click()
        expect(panel(page).locator(".time-line li").first).to_be_visible()
        check_access(page)
        assert summary["outputs"]


@pytest.mark.slow
def test_on_a_phone_a_table_is_filtered_and_run(
    browser: Browser, stack: Stack, session: StorageState
) -> None:
    options = {"viewport": PHONE, "locale": "en-US", "has_touch": True, "is_mobile": True}
    with visit(browser, stack, session, **options) as page:
        page.goto("/#/tables")
        wait_for_connection(page)
        table = make_table(page, 0, FIELDS[:1])
        add_summary(page, table, [QUICK] * 4)
        page.goto(f"/#/tables/{table['id']}")
        cards = page.locator(".card-row")
        expect(cards).to_have_count(4)
        open_panel(page, "filter")
        panel(page).get_by_role("button", name="Condition", exact=True).tap()
        panel(page).get_by_label("Value").fill("Row 2")
        panel(page).get_by_role("button", name="Close").tap()
        expect(cards).to_have_count(1)
        open_panel(page, "runs")
        panel(page).get_by_role("button", name="Run…").tap()
        expect(panel(page).locator(".estimate")).to_be_visible()
        panel(page).get_by_role("button", name="Start without trying").tap()
        expect(panel(page).locator(".run-state")).to_have_text("Done")
        panel(page).get_by_role("button", name="Close").tap()
        expect(cards.first).to_contain_text("simu")
        # Nothing is wider than the screen.
        assert page.evaluate("innerWidth") == PHONE["width"]
