"""Mailboxes in the browser: who may see and do what, the list, the form, and the test's results."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from mailboxes import configtest, lifecycle
from mailboxes.forms.mailbox import MailboxForm
from mailboxes.models import ConfigurationTest, EngineProcess, Mailbox, Queue, SyncState, TestStep, User
from mailboxes.roles import Role, set_role
from tests.conftest import Office

ALL_ROLES = ["administrator", "approver", "staff", "user"]


@pytest.fixture
def as_role(office: Office) -> Callable[[str], Client]:
    """A browser in which a person of this role has signed in; "anonymous" has not."""

    def signed_in(role: str) -> Client:
        client = Client()
        if role != "anonymous":
            person = User.objects.create_user(role, f"{role}@contoso.com", first_name=role.title())
            set_role(person, Role(role))
            client.force_login(person)
        return client

    return signed_in


@pytest.fixture
def desk(client: Client, office: Office) -> Client:
    """Amara's desk."""
    client.force_login(office.amara)
    return client


def page(response: Any) -> str:
    assert response.status_code == 200
    return response.content.decode()


def new_values(office: Office, **changes: Any) -> dict[str, Any]:
    return {
        "name": "Collection 2",
        "owner": "amara@contoso.com",
        "email_address": "collect2@contoso.com",
        "delete_emails_after_processing": "True",
        "allow_credentials": "True",
        "username": "collect2",
        "password": "Postkutsche 7",
        "server_profile": office.profile.name,
        "incoming_method": "server_side",
        "then": "stay",
    } | changes


def edit_values(mailbox: Mailbox, **changes: Any) -> dict[str, Any]:
    return {
        "name": mailbox.name,
        "owner": mailbox.owner.email,
        "email_address": mailbox.email_address,
        "delete_emails_after_processing": str(mailbox.delete_emails_after_processing),
        "allow_credentials": str(mailbox.allow_credentials),
        "username": mailbox.username,
        "server_profile": mailbox.server_profile.name if mailbox.server_profile else "",
        "incoming_method": mailbox.incoming_method,
        "outgoing_method": mailbox.outgoing_method,
        "act_method": mailbox.act_method,
        "then": "stay",
    } | changes


# ── Who may see and do what ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("role", "status"),
    [("administrator", 200), ("approver", 200), ("staff", 200), ("user", 403), ("anonymous", 302)],
)
@pytest.mark.parametrize("address", ["/mailboxes/", "/settings/", "/mailboxes/{}/", "/mailboxes/{}/results/"])
def test_who_may_look(as_role: Any, office: Office, role: str, status: int, address: str) -> None:
    assert as_role(role).get(address.format(office.collection.pk)).status_code == status


@pytest.mark.parametrize("role", ALL_ROLES)
@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("", {"administrator"}),
        ("test/", {"administrator"}),
        ("activate/", {"administrator"}),
        ("deactivate/", {"administrator"}),
        ("collect/", {"administrator"}),
        ("methods/", {"administrator"}),
        ("approve/", {"administrator", "approver"}),
        ("reject/", {"administrator", "approver"}),
    ],
)
def test_who_may_command(as_role: Any, office: Office, role: str, command: str, allowed: set[str]) -> None:
    before = Mailbox.objects.filter(pk=office.support.mailbox.pk).values().get()
    response = as_role(role).post(f"/mailboxes/{office.support.mailbox.pk}/{command}")
    assert (response.status_code != 403) is (role in allowed)
    if role not in allowed:
        assert Mailbox.objects.filter(pk=office.support.mailbox.pk).values().get() == before
        assert not ConfigurationTest.objects.exists()


@pytest.mark.parametrize(
    "address", ["/mailboxes/new/", "/people/search/", "/profiles/search/", "/quarantine/targets/"]
)
@pytest.mark.parametrize("role", ["approver", "staff", "user"])
def test_only_administrators_make_mailboxes(as_role: Any, role: str, address: str) -> None:
    assert as_role(role).get(address).status_code == 403


