"""Tables as the browser tests make, open and look at them."""

from __future__ import annotations

import json
from typing import Any, cast

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FloatRect, Locator, Page, expect

from tests.waiting import wait_until

#: Directives to the simulator, in the text of a row.
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


def box_of(element: Locator) -> FloatRect:
    """Where it is on the page. A grid makes its cells anew, between which there is none."""
    box = wait_until(element.bounding_box, "a place on the page")
    assert box is not None
    return box


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


def add_summary(page: Page, table: dict[str, Any], asked: list[str]) -> dict[str, Any]:
    """Rows of such texts, and an AI field that asks about them."""
    key = table["fields"][0]["key"]
    texts = [{key: f"Row {number} {text}"} for number, text in enumerate(asked)]
    add_rows(page, table, cast("list[dict[str, object]]", texts))
    field = {"name": "Summary", "scene": "summarize", "mapping": {"text": key}}
    return cast("dict[str, Any]", call(page, "POST", f"/{table['id']}/ai-fields", field))


def check_access(page: Page) -> None:
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(serious, indent=1)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
