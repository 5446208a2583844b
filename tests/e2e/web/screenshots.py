"""Takes the pictures of tables for README.md and docs/tables.md anew: `make screenshots`.

Not collected with the tests, as it writes files. A picture has a palette of 128 colours: a third of
what Chromium writes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from PIL import Image
from playwright.sync_api import Browser, Page, StorageState, expect

from tests.e2e.web.browsing import PHONE, visit, wait_for_connection
from tests.e2e.web.tables import (
    MAX_OPEN,
    QUICK,
    REFUSED,
    add_summary,
    call,
    cell,
    choose,
    make_table,
    open_panel,
    open_table,
    panel,
    status,
    type_into,
)
from tests.stack import Stack

DOCS = Path(settings.BASE_DIR) / "docs" / "img"
README = Path(settings.BASE_DIR) / "static" / "img"
WINDOW = {"width": 1280, "height": 760}
COLORS = 128
#: What has begun to move has come to rest, and a run is well under way.
REST_MS, UNDER_WAY_MS = 300, 2_500
TICKETS = "Support tickets 客服工单"


def take(page: Page, name: str, directory: Path = DOCS) -> None:
    page.wait_for_timeout(REST_MS)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    palette = picture.quantize(COLORS, dither=Image.Dither.NONE)
    palette.save(directory / f"{name}.png", optimize=True)


@pytest.fixture
def page(browser: Browser, stack: Stack, session: StorageState) -> Iterator[Page]:
    options: dict[str, Any] = {"viewport": WINDOW, "locale": "en-US", "reduced_motion": "reduce"}
    options["permissions"] = ["clipboard-read", "clipboard-write"]
    with visit(browser, stack, session, **options) as page:
        page.goto("/#/tables")
        wait_for_connection(page)
        yield page


def open_tickets(page: Page) -> dict[str, Any]:
    listed = page.request.get("/api/tables?limit=50").json()["items"]
    [table] = [found for found in listed if found["name"] == TICKETS]
    open_table(page, table)
    return {"id": table["id"]}


def test_the_grid_views_fields_and_an_export(page: Page) -> None:
    open_tickets(page)
    cell(page, 1, 1).click()
    for keys in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(f"Shift+{keys}")
    page.locator(".slick-header-column .field-menu").nth(2).click()
    take(page, "tables-grid")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New field").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Priority")
    dialog.get_by_label("Kind").select_option("select")
    for number, name in enumerate(("low", "usual", "urgent"), 1):
        dialog.get_by_role("button", name="Choice").last.click()
        dialog.get_by_label(f"Choice {number}").fill(name)
    take(page, "tables-fields")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="More", exact=True).click()
    choose(page, "Export")
    take(page, "tables-export")
    page.keyboard.press("Escape")
    page.locator(".view-name").click()
    choose(page, "By language")
    expect(page.locator(".group-toggle").first).to_be_visible()
    open_panel(page, "filter")
    panel(page).get_by_role("button", name="Condition", exact=True).click()
    panel(page).get_by_label("Field").select_option("Order value")
    panel(page).get_by_label("Comparison").select_option("at least")
    panel(page).get_by_label("Value").fill("100")
    panel(page).get_by_role("button", name="Group", exact=True).last.click()
    expect(page.locator(".slick-row:not(.group-row) .cell").first).to_be_visible()
    take(page, "tables-view")


def test_a_run_from_its_estimate_to_its_end(page: Page) -> None:
    open_tickets(page)
    open_panel(page, "runs")
    panel(page).get_by_role("button", name="Run…").first.click()
    expect(panel(page).locator(".estimate")).to_be_visible()
    take(page, "tables-estimate")
    panel(page).get_by_role("button", name=re.compile("^Try")).click()
    expect(panel(page).locator(".tried-rows li").first).to_be_visible()
    run_id = panel(page).locator(".run-view").get_attribute("data-run")
    call(page, "PATCH", f"/runs/{run_id}", {"max_open": MAX_OPEN})
    panel(page).get_by_role("button", name="Run the rest").click()
    expect(panel(page).get_by_role("button", name="Pause")).to_be_visible()
    page.wait_for_timeout(UNDER_WAY_MS)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        take(page, f"tables-{scheme}", README)
    page.emulate_media(color_scheme="light")
    panel(page).get_by_role("button", name="Pause").click()
    expect(panel(page).locator(".run-state")).to_have_text("Paused")
    expect(panel(page).locator(".run-figures .open dd")).to_have_text("0")
    take(page, "tables-paused")


def test_failures_and_where_an_answer_comes_from(page: Page) -> None:
    table = make_table(page, 0)
    words = ("Please summarize this", "And this", "The printer is out of ink", "Where is my order?")
    add_summary(page, table, [f"{word} {QUICK}" for word in words * 4] + [REFUSED] * 4)
    open_table(page, table)
    open_panel(page, "runs")
    panel(page).get_by_role("button", name="Run…").click()
    expect(panel(page).locator(".estimate")).to_be_visible()
    panel(page).get_by_role("button", name="Start without trying").click()
    expect(panel(page).locator(".run-reasons li")).to_be_visible()
    expect(panel(page).locator(".run-state")).to_have_text("Done")
    take(page, "tables-failures")
    cell(page, 2, 5).click(button="right")
    choose(page, "Where it comes from")
    panel(page).get_by_role("button", name="Good").click()
    panel(page).get_by_role("button", name="Accept").click()
    expect(panel(page).locator(".time-line li").first).to_be_visible()
    take(page, "tables-cell")


def test_files_and_the_clipboard(page: Page) -> None:
    lines = "".join(f"工单{number},{number},2026-01-{number + 1:02}\n" for number in range(20))
    page.get_by_role("button", name="New table from a file").click()
    dialog = page.get_by_role("dialog")
    content = f"标题,数量,日期\n{lines}".encode("gb18030")
    dialog.locator("input[type=file]").set_input_files(
        {"name": "工单.csv", "mimeType": "text/csv", "buffer": content}
    )
    expect(dialog.get_by_label("Encoding")).to_have_value("gb18030")
    take(page, "tables-import")
    page.keyboard.press("Escape")
    open_table(page, make_table(page, 450))
    pasted = "\n".join(f"Pasted {number}\t{number}" for number in range(500))
    page.evaluate("(text) => navigator.clipboard.writeText(text)", pasted)
    cell(page, 0, 0).click()
    page.keyboard.press("Control+v")
    expect(status(page)).to_contain_text("500 rows")
    expect(status(page)).to_contain_text("pasted")
    take(page, "tables-paste")


def test_two_browsers_and_a_tunnel(
    page: Page, browser: Browser, stack: Stack, session: StorageState
) -> None:
    table = make_table(page, 30)
    open_table(page, table)
    with visit(browser, stack, session, viewport=WINDOW, locale="en-US") as other:
        open_table(other, table)
        other.context.set_offline(True)
        for row, text in ((2, "Mine, from the train"), (3, "Kept")):
            cell(other, row, 0).click()
            type_into(other, text)
        expect(status(other)).to_contain_text("No connection")
        take(other, "tables-offline")
        cell(page, 2, 0).click()
        type_into(page, "Theirs, meanwhile")
        expect(status(page)).not_to_contain_text("Saving")
        other.context.set_offline(False)
        status(other).get_by_role("button", name="1 change was not taken").click()
        take(other, "tables-conflict")


def test_cards_on_a_phone(browser: Browser, stack: Stack, session: StorageState) -> None:
    options = {"viewport": {**PHONE, "height": 760}, "locale": "zh-CN"}
    with visit(browser, stack, session, has_touch=True, is_mobile=True, **options) as page:
        page.goto("/#/tables")
        wait_for_connection(page)
        page.locator(".table-item", has_text=TICKETS).click()
        expect(page.locator(".card-row").first).to_be_visible()
        take(page, "tables-phone")