@pytest.mark.parametrize("number", ["{}", "999999"])
def test_a_page_that_someone_may_not_see_does_not_tell_whether_the_record_exists(
    as_role: Any, office: Office, number: str
) -> None:
    response = as_role("user").get(f"/mailboxes/{number.format(office.collection.pk)}/")
    assert response.status_code == 403
    assert office.collection.name not in response.content.decode()


def test_staff_see_a_mailbox_with_nothing_to_change(as_role: Any, office: Office) -> None:
    shown = page(as_role("staff").get(f"/mailboxes/{office.collection.pk}/"))
    assert 'value="Collection 1"' in shown
    assert 'name="then"' not in shown
    assert shown.count("disabled") >= 5
    assert "Approve Email" not in shown


def test_an_approver_sees_only_the_commands_of_approval(as_role: Any, office: Office) -> None:
    shown = page(as_role("approver").get(f"/mailboxes/{office.support.mailbox.pk}/"))
    assert "Approve Email" in shown
    assert "Test &amp; Enable</button>" not in shown


def test_the_rack_shows_what_a_person_may_open(as_role: Any) -> None:
    administrators = page(as_role("administrator").get("/mailboxes/"))
    assert all(f">{name}<" in administrators for name in ("Users", "Queues", "Email Configuration Settings"))
    staff = page(as_role("staff").get("/mailboxes/"))
    assert ">Users<" not in staff
    assert ">Email Server Profiles<" in staff
    assert 'aria-label="Settings"' not in page(as_role("user").get("/messages/"))


def test_the_first_page_fits_the_person(as_role: Any) -> None:
    assert as_role("staff").get("/").url == "/mailboxes/"
    assert as_role("user").get("/").url == "/messages/"


def test_a_fragment_without_a_session_leads_its_page_to_the_sign_in(client: Client, office: Office) -> None:
    address = f"/mailboxes/{office.collection.pk}/"
    headers = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{address}"}
    response = client.get(f"{address}results/", headers=headers)
    assert response.headers["HX-Redirect"] == f"/sign-in/?next={address}"
    assert response.content == b""


# ── The list ────────────────────────────────────────────────────────────────────────────────


def names(response: Any) -> list[str]:
    return [row.mailbox.name for row in response.context["rows"]]


def test_the_views_count_what_they_show(desk: Client, office: Office) -> None:
    Mailbox.objects.filter(pk=office.amara.mailbox.pk).update(is_active=False)
    tabs = {tab.name: tab.count for tab in desk.get("/mailboxes/").context["tabs"]}
    assert tabs == {
        "active": 2,
        "attention": 0,
        "untested": 1,
        "forward": 1,
        "approval": 1,
        "no-profile": 1,
        "inactive": 1,
    }
    for view, count in tabs.items():
        assert len(names(desk.get(f"/mailboxes/?view={view}"))) == count


def test_what_needs_a_person_stands_first(desk: Client, office: Office) -> None:
    office.collection.name = "Zebra"
    office.collection.save()
    fail(office.collection)
    assert names(desk.get("/mailboxes/"))[0] == "Zebra"
    assert names(desk.get("/mailboxes/?view=attention")) == ["Zebra"]
    assert names(desk.get("/mailboxes/?sort=name"))[-1] == "Zebra"


def test_the_list_is_searched_and_filtered(desk: Client, office: Office) -> None:
    assert names(desk.get("/mailboxes/?q=support@")) == ["Support"]
    assert names(desk.get("/mailboxes/?kind=queue")) == ["Support"]
    assert names(desk.get(f"/mailboxes/?profile={office.profile.pk}")) == ["Collection 1"]
    nothing = page(desk.get("/mailboxes/?q=nobody&kind=user&profile=x&view=y&sort=z&page=7"))
    assert "No mailbox of this view matches" in nothing


