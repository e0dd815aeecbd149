"""Two people at the same record: nobody overwrites silently what the other did."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from mailboxes.models import EmailConfigurationSettings, Mailbox, Queue, RoutingHeader, User
from mailboxes.roles import Role, role_of, set_role
from tests.conftest import Browser, Office, profile_values

CANARY = "Kanarienvogel 9"


class Window:
    """A page that somebody opened, with the controls as a browser sends them back."""

    def __init__(self, browser: Client, address: str) -> None:
        self.browser, self.address = browser, address
        self.html = browser.get(address).content.decode()
        self.read(self.html)

    def read(self, html: str) -> None:
        self.html, self.controls = html, {}
        form = html[html.index("novalidate") :]
        form = form[: form.index("</form>")]
        for tag in re.findall(r"<input [^>]*>", form):
            self._take_input(dict(re.findall(r'([\w-]+)(?:="([^"]*)")?', tag)), tag)
        for name, options in re.findall(r'<select name="(\w+)".*?>(.*?)</select>', form, re.S):
            chosen = re.search(r'<option value="([^"]*)" selected', options)
            self.controls[name] = chosen[1] if chosen else ""
        for name, text in re.findall(r'<textarea name="(\w+)"[^>]*>\n?(.*?)</textarea>', form, re.S):
            self.controls[name] = unescape(text).replace("\n", "\r\n")

    def _take_input(self, given: dict[str, str], tag: str) -> None:
        if "name" not in given or (given.get("type") in ("radio", "checkbox") and " checked" not in tag):
            return
        self.controls[given["name"]] = unescape(given.get("value", ""))

    def save(self, **typed: Any) -> Any:
        """Post the page; a page that comes back is the one in this window from then on."""
        response = self.browser.post(self.address, self.controls | typed)
        if response.status_code != 302:
            self.read(response.content.decode())
        return response

    def refused(self, sentence: str, **typed: Any) -> None:
        assert self.save(**typed).status_code in (200, 422)
        assert re.search(sentence, unescape(self.html)), sentence

    def accepted(self, **typed: Any) -> None:
        response = self.save(**typed)
        if response.status_code == 200 and "seen" in self.controls:  # asked: mailboxes rest by this change
            response = self.save()
        errors = re.findall(r'class="error".*?</p>', self.html, re.S)
        assert response.status_code == 302, errors


@pytest.fixture
def hannas(office: Office) -> Client:
    """Hanna's browser: she administers, too."""
    hanna = User.objects.create_user("hanna", "hanna@contoso.com", first_name="Hanna", last_name="Brandt")
    set_role(hanna, Role.ADMINISTRATOR)
    browser = Browser()
    browser.force_login(hanna)
    return browser


def of_mailbox(mailbox: Mailbox) -> str:
    return reverse("mailbox-edit", args=[mailbox.pk])


def stored(mailbox: Mailbox) -> Mailbox:
    return Mailbox.objects.get(pk=mailbox.pk)


BY_HANNA = (
    r"Hanna Brandt changed this to {} at \d\d:\d\d while you were editing\. Save again to set it to {}\."
)

# Page of the record, what Hanna types, what Amara types at another field.
PAGES: dict[str, tuple[Callable[[Office], str], dict[str, Any], dict[str, Any]]] = {
    "mailbox": (
        lambda office: of_mailbox(office.collection),
        {"incoming_method": "none"},
        {"name": "Collection one"},
    ),
    "profile": (
        lambda office: reverse("profile-edit", args=[office.profile.pk]),
        {"max_concurrent_connections": "12"},
        {"timeout_seconds": "40"},
    ),
    "user": (
        lambda office: reverse("user-edit", args=[office.amara.pk]),
        {"last_name": "Okafor-Brandt"},
        {"time_zone": "Europe/Berlin"},
    ),
    "queue": (
        lambda office: reverse("queue-edit", args=[office.support.pk]),
        {"members": "amara"},
        {"description": "First answers"},
    ),
    "settings": (
        lambda office: reverse("configuration"),
        {"routing_headers": "X-One"},
        {"require_approval_for_users": "False"},
    ),
    "preferences": (
        lambda office: reverse("me"),
        {"theme": "dark"},
        {"time_zone": "Europe/Berlin"},
    ),
}


