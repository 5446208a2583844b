"""Tables in the web app: the grid, fields, views, files, and the trash."""

from __future__ import annotations

import csv
import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e.web.tables import (
    STATES,
    add_rows,
    add_summary,
    box_of,
    call,
    cell,
    choose,
    fields_shown,
    make_table,
    open_panel,
    open_table,
    panel,
    status,
    type_into,
)

pytestmark = pytest.mark.browser


#: As Chromium sends it while an input method composes.
COMPOSING_ENTER = {
    "type": "rawKeyDown",
    "key": "Enter",
    "code": "Enter",
    "windowsVirtualKeyCode": 229,
}


def selected(page: Page) -> Locator:
    return page.locator(".slick-cell.selected:not(.row-number)")


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
    page.keyboard.press("Shift+Control+Home")
    page.keyboard.press("Control+Home")
    expect(selected(page)).to_have_count(1)
    for _ in range(3):
        page.keyboard.press("Control+z")
        expect(status(page)).to_contain_text("Undone.")
    expect(cell(page, 0, 0)).to_have_text("Ticket 0 <b>")
    expect(cell(page, 1, 1)).to_have_text("1")
    expect(cell(page, 1, 4)).to_have_text("–")
    page.keyboard.press("Control+y")
    expect(cell(page, 0, 0)).to_have_text("Mended")
    expect(status(page).locator(".status-edits")).to_have_text("")
    page.reload()
    expect(cell(page, 0, 0)).to_have_text("Mended")


@pytest.mark.slow
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
    assert len([url for url in batches if url.endswith("rows:batch")]) == 1
    # An edit that changes nothing keeps the second line.
    cell(page, 1, 0).click()
    page.keyboard.press("F2")
    page.keyboard.press("Enter")
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
def test_cells_are_pasted_into_a_table_without_rows(page_of_tables: Page) -> None:
    page = page_of_tables
    table = make_table(page, 0)
    page.goto(f"/#/tables/{table['id']}")
    expect(page.locator(".table-hint")).to_contain_text("paste cells of a spreadsheet")
    page.evaluate("(text) => navigator.clipboard.writeText(text)", "One\t1\nTwo\t2")
    page.locator(".table-body").click()
    page.keyboard.press("Control+v")
    expect(status(page)).to_contain_text("4 values pasted")
    expect(cell(page, 1, 0)).to_have_text("Two")
    expect(page.locator(".table-hint")).to_be_empty()


@pytest.mark.slow
def test_words_choices_and_dates_are_written_by_keyboard(page_of_tables: Page) -> None:
    page = page_of_tables
    open_table(page, make_table(page, 12))
    browser = page.context.new_cdp_session(page)
    cell(page, 5, 0).click()
    page.keyboard.press("F2")
    compose = {"text": "gongdan", "selectionStart": 7, "selectionEnd": 7}
    browser.send("Input.imeSetComposition", compose)
    # An input method takes the Enter that ends a word; so does Safari's, by its code alone.
    browser.send("Input.dispatchKeyEvent", COMPOSING_ENTER)
    expect(page.locator(".cell-editor")).to_be_focused()
    browser.send("Input.insertText", {"text": "工单"})
    page.keyboard.press("Enter")
    expect(cell(page, 5, 0)).to_have_text("Ticket 5 <b>工单")
    expect(cell(page, 6, 0)).to_have_class(re.compile("active"))
    cell(page, 3, 2).click()
    type_into(page, "d")
    expect(cell(page, 3, 2)).to_have_text("done")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("F2")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Escape")
    expect(cell(page, 3, 2)).to_have_text("done")
    cell(page, 3, 3).click()
    page.keyboard.press("Enter")
    type_into(page, "02142027", "Tab")
    expect(cell(page, 3, 3)).to_have_text("Feb 14, 2027")
    # The menu of a cell by keyboard, from which the focus returns.
    page.keyboard.press("Shift+F10")
    expect(page.locator(".table-menu button").first).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowLeft")
    expect(cell(page, 3, 3)).to_have_class(re.compile("active"))