def test_an_office_without_a_forward_mailbox_is_told_what_one_is(desk: Client, office: Office) -> None:
    office.collection.delete()
    assert "A forward mailbox is a collection box" in page(desk.get("/mailboxes/?view=forward"))


def test_fifty_mailboxes_are_one_page(desk: Client, office: Office) -> None:
    for number in range(49):
        Queue.objects.create(
            name=f"Queue {number}", email_address=f"q{number}@contoso.com", owner=office.amara
        )
    first = page(desk.get("/mailboxes/?sort=name"))
    assert "1 to 50 of 52" in first
    assert "sort=name&amp;page=2" in first
    assert len(names(desk.get("/mailboxes/?page=2"))) == 2


def test_the_list_asks_the_database_a_constant_number_of_times(
    desk: Client, office: Office, django_assert_max_num_queries: Any
) -> None:
    for number in range(40):
        Queue.objects.create(
            name=f"Queue {number}", email_address=f"q{number}@contoso.com", owner=office.amara
        )
    with django_assert_max_num_queries(25):
        desk.get("/mailboxes/")


# ── The form ────────────────────────────────────────────────────────────────────────────────


LABELS = [
    "General",
    "Name",
    "Owner",
    "Email address",
    "Delete Emails After Processing",
    "Regarding",
    "Is Forward Mailbox",
    "Credentials",
    "Allow to Use Credentials for Email Processing",
    "User Name",
    "Password",
    "Synchronization Method",
    "Server Profile",
    "Incoming Email",
    "Outgoing Email",
    "Appointments, Contacts, and Tasks",
    "Configuration Test Results",
    "Incoming Email Status",
    "Outgoing Email Status",
    "Appointments, Contacts, and Tasks Status",
    "Mailbox Test Completed On",
]


def test_the_form_has_the_sections_and_labels_of_the_reference_in_order(desk: Client, office: Office) -> None:
    for address in ("/mailboxes/new/", f"/mailboxes/{office.collection.pk}/"):
        shown, position = page(desk.get(address)), 0
        shown = shown[shown.index('id="s-general"') :]
        for label in LABELS:
            assert f">{label}" in shown[position:], label
            position = shown.index(f">{label}", position)


def test_a_new_forward_mailbox_is_saved_and_stays_open(desk: Client, office: Office) -> None:
    response = desk.post("/mailboxes/new/", new_values(office))
    made = Mailbox.objects.get(name="Collection 2")
    assert response.url == f"/mailboxes/{made.pk}/"
    assert made.is_forward_mailbox
    assert made.delete_emails_after_processing
    assert made.password.reveal() == "Postkutsche 7"
    assert (made.owner, made.changed_by) == (office.amara, office.amara)
    assert (made.incoming_method, made.outgoing_method, made.act_method) == ("server_side", "none", "none")
    assert "Collection 2 is saved." in page(desk.get(response.url))


def test_save_and_close_goes_back_to_the_list(desk: Client, office: Office) -> None:
    assert desk.post("/mailboxes/new/", new_values(office, then="close")).url == "/mailboxes/"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", "", "This field is required."),
        ("email_address", "collect2", "Enter a valid email address."),
        ("email_address", "support@contoso.com", "already belongs to the queue mailbox Support"),
        (
            "email_address",
            "FORWARDMAILBOX@contoso.com",
            "already belongs to the forward mailbox Collection 1",
        ),
        ("owner", "nobody", "No active user is called nobody"),
        ("username", "", "Type the user name that the mail server expects"),
        ("password", "", "Type the password that belongs to this user name."),
        ("server_profile", "", "choose a profile"),
        ("server_profile", "999", "Choose one of the active profiles."),
        ("incoming_method", "forward", "read by server-side synchronization or not at all."),
        ("incoming_method", "outlook", "read by server-side synchronization or not at all."),
        ("outgoing_method", "server_side", "For a forward mailbox only None is allowed"),
        ("act_method", "server_side", "cannot synchronize appointments, contacts, and tasks"),
        ("username", "forwardmailbox", "already reads INBOX of forwardmailbox"),
    ],
)
def test_a_wrong_entry_gets_its_sentence_at_its_field(
    desk: Client, office: Office, field: str, value: str, sentence: str
) -> None:
    response = desk.post("/mailboxes/new/", new_values(office, **{field: value}))
    shown = page(response)
    form = response.context["form"]
    assert any(sentence in error for error in form.errors[field])
    assert f'id="id_{field}_error"' in shown
    assert f'<a href="#id_{field}">' in shown
    assert Mailbox.objects.filter(is_forward_mailbox=True).count() == 1