@pytest.mark.parametrize("record", PAGES)
def test_what_one_did_not_touch_stays_as_the_other_left_it(
    amaras: Client, hannas: Client, office: Office, record: str
) -> None:
    address, theirs, mine = PAGES[record]
    mine_open = Window(amaras, address(office))
    Window(amaras if record == "preferences" else hannas, address(office)).accepted(**theirs)
    mine_open.accepted(**mine)
    now = Window(amaras, address(office))
    for name, value in (theirs | mine).items():
        assert value in now.controls[name]


@pytest.mark.parametrize("record", PAGES)
def test_what_both_changed_is_refused_once_and_goes_through_knowingly(
    amaras: Client, hannas: Client, office: Office, record: str
) -> None:
    address, theirs, _ = PAGES[record]
    [(name, value)] = theirs.items()
    other = {
        "incoming_method": "server_side",
        "max_concurrent_connections": "14",
        "last_name": "Berg",
        "members": "hanna",
        "routing_headers": "X-Two",
        "theme": "light",
    }[name]
    if record == "mailbox":  # something that the record does not have yet, for both
        Window(amaras, address(office)).accepted(delete_emails_after_processing="True")
        name, value, other = "name", "Hanna’s", "Amara’s"
    mine_open = Window(amaras, address(office))
    Window(amaras if record == "preferences" else hannas, address(office)).accepted(**{name: value})
    mine_open.refused(r"changed (this )?to .* Save again to set it to ", **{name: other})
    assert other in mine_open.controls[name]
    assert value in Window(amaras, address(office)).controls[name]
    mine_open.accepted()
    assert other in Window(amaras, address(office)).controls[name]


def test_the_sentence_says_who_when_and_both_values(amaras: Client, hannas: Client, office: Office) -> None:
    address = reverse("profile-edit", args=[office.profile.pk])
    mine_open = Window(amaras, address)
    Window(hannas, address).accepted(incoming_security="starttls", incoming_port="10143")
    mine_open.refused(BY_HANNA.format("STARTTLS", "SSL/TLS"), incoming_security="tls")
    box = of_mailbox(office.collection)
    mine_open = Window(amaras, box)
    Window(amaras, box).accepted(name="First window")
    mine_open.refused(r"You changed this to First window at \d\d:\d\d in another window\.", name="Second")


def test_the_same_change_twice_is_none(amaras: Client, hannas: Client, office: Office) -> None:
    mine_open = Window(amaras, of_mailbox(office.collection))
    Window(hannas, of_mailbox(office.collection)).accepted(name="Collection one")
    mine_open.accepted(name="Collection one")
    assert stored(office.collection).name == "Collection one"


def test_who_saves_is_told_what_the_other_changed(amaras: Client, hannas: Client, office: Office) -> None:
    mine_open = Window(amaras, of_mailbox(office.collection))
    Window(hannas, of_mailbox(office.collection)).accepted(name="Collection one")
    mine_open.accepted(delete_emails_after_processing="True")
    shown = amaras.get(of_mailbox(office.collection)).content.decode()
    assert "Name: Hanna Brandt changed this to Collection one at" in shown


