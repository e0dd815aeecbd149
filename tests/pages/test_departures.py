"""Users and queues go and come back: what each page says first, what it refuses, and what moves along."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from mailboxes import departures
from mailboxes.models import Alert, ConfigurationTest, Mailbox, OutgoingMessage, Queue, User
from mailboxes.roles import Role, set_role
from tests.conftest import Office
from tests.pages.letters import collected, delivered


@pytest.fixture
def hanna(office: Office) -> User:
    return User.objects.create_user("hanna", "hanna@contoso.com", first_name="Hanna", last_name="Brandt")


def at(name: str, record: User | Queue) -> str:
    return reverse(f"{record.kind.value}-{name}", args=[record.pk])


def text(response: Any, status: int = 200) -> str:
    assert response.status_code == status
    page: str = response.content.decode()
    return page


@pytest.mark.parametrize("kind", ["user", "queue"])
@pytest.mark.parametrize("name", ["activate", "deactivate", "delete"])
@pytest.mark.parametrize(
    ("role", "status"), [("anonymous", 302), ("user", 403), ("approver", 403), ("staff", 403)]
)
def test_who_goes_is_the_administrators_business(
    kind: str, name: str, role: str, status: int, office: Office, browser_of: Callable[[str], Client]
) -> None:
    record: Any = office.amara if kind == "user" else office.support
    client = browser_of(role)
    for address in (at(name, record), reverse(f"{kind}-{name}", args=[99999])):
        assert client.get(address).status_code == status
        assert client.post(address).status_code == status
    if kind == "user":
        assert client.post(reverse("user-hand-over", args=[record.pk])).status_code == status


# ── Deactivate and activate ─────────────────────────────────────────────────────────────────


def test_what_deactivating_stops_is_said_before_it_is_done(
    hanna: User, amaras: Client, office: Office
) -> None:
    mailbox = Mailbox.objects.get(user=hanna)
    mailbox.incoming_method = "forward"
    mailbox.save()

    page = text(amaras.get(at("deactivate", hanna)))

    for said in (
        "Hanna Brandt is signed out everywhere",
        "No direction of it runs now",
        "waits in quarantine",
    ):
        assert said in page
    assert User.objects.get(pk=hanna.pk).is_active


def test_running_directions_are_named(hanna: User, amaras: Client, office: Office) -> None:
    Mailbox.objects.filter(user=hanna).update(incoming_method="forward", approval="approved")
    state = office.collection.state("incoming")
    state.enabled, state.test_status = True, "success"
    state.tested_mailbox_version, state.tested_profile_version = 1, 1
    state.save()

    assert "incoming email stops." in text(amaras.get(at("deactivate", hanna)))


def test_a_deactivated_user_takes_the_mailbox_along_and_is_signed_out(hanna: User, amaras: Client) -> None:
    hannas = Client()
    hannas.force_login(hanna)

    page = text(amaras.post(at("deactivate", hanna), follow=True))

    assert "Hanna Brandt is deactivated" in page
    assert "Activate…" in page
    hanna.refresh_from_db()
    assert not hanna.is_active
    assert not Mailbox.objects.get(user=hanna).is_active
    assert hannas.get(reverse("message-list")).status_code == 302


@pytest.mark.parametrize("with_mailbox", [True, False])
def test_whoever_comes_back_has_the_mailbox_or_not(with_mailbox: bool, hanna: User, amaras: Client) -> None:
    amaras.post(at("deactivate", hanna))

    amaras.post(at("activate", hanna), {"with_mailbox": str(with_mailbox)})

    hanna.refresh_from_db()
    assert hanna.is_active
    assert Mailbox.objects.get(user=hanna).is_active == with_mailbox


def test_a_queue_goes_and_comes_back(office: Office, amaras: Client) -> None:
    assert "Nobody can join Support any more" in text(amaras.get(at("deactivate", office.support)))

    amaras.post(at("deactivate", office.support))
    assert not Mailbox.objects.get(queue=office.support).is_active
    page = text(amaras.post(at("activate", office.support), {"with_mailbox": "True"}, follow=True))

    assert "Support is active" in page
    assert Mailbox.objects.get(queue=office.support).is_active


def test_who_comes_back_to_a_taken_address_is_told_by_whom(
    hanna: User, amaras: Client, office: Office
) -> None:
    amaras.post(at("deactivate", hanna))
    Queue.objects.create(name="Reception", email_address="hanna@contoso.com", owner=office.amara)

    page = text(amaras.post(at("activate", hanna), {"with_mailbox": "True"}), 422)

    assert "hanna@contoso.com already belongs to the queue mailbox Reception" in page
    assert not User.objects.get(pk=hanna.pk).is_active


def test_a_stored_choice_that_is_out_of_date_keeps_nobody_here(hanna: User, amaras: Client) -> None:
    User.objects.filter(pk=hanna.pk).update(time_zone="Mars/Olympus", incoming_filter="replies")

    amaras.post(at("deactivate", hanna))

    assert not User.objects.get(pk=hanna.pk).is_active


def test_who_owns_something_hands_it_over_first(office: Office, hanna: User, amaras: Client) -> None:
    set_role(hanna, Role.ADMINISTRATOR)

    for page in (
        text(amaras.get(at("deactivate", office.amara))),
        text(amaras.post(at("deactivate", office.amara)), 422),
    ):
        assert "hand them over to someone else first" in page
        for owned in ("the queue Support", "the forward mailbox Collection 1", "the profile Head office"):
            assert owned in page
        assert f"{at('hand-over', office.amara)}?then=deactivate" in page
    office.amara.refresh_from_db()
    assert office.amara.is_active


def test_a_sentence_names_only_the_first_of_many(office: Office) -> None:
    for number in range(8):
        Queue.objects.create(
            name=f"Queue {number}", email_address=f"q{number}@contoso.com", owner=office.amara
        )

    owned = office.amara.owned()

    assert owned[:6] == [*(f"the queue Queue {number}" for number in range(5)), "4 more queues"]


def test_the_last_administrator_stays_active(hanna: User, office: Office) -> None:
    set_role(hanna, Role.ADMINISTRATOR)
    set_role(office.amara, Role.USER)
    browser = Client()
    browser.force_login(hanna)

    assert "is the last active administrator" in text(browser.get(at("deactivate", hanna)))
    assert "is the last active administrator" in text(browser.post(at("deactivate", hanna)), 422)
    assert "is the last active administrator" in text(browser.post(at("delete", hanna)), 422)

    assert User.objects.get(pk=hanna.pk).is_active


# ── Hand over ───────────────────────────────────────────────────────────────────────────────


def test_everything_changes_hands_at_once(hanna: User, office: Office, amaras: Client) -> None:
    set_role(hanna, Role.ADMINISTRATOR)
    said = {"why": "A reason.", "what_we_do": "We wait.", "what_you_can_do": "Look."}
    about = {"cause": "x", "title": "Receiving stopped", "mailbox": office.collection, "owner": office.amara}
    Alert.objects.create(**about, **said)

    page = text(amaras.get(reverse("user-hand-over", args=[office.amara.pk])))
    for owned in ("Support", "Collection 1", "Head office"):
        assert owned in page
    address = f"{reverse('user-hand-over', args=[office.amara.pk])}?then=deactivate"
    response = amaras.post(address, {"to": "Hanna Brandt"})

    assert response.url == at("deactivate", office.amara)
    assert {
        Queue.objects.get(pk=office.support.pk).owner,
        Mailbox.objects.get(queue=office.support).owner,
        Mailbox.objects.get(pk=office.collection.pk).owner,
        EmailServerProfile.objects.get(pk=office.profile.pk).owner,
        Alert.objects.get().owner,
    } == {hanna}
    assert Mailbox.objects.get(user=office.amara).owner == office.amara
    assert "Hanna Brandt owns 3 records of Amara Okafor now" in text(amaras.get(response.url))
    amaras.post(response.url)
    assert not User.objects.get(pk=office.amara.pk).is_active


@pytest.mark.parametrize(
    ("to", "sentence"),
    [
        ("", "This field is required"),
        ("Gregor Samsa", "No active user is called Gregor Samsa"),
        ("amara", "Choose another person, who is active"),
    ],
)
def test_a_wrong_heir_gets_a_sentence(to: str, sentence: str, office: Office, amaras: Client) -> None:
    page = text(amaras.post(reverse("user-hand-over", args=[office.amara.pk]), {"to": to}), 422)

    assert sentence in page
    assert Queue.objects.get(pk=office.support.pk).owner == office.amara


def test_who_went_meanwhile_takes_over_nothing(hanna: User, office: Office) -> None:
    hanna.is_active = False

    with pytest.raises(ValidationError):
        departures.hand_over(office.amara, hanna)


def test_one_record_that_cannot_move_keeps_all_where_they_are(hanna: User, office: Office) -> None:
    EmailServerProfile.objects.filter(pk=office.profile.pk).update(incoming_host="")

    with pytest.raises(ValidationError, match=r"Collection 1: .*has no incoming server"):
        departures.hand_over(office.amara, hanna)

    assert Queue.objects.get(pk=office.support.pk).owner == office.amara
    assert EmailServerProfile.objects.get(pk=office.profile.pk).owner == office.amara


# ── Delete ──────────────────────────────────────────────────────────────────────────────────


def test_a_user_on_whom_nothing_hangs_is_deleted_with_the_mailbox(hanna: User, amaras: Client) -> None:
    mailbox = Mailbox.objects.get(user=hanna)
    assert "Delete…" in text(amaras.get(at("edit", hanna)))
    assert "Delete user and mailbox" in text(amaras.get(at("delete", hanna)))

    page = text(amaras.post(at("delete", hanna), follow=True))

    assert "Hanna Brandt and its mailbox are deleted" in page
    assert not User.objects.filter(pk=hanna.pk).exists()
    assert not Mailbox.objects.filter(pk=mailbox.pk).exists()
    User.objects.create_user("hanna", "hanna@contoso.com")


def test_so_is_a_queue_with_members(hanna: User, office: Office, amaras: Client) -> None:
    office.support.members.add(hanna)

    amaras.post(at("delete", office.support))

    assert not Queue.objects.exists()
    assert not Mailbox.objects.filter(email_address="support@contoso.com").exists()
    assert User.objects.filter(pk=hanna.pk).exists()


def collects(office: Office, mailbox: Mailbox) -> None:
    collected(mailbox)


def receives(office: Office, mailbox: Mailbox) -> None:
    delivered(office.collection, mailbox)


def waits(office: Office, mailbox: Mailbox) -> None:
    collected(office.collection, state="quarantined", reason="address_pending", waiting_for=mailbox)


def writes(office: Office, mailbox: Mailbox) -> None:
    OutgoingMessage.objects.create(mailbox=mailbox, written_by=office.amara)


def is_tested(office: Office, mailbox: Mailbox) -> None:
    ConfigurationTest.request(mailbox, office.amara)


def owns(office: Office, mailbox: Mailbox) -> None:
    assert mailbox.user is not None
    Queue.objects.create(name="Press", email_address="press@contoso.com", owner=mailbox.user)


def signs_in(office: Office, mailbox: Mailbox) -> None:
    User.objects.filter(mailbox=mailbox).update(last_login=timezone.now())


HOLDS: list[tuple[Callable[[Office, Mailbox], None], str]] = [
    (writes, "1 message was written from it."),
    (collects, "1 message was collected from its mailbox."),
    (receives, "1 message was delivered to it."),
    (waits, "1 message waits for it in quarantine."),
    (is_tested, "1 test of its mailbox was run."),
    (owns, "Hanna Brandt owns the queue Press: hand them over to someone else first."),
    (signs_in, "Hanna Brandt has signed in here"),
]


@pytest.mark.parametrize(("happens", "sentence"), HOLDS, ids=[happens.__name__ for happens, _ in HOLDS])
def test_what_is_kept_holds_a_user(
    happens: Callable[[Office, Mailbox], None], sentence: str, hanna: User, office: Office, amaras: Client
) -> None:
    happens(office, Mailbox.objects.get(user=hanna))

    page = text(amaras.get(at("edit", hanna)))
    assert "Delete…" not in page
    assert "Deleting is not possible" in page
    assert sentence in page
    for page in (text(amaras.get(at("delete", hanna))), text(amaras.post(at("delete", hanna)), 422)):
        assert "Hanna Brandt cannot be deleted" in page
        assert sentence in page
        assert "Deactivate instead" in page
    assert Mailbox.objects.filter(user=hanna).exists()


@pytest.mark.parametrize(
    ("happens", "sentence"), HOLDS[:4], ids=[happens.__name__ for happens, _ in HOLDS[:4]]
)
def test_and_a_queue(
    happens: Callable[[Office, Mailbox], None], sentence: str, office: Office, amaras: Client
) -> None:
    happens(office, office.support.mailbox)

    assert sentence in text(amaras.post(at("delete", office.support)), 422)

    assert Queue.objects.filter(pk=office.support.pk).exists()