def test_nothing_typed_is_lost_except_the_password(desk: Client, office: Office) -> None:
    typed = new_values(office, email_address="collect2", name="Übergabe <3")
    shown = page(desk.post("/mailboxes/new/", typed))
    assert 'value="Übergabe &lt;3"' in shown
    assert 'value="collect2"' in shown
    assert "Postkutsche" not in shown
    assert "passwords are not kept while a form has errors" in shown


def test_the_error_of_a_field_is_announced(desk: Client, office: Office) -> None:
    shown = page(desk.post("/mailboxes/new/", new_values(office, email_address="collect2")))
    at = shown.index('name="email_address"')
    control = shown[at : shown.index(">", at)]
    assert 'aria-invalid="true"' in control
    assert "id_email_address_error" in control


def test_an_owner_is_found_by_name_user_name_or_address(desk: Client, office: Office) -> None:
    for number, typed in enumerate(["Amara Okafor", "amara", "AMARA@contoso.com"]):
        box = f"c{number}"
        values = new_values(office, owner=typed, name=box, email_address=f"{box}@contoso.com", username=box)
        assert desk.post("/mailboxes/new/", values).status_code == 302
        assert Mailbox.objects.get(name=box).owner == office.amara


def test_a_stored_password_is_never_shown_and_an_empty_one_keeps_it(desk: Client, office: Office) -> None:
    box = office.collection
    assert "Feldsalat" not in page(desk.get(f"/mailboxes/{box.pk}/"))
    desk.post(f"/mailboxes/{box.pk}/", edit_values(box, name="Collection A", password=""))
    box = Mailbox.objects.get(pk=box.pk)
    assert box.name == "Collection A"
    assert box.password.reveal() == "Feldsalat 23"


def test_saving_leaves_alone_what_somebody_else_decided_meanwhile(office: Office) -> None:
    box = Mailbox.objects.get(pk=office.support.mailbox.pk)
    opened = {"shown": MailboxForm(instance=box).shown}
    form = MailboxForm(edit_values(box, name="Help desk") | opened, instance=box)
    assert form.is_valid()
    lifecycle.approve(Mailbox.objects.get(pk=box.pk), office.amara)
    assert form.try_save()
    stored = Mailbox.objects.get(pk=box.pk)
    assert (stored.name, stored.approval) == ("Help desk", "approved")


def test_another_user_name_wants_the_password_again(desk: Client, office: Office) -> None:
    box = office.collection
    response = desk.post(f"/mailboxes/{box.pk}/", edit_values(box, username="eve", password=""))
    assert "type the password again" in page(response)
    assert Mailbox.objects.get(pk=box.pk).username == "forwardmailbox"


def test_a_refused_edit_shows_the_stored_record_above_the_form(desk: Client, office: Office) -> None:
    box = office.collection
    shown = page(desk.post(f"/mailboxes/{box.pk}/", edit_values(box, name="", email_address="x")))
    assert "<h1>Collection 1</h1>" in shown
    assert "Not saved: 2 entries need a correction" in shown


