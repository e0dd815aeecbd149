"""The README's pictures: `python -m tests.browser.pictures ADDRESS USER PASSWORD`, against a running demo."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

SCREENS = Path(__file__).parents[1] / "screens"
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


EXAMPLE = """\
Delivered-To: forwardmailbox@contoso.com
X-Original-To: priya.raman+orders@contoso.com
From: Ines Castro <ines@example.org>
To: sales@example.org
Subject: Our order of Monday
"""


def take(page: Page, name: str) -> None:
    page.screenshot(path=SCREENS / f"{name}.png")


def sign_in(page: Page, user: str, password: str) -> None:
    page.goto("/sign-in/")
    page.fill("[name=username]", user)
    page.fill("[name=password]", password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_load_state()


def forward_mailbox(page: Page) -> None:
    page.goto("/mailboxes/?view=forward")
    page.get_by_role("link", name="Collection 1").first.click()


def write(page: Page, to: str, subject: str, text: str) -> None:
    page.goto("/outbox/new/")
    box = page.get_by_role("combobox", name="To", exact=True)
    box.press_sequentially(to)
    box.press("Enter")
    page.fill("main [name=subject]", subject)
    page.fill("main [name=text]", text)


def send(page: Page, to: str, subject: str, text: str) -> None:
    write(page, to, subject, text)
    page.get_by_role("button", name="Send", exact=True).click()
    page.wait_for_load_state()


def correspond(page: Page) -> None:
    """What is in the outbox after a morning: sent and answered, deferred, refused, come back, and a draft."""
    send(page, "hanna.brandt@contoso.com", "Shelves for the new branch", "Hello Hanna,\n\nare they ready?")
    send(page, "nobody@example.org", "Is anybody there?", "Hello?")
    send(page, "later@example.org", "Menu for Thursday", "Please send it today.")
    send(page, "gone@example.org", "Your desk", "When do you come back?")
    send(
        page, "lucia@daily.example.net", "Night deliveries", "Dear Lucía,\n\nthe answers are below.\n\nAmara"
    )
    write(
        page,
        "priya.raman@contoso.com",
        "Holiday in August",
        "Dear Priya,\n\nyes, with pleasure. Who takes Support while you are away?\n\nAmara",
    )
    take(page, "write")
    page.get_by_role("button", name="Save draft", exact=True).click()
    page.wait_for_load_state()
    page.wait_for_timeout(8_000)  # until what comes back was collected
    page.goto("/outbox/")
    take(page, "outbox")


def tour(page: Page) -> None:
    correspond(page)
    page.goto("/mailboxes/")
    take(page, "mailboxes")
    page.goto("/mailboxes/new/")
    page.fill("main [name=name]", "Collection 2")
    page.fill("main [name=email_address]", "support@contoso.com")
    page.get_by_role("button", name="Save", exact=True).click()
    take(page, "new-forward-mailbox")
    forward_mailbox(page)
    page.get_by_role("button", name="Test & Enable").click()
    page.wait_for_selector("#test-incoming .badge.is-ok", timeout=20_000)
    page.locator("#test-incoming summary").click()
    page.locator("#results").scroll_into_view_if_needed()
    take(page, "test-and-enable")
    forward_mailbox(page)
    page.goto(page.url.partition("#")[0] + "ledger/")
    take(page, "ledger")
    page.goto("/settings/routing/")
    page.fill("textarea", EXAMPLE)
    page.get_by_role("button", name="Show the route").click()
    page.wait_for_load_state()
    take(page, "routing-simulator")
    page.goto("/profiles/")
    page.locator("main .table a").first.click()
    take(page, "profile")
    page.goto("/my-mailbox/")
    take(page, "my-mailbox")
    page.goto("/help/forwarding-rules/")
    take(page, "help")
    page.goto("/messages/?q=Night+deliveries")
    page.locator("main tbody a, main .table a").first.click()
    take(page, "message")
    page.goto("/quarantine/")
    take(page, "quarantine")


def main(address: str, user: str, password: str) -> None:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        page = chromium.new_context(base_url=address, viewport=WIDE).new_page()
        sign_in(page, user, password)
        tour(page)
        night = chromium.new_context(base_url=address, viewport=NARROW, color_scheme="dark").new_page()
        sign_in(night, user, password)
        forward_mailbox(night)
        take(night, "narrow-by-night")
        chromium.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
