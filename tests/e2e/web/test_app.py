"""The web app around its chats: long lists, drafts, scrolling, settings, formatted answers, CSP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    Locator,
    Page,
    StorageState,
    expect,
)

from tests.e2e.web.browsing import (
    DESKTOP,
    PHONE,
    last_answer,
    open_page,
    send,
    visit,
    wait_for_connection,
    wait_for_end,
)
from tests.e2e.web.samples import CHATS, TURNS
from tests.stack import Stack

pytestmark = pytest.mark.browser

#: Bytes over the wire of the first page, with nothing cached.
FIRST_PAGE_BYTES = 120_000


@pytest.fixture
def reader(browser: Browser, stack: Stack, reader_session: StorageState) -> Iterator[Page]:
    with visit(browser, stack, reader_session) as page:
        yield page


@pytest.fixture
def formatted(stack: Stack) -> str:
    return f"/#/c/{stack.made[0]}"


@pytest.fixture
def long(stack: Stack) -> str:
    return f"/#/c/{stack.made[1]}"


def _distance_to_end(page: Page) -> int:
    script = "e => Math.round(e.scrollHeight - e.scrollTop - e.clientHeight)"
    distance: int = page.locator("#scroller").evaluate(script)
    return distance


def _message(page: Page) -> Locator:
    return page.locator("#composer-text")


# --- Long lists ---------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_list_of_conversations_goes_on_beyond_a_page(reader: Page) -> None:
    reader.goto("/")
    more = reader.get_by_role("button", name="Show older ones")
    rows = reader.locator("#conversations > li")
    counts = []
    while True:
        expect(reader.locator("#conversations a").first).to_be_visible()
        counts.append(rows.count())
        if more.is_hidden():
            break
        more.click()
        expect(rows.nth(counts[-1])).to_be_attached()
    assert len(counts) > 2
    assert counts[-1] == CHATS + 2
    titles = rows.locator("a").all_text_contents()
    assert len(set(titles)) == CHATS + 2


@pytest.mark.slow
def test_many_scenes_leave_room_for_conversations(reader: Page) -> None:
    scene = {"title": "", "description": "", "is_enabled": True, "live_version": 1}
    scenes = [
        {"slug": f"scene-{number:02}", **scene, "variables_schema": {}} for number in range(40)
    ]
    reader.route(
        "**/api/scenes?*", lambda route: route.fulfill(json={"items": scenes, "count": 40})
    )
    reader.goto("/")
    rows = reader.locator("#scenes > li")
    cards = reader.locator(".welcome .scene-card")
    expect(rows).to_have_count(15)
    expect(cards.first).to_be_in_viewport()
    expect(cards.filter(visible=True)).to_have_count(12)
    reader.get_by_text("28 more scenes").click()
    expect(cards.filter(visible=True)).to_have_count(40)
    cards.last.click()
    # The one that is open is listed with the first.
    expect(reader.locator("#scenes a[aria-current=page]")).to_have_text("scene-39")
    reader.get_by_role("button", name="Show all scenes").click()
    expect(rows).to_have_count(40)


@pytest.mark.slow
def test_a_long_chat_opens_at_its_end_and_shows_all_when_asked(reader: Page, long: str) -> None:
    reader.goto(long)
    questions = reader.get_by_role("article", name="You")
    answers = reader.get_by_role("article", name="Answer")
    expect(answers.last).to_contain_text(f"Answer {TURNS - 1:03}.")
    expect(answers.last).to_be_in_viewport()
    assert questions.count() < TURNS
    first = questions.first
    first.scroll_into_view_if_needed()
    shown = first.text_content()
    reader.get_by_role("button", name="Show older messages").click()
    expect(questions).to_have_count(TURNS)
    expect(reader.get_by_role("button", name="Show older messages")).to_have_count(0)
    # What was read stays in its place.
    expect(questions.filter(has_text=shown)).to_be_in_viewport()
    expect(answers.first).to_contain_text("Answer 000.")


# --- Drafts, focus, keys ------------------------------------------------------------------------
@pytest.mark.slow
def test_drafts_outlive_reloads_and_other_pages(reader: Page, long: str, formatted: str) -> None:
    reader.goto(long)
    expect(_message(reader)).to_be_focused()
    _message(reader).fill("half a thought")
    reader.goto(formatted)
    expect(reader.get_by_role("heading", name="Formatted")).to_be_visible()
    expect(_message(reader)).to_have_value("")
    _message(reader).fill("another")
    reader.reload()
    expect(_message(reader)).to_have_value("another")
    reader.goto(long)
    expect(_message(reader)).to_have_value("half a thought")
    reader.goto("/#/s/summarize")
    reader.get_by_label("Text").fill("Not run yet")
    reader.reload()
    expect(reader.get_by_label("Text")).to_have_value("Not run yet")


def test_enter_that_ends_a_composition_sends_nothing(reader: Page) -> None:
    reader.goto("/")
    wait_for_connection(reader)
    _message(reader).fill("ni hao [sim:tokens=10]")
    press = """(area, how) => area.dispatchEvent(
      new KeyboardEvent("keydown", {key: "Enter", bubbles: true, cancelable: true, ...how}))"""
    _message(reader).evaluate(press, {"isComposing": True, "keyCode": 229})
    # Safari ends the composition first, and sends its Enter then.
    _message(reader).evaluate(press, {"isComposing": False, "keyCode": 229})
    expect(_message(reader)).to_have_value("ni hao [sim:tokens=10]")
    expect(last_answer(reader)).to_have_count(0)
    _message(reader).evaluate(press, {"isComposing": False, "keyCode": 13})
    expect(_message(reader)).to_have_value("")
    wait_for_end(reader)


@pytest.mark.slow
def test_a_form_opens_at_its_beginning_and_a_chat_at_its_end(
    browser: Browser, stack: Stack, reader_session: StorageState, long: str
) -> None:
    window = {"width": 800, "height": 320}
    with visit(browser, stack, reader_session, viewport=window) as page:
        page.goto(long)
        expect(last_answer(page)).to_be_in_viewport()
        page.goto("/#/s/summarize")
        expect(page.get_by_label("Text")).to_be_visible()
        page.wait_for_function("document.querySelector('#scroller').scrollTop === 0")
        expect(page.get_by_role("button", name="To the newest")).to_be_hidden()


def test_a_page_left_half_way_is_found_there_again(reader: Page, long: str) -> None:
    reader.goto(long)
    expect(last_answer(reader)).to_be_in_viewport()
    half_way = reader.get_by_role("article", name="Answer").nth(10)
    half_way.scroll_into_view_if_needed()
    reader.goto("/#/settings")
    expect(reader.get_by_role("heading", name="Settings")).to_be_visible()
    reader.go_back()
    expect(half_way).to_be_in_viewport()


# --- A growing answer ---------------------------------------------------------------------------
@pytest.mark.slow
def test_a_reader_who_goes_up_is_left_there_and_may_follow_again(page: Page) -> None:
    send(page, "A long one. [sim:tokens=9000,tps=300]")
    blocks = last_answer(page).locator(".answer-text > .md-block")
    expect(blocks.nth(8)).to_be_attached()
    assert _distance_to_end(page) < 2
    # One notch of a wheel, and less than what counts as near to the end.
    page.locator("#scroller").evaluate("e => { e.scrollTop -= 30; }")
    place = page.locator("#scroller").evaluate("e => e.scrollTop")
    expect(blocks.nth(blocks.count() + 3)).to_be_attached()
    assert page.locator("#scroller").evaluate("e => e.scrollTop") == place
    page.get_by_role("button", name="To the newest").click()
    expect(blocks.nth(blocks.count() + 3)).to_be_attached()
    assert _distance_to_end(page) < 2
    page.get_by_role("button", name="Stop the answer").click()
    wait_for_end(page)


@pytest.mark.slow
def test_finished_blocks_are_not_built_again(page: Page) -> None:
    """So an answer costs its length, and what is selected in it stays so."""
    send(page, "Longer. [sim:tokens=800,tps=400]")
    blocks = last_answer(page).locator(".answer-text > .md-block")
    expect(blocks.nth(6)).to_be_attached()
    blocks.first.evaluate("e => { e.dataset.mark = 'first'; window.built = 0; }")
    last_answer(page).locator(".answer-text").evaluate(
        """e => new MutationObserver((changes) => {
          for (const {removedNodes} of changes) window.built += removedNodes.length;
        }).observe(e, {childList: true})"""
    )
    wait_for_end(page)
    assert blocks.first.get_attribute("data-mark") == "first"
    frames = page.evaluate("built")
    # Each frame builds the last two at most; there are some dozens of frames.
    assert blocks.count() > 20
    assert frames < 40 * blocks.count()


# --- Formatted answers --------------------------------------------------------------------------
def test_an_answer_is_formatted_and_made_safe(reader: Page, formatted: str) -> None:
    reader.goto(formatted)
    text = wait_for_end(reader).locator(".answer-text")
    expect(text.locator("strong").first).to_have_text("重点：")
    assert text.locator("strong").all_text_contents()[:2] == ["重点：", "“中文”"]
    expect(text.locator("pre .hljs-keyword").first).to_have_text("def")
    expect(text.locator("math")).to_have_count(2 + text.locator("math[aria-label*=href]").count())
    expect(text.locator("math[display=block] mtr")).to_have_count(2)
    expect(text.get_by_text("costs $5, not $6")).to_be_visible()
    expect(text.get_by_role("link", name="defined")).to_have_attribute(
        "href", "https://example.org/defined"
    )
    arabic = text.get_by_text("هذه فقرة")
    assert arabic.evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert text.locator("h1").evaluate("e => getComputedStyle(e).direction") == "ltr"
    unsafe = ":is(script, [onclick], [style], [href^='javascript'], img, iframe)"
    assert text.locator(unsafe).count() == 0
    expect(reader).to_have_title("Formatted · aily")


# --- Settings -----------------------------------------------------------------------------------
def test_the_page_speaks_the_browsers_language_and_then_the_chosen_one(
    browser: Browser, stack: Stack, reader_session: StorageState
) -> None:
    with visit(browser, stack, reader_session, locale="zh-CN") as page:
        page.goto("/#/settings")
        expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
        expect(page.get_by_role("heading", name="设置")).to_be_visible()
        expect(page.locator("#connection")).to_have_text("已连接")
        expect(page.get_by_role("link", name="新对话").last).to_be_visible()
        page.get_by_label("语言").select_option("en")
        expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", "en")
        page.reload()
        expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        page.get_by_label("Language").select_option("")
        expect(page.get_by_role("heading", name="设置")).to_be_visible()


def test_the_theme_is_kept_and_there_before_the_first_paint(
    browser: Browser, stack: Stack, reader_session: StorageState
) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(251, 250, 248)", "rgb(22, 23, 21)"
    with visit(browser, stack, reader_session, color_scheme="light") as page:
        page.goto("/#/settings")
        expect(page.locator("html")).to_have_attribute("data-theme", "system")
        assert page.evaluate(background) == light
        page.get_by_label("Dark").check()
        assert page.evaluate(background) == dark
        # The server writes it, so no script is waited for.
        assert 'data-theme="dark"' in page.request.get("/").text()
        page.reload()
        expect(page.get_by_label("Dark")).to_be_checked()
        assert page.evaluate(background) == dark
        page.get_by_label("As the system").check()
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(background) == dark
        page.emulate_media(color_scheme="light")
        assert page.evaluate(background) == light


# --- Size, accessibility ------------------------------------------------------------------------
def test_the_first_page_is_small(browser: Browser, stack: Stack, session: StorageState) -> None:
    with (
        browser.new_context(base_url=stack.base_url, storage_state=session) as context,
        open_page(context) as page,
    ):
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")
        sizes: list[float] = []
        network.on("Network.loadingFinished", lambda end: sizes.append(end["encodedDataLength"]))
        page.goto("/")
        wait_for_connection(page)
        page.wait_for_load_state("networkidle")
        assert len(sizes) > 20
        assert sum(sizes) < FIRST_PAGE_BYTES


@pytest.mark.parametrize(
    ("viewport", "locale", "scheme"),
    [
        pytest.param(DESKTOP, "en-US", "light", marks=pytest.mark.slow),
        (PHONE, "zh-CN", "dark"),
    ],
)
def test_axe_finds_nothing_serious(
    browser: Browser,
    stack: Stack,
    reader_session: StorageState,
    formatted: str,
    scheme: Any,
    locale: str,
    viewport: Any,
) -> None:
    options = {"color_scheme": scheme, "locale": locale, "viewport": viewport}
    with visit(browser, stack, reader_session, reduced_motion="reduce", **options) as page:
        for address in ("/", "/#/s/summarize", "/#/settings", formatted):
            page.goto(address)
            expect(page.locator("#content > *")).to_be_visible()
            wait_for_connection(page)
            if address == formatted:
                expect(page.locator("pre .hljs-keyword").first).to_be_attached()
            assert _serious(page) == []
        if viewport == PHONE:
            page.locator("#sidebar-open").click()
            assert _serious(page) == []


@pytest.mark.parametrize("scheme", ["dark", pytest.param("light", marks=pytest.mark.slow)])
def test_axe_finds_nothing_serious_on_the_pages_around(
    browser: Browser, stack: Stack, reader_session: StorageState, scheme: Any
) -> None:
    logged_out: StorageState = {"cookies": [], "origins": []}
    for address, session in (("/login/", logged_out), ("/account/", reader_session)):
        with visit(browser, stack, session, color_scheme=scheme, locale="zh-CN") as page:
            page.goto(address)
            assert _serious(page) == []


def _serious(page: Page) -> list[str]:
    results = Axe().run(page, options={"resultTypes": ["violations"]}).response
    return [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in results["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


#: Shows texts piece by piece and at once, by the app's own module; says whether they look alike,
#: and how many blocks were put into the page for the first.
STREAM = """
async ([text, step]) => {
  const {MarkdownView} = await import("/static/js/markdown/view.js");
  const [grown, whole] = [document.createElement("div"), document.createElement("div")];
  document.getElementById("content").replaceChildren(grown, whole);
  const view = new MarkdownView(grown);
  let built = 0;
  const observer = new MutationObserver((changes) => {
    for (const {addedNodes} of changes) built += addedNodes.length;
  });
  observer.observe(grown, {childList: true});
  for (let end = step; end < text.length; end += step) {
    view.show(text.slice(0, end), false, Infinity);
  }
  view.show(text, true, Infinity);
  new MarkdownView(whole).show(text, true, Infinity);
  await new Promise((resolve) => setTimeout(resolve));
  const markup = (element) => element.innerHTML.replaceAll(/ class="hljs[^"]*"/g, "");
  return {isAlike: markup(grown) === markup(whole), built, blocks: grown.children.length,
    text: grown.textContent};
}
"""
PARAGRAPHS = "\n\n".join(f"Paragraph {number} with *some* words." for number in range(300))
LONG_CODE = "Before\n\n```text\n" + "a line of code\n" * 4000 + "```\n\nAfter"
LONG_LIST = "\n".join(f"- item **{number}**" for number in range(600))
MIXED = r"""See [a] and [b][a].

1. one
2. two

   more of two

3. three
1
* star

```
``
 ```

> quote
> more

    indented

Title
===

$$
x
$$

| a |
|---|
| 1 |

[a]: https://example.org/a
after
"""


def test_a_text_that_comes_in_pieces_looks_as_if_it_came_at_once(reader: Page) -> None:
    reader.goto("/")
    wait_for_connection(reader)
    for step in (1, 7):
        assert reader.evaluate(STREAM, [MIXED, step])["isAlike"], step


@pytest.mark.slow
def test_the_work_for_a_growing_text_grows_with_its_length(reader: Page) -> None:
    reader.goto("/")
    wait_for_connection(reader)
    for kind, text in {"text": PARAGRAPHS, "code": LONG_CODE, "list": LONG_LIST}.items():
        parts = (text[: len(text) // 2], text)
        half, whole = (reader.evaluate(STREAM, [part, 50]) for part in parts)
        assert whole["isAlike"], kind
        assert whole["built"] <= 2.2 * half["built"], kind
        assert whole["built"] <= 6 * whole["blocks"] + 150, kind