class TestPasswords:
    def test_a_password_that_both_typed(self, amaras: Client, hannas: Client, office: Office) -> None:
        mine_open = Window(amaras, of_mailbox(office.collection))
        Window(hannas, of_mailbox(office.collection)).accepted(password="Hannas Wort 1")
        mine_open.refused(r"Hanna Brandt changed this at .*Type yours again to replace it", password=CANARY)
        assert stored(office.collection).password.reveal() == "Hannas Wort 1"
        assert CANARY not in mine_open.html
        mine_open.accepted(password=CANARY)
        assert stored(office.collection).password.reveal() == CANARY

    def test_left_empty_the_other_ones_stays(self, amaras: Client, hannas: Client, office: Office) -> None:
        mine_open = Window(amaras, of_mailbox(office.collection))
        Window(hannas, of_mailbox(office.collection)).accepted(password="Hannas Wort 1")
        mine_open.accepted(name="Collection one")
        assert stored(office.collection).password.reveal() == "Hannas Wort 1"

    def test_the_page_carries_nothing_of_it(self, amaras: Client, office: Office) -> None:
        window = Window(amaras, of_mailbox(office.collection))
        sealed = str.__str__(office.collection.__dict__["password"])
        assert "Feldsalat" not in window.html
        assert sealed not in window.html
        assert sealed[-20:] not in window.controls["shown"]

    def test_a_sign_in_password_and_a_role(self, amaras: Client, hannas: Client, office: Office) -> None:
        bram = User.objects.create_user("bram", "bram@contoso.com", password="Postkutsche im Regen")
        address = reverse("user-edit", args=[bram.pk])
        mine_open = Window(amaras, address)
        Window(hannas, address).accepted(new_password="Hannas neues Wort", role="staff")
        mine_open.refused("changed this at", new_password="Amaras neues Wort", role="approver")
        assert "to Staff at" in mine_open.html
        assert "Save again to set it to Address approver" in mine_open.html
        bram.refresh_from_db()
        assert bram.check_password("Hannas neues Wort")
        assert role_of(bram) == Role.STAFF
        mine_open.accepted(new_password="Amaras neues Wort")
        bram.refresh_from_db()
        assert bram.check_password("Amaras neues Wort")
        assert role_of(User.objects.get(pk=bram.pk)) == Role.APPROVER


class TestWithoutWhatThePageShowed:
    """No base, no silent overwrite: the first save says what it would replace."""

    @pytest.mark.parametrize("carried", ["", "forged", "of another record", "altered"])
    def test_a_change_is_asked_for_once_more(self, amaras: Client, office: Office, carried: str) -> None:
        window = Window(amaras, of_mailbox(office.collection))
        other = Window(amaras, of_mailbox(office.support.mailbox)).controls["shown"]
        shown = window.controls["shown"]
        texts = {"of another record": other, "altered": shown[:-2] + ("aa" if shown[-2:] != "aa" else "bb")}
        window.refused(
            "This is Collection 1 now, and the page that was sent does not tell what it showed. Save again "
            "to set it to Collection one.",
            name="Collection one",
            shown=texts.get(carried, carried),
        )
        assert stored(office.collection).name == "Collection 1"
        assert window.controls["name"] == "Collection one"
        window.accepted()
        assert stored(office.collection).name == "Collection one"

    def test_a_password_too(self, amaras: Client, office: Office) -> None:
        window = Window(amaras, of_mailbox(office.collection))
        window.refused("Type yours again to replace it", password=CANARY, shown="")
        assert stored(office.collection).password.reveal() == "Feldsalat 23"

    def test_no_change_is_no_harm(self, amaras: Client, office: Office) -> None:
        Window(amaras, of_mailbox(office.collection)).accepted(shown="")


def test_a_wrong_entry_does_not_hide_that_somebody_was_faster(
    amaras: Client, hannas: Client, office: Office
) -> None:
    """The other's change is still unseen while the own one is refused for itself."""
    address = reverse("profile-edit", args=[office.profile.pk])
    mine_open = Window(amaras, address)
    Window(hannas, address).accepted(timeout_seconds="50")
    mine_open.refused("Enter a whole number", timeout_seconds="soon")
    mine_open.refused(BY_HANNA.format("50", "20"), timeout_seconds="20")
    mine_open.accepted()
    assert EmailServerProfile.objects.get(pk=office.profile.pk).timeout_seconds == 20


