"""Users and queues in the browser: lists, new ones with their mailboxes, roles, passwords, hand-overs."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from mailboxes.models import Approval, EmailConfigurationSettings, Mailbox, Queue, User
from mailboxes.roles import Role, role_of, set_role
from tests.conftest import Office

PASSWORD = "Postkutsche im Regen"


def user_values(**changes: Any) -> dict[str, Any]:
    return {
        "username": "hanna",
        "email": "hanna@contoso.com",
        "first_name": "Hanna",
        "last_name": "Brandt",
        "time_zone": "Europe/Berlin",
        "language": "en",
        "incoming_filter": "all",
        "role": "user",
        "new_password": PASSWORD,
        "then": "stay",
    } | changes


def queue_values(**changes: Any) -> dict[str, Any]:
    return {
        "name": "Invoices",
        "email_address": "invoices@contoso.com",
        "owner": "amara",
        "description": "",
        "is_private": "False",
        "incoming_filter": "all",
        "members": "",
        "then": "stay",
    } | changes


def amara_values(**changes: Any) -> dict[str, Any]:
    """Amara as she is."""
    amara = {"username": "amara", "email": "amara@contoso.com", "first_name": "Amara", "last_name": "Okafor"}
    return user_values(**amara, role="administrator", new_password="", time_zone="UTC") | changes


def refused(response: Any, sentence: str) -> str:
    page: str = response.content.decode()
    assert response.status_code == 422
    assert "Not saved" in page
    assert sentence in page
    return page


@pytest.fixture
def hanna(office: Office) -> User:
    return User.objects.create_user(
        "hanna", "hanna@contoso.com", PASSWORD, first_name="Hanna", last_name="Brandt"
    )


@pytest.mark.parametrize("name", ["user-list", "user-new", "queue-list", "queue-new"])
@pytest.mark.parametrize(
    ("role", "status"),
    [("anonymous", 302), ("user", 403), ("approver", 403), ("staff", 403), ("administrator", 200)],
)
def test_people_are_the_administrators_business(
    name: str, role: str, status: int, browser_of: Callable[[str], Client]
) -> None:
    assert browser_of(role).get(reverse(name)).status_code == status


@pytest.mark.parametrize("role", ["user", "approver", "staff"])
def test_others_change_nobody(role: str, office: Office, browser_of: Callable[[str], Client]) -> None:
    browser = browser_of(role)
    himself = User.objects.get(username=role)

    for name, record in (("user-edit", himself), ("user-edit", office.amara), ("queue-edit", office.support)):
        values = amara_values(role="administrator")
        assert browser.post(reverse(name, args=[record.pk]), values).status_code == 403
    assert role_of(User.objects.get(username=role)) == role


def test_a_new_user_comes_with_a_mailbox_one_click_away(office: Office, amaras: Client) -> None:
    response = amaras.post(reverse("user-new"), user_values(role="staff"), follow=True)

    hanna = User.objects.get(username="hanna")
    assert response.redirect_chain[-1][0] == reverse("user-edit", args=[hanna.pk])
    assert reverse("mailbox-edit", args=[hanna.mailbox.pk]) in response.content.decode()
    assert role_of(hanna) == Role.STAFF
    assert hanna.time_zone == "Europe/Berlin"
    sent = {"username": "hanna", "password": PASSWORD}
    assert Client().post("/sign-in/", sent).status_code == 302


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"username": ""}, "This field is required"),
        ({"username": "amara"}, "already exists"),
        ({"email": "not an address"}, "Enter a valid email address"),
        ({"email": "SUPPORT@contoso.com"}, "already belongs to the queue mailbox Support"),
        ({"email": "forwardmailbox@contoso.com"}, "already belongs to the forward mailbox Collection 1"),
        ({"new_password": ""}, "This field is required"),
        ({"new_password": "short"}, "too short"),
        ({"new_password": "password"}, "too common"),
        ({"new_password": "hanna@contoso.com"}, "too similar"),
        ({"time_zone": "Mars/Olympus"}, "is not a valid choice"),
        ({"role": "emperor"}, "Select a valid choice"),
    ],
)
def test_a_wrong_user_gets_its_sentence_and_nothing_typed_is_lost(
    changes: dict[str, str], sentence: str, office: Office, amaras: Client
) -> None:
    page = refused(amaras.post(reverse("user-new"), user_values(**changes)), sentence)

    assert 'value="Brandt"' in page
    assert PASSWORD not in page
    assert not User.objects.filter(first_name="Hanna").exists()


def test_an_empty_password_keeps_the_stored_one(hanna: User, amaras: Client) -> None:
    amaras.post(reverse("user-edit", args=[hanna.pk]), user_values(last_name="Berg", new_password=""))

    hanna.refresh_from_db()
    assert hanna.last_name == "Berg"
    assert hanna.check_password(PASSWORD)


def test_a_new_password_takes_the_place_of_the_old(hanna: User, amaras: Client) -> None:
    amaras.post(reverse("user-edit", args=[hanna.pk]), user_values(new_password="Ein ganz neues Wort"))

    hanna.refresh_from_db()
    assert hanna.check_password("Ein ganz neues Wort")
    assert hanna.password.startswith("argon2")


def test_who_changes_the_own_password_stays_signed_in(office: Office, amaras: Client) -> None:
    address = reverse("user-edit", args=[office.amara.pk])

    amaras.post(address, amara_values(new_password="Ein ganz neues Wort"))

    assert amaras.get(address).status_code == 200


def test_a_changed_address_shows_at_the_mailbox_and_needs_approval(hanna: User, amaras: Client) -> None:
    Mailbox.objects.filter(user=hanna).update(approval=Approval.APPROVED)

    amaras.post(
        reverse("user-edit", args=[hanna.pk]), user_values(email="h.brandt@contoso.com", new_password="")
    )

    mailbox = Mailbox.objects.get(user=hanna)
    assert (mailbox.email_address, mailbox.approval) == ("h.brandt@contoso.com", Approval.PENDING)


@pytest.mark.parametrize("superuser", [False, True])
def test_the_last_administrator_stays_one(superuser: bool, office: Office, amaras: Client) -> None:
    if superuser:
        office.amara.groups.clear()
        User.objects.filter(pk=office.amara.pk).update(is_superuser=True)
    address = reverse("user-edit", args=[office.amara.pk])

    refused(amaras.post(address, amara_values(role="staff")), "is the last active administrator")

    assert role_of(User.objects.get(pk=office.amara.pk)) == Role.ADMINISTRATOR


@pytest.mark.parametrize("superuser", [False, True])
def test_one_of_two_administrators_can_step_down(
    superuser: bool, hanna: User, office: Office, amaras: Client
) -> None:
    set_role(hanna, Role.ADMINISTRATOR)
    User.objects.filter(pk=hanna.pk).update(is_superuser=superuser)

    amaras.post(reverse("user-edit", args=[hanna.pk]), user_values(role="approver", new_password=""))

    demoted = User.objects.get(pk=hanna.pk)
    assert role_of(demoted) == Role.APPROVER
    assert not demoted.has_perm("mailboxes.administer_email")


def test_the_list_of_users_searches_filters_and_turns_pages(
    hanna: User, office: Office, amaras: Client
) -> None:
    for number in range(55):
        User.objects.create_user(f"person{number}", f"person{number}@contoso.com", is_active=number != 7)

    def found(**asked: object) -> list[str]:
        return [user.username for user in amaras.get(reverse("user-list"), asked).context["page"]]

    assert len(found()) == 50
    assert len(found(page=2)) == 7
    assert found(q="hanna brandt") == ["hanna"]
    assert found(state="inactive") == ["person7"]
    assert found(q="nobody") == []


def test_the_list_of_users_is_narrowed_by_role_and_approval(office: Office, amaras: Client) -> None:
    for name, role in (("hanna", Role.APPROVER), ("bram", Role.STAFF), ("priya", Role.USER)):
        set_role(User.objects.create_user(name, f"{name}@contoso.com"), role)
    User.objects.create_superuser("root", "root@contoso.com")
    Mailbox.objects.filter(user__username="bram").update(approval=Approval.APPROVED)
    Mailbox.objects.filter(user__username="hanna").update(approval=Approval.REJECTED)

    def found(**asked: object) -> set[str]:
        return {user.username for user in amaras.get(reverse("user-list"), asked).context["page"]}

    for role in Role:
        named = found(role=role.value)
        assert named == {user.username for user in User.objects.all() if role_of(user) == role}
        assert named
    assert found(approval="approved") == {"bram"}
    assert found(approval="rejected") == {"hanna"}
    assert found(approval="pending", role="user") == {"priya"}
    assert len(found(approval="nonsense", role="emperor", sort="by colour")) == 5


def test_a_user_in_two_groups_has_one_role_in_the_list_and_in_the_filter(
    office: Office, amaras: Client
) -> None:
    hanna = User.objects.create_user("hanna", "hanna@contoso.com")
    hanna.groups.set(Group.objects.filter(name__in=["Staff", "Address approvers"]))

    assert role_of(hanna) == Role.APPROVER
    for role, listed in ((Role.APPROVER, True), (Role.STAFF, False), (Role.USER, False)):
        page = amaras.get(reverse("user-list"), {"role": role.value}).context["page"]
        assert (hanna in page.object_list) == listed


def test_the_lists_say_what_an_approval_holds_up(office: Office, amaras: Client) -> None:
    for name in ("user-list", "queue-list"):
        assert "nothing runs" in amaras.get(reverse(name)).content.decode()
    EmailConfigurationSettings.load()
    EmailConfigurationSettings.objects.update(require_approval_for_users=False)
    assert "not required" in amaras.get(reverse("user-list")).content.decode()


def test_the_lists_are_ordered_as_asked(hanna: User, office: Office, amaras: Client) -> None:
    now = timezone.now()
    User.objects.filter(pk=office.amara.pk).update(last_login=now - timedelta(days=3))
    User.objects.filter(pk=hanna.pk).update(last_login=now, date_joined=now - timedelta(days=9))
    Mailbox.objects.filter(user=hanna).update(approval_at=now - timedelta(days=9))
    Queue.objects.create(name="Accounts", email_address="accounts@contoso.com", owner=hanna, is_private=False)

    def found(kind: str, **asked: object) -> list[str]:
        page = amaras.get(reverse(f"{kind}-list"), asked).context["page"]
        return [record.label for record in page]

    assert found("user") == ["Amara Okafor", "Hanna Brandt"]
    for order, first in (("seen", "Hanna Brandt"), ("new", "Amara Okafor"), ("waiting", "Hanna Brandt")):
        assert found("user", sort=order)[0] == first
    assert found("queue") == ["Accounts", "Support"]
    assert found("queue", sort="owner") == ["Support", "Accounts"]
    assert found("queue", visibility="private") == ["Support"]
    assert found("queue", q="brandt") == ["Accounts"]


@pytest.mark.parametrize("kind", ["user", "queue"])
def test_an_administrator_keeps_the_signatures_of_users_and_queues(
    kind: str, hanna: User, office: Office, amaras: Client
) -> None:
    record: User | Queue = hanna if kind == "user" else office.support
    address = reverse(f"{kind}-edit", args=[record.pk])

    assert amaras.post(address, {"signature": "Contoso\r\nHelp desk <b>24 h</b>"}).status_code == 302

    record.refresh_from_db()
    assert record.signature == "Contoso\nHelp desk <b>24 h</b>"
    page = amaras.get(address).content.decode()
    assert "Contoso\nHelp desk &lt;b&gt;24 h&lt;/b&gt;</textarea>" in page
    assert "Signature from nothing to Contoso" in " ".join(strip_tags(page).split())
    refused(amaras.post(address, {"signature": "a" * 2001}), "Write at most 2000 characters.")


def test_a_member_or_owner_does_not_change_the_signature_of_a_queue(
    office: Office, hanna: User, client: Client
) -> None:
    Queue.objects.filter(pk=office.support.pk).update(owner=hanna)
    client.force_login(hanna)

    response = client.post(reverse("queue-edit", args=[office.support.pk]), {"signature": "Mine"})

    assert response.status_code == 403
    assert Queue.objects.get(pk=office.support.pk).signature == ""


@pytest.mark.parametrize("model", [User, Queue])
def test_the_database_holds_the_length_of_a_signature_too(model: type[User | Queue], office: Office) -> None:
    model._default_manager.update(signature="ä" * 2000)
    with pytest.raises(IntegrityError, match=f"{model._meta.model_name}_signature_length"):
        model._default_manager.update(signature="ä" * 2001)


@pytest.mark.parametrize(("name", "model"), [("user-new", User), ("queue-new", Queue)])
def test_replies_only_can_be_chosen(
    name: str, model: type[User] | type[Queue], office: Office, amaras: Client
) -> None:
    page = amaras.get(reverse(name)).content.decode()
    assert "only if it answers one that was sent from this mailbox" in page
    values = user_values() if name == "user-new" else queue_values()

    assert amaras.post(reverse(name), values | {"incoming_filter": "replies"}).status_code == 302

    assert model.objects.latest("pk").incoming_filter == "replies"


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("time_zone", "Mars/Olympus", "Type the name of a time zone"),
        ("language", "tlh", "Choose one of: English (en)."),
        ("incoming_filter", "some", "is not a valid choice"),
        ("theme", "plaid", "is not a valid choice"),
    ],
)
def test_the_record_itself_refuses_what_it_cannot_honour(
    column: str, value: str, sentence: str, hanna: User
) -> None:
    setattr(hanna, column, value)

    with pytest.raises(ValidationError) as told:
        hanna.full_clean()

    assert sentence in told.value.message_dict[column][0]


def test_the_page_of_a_user_shows_how_the_mailbox_stands(hanna: User, amaras: Client) -> None:
    page = amaras.get(reverse("user-edit", args=[hanna.pk])).content.decode()

    for said in ("Incoming", "Outgoing", "Switched off", "waits for approval since", "Approve Email"):
        assert said in page


def test_a_new_address_is_said_to_wait_for_approval(hanna: User, amaras: Client) -> None:
    address = reverse("user-edit", args=[hanna.pk])
    values = user_values(email="brandt@contoso.com", new_password="", then="close")

    assert "nothing is delivered to brandt@contoso.com" in (
        amaras.post(address, values, follow=True).content.decode()
    )


def test_the_lists_take_no_more_queries_for_more_rows(
    office: Office, amaras: Client, django_assert_max_num_queries: Callable
) -> None:
    for name in ("user-list", "queue-list"):
        with django_assert_max_num_queries(60) as few:
            amaras.get(reverse(name))
        for number in range(10):
            User.objects.create_user(f"{name}{number}", f"{name}{number}@contoso.com")
            Queue.objects.create(
                name=f"{name}{number}", email_address=f"{name}.{number}@contoso.com", owner=office.amara
            )
        with django_assert_max_num_queries(60) as many:
            amaras.get(reverse(name))
        assert len(many) == len(few)


def test_a_new_queue_comes_with_members_and_a_mailbox(hanna: User, office: Office, amaras: Client) -> None:
    leila = User.objects.create_user("leila", "leila@contoso.com", first_name="Leila", last_name="Haddad")
    named = "Hanna Brandt <hanna@contoso.com>\n\nleila\nHANNA@contoso.com\nAmara Okafor\n"

    response = amaras.post(reverse("queue-new"), queue_values(members=named, is_private="True"), follow=True)

    queue = Queue.objects.get(name="Invoices")
    assert set(queue.members.all()) == {hanna, leila, office.amara}
    assert queue.is_private
    assert queue.owner == office.amara
    assert reverse("mailbox-edit", args=[queue.mailbox.pk]) in response.content.decode()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": ""}, "This field is required"),
        ({"email_address": "amara@contoso.com"}, "already belongs to the user mailbox"),
        ({"email_address": ""}, "This field is required"),
        ({"owner": ""}, "This field is required"),
        ({"owner": "Gregor Samsa"}, "No active user is called Gregor Samsa"),
        ({"members": "amara\nGregor Samsa\nTwin Twin"}, "No active user is called Gregor Samsa"),
        ({"members": "amara\nGregor Samsa\nTwin Twin"}, "Several active users are called Twin Twin"),
    ],
)
def test_a_wrong_queue_gets_its_sentence(
    changes: dict[str, str], sentence: str, office: Office, amaras: Client
) -> None:
    for number in (1, 2):
        User.objects.create_user(f"t{number}", f"t{number}@contoso.com", first_name="Twin", last_name="Twin")

    page = refused(
        amaras.post(reverse("queue-new"), queue_values(description="As typed", **changes)), sentence
    )

    assert 'value="As typed"' in page
    assert changes.get("members", "") in page
    assert not Queue.objects.filter(name="Invoices").exists()


def test_a_queue_changes_hands_and_its_mailbox_follows(hanna: User, office: Office, amaras: Client) -> None:
    values = queue_values(
        name="Support", email_address="help@contoso.com", owner="Hanna Brandt", then="close"
    )

    response = amaras.post(reverse("queue-edit", args=[office.support.pk]), values)

    assert response.url == reverse("queue-list")
    mailbox = Mailbox.objects.get(queue=office.support)
    assert (mailbox.owner, mailbox.email_address) == (hanna, "help@contoso.com")


def test_members_stay_and_go_by_their_lines(hanna: User, office: Office, amaras: Client) -> None:
    office.support.members.set([hanna, office.amara])
    address = reverse("queue-edit", args=[office.support.pk])
    shown = amaras.get(address).context["form"]["members"].value()

    amaras.post(address, queue_values(name="Support", email_address="support@contoso.com", members=shown))
    assert office.support.members.count() == 2
    User.objects.filter(pk=hanna.pk).update(is_active=False)
    amaras.post(
        address,
        queue_values(name="Support", email_address="support@contoso.com", members=shown.splitlines()[1]),
    )

    assert list(office.support.members.all()) == [hanna]


def test_an_office_without_queues_says_what_they_are(client: Client, amara: User) -> None:
    client.force_login(amara)

    assert "No queue yet" in client.get(reverse("queue-list")).content.decode()


def test_no_page_offers_all_users_in_a_select(office: Office, amaras: Client) -> None:
    for number in range(80):
        User.objects.create_user(f"person{number}", f"person{number}@contoso.com")

    page = amaras.get(reverse("queue-new")).content.decode()

    assert page.count("@contoso.com&gt;") <= 51 * 2