def test_the_address_of_a_queue_changes_with_its_mailbox(desk: Client, office: Office) -> None:
    box = office.support.mailbox
    desk.post(f"/mailboxes/{box.pk}/", edit_values(box, email_address="help@contoso.com"))
    office.support.refresh_from_db()
    assert office.support.email_address == "help@contoso.com"


def test_locked_fields_of_each_kind(desk: Client, office: Office) -> None:
    user = page(desk.get(f"/mailboxes/{office.amara.mailbox.pk}/"))
    assert 'name="owner"' not in user
    assert 'name="delete_emails_after_processing"' not in user
    queue = page(desk.get(f"/mailboxes/{office.support.mailbox.pk}/"))
    assert 'name="delete_emails_after_processing"' in queue
    assert closed_options(queue, "act_method") == {"outlook", "server_side"}
    forward = page(desk.get(f"/mailboxes/{office.collection.pk}/"))
    assert 'name="owner"' in forward
    assert closed_options(forward, "outgoing_method") == {"outlook", "server_side"}
    assert "a forward mailbox sends nothing" in forward


def closed_options(shown: str, name: str) -> set[str]:
    """The options of a select that are shown and cannot be chosen."""
    select = re.search(rf'<select name="{name}".*?</select>', shown, re.DOTALL)
    assert select
    return set(re.findall(r'<option value="(\w+)" disabled', select[0]))


@pytest.mark.parametrize("value", ["True", "False"])
def test_a_user_mailbox_refuses_to_delete(desk: Client, office: Office, value: str) -> None:
    box = office.amara.mailbox
    response = desk.post(f"/mailboxes/{box.pk}/", edit_values(box, delete_emails_after_processing=value))
    assert response.status_code == (200 if value == "True" else 302)
    assert not Mailbox.objects.get(pk=box.pk).delete_emails_after_processing


def option(shown: str, field: str, value: str) -> str:
    select = shown[shown.index(f'name="{field}"') :]
    at = select.index(f'<option value="{value}"')
    return select[at : select.index(">", at)]


def test_what_a_kind_or_profile_cannot_use_is_closed_with_its_reason(desk: Client, office: Office) -> None:
    queue = page(desk.get(f"/mailboxes/{office.support.mailbox.pk}/"))
    assert "disabled" in option(queue, "incoming_method", "outlook")
    assert "a queue has no Outlook of its own" in queue
    office.profile.outgoing_host = ""
    office.profile.save()
    box = office.support.mailbox
    asked = edit_values(box, server_profile=office.profile.name)
    fragment = page(desk.post(f"/mailboxes/{box.pk}/methods/", asked))
    assert "disabled" in option(fragment, "outgoing_method", "server_side")
    assert "disabled" not in option(fragment, "incoming_method", "server_side")
    assert "the profile Head office has no outgoing server" in fragment


def test_a_profile_chosen_on_the_page_says_what_it_wants(desk: Client, office: Office) -> None:
    asked = new_values(office, allow_credentials="False")
    fragment = page(desk.post("/mailboxes/new/methods/", asked))
    assert "wants each mailbox to sign in for itself" in fragment
    assert "Until then nothing is tested or run here." in fragment
    assert "Postkutsche" not in fragment
    assert Mailbox.objects.filter(is_forward_mailbox=True).count() == 1


def test_forward_mailbox_without_a_forward_mailbox_is_a_warning(desk: Client, office: Office) -> None:
    box = office.support.mailbox
    warning = "There is no active forward mailbox yet"
    assert warning not in page(desk.get(f"/mailboxes/{box.pk}/"))
    office.collection.delete()
    assert warning in page(desk.get(f"/mailboxes/{box.pk}/"))
    assert desk.post(f"/mailboxes/{box.pk}/", edit_values(box)).status_code == 302


# ── Commands and test results ───────────────────────────────────────────────────────────────


