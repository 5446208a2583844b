"""What a user does in the web app, in a few words."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


def log_in(page: Page, username: str, password: str) -> None:
    page.goto("/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    wait_for_connection(page)


def wait_for_connection(page: Page) -> None:
    expect(page.locator("#connection")).to_have_attribute("data-state", "open")


def send(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_label("Message").press("Enter")


def last_answer(page: Page) -> Locator:
    return page.get_by_role("article", name="Answer").last


def wait_for_end(page: Page) -> Locator:
    answer = last_answer(page)
    expect(answer).to_have_attribute("aria-busy", "false")
    return answer
