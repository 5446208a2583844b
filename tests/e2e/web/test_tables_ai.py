"""AI fields in the web app: tried, run, paused, compared, and where an answer comes from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.web.tables import (
    MAX_OPEN,
    QUICK,
    REFUSED,
    add_rows,
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

pytestmark = pytest.mark.browser


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
    expect(panel(page).get_by_role("button", name="Retry 3 rows")).to_be_visible()
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
    # The panel follows the selected cell.
    cell(page, 2, 5).click()
    expect(panel(page)).to_contain_text("Row 2 [sim:")


def edit_and_find_stale(page: Page) -> None:
    cell(page, 2, 0).click()
    type_into(page, "Something else")
    expect(cell(page, 2, 5).locator(".ai-stale")).to_be_visible()
    cell(page, 3, 5).click()
    type_into(page, "By hand")
    expect(cell(page, 3, 5)).to_have_text("By hand")
    expect(cell(page, 3, 5).locator(".ai-edited")).to_be_visible()


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
    panel(page).get_by_role("button", name="Retry 5 rows").click()
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
def test_good_answers_are_given_as_examples(page_of_tables: Page) -> None:
    page = page_of_tables
    table = make_table(page, 0)
    summary = add_summary(page, table, [QUICK])
    open_table(page, table)
    open_panel(page, "runs")
    panel(page).get_by_role("button", name="AI field settings").click()
    panel(page).get_by_label("Text", exact=True).select_option("Good answers as examples")
    number = panel(page).get_by_label("How many: text")
    expect(number).to_have_value("5")
    save = panel(page).get_by_role("button", name="Save")
    for wrong in ("0", "21", "some"):
        number.fill(wrong)
        number.blur()
        expect(panel(page)).to_contain_text("A whole number from 1 to 20.")
        expect(save).to_be_disabled()
    number.fill("3")
    number.blur()
    check_access(page)
    save.click()
    expect(status(page)).to_contain_text("Summary")
    page.reload()
    stored = page.request.get(f"/api/tables/ai-fields/{summary['id']}").json()
    assert stored["mapping"] == {"text": {"examples": 3}}
    open_panel(page, "runs")
    panel(page).get_by_role("button", name="AI field settings").click()
    expect(number).to_have_value("3")


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
    # Another tab finds it in the list.
    dialog.get_by_role("button", name="Another comparison").click()
    dialog.get_by_label("Right answers of Summary").select_option("Subject")
    dialog.locator(".ai-run", has_text="3 rows").click()
    expect(answers).to_have_count(6)
    # Beside right answers of a field, which answers were given in their place.
    dialog.get_by_role("button", name="Another comparison").click()
    dialog.get_by_role("button", name="Compare", exact=True).click()
    expect(dialog).to_contain_text("3 rows answered by both.")
    wrong = dialog.locator(".wrong-answers").first
    wrong.get_by_text("3 wrong").click()
    expect(wrong.locator("tbody tr")).to_have_count(3)
    expect(wrong.locator("tbody tr").first).to_contain_text("Row ")
    check_access(page)
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator(".slick-cell.l6", has_text="simu")).to_have_count(0)