def test_the_default_profile_is_not_taken_back(amaras: Client, hannas: Client, office: Office) -> None:
    branch = EmailServerProfile.objects.create(**profile_values(name="Branch", owner=office.amara))
    settings = reverse("configuration")
    mine_open = Window(amaras, settings)
    Window(hannas, settings).accepted(default_profile=branch.pk)
    mine_open.refused(BY_HANNA.format("Branch", "Head office"), default_profile=office.profile.pk)
    assert EmailServerProfile.objects.get(is_default=True) == branch
    mine_open.accepted()
    assert EmailServerProfile.objects.get(is_default=True) == office.profile


def test_an_exact_moment_is_not_cut_by_who_does_not_touch_it(amaras: Client, office: Office) -> None:
    moment = timezone.now().replace(second=31, microsecond=5)
    EmailServerProfile.objects.filter(pk=office.profile.pk).update(process_email_from=moment)
    Window(amaras, reverse("profile-edit", args=[office.profile.pk])).accepted(timeout_seconds="20")
    assert EmailServerProfile.objects.get(pk=office.profile.pk).process_email_from == moment


def test_who_may_only_look_carries_nothing(browser_of: Callable[[str], Client], office: Office) -> None:
    assert 'name="shown"' not in browser_of("staff").get(of_mailbox(office.collection)).content.decode()


# ── At the same moment ──────────────────────────────────────────────────────────────────────


def at_once(*saves: Callable[[], Any]) -> list[int]:
    """Run the posts in threads that meet just before; their status codes in order."""
    meeting = threading.Barrier(len(saves), timeout=30)
    found: dict[int, int] = {}

    def run(number: int, save: Callable[[], Any]) -> None:
        meeting.wait()
        try:
            found[number] = save().status_code
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(saves)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [found[number] for number in range(len(saves))]


@pytest.mark.django_db(transaction=True)
class TestTwoPostsAtOnce:
    @pytest.mark.parametrize("attempt", range(5))
    def test_of_the_same_field_one_is_refused(
        self, amaras: Client, hannas: Client, office: Office, attempt: int
    ) -> None:
        both = [Window(browser, of_mailbox(office.collection)) for browser in (amaras, hannas)]
        names = ["Amara’s", "Hanna’s"]
        codes = at_once(lambda: both[0].save(name=names[0]), lambda: both[1].save(name=names[1]))
        assert sorted(codes) == [200, 302]
        assert stored(office.collection).name == names[codes.index(302)]
        assert "while you were editing" in both[codes.index(200)].html

    @pytest.mark.parametrize("attempt", range(5))
    def test_of_two_fields_both_stay(
        self, amaras: Client, hannas: Client, office: Office, attempt: int
    ) -> None:
        address = reverse("queue-edit", args=[office.support.pk])
        both = [Window(browser, address) for browser in (amaras, hannas)]
        codes = at_once(
            lambda: both[0].save(description="First answers"), lambda: both[1].save(members="hanna")
        )
        assert codes == [302, 302]
        queue = Queue.objects.get(pk=office.support.pk)
        assert queue.description == "First answers"
        assert [user.username for user in queue.members.all()] == ["hanna"]

    def test_of_settings_and_headers(self, amaras: Client, hannas: Client, office: Office) -> None:
        both = [Window(browser, reverse("configuration")) for browser in (amaras, hannas)]
        codes = at_once(
            lambda: both[0].save(routing_headers="X-Amara"), lambda: both[1].save(routing_headers="X-Hanna")
        )
        assert sorted(codes) == [302, 422]
        assert RoutingHeader.names() == (("X-Amara",), ("X-Hanna",))[codes.index(302)]
        assert EmailConfigurationSettings.objects.count() == 1
