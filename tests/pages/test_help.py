"""Help: every topic opens, every link in it and to it leads somewhere, and it calls things what the product does."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import resolve, reverse
from django.utils.html import escape

from emailprofiles.wire import StepName
from mailboxes.handbook import Topic, topic, topics
from mailboxes.models import (
    ActMethod,
    Approval,
    IncomingMethod,
    OutgoingMethod,
    OutgoingState,
    TestStatus,
    TokenPlace,
)
from mailboxes.parsing import parse
from mailboxes.roles import Role
from mailboxes.routing import (
    REASON_LABELS,
    ROUTING_HEADERS,
    RULE_LABELS,
    Entry,
    Rule,
    Rules,
    Source,
    route,
    trusted,
)
from tests.conftest import Office

from .letters import collected, delivered

pytestmark = pytest.mark.django_db

TEMPLATES = settings.BASE_DIR / "templates"
HELP = TEMPLATES / "mailboxes" / "help"


class Page(HTMLParser):
    """What a page of the help is made of; only its article counts, but for the identifiers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: dict[str, list[str]] = {"b": [], "h2": [], "code": []}
        self.listings: dict[str, str] = {}
        self._open: list[tuple[str, str]] = []
        self._in_article = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in_article |= tag == "article"
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        if self._in_article and tag in self.texts:
            self.texts[tag].append("")
        self._open.append((tag, values.get("id", "")))

    def handle_endtag(self, tag: str) -> None:
        self._in_article &= tag != "article"
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for tag, anchor in self._open:
            if self._in_article and tag in self.texts:
                self.texts[tag][-1] += data
            if tag == "pre" and anchor:
                self.listings[anchor] = self.listings.get(anchor, "") + data


@pytest.fixture
def read(amaras: Client) -> Callable[[str], Page]:
    """Opens an address in Amara's browser, each once."""

    @cache
    def opened(address: str) -> Page:
        answer = amaras.get(address)
        assert answer.status_code == 200, address
        return Page(answer.content.decode())

    return opened


@pytest.mark.parametrize("role", ["administrator", "approver", "staff", "user"])
def test_the_help_is_open_to_everyone_who_has_signed_in(
    browser_of: Callable[[str], Client], role: str
) -> None:
    client = browser_of(role)
    contents = client.get(reverse("help")).content.decode()
    for one in topics():
        assert f'href="{one.address}"' in contents
        page = client.get(one.address)
        assert page.status_code == 200, one.slug
        assert escape(one.title) in page.content.decode()