def fail(box: Mailbox) -> None:
    """The last test of incoming mail failed at the sign-in, with the settings as they are."""
    box = Mailbox.objects.select_related("server_profile").get(pk=box.pk)
    SyncState.objects.filter(mailbox=box, direction="incoming").update(
        test_status="failure",
        tested_mailbox_version=box.connection_version,
        tested_profile_version=box.profile_version,
    )
    test = ConfigurationTest.objects.create(mailbox=box, finished_at=timezone.now())
    rungs = [("settings complete", "passed"), ("signed in", "failed"), ("folder opened", "not_reached")]
    for number, (name, state) in enumerate(rungs, 1):
        TestStep.objects.create(
            test=test,
            direction="incoming",
            number=number,
            name=name,
            state=state,
            cause="The server refused the sign-in." if state == "failed" else "",
            advice="Type the password again." if state == "failed" else "",
            server_words="NO <b>failed</b>" if state == "failed" else "",
        )


def test_test_and_enable_saves_what_was_typed_and_asks_for_a_test(desk: Client, office: Office) -> None:
    box = office.collection
    response = desk.post(f"/mailboxes/{box.pk}/", edit_values(box, name="Collection A", then="test"))
    assert response.url == f"/mailboxes/{box.pk}/#results"
    assert ConfigurationTest.objects.get(mailbox=box).requested_by == office.amara
    assert Mailbox.objects.get(pk=box.pk).name == "Collection A"


def test_an_open_test_is_polled_and_a_second_one_is_not_asked_for(desk: Client, office: Office) -> None:
    for _ in range(2):
        desk.post(f"/mailboxes/{office.collection.pk}/test/")
    assert ConfigurationTest.objects.count() == 1
    shown = page(desk.get(f"/mailboxes/{office.collection.pk}/"))
    assert f'hx-get="/mailboxes/{office.collection.pk}/results/"' in shown
    assert 'hx-trigger="every 1s"' in shown
    assert ">Reload</a>" in shown
    assert ">Running</span>" in shown
    ConfigurationTest.objects.update(finished_at=timezone.now())
    assert "every 1s" not in page(desk.get(f"/mailboxes/{office.collection.pk}/results/"))


def test_a_failed_step_says_cause_advice_and_the_servers_words(desk: Client, office: Office) -> None:
    fail(office.collection)
    shown = page(desk.get(f"/mailboxes/{office.collection.pk}/"))
    for said in ("Signed in", "The server refused the sign-in.", "Type the password again.", "Not reached"):
        assert said in shown
    assert "NO &lt;b&gt;failed&lt;/b&gt;" in shown
    assert 'id="test-incoming" open' in shown
    assert "Why is incoming email not running?" in shown
    assert shown.index("The last test failed") < shown.index("Mailbox is active")


def test_after_a_change_the_result_is_out_of_date(desk: Client, office: Office) -> None:
    fail(office.collection)
    box = office.collection
    desk.post(f"/mailboxes/{box.pk}/", edit_values(box, delete_emails_after_processing="True"))
    shown = page(desk.get(f"/mailboxes/{box.pk}/"))
    assert "Out of date: settings changed since" in shown
    assert Mailbox.objects.get(pk=box.pk).incoming_email_status == "not_run"


def test_nothing_to_test_is_said_and_not_asked(desk: Client, office: Office) -> None:
    Mailbox.objects.filter(pk=office.amara.mailbox.pk).update(incoming_method="none")
    response = desk.post(f"/mailboxes/{office.amara.mailbox.pk}/test/", follow=True)
    assert "Nothing to test" in page(response)
    assert not ConfigurationTest.objects.exists()


def test_the_page_says_when_no_engine_is_running(desk: Client, office: Office) -> None:
    address = f"/mailboxes/{office.collection.pk}/"
    assert "No engine is running" in page(desk.get(address))
    desk.post(f"{address}test/")
    assert "the test waits, and begins by itself when an engine is started" in page(desk.get(address))
    EngineProcess.objects.create(holder="a", threads=4)
    shown = page(desk.get(address))
    assert "Engine running" in shown
    assert "the test waits" not in shown


