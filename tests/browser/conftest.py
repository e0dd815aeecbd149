"""The office open in a real browser: pages by waitress, an engine, Dovecot and an SMTP server, all on loopback."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.servers.basehttp import get_internal_wsgi_application
from playwright.sync_api import Browser, Page, expect, sync_playwright
from waitress.server import create_server

from mailboxes.management.commands.serve import answer
from mailboxes.sync.worker import Engine
from tests.servers import needs

from .pictures import FLAGS

# Playwright's synchronous interface runs an event loop in this thread, which Django takes for ours.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

# Width changes what lies where, day and night change what stands out from what: two looks show all of both.
# EVERY_LOOK=1 asks for the other two as well (`make looks`).
LOOKS = [(1440, "light"), (390, "dark")]
if os.environ.get("EVERY_LOOK"):
    LOOKS += [(1440, "dark"), (390, "light")]
in_every_look = pytest.mark.parametrize(("width", "scheme"), LOOKS)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    needs("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def site(transactional_db: None) -> Iterator[str]:
    """Pages and engine, as `serve` runs them; yields the address."""
    pages = create_server(get_internal_wsgi_application(), map={}, host="127.0.0.1", port=0, threads=8)
    engine = Engine(2)
    closing = threading.Event()
    at_work = [
        threading.Thread(target=run, daemon=True) for run in (lambda: answer(pages, closing), engine.run)
    ]
    for thread in at_work:
        thread.start()
    yield f"http://127.0.0.1:{pages.effective_port}"
    closing.set()
    at_work[0].join(10)
    engine.shut_down()


@dataclass
class Visitor:
    """A person at the browser; `complaints` is what the console said: CSP reports, failed requests, errors."""

    page: Page
    site: str
    has_script: bool = True
    complaints: list[str] = field(default_factory=list)

    def opens(self, path: str) -> None:
        self.page.goto(f"{self.site}{path}")

    def types(self, **values: str) -> None:
        """Fill fields by their names."""
        for name, value in values.items():
            self.page.fill(f"main [name={name}]", value)

    def chooses(self, **values: str) -> None:
        """Choose options or radio buttons by their names and values."""
        for name, value in values.items():
            found = self.page.locator(f"main [name={name}]")
            if found.first.evaluate("element => element.tagName") == "SELECT":
                found.select_option(value)
            else:
                self.page.locator(f"main [name={name}][value={value}]").check()

    def presses(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()
        self.page.wait_for_load_state()

    def follows(self, name: str) -> None:
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self.page.wait_for_load_state()

    def sees(self, *texts: str) -> None:
        for text in texts:
            expect(self.page.locator("body")).to_contain_text(text, timeout=15_000)

    def signs_in(self, username: str, password: str) -> None:
        self.opens("/sign-in/")
        self.page.fill("[name=username]", username)
        self.page.fill("[name=password]", password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_load_state()


@pytest.fixture
def visitor_with(chromium: Browser, site: str) -> Iterator[Any]:
    """Makes visitors: `visitor_with(java_script_enabled=False, …)` takes what a browser context takes."""
    contexts = []

    def make(**options: Any) -> Visitor:
        contexts.append(chromium.new_context(**{"viewport": {"width": 1440, "height": 1000}} | options))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        visitor = Visitor(page, site)
        page.on(
            "console", lambda said: visitor.complaints.append(said.text) if said.type == "error" else None
        )
        page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        return visitor

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def visitor(visitor_with: Any) -> Visitor:
    made: Visitor = visitor_with()
    return made