def test_it_says_which_version_this_is(amaras: Client) -> None:
    written = re.search(
        r'^version = "(.+)"$', (settings.BASE_DIR / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert written
    assert f"Sorting Office {written[1]}," in amaras.get("/help/").content.decode()


def test_nobody_else_reads_it(browser_of: Callable[[str], Client]) -> None:
    page = browser_of("anonymous").get("/help/routing/")
    assert page.status_code == 302
    assert page["Location"].startswith("/sign-in/")


def test_an_unknown_topic_is_not_found(amaras: Client) -> None:
    assert amaras.get("/help/exchange-2003/").status_code == 404


@pytest.mark.parametrize("one", list(topics()), ids=lambda one: one.slug)
def test_the_list_of_contents_is_the_page(read: Callable[[str], Page], one: Topic) -> None:
    page = read(one.address)
    anchors = [anchor for anchor, _ in one.sections]
    assert page.texts["h2"] == [text for _, text in one.sections]
    assert [anchor for anchor in page.ids if anchor in anchors] == anchors
    assert len(page.ids) == len(set(page.ids))
    assert len(anchors) >= 2


@pytest.mark.parametrize("address", ["/help/", *(one.address for one in topics())])
def test_every_link_leads_somewhere(read: Callable[[str], Page], address: str) -> None:
    for link in read(address).links:
        path, _, anchor = link.partition("#")
        assert resolve(path or address), link
        if anchor and (not path or path.startswith("/help/")):
            assert anchor in read(path or address).ids, link


def references() -> Iterator[tuple[Path, str]]:
    """Every mention of a topic in templates and views: "topic" or "topic#section"."""
    said = (
        r'{% help "([^"]+)"',
        r'\btopic="([^"]+)"',
        r"{% url ['\"]help-topic['\"] ['\"]([\w-]+)['\"] %}(#[\w-]+)?",
    )
    sources = [*TEMPLATES.rglob("*.html"), *(settings.BASE_DIR / "mailboxes").rglob("*.py")]
    for path in sources:
        text = path.read_text(encoding="utf-8")
        for pattern in said:
            for found in re.finditer(pattern, text):
                yield path, "".join(part or "" for part in found.groups())


def test_every_topic_that_is_named_anywhere_exists(read: Callable[[str], Page]) -> None:
    found = list(references())
    assert len({path for path, _ in found if HELP not in path.parents}) > 10
    for path, said in found:
        slug, _, anchor = said.partition("#")
        one = topic(slug)
        assert not anchor or anchor in read(one.address).ids, (path, said)


def test_fields_and_pages_lead_to_what_explains_them(amaras: Client, office: Office) -> None:
    message = delivered(office.collection, office.support.mailbox)
    collected(office.collection, 2, state="quarantined", reason="no_recipient_matched")
    expected = {
        "/mailboxes/new/": [
            "forward-or-individual",
            "forwarding-rules",
            "deleting",
            "credentials",
            "synchronization-method",
            "test-and-enable",
        ],
        f"/mailboxes/{office.support.mailbox.pk}/": ["approval", "credentials", "test-and-enable", "states"],
        "/queues/new/": ["shared-mailbox", "sending"],
        "/users/new/": ["permissions", "sending"],
        "/quarantine/": ["quarantine"],
        "/alerts/": ["alerts"],
        "/settings/email/": ["routing", "approval", "synchronization-method", "sending", "alerts"],
        "/me/": ["sending"],
        "/profiles/new/": ["credentials", "alerts"],
        f"/messages/{message.pk}/": ["routing"],
    }
    for address, slugs in expected.items():
        page = amaras.get(address).content.decode()
        for slug in slugs:
            assert f'class="to-help" href="/help/{slug}/' in page, (address, slug)


# --- words -----------------------------------------------------------------------------------------------


def product_words() -> set[str]:
    """Every string of the code and every text of a template outside the help, as people may read it."""
    words: set[str] = set()
    for package in ("mailboxes", "emailprofiles"):
        for path in (settings.BASE_DIR / package).rglob("*.py"):
            if path.name != "handbook.py" and "migrations" not in path.parts:
                tree = ast.parse(path.read_text(encoding="utf-8"))
                words |= {node.value for node in ast.walk(tree) if _is_text(node)}  # type: ignore[attr-defined]
    for path in TEMPLATES.rglob("*.html"):
        if HELP not in path.parents:
            text = path.read_text(encoding="utf-8").replace("&amp;", "&")
            words |= {piece.strip() for piece in re.split(r"<[^>]*>|{%.*?%}|{{.*?}}", text)}
    return words


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_what_is_set_in_bold_is_called_so_in_the_product(read: Callable[[str], Page]) -> None:
    words = product_words() | {name.capitalize() for name in StepName if name != StepName.TLS}
    named = {(one.slug, label) for one in topics() for label in read(one.address).texts["b"]}
    assert len(named) > 100
    assert {(slug, label) for slug, label in named if label not in words} == set()


@pytest.mark.parametrize(
    ("slug", "labels"),
    [
        ("synchronization-method", {*IncomingMethod.labels, *OutgoingMethod.labels, *ActMethod.labels}),
        ("approval", set(Approval.labels)),
        ("test-and-enable", {*TestStatus.labels, *(name[0].upper() + name[1:] for name in StepName)}),
        ("quarantine", set(REASON_LABELS.values())),
        ("permissions", set(Role.labels)),
        ("sending", {*OutgoingState.labels, *TokenPlace.labels}),
        (
            "routing",
            {RULE_LABELS[rule] for rule in (Rule.FORWARDED_AS_ATTACHMENT, Rule.REDIRECTED, Rule.TO_AND_CC)},
        ),
    ],
)
def test_no_option_is_left_out(read: Callable[[str], Page], slug: str, labels: set[str]) -> None:
    assert labels - set(read(topic(slug).address).texts["b"]) == set()


def test_the_states_are_those_of_the_pages(read: Callable[[str], Page]) -> None:
    source = (settings.BASE_DIR / "mailboxes" / "standing.py").read_text(encoding="utf-8")
    words = set(re.findall(r'Standing\("[\w-]+", "\w+", "([^"]+)"', source))
    assert len(words) >= 8
    assert words - set(read("/help/states/").texts["b"]) == set()


def test_the_routing_headers_stand_in_the_order_in_which_they_are_asked(read: Callable[[str], Page]) -> None:
    written = [name for name in read("/help/routing/").texts["code"] if name in ROUTING_HEADERS]
    assert written == list(ROUTING_HEADERS)


# --- what each way leaves --------------------------------------------------------------------------------

NOAH = "noah@contoso.com"
# Listing → the header that leads to Noah, and whether it has to be added in the settings first.
LEAVES = {
    "exchange-redirect": ("Resent-From", False),
    "microsoft-365-forwarding": ("X-MS-Exchange-ForwardingLoop", True),
    "gmail-forwarding": ("Delivered-To", False),
    "gmail-routing": ("X-Gm-Original-To", True),
    "sieve": ("Delivered-To", False),
    "postfix": ("X-Original-To", False),
}


class OnlyNoah:
    """A directory that knows Noah and the forward mailbox."""

    def find(self, address: str) -> Entry | None:
        kinds = {NOAH: "user", "forwardmailbox@contoso.com": "forward"}
        kind = kinds.get(address.lower())
        return Entry(1, kind, "Noah") if kind else None  # type: ignore[arg-type]


def test_each_listing_of_headers_leads_to_the_person(read: Callable[[str], Page]) -> None:
    listings = read("/help/forwarding-rules/").listings
    assert {name.removeprefix("leaves-") for name in listings if name.startswith("leaves-")} == set(LEAVES)
    source = Source(2, "forward", "forwardmailbox@contoso.com", "Collection 1")
    for name, (header, must_be_added) in LEAVES.items():
        raw = listings[f"leaves-{name}"].strip().replace("\n", "\r\n") + "\r\n\r\nHello\r\n"
        found = route(parse(raw.encode()), source, OnlyNoah(), Rules(trusted((*ROUTING_HEADERS, header))))
        assert [(target.header, target.address) for target in found.targets] == [(header, NOAH)], name
        assert (header not in ROUTING_HEADERS) is must_be_added


def test_a_plain_forward_leads_to_nobody() -> None:
    raw = (
        b"From: Noah <noah@contoso.com>\r\nTo: forwardmailbox@contoso.com\r\nSubject: FW: Hi\r\n\r\n> Hi\r\n"
    )
    source = Source(2, "forward", "forwardmailbox@contoso.com", "Collection 1")
    assert route(parse(raw), source, OnlyNoah()).targets == ()
