"""Runs in the web app: from a file that is dropped on the page to its results."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FilePayload, Locator, Page, StorageState, expect

from tests.e2e.web.browsing import DESKTOP, PHONE, visit, wait_for_connection
from tests.stack import Stack

pytestmark = pytest.mark.browser

#: What the simulator is told in each row.
QUICK = "[sim:tokens=5,tps=0,latency=0.05]"
REFUSED = "[sim:status=400]"
#: Rows in the queue or running at once, so that a run lasts long enough to be watched.
MAX_OPEN = 4
#: Changes a run as another program of the user would.
CHANGE = """
async ([id, fields]) => {
  const {AilyClient} = await import("/static/js/aily-client.js");
  const run = await new AilyClient().runs.get(id);
  await run.change(fields);
}
"""


@pytest.fixture
def runs(browser: Browser, stack: Stack, session: StorageState) -> Iterator[Page]:
    with visit(browser, stack, session, viewport=DESKTOP, locale="en-US") as page:
        page.goto("/#/runs")
        wait_for_connection(page)
        yield page


def table(*asked: str) -> FilePayload:
    """A CSV file with a row for each text."""
    rows = "".join(f'{number},"Row {number} {text}"\n' for number, text in enumerate(asked, 1))
    return {"name": "reviews.csv", "mimeType": "text/csv", "buffer": f"id,Body\n{rows}".encode()}


def upload(page: Page, file: FilePayload) -> str:
    """Returns the address of the new run."""
    page.locator("input[type=file]").set_input_files(file)
    page.wait_for_url(re.compile("#/runs/.+"))
    return page.url


def id_of(page: Page) -> str:
    return page.url.rpartition("/")[2]


def set_up(page: Page, file: FilePayload, **fields: object) -> str:
    """Upload the file and take the text of a scene from its column."""
    address = upload(page, file)
    page.get_by_label("Scene", exact=True).select_option("summarize")
    page.get_by_label("Text", exact=True).select_option("Body")
    expect(page.locator(".estimate")).to_contain_text("Rows to come")
    if fields:
        page.evaluate(CHANGE, [id_of(page), fields])
    return address


def start(page: Page) -> None:
    page.get_by_role("button", name="Start", exact=True).click()


def state(page: Page) -> Locator:
    return page.locator(".run-head .run-state")


def figure(page: Page, name: str) -> Locator:
    return page.locator(f".run-figures .{name} dd")


# --- From the file to the results -----------------------------------------------------------------
def test_a_file_is_mapped_tried_estimated_run_and_downloaded(runs: Page) -> None:
    set_up(runs, table(*[QUICK] * 24))
    expect(runs.locator(".preview th")).to_have_text(["id", "Body"])
    expect(runs.locator(".preview tbody tr")).to_have_count(5)
    expect(runs.locator(".preview tbody tr").first).to_contain_text("Row 1 [sim:")
    runs.get_by_role("button", name="Try 10 rows").click()
    tried = runs.get_by_role("region", name="Tried rows").locator("tbody tr")
    expect(tried).to_have_count(10)
    expect(tried.locator(".row-text")).to_have_count(10)
    estimate = runs.locator(".run-start")
    expect(estimate).to_contain_text("as long as those of the tried rows")
    expect(estimate.locator(".price dd").first).to_contain_text("$")
    expect(estimate).to_contain_text("14")
    start(runs)
    expect(state(runs)).to_have_text("Done")
    expect(figure(runs, "succeeded")).to_have_text("24")
    expect(runs.get_by_role("region", name="Rows").locator("tbody tr")).to_have_count(20)
    with runs.expect_download() as saved:
        runs.get_by_role("link", name="Download CSV").click()
    lines = saved.value.path().read_text(encoding="utf-8-sig").splitlines()
    found = list(csv.DictReader(lines))
    assert [row["id"] for row in found] == [str(number) for number in range(1, 25)]
    assert {row["state"] for row in found} == {"succeeded"}
    with runs.expect_download() as saved:
        runs.get_by_role("link", name="Download JSONL").click()
    assert len(saved.value.path().read_text().splitlines()) == 24


@pytest.mark.slow
def test_a_file_can_be_dropped_and_whole_requests_need_no_scene(runs: Page) -> None:
    lines = [{"messages": [{"role": "user", "content": f"{n} {QUICK}"}]} for n in range(3)]
    content = "\n".join(json.dumps(line) for line in lines)
    data = runs.evaluate_handle(
        """(content) => {
          const data = new DataTransfer();
          data.items.add(new File([content], "requests.jsonl"));
          return data;
        }""",
        content,
    )
    runs.locator(".drop").dispatch_event("drop", {"dataTransfer": data})
    runs.wait_for_url(re.compile("#/runs/.+"))
    expect(runs.locator(".preview th")).to_have_text(["Message"])
    expect(runs.locator(".preview td").first).to_contain_text("0 [sim:")
    expect(runs.get_by_label("Scene", exact=True)).to_have_count(0)
    expect(runs.locator(".estimate")).to_contain_text("Rows to come")
    start(runs)
    expect(state(runs)).to_have_text("Done")


def test_what_is_wrong_with_a_file_is_said_by_line(runs: Page) -> None:
    broken = b"id,Body\n1,one\n2\n3,three\n"
    upload(runs, {"name": "some.csv", "mimeType": "text/csv", "buffer": broken})
    runs.get_by_text("1 line is wrong and left out").click()
    wrong = runs.locator(".file-errors li")
    expect(wrong).to_have_text(
        re.compile("Line 3.+Another number of columns than the header", re.DOTALL)
    )
    runs.goto("/#/runs")
    upload(runs, {"name": "none.csv", "mimeType": "text/csv", "buffer": b"a,a\n1,2\n"})
    expect(state(runs)).to_have_text("Refused")
    expect(runs.locator(".file-errors")).to_contain_text("Two columns with the same name")
    runs.goto("/#/runs")
    picture: FilePayload = {"name": "cat.png", "mimeType": "image/png", "buffer": b"x"}
    runs.locator("input[type=file]").set_input_files(picture)
    expect(runs.get_by_role("alert")).to_contain_text("Choose a CSV file or a JSONL file.")


@pytest.mark.slow
def test_what_is_wrong_with_rows_is_said_in_chinese(
    browser: Browser, stack: Stack, session: StorageState
) -> None:
    content = [
        {"messages": [{"role": "user", "content": f"One {QUICK}"}], "key": "a"},
        {"messages": [{"role": "user", "content": "Two"}], "key": "a"},
        {"messages": [{"role": "user", "content": "Three"}], "temperature": 9},
        {"messages": [{"role": "user", "content": "Four"}], "misspelt": 1},
        {"messages": []},
    ]
    lines = [json.dumps(line) for line in content] + ["{broken"]
    with visit(browser, stack, session, viewport=DESKTOP, locale="zh-CN") as page:
        page.goto("/#/runs")
        wait_for_connection(page)
        upload(
            page,
            {
                "name": "lines.jsonl",
                "mimeType": "application/x-ndjson",
                "buffer": "\n".join(lines).encode(),
            },
        )
        page.locator(".file-errors summary").click()
        wrong = page.locator(".file-errors li")
        expect(wrong.locator("[lang]")).to_have_text(
            [
                "键“a”与第 1 行重复。",
                "不得大于 2。",
                "没有此字段。",
                "至少 1 项。",
                "每行必须是一个 JSON 对象。",
            ]
        )
        expect(wrong.locator("[lang=en]")).to_have_count(0)
        page.get_by_role("button", name="启动").click()
        expect(page.locator(".run-reasons [lang=zh-hans]")).to_contain_text(
            ["键“a”与第 1 行重复。"]
        )


@pytest.mark.slow
def test_a_change_after_a_try_runs_its_rows_anew(runs: Page) -> None:
    set_up(runs, table(*[QUICK] * 12))
    runs.get_by_role("button", name="Try 10 rows").click()
    tried = runs.get_by_role("region", name="Tried rows").locator("tbody tr")
    expect(tried.locator(".row-text")).to_have_count(10)
    expect(runs.locator(".based-on")).to_contain_text("of the tried rows")
    with runs.expect_response(lambda answer: answer.request.method == "PATCH"):
        runs.get_by_label("Text", exact=True).select_option("id")
    expect(tried).to_have_count(0)
    expect(runs.locator(".estimate")).to_contain_text("12")
    expect(runs.locator(".based-on")).not_to_contain_text("of the tried rows")


@pytest.mark.slow
def test_settings_are_stored_as_they_are_written(runs: Page) -> None:
    address = set_up(runs, table(*[QUICK] * 3))
    limit = runs.get_by_label("Limit of cost")
    limit.fill("2,50 or so")
    limit.press("Tab")
    field = runs.locator(".field", has=limit)
    expect(field.locator(".field-error")).to_have_text("This has to be a number.")
    limit.fill("2.5")
    limit.press("Tab")
    expect(field.locator(".field-error")).to_be_empty()
    deadline = runs.get_by_label("Deadline")
    deadline.fill("2020-01-31T12:00")
    deadline.press("Tab")
    expect(runs.locator(".field", has=deadline).locator(".field-error")).to_contain_text("future")
    deadline.fill("")
    deadline.press("Tab")
    with runs.expect_response(
        lambda answer: '"normal"' in (answer.request.post_data or "")
    ) as stored:
        runs.get_by_label("Priority").select_option("Normal")
    assert stored.value.ok
    runs.goto("/#/runs")
    runs.goto(address)
    runs.reload()
    expect(runs.get_by_label("Limit of cost")).to_have_value("2.5")
    expect(runs.get_by_label("Priority")).to_have_value("normal")
    expect(runs.get_by_label("Text", exact=True).locator("option:checked")).to_have_text("Body")
    runs.get_by_label("At a time").check()
    start(runs)
    expect(runs.locator("#run-start-at-error")).to_have_text("This has to be a date and a time.")
    runs.get_by_label("Time", exact=True).fill("2100-01-01T00:00")
    start(runs)
    expect(state(runs)).to_have_text("Scheduled")
    expect(runs.locator(".run-reason")).to_contain_text("2100")
    runs.get_by_role("button", name="Cancel the run").click()
    runs.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
    expect(state(runs)).to_have_text("Cancelled")


# --- While it runs ------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_run_is_paused_resumed_and_followed_in_two_tabs(
    runs: Page, browser: Browser, stack: Stack, session: StorageState
) -> None:
    address = set_up(runs, table(*[QUICK] * 40), max_open=MAX_OPEN)
    with visit(browser, stack, session, viewport=PHONE, locale="zh-CN") as other:
        other.goto(address)
        expect(state(other)).to_have_text("未启动")
        start(runs)
        expect(state(other)).to_have_text("运行中")
        expect(figure(other, "succeeded")).not_to_have_text("0")
        other.get_by_role("button", name="暂停").click()
        expect(state(runs)).to_have_text("Paused")
        expect(figure(runs, "open")).to_have_text("0")
        counts = [int(figure(runs, name).inner_text()) for name in ("succeeded", "pending")]
        assert sum(counts) == 40
        assert counts[1] > 0
        runs.reload()
        expect(state(runs)).to_have_text("Paused")
        expect(figure(runs, "succeeded")).to_have_text(str(counts[0]))
        runs.evaluate(CHANGE, [id_of(runs), {"max_open": None}])
        runs.get_by_role("button", name="Resume").click()
        for page in (runs, other):
            expect(figure(page, "succeeded")).to_have_text("40")
        expect(state(other)).to_have_text("已完成")


@pytest.mark.slow
def test_failed_rows_are_grouped_shown_and_retried(runs: Page) -> None:
    set_up(runs, table(*[QUICK] * 6, *[REFUSED] * 3))
    start(runs)
    expect(state(runs)).to_have_text("Done")
    expect(figure(runs, "failed")).to_have_text("3")
    reason = runs.locator(".run-reasons li")
    expect(reason).to_have_count(1)
    expect(reason).to_contain_text("The provider refused the request")
    reason.get_by_role("button", name="Show rows").click()
    rows = runs.get_by_role("region", name="Rows").locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("Row 7")
    runs.get_by_label("Rows by their state").select_option("Succeeded")
    expect(rows).to_have_count(6)
    runs.get_by_role("button", name="Retry 3 rows").click()
    expect(state(runs)).to_have_text("Done")
    expect(runs.get_by_role("button", name="Retry 3 rows")).to_be_visible()
    runs.get_by_role("button", name="Delete").click()
    runs.get_by_role("dialog").get_by_role("button", name="Delete").click()
    runs.wait_for_url(re.compile("#/runs$"))


@pytest.mark.slow
def test_a_limit_pauses_the_run_and_raising_it_goes_on(runs: Page) -> None:
    set_up(runs, table(*[QUICK] * 30), max_open=MAX_OPEN, max_cost="0.000001")
    start(runs)
    expect(state(runs)).to_have_text("Paused")
    expect(runs.locator(".run-reason")).to_contain_text("Raise it to go on.")
    runs.evaluate(CHANGE, [id_of(runs), {"max_open": None}])
    runs.get_by_label("Limit of cost").fill("10")
    runs.get_by_role("button", name="Resume").click()
    expect(state(runs)).to_have_text("Done")
    expect(figure(runs, "succeeded")).to_have_text("30")


@pytest.mark.slow
def test_a_lost_connection_is_caught_up(runs: Page) -> None:
    set_up(runs, table(*[QUICK] * 20), max_open=MAX_OPEN)
    start(runs)
    expect(state(runs)).to_have_text("Running")
    runs.context.set_offline(True)
    expect(runs.locator("#connection")).not_to_have_attribute("data-state", "open")
    runs.context.set_offline(False)
    expect(state(runs)).to_have_text("Done")


# --- The list, the pages' looks -------------------------------------------------------------------
@pytest.mark.slow
def test_the_list_shows_runs_live_and_leads_to_them(runs: Page) -> None:
    set_up(runs, table(*[QUICK] * 12), max_open=MAX_OPEN)
    run_id = id_of(runs)
    start(runs)
    expect(state(runs)).to_have_text("Running")
    runs.get_by_role("link", name="Runs", exact=True).click()
    row = runs.locator(f".run-item[data-key='{run_id}']")
    expect(row).to_contain_text("reviews.csv")
    expect(row.locator(".run-state")).to_have_text("Done")
    expect(row).to_contain_text("12 of 12 rows")
    row.get_by_role("link").click()
    expect(state(runs)).to_have_text("Done")


@pytest.mark.slow
def test_the_pages_are_used_by_keyboard(runs: Page) -> None:
    expect(runs.get_by_role("heading", name="Your runs")).to_be_visible()
    runs.keyboard.press("Tab")
    expect(runs.locator("input[type=file]")).to_be_focused()
    set_up(runs, table(*[QUICK] * 3))
    start_button = runs.get_by_role("button", name="Start", exact=True)
    start_button.focus()
    runs.keyboard.press("Enter")
    expect(state(runs)).to_have_text("Done")


@pytest.mark.parametrize(
    ("viewport", "locale", "scheme"),
    [
        pytest.param(DESKTOP, "en-US", "dark", marks=pytest.mark.slow),
        (PHONE, "zh-CN", "light"),
    ],
)
def test_axe_finds_nothing_serious(
    browser: Browser,
    stack: Stack,
    session: StorageState,
    runs: Page,
    viewport: Any,
    locale: str,
    scheme: Any,
) -> None:
    rows = table(QUICK, QUICK, REFUSED)
    ready = set_up(runs, {**rows, "buffer": rows["buffer"] + b"broken\n"})
    runs.goto("/#/runs")
    done = set_up(runs, rows)
    start(runs)
    expect(state(runs)).to_have_text("Done")
    options = {"color_scheme": scheme, "viewport": viewport, "locale": locale}
    with visit(browser, stack, session, reduced_motion="reduce", **options) as page:
        for address, part in (("/#/runs", ".run-item"), (ready, ".estimate"), (done, ".row-text")):
            page.goto(address)
            expect(page.locator(part).first).to_be_visible()
            found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
            serious = [each for each in found if each["impact"] in ("serious", "critical")]
            assert serious == [], json.dumps(serious, indent=1)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
