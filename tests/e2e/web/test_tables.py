"""Tables in the web app: the grid, views, files, AI fields, and two people at one table."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, StorageState, expect

from tests.e2e.web.browsing import DESKTOP, PHONE, open_page, visit, wait_for_connection
from tests.e2e.web.samples import READER
from tests.stack import Stack

pytestmark = pytest.mark.browser

#: What the simulator is told in a row.
QUICK = "[sim:tokens=5,tps=0,latency=0.05]"
REFUSED = "[sim:status=400]"
#: Cells of a run that are asked about at once, so that it lasts long enough to be watched.
MAX_OPEN = 4
#: A request of the page's session.
CALL = """
async ([method, path, body]) => {
  const token = document.cookie.match(/csrftoken=([^;]+)/)?.[1] ?? "";
  const headers = { "Content-Type": "application/json", "X-CSRFToken": token };
  const answer = await fetch(`/api/tables${path}`, { method, headers, body: JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  return text ? JSON.parse(text) : null;
}
"""
STATES = {"choices": [{"name": "new"}, {"name": "done"}, {"name": "等待"}]}
FIELDS: list[dict[str, Any]] = [
    {"name": "Subject", "kind": "text"},
    {"name": "Count", "kind": "integer"},
    {"name": "State", "kind": "select", "options": STATES},
    {"name": "Day", "kind": "date"},
    {"name": "Paid", "kind": "boolean"},
]


@pytest.fixture(scope="module")
def desktop(browser: Browser, stack: Stack, session: StorageState) -> Iterator[BrowserContext]:
    """What the tests have in common: cookies and the cache, which is a third of a page's start."""
    options: dict[str, Any] = {"viewport": DESKTOP, "locale": "en-US"}
    options["permissions"] = ["clipboard-read", "clipboard-write"]
    url = stack.base_url
    with browser.new_context(base_url=url, storage_state=session, **options) as context:
        yield context


@pytest.fixture
def page_of_tables(desktop: BrowserContext) -> Iterator[Page]:
    with open_page(desktop) as page:
        page.goto("/#/tables")
        wait_for_connection(page)
        yield page


def call(page: Page, method: str, path: str, body: object = None) -> Any:
    return page.evaluate(CALL, [method, path, body or {}])


def make_table(page: Page, rows: int, fields: list[dict[str, Any]] = FIELDS) -> dict[str, Any]:
    """A table whose rows are numbered from 0; `<b>` has to stay text."""
    table = call(page, "POST", "", {"name": "Tickets", "fields": fields})
    keys = [field["key"] for field in table["fields"]]

    def values(number: int) -> dict[str, object]:
        all_values = (f"Ticket {number} <b>", number, number % 3 + 1, "2026-01-31", number % 2 == 0)
        return dict(zip(keys, all_values, strict=False))

    add_rows(page, table, [values(number) for number in range(rows)])
    return cast("dict[str, Any]", table)


def add_rows(page: Page, table: dict[str, Any], rows: list[dict[str, object]]) -> None:
    for start in range(0, len(rows), 1000):
        made = [{"op": "create", "values": values} for values in rows[start : start + 1000]]
        call(page, "POST", f"/{table['id']}/rows:batch", {"operations": made})


def open_table(page: Page, table: dict[str, Any]) -> None:
    page.goto(f"/#/tables/{table['id']}")
    expect(page.locator(".slick-row .cell").first).to_be_visible()


def cell(page: Page, row: int, field: int) -> Locator:
    """By places from 0, as they are shown."""
    return page.locator(f".slick-row[data-row='{row}'] .slick-cell.l{field + 1}")


def fields_shown(page: Page) -> Locator:
    return page.locator(".slick-header-column:has(.field-menu) .slick-column-name")


def status(page: Page) -> Locator:
    return page.locator(".table-status")


def panel(page: Page) -> Locator:
    return page.locator(".table-panel")


def open_panel(page: Page, name: str) -> None:
    page.locator(f"[data-panel={name}]").click()
    expect(panel(page)).to_be_visible()


def choose(page: Page, name: str) -> None:
    page.locator(".table-menu button", has_text=name).first.click()


def type_into(page: Page, text: str, end: str = "Enter") -> None:
    page.keyboard.type(text)
    page.keyboard.press(end)


# --- The grid -------------------------------------------------------------------------------------
def test_cells_are_edited_by_keyboard_and_taken_back(page_of_tables: Page) -> None:
    page = page_of_tables
    open_table(page, make_table(page, 60))
    expect(cell(page, 0, 0)).to_have_text("Ticket 0 <b>")
    cell(page, 0, 0).click()
    type_into(page, "Mended")
    expect(cell(page, 0, 0)).to_have_text("Mended")
    # Enter has gone on to the next row, where a wrong number stays in its input.
    page.keyboard.press("ArrowRight")
    type_into(page, "many")
    expect(status(page)).to_contain_text("This has to be a whole number.")
    page.keyboard.press("Escape")
    page.keyboard.press("F2")
    type_into(page, "12", "Tab")
    expect(cell(page, 1, 1)).to_have_text("112")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(cell(page, 1, 4)).to_have_text("✓")
    page.keyboard.press("Control+End")
    expect(cell(page, 59, 4)).to_be_visible()
    page.keyboard.press("Control+Home")
    for _ in range(3):
        page.keyboard.press("Control+z")
        expect(status(page)).to_contain_text("Undone.")
    expect(cell(page, 0, 0)).to_have_text("Ticket 0 <b>")
    expect(cell(page, 1, 1)).to_have_text("1")
    expect(cell(page, 1, 4)).to_have_text("–")
    page.keyboard.press("Control+y")
    expect(cell(page, 0, 0)).to_have_text("Mended")
    page.reload()
    expect(cell(page, 0, 0)).to_have_text("Mended")


def test_a_thousand_cells_are_pasted_at_once(page_of_tables: Page) -> None:
    page = page_of_tables
    open_table(page, make_table(page, 450))
    lines = "\n".join(f'"New {number}\nline"\t{number * 2}' for number in range(500))
    page.evaluate("(text) => navigator.clipboard.writeText(text)", lines)
    batches: list[str] = []
    page.on("request", lambda request: batches.append(request.url))
    cell(page, 0, 0).click()
    page.keyboard.press("Control+v")
    expect(cell(page, 0, 0)).to_have_text("New 0 line")
    # Those beyond the last row are new rows.
    expect(status(page)).to_contain_text("500 rows")
    assert len([url for url in batches if url.endswith("rows:batch")]) == 2
    cell(page, 1, 0).click()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Control+c")
    expect(status(page)).to_contain_text("2 rows copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == '"New 1\nline"\t2\n"New 2\nline"\t4'
    page.keyboard.press("Delete")
    expect(cell(page, 2, 1)).to_have_text("")
    page.keyboard.press("Control+z")
    expect(cell(page, 2, 1)).to_have_text("4")


@pytest.mark.slow
def test_rows_are_put_in_order_by_hand(page_of_tables: Page) -> None:
    page = page_of_tables
    open_table(page, make_table(page, 4))
    cell(page, 2, 0).click(button="right")
    choose(page, "Move selected rows up")
    expect(cell(page, 1, 0)).to_have_text("Ticket 2 <b>")
    # The first one has none to pass.
    cell(page, 0, 0).click(button="right")
    expect(page.locator(".table-menu button", has_text="up")).to_have_count(0)
    choose(page, "Move selected rows down")
    expect(cell(page, 0, 0)).to_have_text("Ticket 2 <b>")
    page.reload()
    for row, number in enumerate((2, 0, 1, 3)):
        expect(cell(page, row, 0)).to_have_text(f"Ticket {number} <b>")


@pytest.mark.slow
def test_any_place_is_scrolled_to_by_reading_what_is_there(page_of_tables: Page) -> None:
    page = page_of_tables
    table = make_table(page, 3000)
    open_table(page, table)
    reads: list[str] = []
    page.on(
        "request", lambda request: reads.append(request.url) if "rows?" in request.url else None
    )
    cell(page, 0, 0).click()
    page.keyboard.press("Control+ArrowDown")
    expect(cell(page, 2999, 0)).to_have_text("Ticket 2999 <b>")
    viewport = page.locator(".slick-viewport-top.slick-viewport-left")
    viewport.evaluate("(element) => (element.scrollTop = element.scrollHeight / 2)")
    expect(page.locator(".slick-row[data-row='1505'] .cell").first).to_have_text("Ticket 1505 <b>")
    assert len(reads) <= 6
    grid = page.get_by_role("grid")
    assert grid.get_attribute("aria-rowcount") == "3001"
    row = page.locator(".slick-row[data-row='1505']")
    assert row.get_attribute("aria-rowindex") == "1507"


# --- Fields and views -----------------------------------------------------------------------------
def test_fields_are_added_changed_hidden_and_deleted(page_of_tables: Page) -> None:
    page = page_of_tables
    open_table(page, make_table(page, 3))
    page.get_by_role("button", name="New field").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("<i>Rank</i>")
    dialog.get_by_label("Kind").select_option("select")
    dialog.get_by_role("button", name="Choice").click()
    dialog.get_by_label("Choice 1").fill("high")
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(fields_shown(page)).to_have_text(
        ["Subject", "Count", "State", "Day", "Paid", "<i>Rank</i>"]
    )
    page.get_by_role("button", name="Field Count").click()
    choose(page, "Edit the field")
    dialog.get_by_label("Name").fill("Number")
    dialog.get_by_label("Kind").select_option("text")
    dialog.get_by_role("button", name="Save").click()
    expect(fields_shown(page).nth(1)).to_have_text("Number")
    expect(page.locator(".slick-cell.kind-text.l2").first).to_have_text("0")
    for action, shown in (
        ("Move right", ["Subject", "State", "Number", "Day", "Paid", "<i>Rank</i>"]),
        ("Hide", ["Subject", "State", "Day", "Paid", "<i>Rank</i>"]),
    ):
        page.get_by_role("button", name="Field Number").click()
        choose(page, action)
        expect(fields_shown(page)).to_have_text(shown)
    page.get_by_role("button", name="Field Subject").click()
    choose(page, "Freeze up to here")
    page.wait_for_url(re.compile(r"#/tables/\d+/\d+$"))
    page.reload()
    expect(page.locator(".slick-cell.frozen.l1").first).to_have_text("Ticket 0 <b>")
    page.get_by_role("button", name="Field Day").click()
    choose(page, "Delete the field")
    expect(fields_shown(page)).to_have_text(["Subject", "State", "Paid", "<i>Rank</i>"])
    status(page).get_by_role("button", name="Undo").click()
    expect(fields_shown(page)).to_have_text(["Subject", "State", "Day", "Paid", "<i>Rank</i>"])
    expect(page.locator(".slick-cell.kind-date").first).to_have_text("Jan 31, 2026")


def test_a_view_has_filter_order_and_groups_and_is_stored(page_of_tables: Page) -> None:
    page = page_of_tables
    open_table(page, make_table(page, 30))
    open_panel(page, "filter")
    page.get_by_role("button", name="Condition", exact=True).click()
    condition = page.locator(".filter-condition")
    condition.get_by_label("Field").select_option("Count")
    condition.get_by_label("Comparison").select_option("at least")
    condition.get_by_label("Value").fill("10")
    expect(status(page)).to_contain_text("20 rows")
    page.get_by_role("button", name="Group", exact=True).last.click()
    nested = page.locator(".filter-group .filter-group .filter-condition")
    nested.get_by_label("Field").select_option("State")
    nested.get_by_label("Value").select_option("等待")
    expect(status(page)).to_contain_text("7 rows")
    open_panel(page, "sort")
    panel(page).get_by_role("button", name="Field to sort by").click()
    panel(page).get_by_label("Sort by, 1").select_option("Count")
    with page.expect_response(lambda answer: answer.request.method in ("PATCH", "POST")):
        panel(page).get_by_label("Direction").select_option("Descending")
    expect(cell(page, 0, 1)).to_have_text("29")
    open_panel(page, "group")
    panel(page).get_by_label("Group, level 1").select_option("Paid")
    heading = page.locator(".group-toggle")
    expect(heading).to_have_count(2)
    # Stored once nothing was changed for a while.
    with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        panel(page).get_by_label("Count").select_option("Sum")
    expect(heading.first).to_contain_text("Paid: No · 4 rows · Sum of Count: 80")
    heading.first.click()
    expect(heading.first).to_have_attribute("aria-expanded", "false")
    expect(page.locator(".slick-row:not(.group-row)")).to_have_count(3)
    page.wait_for_url(re.compile(r"#/tables/\d+/\d+$"))
    page.reload()
    expect(heading).to_have_count(2)
    expect(page.locator("[data-panel=filter] .count")).to_have_text("2")


# --- Files ----------------------------------------------------------------------------------------
def test_a_file_of_gb18030_becomes_a_table_and_leaves_it_again(page_of_tables: Page) -> None:
    page = page_of_tables
    lines = "".join(f"工单{number},{number},2026-01-{number + 1:02}\n" for number in range(20))
    content = f"标题,数量,日期\n{lines}=1+1,许多,2026-01-31\n".encode("gb18030")
    page.get_by_role("button", name="New table from a file").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("input[type=file]").set_input_files(
        {"name": "工单.csv", "mimeType": "text/csv", "buffer": content}
    )
    expect(dialog.get_by_label("Encoding")).to_have_value("gb18030")
    dialog.get_by_label("Where 数量 goes").select_option("New field: Whole number")
    expect(dialog.get_by_label("Where 数量 goes")).to_have_value("new:integer")
    dialog.get_by_role("button", name="Import 21 rows").click()
    expect(dialog).to_contain_text("1 row did not fit.")
    with page.expect_download() as report:
        dialog.get_by_role("link", name="Download the report").click()
    assert "许多" in report.value.path().read_text(encoding="utf-8-sig")
    dialog.get_by_role("button", name="Open the table").click()
    expect(fields_shown(page)).to_have_text(["标题", "数量", "日期"])
    expect(cell(page, 3, 0)).to_have_text("工单3")
    expect(cell(page, 3, 1)).to_have_text("3")
    page.get_by_role("button", name="More", exact=True).click()
    choose(page, "Export")
    page.get_by_role("dialog").get_by_role("button", name="Export").click()
    with page.expect_download() as saved:
        page.get_by_role("dialog").get_by_role("link", name="Download").click()
    content_out = saved.value.path().read_text(encoding="utf-8-sig")
    rows = list(csv.reader(content_out.splitlines()))
    assert rows[:2] == [["标题", "数量", "日期"], ["工单0", "0", "2026-01-01"]]
    assert not any(cell_text.startswith("=") for row in rows for cell_text in row)


# --- AI fields ------------------------------------------------------------------------------------
def test_an_ai_field_is_tried_run_paused_resumed_and_looked_at(page_of_tables: Page) -> None:
    page = page_of_tables
    table = make_table(page, 0)
    key = table["fields"][0]["key"]
    asked = [*[QUICK] * 37, *[REFUSED] * 3]
    texts = [{key: f"Row {number} {text}"} for number, text in enumerate(asked)]
    add_rows(page, table, cast("list[dict[str, object]]", texts))
    open_table(page, table)
    open_panel(page, "runs")
    panel(page).get_by_role("button", name="New AI field").click()
    panel(page).get_by_label("Scene", exact=True).select_option("summarize")
    panel(page).get_by_label("Text", exact=True).select_option("Subject")
    panel(page).get_by_label("Name", exact=True).fill("Summary")
    panel(page).get_by_role("button", name="Add the AI field").click()
    expect(fields_shown(page).last).to_have_text("Summary")
    panel(page).get_by_role("button", name="Run…").click()
    panel(page).get_by_role("button", name="Run…").click()
    expect(panel(page).locator(".estimate")).to_contain_text("Rows to come")
    panel(page).get_by_label("Limit of cost").fill("5")
    panel(page).get_by_role("button", name="Try 10 rows").click()
    figure = panel(page).locator(".run-figures")
    expect(figure.locator(".pending dd")).to_have_text("30")
    expect(panel(page).locator(".estimate")).to_contain_text("30")
    expect(panel(page).locator(".tried-rows li").first).to_contain_text("Row ")
    expect(page.locator(".slick-cell.l6", has_text="simu").first).to_be_visible()
    run_id = panel(page).locator(".run-view").get_attribute("data-run")
    call(page, "PATCH", f"/runs/{run_id}", {"max_open": MAX_OPEN})
    panel(page).get_by_role("button", name="Run the rest").click()
    state = panel(page).locator(".run-state")
    panel(page).get_by_role("button", name="Pause").click()
    expect(state).to_have_text("Paused")
    expect(figure.locator(".open dd")).to_have_text("0")
    panel(page).get_by_role("button", name="Resume").click()
    expect(state).to_have_text("Done")
    expect(figure.locator(".succeeded dd")).to_have_text("37")
    expect(panel(page).locator(".run-reasons li")).to_contain_text(
        "The provider refused the request"
    )
    expect(panel(page).get_by_role("button", name="Retry 3 failed rows")).to_be_visible()
    inspect(page)
    panel(page).get_by_role("button", name="Close").click()
    edit_and_find_stale(page)


def inspect(page: Page) -> None:
    """Where an answer comes from, and what is thought of it."""
    cell(page, 1, 5).click(button="right")
    choose(page, "Where it comes from")
    expect(panel(page)).to_contain_text("Row 1 [sim:")
    expect(panel(page).locator(".facts")).to_contain_text("deepseek-flash")
    expect(panel(page).locator(".time-line li")).to_have_count(1)
    panel(page).get_by_role("button", name="Good").click()
    expect(panel(page).get_by_role("button", name="Good")).to_have_attribute("aria-pressed", "true")
    panel(page).get_by_role("button", name="Reject").click()
    expect(panel(page).locator(".cell-badge")).to_have_text("Rejected")
    expect(cell(page, 1, 5).locator(".ai-rejected")).to_be_visible()


def edit_and_find_stale(page: Page) -> None:
    cell(page, 2, 0).click()
    type_into(page, "Something else")
    expect(cell(page, 2, 5).locator(".ai-stale")).to_be_visible()
    cell(page, 3, 5).click()
    type_into(page, "By hand")
    expect(cell(page, 3, 5)).to_have_text("By hand")
    expect(cell(page, 3, 5).locator(".ai-edited")).to_be_visible()


def add_summary(page: Page, table: dict[str, Any], asked: list[str]) -> dict[str, Any]:
    """Rows of such texts, and an AI field that asks about them."""
    key = table["fields"][0]["key"]
    texts = [{key: f"Row {number} {text}"} for number, text in enumerate(asked)]
    add_rows(page, table, cast("list[dict[str, object]]", texts))
    field = {"name": "Summary", "scene": "summarize", "mapping": {"text": key}}
    return cast("dict[str, Any]", call(page, "POST", f"/{table['id']}/ai-fields", field))


@pytest.mark.slow
def test_a_run_is_scheduled_cancelled_retried_and_taken_back(page_of_tables: Page) -> None:
    page = page_of_tables
    table = make_table(page, 0)
    add_summary(page, table, [QUICK] * 5)
    open_table(page, table)
    open_panel(page, "runs")
    panel(page).get_by_role("button", name="Run…").click()
    panel(page).get_by_label("At a time").check()
    later = datetime.now(UTC) + timedelta(days=2)
    panel(page).locator("#run-start-at").fill(f"{later:%Y-%m-%dT%H:%M}")
    panel(page).get_by_role("button", name="Start without trying").click()
    state = panel(page).locator(".run-state")
    expect(state).to_have_text("Scheduled")
    panel(page).get_by_role("button", name="Cancel the run").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
    expect(state).to_have_text("Cancelled")
    panel(page).get_by_role("button", name="Retry 5 failed rows").click()
    expect(state).to_have_text("Done")
    answers = page.locator(".slick-cell.l6", has_text="simu")
    expect(answers).to_have_count(5)
    panel(page).get_by_role("button", name="Take it back").click()
    page.get_by_role("dialog").get_by_role("button", name="Take it back").click()
    expect(status(page)).to_contain_text("5 cells hold again what they held before.")
    expect(answers).to_have_count(0)
    expect(panel(page).get_by_role("button", name="Take it back")).to_have_count(0)


@pytest.mark.slow
def test_a_run_fills_what_it_reads_in_the_same_turn(page_of_tables: Page) -> None:
    page = page_of_tables
    table = make_table(page, 0)
    summary = add_summary(page, table, [QUICK] * 2)
    mapping = {"text": summary["outputs"][0]["key"]}
    second = {"name": "Shorter", "scene": "summarize", "mapping": mapping}
    call(page, "POST", f"/{table['id']}/ai-fields", second)
    open_table(page, table)
    open_panel(page, "runs")
    panel(page).locator(".ai-item", has_text="Shorter").get_by_role("button", name="Run…").click()
    expect(panel(page).get_by_label("Fill Summary in the same run")).to_be_checked()
    panel(page).get_by_role("button", name="Start without trying").click()
    for place in (5, 6):
        expect(page.locator(f".slick-cell.l{place + 1}", has_text="simu")).to_have_count(2)


@pytest.mark.slow
def test_two_configurations_are_compared_blindly(page_of_tables: Page) -> None:
    page = page_of_tables
    table = make_table(page, 0)
    add_summary(page, table, [QUICK] * 3)
    open_table(page, table)
    open_panel(page, "runs")
    panel(page).get_by_role("button", name="Compare…").click()
    dialog = page.get_by_role("dialog")
    other = dialog.get_by_role("group", name="B").get_by_label("Model")
    other.select_option("deepseek-v4-pro")
    dialog.get_by_label("How many").fill("many")
    dialog.get_by_role("button", name="Compare", exact=True).click()
    expect(dialog.get_by_label("How many")).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("How many").fill("3")
    dialog.get_by_role("button", name="Compare", exact=True).click()
    expect(dialog).to_contain_text("3 rows answered by both.")
    answers = dialog.locator(".compared-answer p", has_text="simu")
    expect(answers).to_have_count(6)
    judged = answers.all_inner_texts()
    expect(dialog).not_to_contain_text("deepseek-v4-pro")
    dialog.get_by_role("button", name="A is better in row 1").click()
    expect(dialog).to_contain_text("Better in 1 row")
    dialog.get_by_role("button", name="Tell which is which").click()
    expect(dialog.locator(".compared-side", has_text="deepseek-v4-pro")).to_have_count(1)
    # Each side has kept its place, so the judgement is still of the same answer.
    expect(answers).to_have_text(judged)
    # A closed dialog loses nothing; no cell has changed.
    dialog.get_by_role("button", name="Close").click()
    panel(page).get_by_role("button", name="Compare…").click()
    expect(answers).to_have_count(6)
    check_access(page)
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator(".slick-cell.l6", has_text="simu")).to_have_count(0)


# --- The trash ------------------------------------------------------------------------------------
@pytest.mark.slow
def test_deleted_fields_and_tables_are_restored(page_of_tables: Page) -> None:
    page = page_of_tables
    table = make_table(page, 2)
    ai_field = add_summary(page, table, [])
    call(page, "PATCH", f"/{table['id']}", {"name": f"Tickets {table['id']}"})
    call(page, "DELETE", f"/fields/{table['fields'][3]['id']}")
    call(page, "DELETE", f"/ai-fields/{ai_field['id']}")
    open_table(page, table)
    page.get_by_role("button", name="More", exact=True).click()
    choose(page, "Deleted fields")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Restore Day").click()
    expect(fields_shown(page)).to_have_text(["Subject", "Count", "State", "Day", "Paid"])
    dialog.get_by_role("button", name="Restore Summary").click()
    expect(fields_shown(page).last).to_have_text("Summary")
    expect(dialog).to_contain_text("The trash is empty.")
    dialog.get_by_role("button", name="Close").click()
    open_panel(page, "runs")
    expect(panel(page).get_by_role("button", name="AI field settings")).to_be_visible()
    page.get_by_role("button", name="More", exact=True).click()
    choose(page, "Delete the table")
    dialog.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Trash").click()
    dialog.get_by_role("button", name=f"Restore Tickets {table['id']}").click()
    item = page.locator(f".table-item[data-key='{table['id']}']")
    expect(item).to_contain_text(f"Tickets {table['id']}")


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


# --- Phones, accessibility ------------------------------------------------------------------------
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
        box = cell(page, 1, 0).bounding_box()
        assert box is not None
        assert box["height"] >= 44


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


def check_access(page: Page) -> None:
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(serious, indent=1)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