@pytest.mark.slow
def test_several_choices_are_made_by_keyboard(page_of_tables: Page) -> None:
    page = page_of_tables
    fields = [{"name": "Tags", "kind": "multi_select", "options": STATES}]
    table = make_table(page, 0, fields)
    add_rows(page, table, [{table["fields"][0]["key"]: [1]}])
    open_table(page, table)
    cell(page, 0, 0).click()
    page.keyboard.press("Enter")
    # What is to be chosen has the focus, not the button that closes the dialog.
    expect(page.get_by_role("checkbox", name="new")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(cell(page, 0, 0)).to_have_text("newdone")
    page.keyboard.press("Delete")
    expect(cell(page, 0, 0)).to_have_text("")


@pytest.mark.slow
def test_ranges_are_selected_by_keyboard_and_marked_as_they_are(page_of_tables: Page) -> None:
    page = page_of_tables
    open_table(page, make_table(page, 300))
    cell(page, 0, 0).click()
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+End")
    expect(selected(page)).to_have_count(1)
    page.keyboard.press("Control+Home")
    for keys, count in (
        ("Shift+ArrowDown", 2),
        ("Shift+ArrowRight", 4),
        ("Shift+ArrowUp", 2),
        ("Shift+End", 5),
    ):
        page.keyboard.press(keys)
        expect(selected(page)).to_have_count(count)
    page.keyboard.press("ArrowDown")
    expect(selected(page)).to_have_count(1)
    # Whole rows by their numbers; the menu is that of all of them.
    page.locator(".slick-row[data-row='2'] .row-number").click()
    page.locator(".slick-row[data-row='4'] .row-number").click(modifiers=["Shift"])
    expect(selected(page)).to_have_count(15)
    cell(page, 3, 0).click(button="right")
    choose(page, "Delete selected rows")
    expect(status(page)).to_contain_text("3 rows deleted.")


@pytest.mark.slow
def test_what_is_pasted_at_once_is_undone_at_once(page_of_tables: Page) -> None:
    page = page_of_tables
    open_table(page, make_table(page, 5))
    # More than a request takes, as a spreadsheet quotes it.
    lines = "\n".join(f'"文 {number}\n""{"长" * 300}"""\t{number}' for number in range(1100))
    page.evaluate("(text) => navigator.clipboard.writeText(text)", lines)
    cell(page, 0, 0).click()
    page.keyboard.press("Control+v")
    expect(status(page)).to_contain_text("1,100 rows", timeout=60_000)
    expect(cell(page, 4, 0)).to_contain_text('文 4 "长')
    page.keyboard.press("Control+z")
    expect(status(page)).to_contain_text("Undone.")
    expect(cell(page, 4, 0)).to_have_text("Ticket 4 <b>")
    page.reload()
    expect(status(page)).to_contain_text("5 rows")


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


#: In one turn: what follows a change of size has not run when the header gets the focus.
NARROW_AND_FOCUS = """
([grid, button]) => {
  grid.style.width = `${grid.clientWidth - 150}px`;
  button.focus();
}
"""
#: Drags the scroll bar to a share of the height, a step in each frame.
DRAG_TO = """
async ([viewport, share]) => {
  const from = viewport.scrollTop;
  const to = (viewport.scrollHeight - viewport.clientHeight) * share;
  for (let step = 1; step <= 40; step++) {
    viewport.scrollTop = from + (to - from) * step / 40;
    await new Promise(requestAnimationFrame);
  }
}
"""
#: Of the 1,000 pages that 100,000 rows have, a drag over many of them reads some.
MAX_READS = 100


@pytest.mark.parametrize("rows", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_any_place_is_scrolled_to_by_reading_what_is_there(page_of_tables: Page, rows: int) -> None:
    page = page_of_tables
    open_table(page, make_table(page, rows))
    grid = page.get_by_role("grid")
    assert grid.get_attribute("aria-rowcount") == str(rows + 1)
    cell(page, 0, 0).click()
    page.keyboard.press("Control+ArrowDown")
    expect(cell(page, rows - 1, 0)).to_have_text(f"Ticket {rows - 1} <b>")
    reads: list[str] = []
    page.on(
        "request", lambda request: reads.append(request.url) if "rows?" in request.url else None
    )
    viewport = page.locator(".slick-viewport-top.slick-viewport-right")
    for share in (0.0, 0.75, 0.5):
        reads.clear()
        page.evaluate(DRAG_TO, [viewport.element_handle(), share])
        middle = int((rows - 1) * share)
        row = page.locator(f".slick-pane-right .slick-row[data-row='{middle}']")
        expect(row).to_be_in_viewport()
        expect(row).to_contain_text(f"Ticket {middle} <b>")
        assert len(reads) <= MAX_READS, reads
    assert row.get_attribute("aria-rowindex") == str(middle + 2)
    # The numbers stay where they are while fields scroll sideways, and cells stay below a header
    # that gets the focus.
    number = page.locator(f".slick-row[data-row='{middle}'] .row-number")
    page.set_viewport_size({"width": 800, "height": 800})
    for name, place in (("Paid", 4), ("Subject", 0)):
        page.get_by_role("button", name=f"Field {name}").focus()
        expect(cell(page, middle, place)).to_be_in_viewport(ratio=0.9)
        expect(number).to_have_text(str(middle + 1))
        expect(number).to_be_in_viewport(ratio=0.9)
    # Also in the moment in which the grid becomes narrower, and its header has the old width.
    paid = page.get_by_role("button", name="Field Paid")
    shown = page.locator(".table-grid")
    page.evaluate(NARROW_AND_FOCUS, [shown.element_handle(), paid.element_handle()])
    expect(cell(page, middle, 4)).to_be_in_viewport(ratio=0.9)


# --- Fields and views -----------------------------------------------------------------------------
@pytest.mark.slow
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
    drag(page, "Rank", "Subject")
    expect(fields_shown(page)).to_have_text(["<i>Rank</i>", "Subject", "State", "Day", "Paid"])
    drag(page, "Rank", "Paid")
    expect(fields_shown(page)).to_have_text(["Subject", "State", "Day", "Paid", "<i>Rank</i>"])
    page.get_by_role("button", name="Field Subject").click()
    choose(page, "Freeze up to here")
    # The page is left at once; the next one shows it.
    page.reload()
    expect(page.locator(".slick-cell.frozen.l1").first).to_have_text("Ticket 0 <b>")
    expect(fields_shown(page)).to_have_text(["Subject", "State", "Day", "Paid", "<i>Rank</i>"])
    page.get_by_role("button", name="Field Day").click()
    choose(page, "Delete the field")
    expect(fields_shown(page)).to_have_text(["Subject", "State", "Paid", "<i>Rank</i>"])
    status(page).get_by_role("button", name="Undo").click()
    expect(fields_shown(page)).to_have_text(["Subject", "State", "Day", "Paid", "<i>Rank</i>"])
    expect(page.locator(".slick-cell.kind-date").first).to_have_text("Jan 31, 2026")


def drag(page: Page, name: str, other: str) -> None:
    """A field to the other one's place: before it from the right, after it from the left."""
    header, target = (
        page.locator(".slick-header-column", has_text=text).locator(".slick-column-name")
        for text in (name, other)
    )
    start, end = box_of(header), box_of(target)
    at = 0.2 if end["x"] < start["x"] else 0.8
    page.mouse.move(start["x"] + 10, start["y"] + 8)
    page.mouse.down()
    page.mouse.move(end["x"] + end["width"] * at, end["y"] + 8, steps=5)
    page.mouse.up()


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
    panel(page).get_by_label("Count").select_option("Sum")
    expect(heading.first).to_contain_text("Paid: No · 4 rows · Sum of Count: 80")
    heading.first.click()
    expect(heading.first).to_have_attribute("aria-expanded", "false")
    expect(page.locator(".slick-pane-right .slick-row:not(.group-row)")).to_have_count(3)
    page.wait_for_url(re.compile(r"#/tables/\d+/\d+$"))
    page.reload()
    expect(heading).to_have_count(2)
    expect(heading.first).to_contain_text("Sum of Count")
    expect(page.locator("[data-panel=filter] .count")).to_have_text("2")


# --- Files ----------------------------------------------------------------------------------------
@pytest.mark.slow
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
    # A dialog goes with its page.
    page.go_back()
    expect(page.get_by_role("button", name="New table from a file")).to_be_enabled()
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.slow
def test_an_export_says_how_far_it_is_and_is_cancelled(page_of_tables: Page) -> None:
    page = page_of_tables
    open_table(page, make_table(page, 10))

    def slow_down(route: Route) -> None:
        """It is over before anybody looks."""
        answer = route.fetch()
        is_cancelled = route.request.url.endswith(":cancel")
        state = "cancelled" if is_cancelled else "running"
        route.fulfill(json={**answer.json(), "state": state, "done": 4, "total": 10})

    page.route(re.compile(r"/api/tables/(\d+/exports|exports/[^/]+)$"), slow_down)
    page.get_by_role("button", name="More", exact=True).click()
    choose(page, "Export")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Export").click()
    expect(dialog).to_contain_text("4 of 10 rows")
    expect(dialog.get_by_role("progressbar")).to_have_js_property("value", 4)
    dialog.get_by_role("button", name="Cancel the export").click()
    expect(dialog).to_contain_text("The export was cancelled.")


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
