"""Scenes in the web app: forms of every kind, and the workshop in which versions are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, StorageState, expect

from tests.e2e.web.browsing import DESKTOP, PHONE, make_session, visit, wait_for_connection
from tests.e2e.web.samples import EDITOR, PASSWORD
from tests.stack import Stack

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def editor_session(stack: Stack) -> StorageState:
    """The cookies of a user who may change and publish the scenes."""
    return make_session(stack, EDITOR, PASSWORD)


@pytest.fixture
def editor(browser: Browser, stack: Stack, editor_session: StorageState) -> Iterator[Page]:
    with visit(browser, stack, editor_session, viewport=DESKTOP, locale="en-US") as page:
        yield page


def _submitted(page: Page) -> list[dict[str, Any]]:
    """The frames with which the page submits from now on, as they are written."""
    frames: list[dict[str, Any]] = []

    def sent(data: str | bytes) -> None:
        frame = json.loads(data)
        if frame["type"] == "task.submit":
            frames.append(frame)

    page.on("websocket", lambda socket: socket.on("framesent", sent))
    return frames


def _part(page: Page, name: str) -> Locator:
    return page.get_by_role("group", name=name)


# --- Forms --------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_form_asks_for_everything_that_pydantic_writes(editor: Page) -> None:
    frames = _submitted(editor)
    editor.goto("/#/s/order")
    wait_for_connection(editor)
    expect(editor.get_by_label("Zip")).to_be_visible()
    labels = editor.locator(".fields > .field > :is(label, legend)").all_inner_texts()
    assert [label.split()[0] for label in labels] == [
        "Zip", "Amount", "Nickname", "Kind", "When", "Payment", "Items", "Address", "Odd",
    ]  # fmt: skip
    editor.get_by_label("Zip").fill("10115")
    editor.get_by_label("Amount").fill("9007199254740993")
    editor.get_by_label("Kind", exact=True).select_option("Return")
    editor.get_by_label("When").fill("2026-01-31T12:30:05")
    payment = _part(editor, "Payment")
    payment.get_by_label("Kind of “Payment”").select_option("Card")
    payment.get_by_label("Digits").fill("4242")
    items = _part(editor, "Items")
    for name in ("apple", "pear"):
        items.get_by_role("button", name="Add").click()
        items.get_by_label("Name").last.fill(name)
    items.get_by_role("button", name="Remove: Item 1").click()
    _part(editor, "Address").get_by_role("button", name="Fill in").click()
    _part(editor, "Address").get_by_label("City").fill("Berlin")
    editor.get_by_label("Odd").fill('{"x": [1, 2]}')
    editor.get_by_role("button", name="Run").click()
    expect(editor.get_by_role("article", name="Answer")).to_have_attribute("aria-busy", "false")
    variables = frames[0]["variables"]
    assert variables.pop("when").startswith("2026-01-31T12:30:05")
    assert variables == {
        "zip": "10115",
        "amount": 9007199254740993,
        "nickname": None,
        "kind": "return",
        "payment": {"method": "card", "digits": "4242"},
        "items": [{"name": "pear", "count": 1}],
        "address": {"city": "Berlin"},
        "odd": {"x": [1, 2]},
    }


@pytest.mark.parametrize(
    ("locale", "run", "expected"),
    [
        ("en-US", "Run", "This has to be a whole number."),
        pytest.param("zh-CN", "运行", "这里必须是整数。", marks=pytest.mark.slow),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_in_the_pages_language(
    browser: Browser,
    stack: Stack,
    editor_session: StorageState,
    locale: str,
    run: str,
    expected: str,
) -> None:
    with visit(browser, stack, editor_session, locale=locale) as page:
        page.goto("/#/s/order")
        wait_for_connection(page)
        page.get_by_label("Amount").fill("12 apples")
        page.get_by_role("button", name=run, exact=True).click()
        field = page.locator(".field", has=page.get_by_label("Amount"))
        expect(field.locator(".field-error")).to_have_text(expected)
        expect(page.get_by_label("Zip")).to_be_focused()
        chats = page.request.get("/api/conversations?search=order").json()["count"]
        page.get_by_label("Zip").fill("1")
        expect(page.locator(".field-error").first).to_be_empty()
        assert page.request.get("/api/conversations?search=order").json()["count"] == chats


# --- The workshop -------------------------------------------------------------------------------
def _open_workshop(page: Page, slug: str) -> None:
    page.goto(f"/#/w/{slug}")
    wait_for_connection(page)
    expect(page.get_by_label("Version", exact=True)).to_be_enabled()


def test_a_version_is_copied_previewed_tried_published_and_rolled_back(editor: Page) -> None:
    frames = _submitted(editor)
    editor.goto("/#/s/summarize")
    wait_for_connection(editor)
    editor.get_by_role("link", name="Workshop").click()
    version = editor.get_by_label("Version", exact=True)
    expect(version.locator("option:checked")).to_contain_text("live")
    live = int(version.input_value())
    template = editor.get_by_role("textbox", name="User template")
    expect(template).to_have_attribute("readonly", "")
    written = template.input_value()
    editor.get_by_role("button", name="New version from the live one").click()
    expect(version.locator("option:checked")).to_contain_text("draft")
    expect(template).to_have_value(written)
    template.fill(f"{written}\nIn the tone of {{{{ tone }}}}. [sim:tokens=30]")
    schema = editor.get_by_role("textbox", name="Schema of the variables")
    as_written = '{"type": "object", "properties": {"tone": {"type": "string"}, "text": {}}}'
    schema.fill(as_written)
    answers = '{"type": "object", "properties": {"saying": {"type": "string"}}}'
    editor.get_by_role("textbox", name="Schema of the answer").fill(answers)
    fields = editor.get_by_role("region", name="Trying").locator(".fields label")
    expect(fields).to_contain_text(["Tone", "Text"])
    editor.get_by_label("Tone").fill("a pirate")
    editor.get_by_role("region", name="Trying").get_by_label("Text").fill("Ships sail.")
    prompt = editor.locator(".prompt-message pre").last
    expect(prompt).to_contain_text("In the tone of a pirate.")
    differences = editor.get_by_role("region", name="Differences")
    expect(differences.locator("ins")).to_contain_text(["In the tone of"])
    editor.get_by_role("button", name="Try this draft").click()
    answer = editor.get_by_role("article", name="Answer")
    expect(answer).to_have_attribute("aria-busy", "false")
    # JSON, as the schema asks for it, is shown as code.
    expect(answer.locator(".answer-text code")).to_contain_text('"saying"')
    assert (frames[0]["scene"], frames[0]["version"]) == ("summarize", live + 1)
    expect(editor.get_by_role("button", name="Save")).to_be_disabled()
    editor.get_by_role("button", name="Publish").click()
    expect(version.locator("option:checked")).to_have_text(f"Version {live + 1} · live")
    version.select_option(str(live))
    editor.get_by_role("button", name="Make live again").click()
    expect(version.locator("option:checked")).to_have_text(f"Version {live} · live")


@pytest.mark.slow
def test_of_two_editors_the_second_is_shown_what_the_first_has_saved(
    editor: Page, browser: Browser, stack: Stack, editor_session: StorageState
) -> None:
    _open_workshop(editor, "order")
    editor.get_by_role("button", name="New version from the live one").click()
    notes = editor.get_by_label("Notes")
    expect(notes).to_be_editable()
    with visit(browser, stack, editor_session, locale="en-US") as other:
        _open_workshop(other, "order")
        other.get_by_role("textbox", name="User template").fill("first {{ zip }}")
        other.get_by_role("button", name="Save").click()
        expect(other.locator("#announcer")).to_have_text("The draft is saved.")
    editor.get_by_role("textbox", name="User template").fill("second {{ zip }}")
    editor.get_by_role("button", name="Save").click()
    conflict = editor.locator(".conflict")
    expect(conflict.locator("del")).to_contain_text("first {{ zip }}")
    expect(conflict.locator("ins")).to_contain_text("second {{ zip }}")
    # A reload keeps what was written, and the conflict with it.
    editor.reload()
    expect(conflict.locator("ins")).to_contain_text("second {{ zip }}")
    conflict.get_by_role("button", name="Take what is saved").click()
    expect(editor.get_by_role("textbox", name="User template")).to_have_value("first {{ zip }}")
    expect(conflict).to_have_count(0)
    editor.get_by_role("button", name="Delete draft").click()
    expect(editor.get_by_label("Version", exact=True).locator("option:checked")).to_contain_text(
        "live"
    )


@pytest.mark.slow
def test_a_broken_draft_is_named_where_it_is_broken(editor: Page) -> None:
    _open_workshop(editor, "translate")
    editor.get_by_role("button", name="New version from the live one").click()
    template = editor.get_by_role("textbox", name="User template")
    expect(template).to_be_editable()
    template.fill("{{ broken")
    expect(template).to_have_attribute("aria-invalid", "true")
    for name in ("Schema of the variables", "Schema of the answer"):
        schema = editor.get_by_role("textbox", name=name)
        schema.fill("{")
        expect(schema).to_have_attribute("aria-invalid", "true")
        schema.fill("")
    editor.reload()
    expect(template).to_have_value("{{ broken")
    editor.get_by_role("button", name="Delete draft").click()
    expect(template).not_to_have_value("{{ broken")


def test_users_who_may_change_no_scene_see_no_workshop(
    browser: Browser, stack: Stack, reader_session: StorageState
) -> None:
    with visit(browser, stack, reader_session, locale="en-US") as page:
        page.goto("/#/s/summarize")
        expect(page.get_by_label("Text")).to_be_visible()
        expect(page.get_by_role("link", name="Workshop")).to_have_count(0)
        page.goto("/#/w/summarize")
        expect(page.get_by_role("alert").filter(has_text="Not allowed")).to_be_visible()


@pytest.mark.parametrize(
    ("viewport", "scheme"),
    [
        (PHONE, "light"),
        pytest.param(DESKTOP, "dark", marks=pytest.mark.slow),
        pytest.param(PHONE, "dark", marks=pytest.mark.slow),
        pytest.param(DESKTOP, "light", marks=pytest.mark.slow),
    ],
    ids=["phone-light", "desktop-dark", "phone-dark", "desktop-light"],
)
def test_axe_finds_nothing_serious_in_forms_and_workshop(
    browser: Browser, stack: Stack, editor_session: StorageState, scheme: Any, viewport: Any
) -> None:
    options = {"color_scheme": scheme, "viewport": viewport, "locale": "en-US"}
    with visit(browser, stack, editor_session, **options) as page:
        for address in ("/#/s/order", "/#/w/order"):
            page.goto(address)
            expect(page.locator("#content .field").first).to_be_visible()
            found = Axe().run(page).response["violations"]
            serious = [each for each in found if each["impact"] in ("serious", "critical")]
            assert serious == [], json.dumps(serious, indent=1)
            width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert width <= 0