def test_an_address_is_approved_and_rejected(desk: Client, office: Office) -> None:
    box = office.support.mailbox
    desk.post(f"/mailboxes/{box.pk}/approve/")
    approved = Mailbox.objects.get(pk=box.pk)
    assert (approved.approval, approved.approval_by) == ("approved", office.amara)
    desk.post(f"/mailboxes/{box.pk}/reject/")
    assert Mailbox.objects.get(pk=box.pk).approval == "rejected"


def test_a_forward_mailbox_needs_no_approval(desk: Client, office: Office) -> None:
    shown = page(desk.post(f"/mailboxes/{office.collection.pk}/approve/", follow=True))
    assert "needs no approval" in shown
    assert Mailbox.objects.get(pk=office.collection.pk).approval == "empty"


def test_a_mailbox_is_deactivated_and_activated(desk: Client, office: Office) -> None:
    address = f"/mailboxes/{office.collection.pk}/"
    assert "deactivated" in page(desk.post(f"{address}deactivate/", follow=True))
    assert not Mailbox.objects.get(pk=office.collection.pk).is_active
    desk.post(f"{address}activate/")
    assert Mailbox.objects.get(pk=office.collection.pk).is_active


def test_activating_says_who_has_the_address_meanwhile(desk: Client, office: Office) -> None:
    desk.post(f"/mailboxes/{office.collection.pk}/deactivate/")
    Queue.objects.create(name="Box", email_address=office.collection.email_address, owner=office.amara)
    shown = page(desk.post(f"/mailboxes/{office.collection.pk}/activate/", follow=True))
    assert "already belongs to the queue mailbox Box" in shown


def test_collect_now_makes_it_due_or_says_why_not(desk: Client, office: Office) -> None:
    box = Mailbox.objects.select_related("server_profile").get(pk=office.collection.pk)
    address = f"/mailboxes/{box.pk}/collect/"
    assert "Not collected: Not tested yet" in page(desk.post(address, follow=True))
    SyncState.objects.filter(mailbox=box, direction="incoming").update(
        enabled=True,
        test_status="success",
        tested_mailbox_version=box.connection_version,
        tested_profile_version=box.profile_version,
    )
    assert "as soon as a worker is free" in page(desk.post(address, follow=True))
    assert SyncState.objects.get(mailbox=box, direction="incoming").next_run_at is None


def test_no_page_has_inline_style_or_script(desk: Client, office: Office) -> None:
    fail(office.collection)
    addresses = ["/", "/mailboxes/", "/mailboxes/new/", f"/mailboxes/{office.collection.pk}/", "/settings/"]
    for address in addresses:
        response = desk.get(address, follow=True)
        shown = page(response)
        assert " style=" not in shown
        assert "<style" not in shown
        assert shown.count("<script") == shown.count("<script src=")
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("fragment", ["", "results/"])
def test_a_test_that_ends_while_its_page_is_made_is_shown_by_the_next_look(
    desk: Client, office: Office, fragment: str
) -> None:
    """Between two questions of the page the whole test runs: it then shows less than is known, and asks again."""
    box = office.support.mailbox
    test = ConfigurationTest.request(box, office.amara)
    address = f"/mailboxes/{box.pk}/{fragment}"

    def meanwhile(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        answer = execute(sql, params, many, context)
        if "FROM " in sql and sql.split("FROM ")[1].startswith('"mailboxes_syncstate"') and "IN (" in sql:
            connection.execute_wrappers.remove(meanwhile)
            configtest.run(test)
        return answer

    connection.execute_wrappers.append(meanwhile)
    first = page(desk.get(address))
    assert meanwhile not in connection.execute_wrappers
    assert "every 1s" in first
    last = page(desk.get(address))
    assert "every 1s" not in last
    assert "Settings changed since" not in last
