"""Rules across rows: each is refused with its sentence at its field, and holds against two writers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, models

from emailprofiles.models import EmailServerProfile
from mailboxes.models import Approval, Mailbox, Queue, User
from tests.conftest import Office, forward_values, profile_values


def refusal(record: models.Model) -> dict[str, list[str]]:
    """The sentences of `full_clean()` by field; the same come from `save()` where the record exists."""
    with pytest.raises(ValidationError) as refused:
        record.full_clean()
    return refused.value.message_dict


def forward(office: Office, **values: Any) -> Mailbox:
    return Mailbox.new_forward(
        **forward_values(name="Collection 2", email_address="second@contoso.com", owner=office.amara) | values
    )


def bram() -> User:
    return User.objects.create_user("bram", "bram@contoso.com", first_name="Bram", last_name="de Vries")


class TestAddress:
    @pytest.mark.parametrize(
        ("address", "holder"),
        [
            ("Amara@Contoso.com", "the user mailbox Amara Okafor"),
            ("SUPPORT@contoso.com", "the queue mailbox Support"),
            ("forwardmailbox@contoso.COM", "the forward mailbox Collection 1"),
        ],
    )
    def test_a_clash_names_who_holds_the_address(self, office: Office, address: str, holder: str) -> None:
        sentences = refusal(forward(office, email_address=address))
        assert sentences["email_address"][0] == (
            f"{address} already belongs to {holder}. A forward mailbox needs an address of its own."
        )

    def test_a_new_user_or_queue_cannot_take_one_either(self, office: Office) -> None:
        sentence = "support@contoso.com already belongs to the queue mailbox Support. Choose another address."
        assert refusal(User(username="bram", password="!", email="support@contoso.com")) == {
            "email": [sentence]
        }
        second = Queue(name="Second", email_address="support@contoso.com", owner=office.amara)
        assert refusal(second)["email_address"][0] == sentence
        with pytest.raises(ValidationError, match="already belongs to the queue mailbox"):
            second.save()

    def test_an_active_user_keeps_the_address_while_the_mailbox_rests(self, office: Office) -> None:
        mailbox = bram().mailbox
        mailbox.is_active = False
        mailbox.save()
        assert "email_address" in refusal(forward(office, email_address="bram@contoso.com"))

    def test_the_address_of_a_deactivated_user_is_free(self, office: Office) -> None:
        user = bram()
        user.is_active = False
        user.save()
        successor = forward(office, email_address="bram@contoso.com")
        successor.full_clean()
        successor.save()
        user.is_active = True
        assert "already belongs to the forward mailbox" in refusal(user)["email"][0]
        with pytest.raises(ValidationError):
            user.save()


class TestRegarding:
    def test_a_mailbox_is_not_active_without_its_queue(self, office: Office) -> None:
        office.support.is_active = False
        office.support.save()
        mailbox = Mailbox.objects.get(queue=office.support)
        mailbox.is_active = True
        assert refusal(mailbox) == {"is_active": ["Support is not active: activate the queue first."]}

    def test_regarding_is_fixed(self, office: Office) -> None:
        mailbox = Mailbox.objects.get(queue=office.support)
        mailbox.queue, mailbox.is_forward_mailbox = None, True
        mailbox.approval = Approval.EMPTY
        fixed = "Regarding and Is Forward Mailbox are fixed when a mailbox is created."
        assert refusal(mailbox)["is_forward_mailbox"] == [fixed]

    def test_the_owner_follows_the_queue_and_is_not_changed_at_its_mailbox(self, office: Office) -> None:
        mailbox = Mailbox.objects.get(queue=office.support)
        mailbox.owner = bram()
        assert refusal(mailbox) == {"owner": ["The owner follows from Support: it cannot be changed here."]}
        office.support.owner = User.objects.get(username="bram")
        office.support.save()
        assert Mailbox.objects.get(queue=office.support).owner.username == "bram"

    def test_an_owner_hands_over_before_leaving(self, office: Office) -> None:
        office.amara.is_active = False
        sentence = (
            "Amara Okafor owns the queue Support, the forward mailbox Collection 1, the profile Head office: "
            "hand them over to someone else first."
        )
        assert refusal(office.amara) == {"is_active": [sentence]}
        with pytest.raises(ValidationError, match="hand them over"):
            office.amara.save()


class TestProfile:
    @pytest.mark.parametrize(
        ("lacking", "method", "lack"),
        [
            ("incoming_host", "incoming_method", "has no incoming server"),
            ("outgoing_host", "outgoing_method", "has no outgoing server"),
            ("", "act_method", "cannot synchronize appointments, contacts, and tasks"),
        ],
    )
    def test_it_must_be_able_to_do_what_the_method_asks(
        self, amara: User, lacking: str, method: str, lack: str
    ) -> None:
        values = profile_values(owner=amara) | ({lacking: ""} if lacking else {})
        amara.mailbox.server_profile = EmailServerProfile.objects.create(**values)
        setattr(amara.mailbox, method, "server_side")
        sentence = f"The profile Head office {lack}. Choose another profile or method."
        assert refusal(amara.mailbox) == {method: [sentence]}

    def test_an_inactive_one_is_not_chosen_and_one_in_use_stays(self, office: Office) -> None:
        office.profile.is_active = False
        office.profile.save()
        assert refusal(forward(office, server_profile=office.profile)) == {
            "server_profile": ["The profile Head office is not active. Choose an active one."]
        }
        Mailbox.objects.get(pk=office.collection.pk).full_clean()

    def test_it_keeps_the_server_that_its_mailboxes_use(self, office: Office) -> None:
        office.profile.incoming_host = ""
        sentence = (
            "1 mailbox uses this profile for incoming email: choose another method or profile there first."
        )
        assert refusal(office.profile) == {"incoming_host": [sentence]}
        with pytest.raises(ValidationError, match="1 mailbox uses"):
            office.profile.save(update_fields=["incoming_host"])

    @pytest.mark.parametrize("field", ["incoming_security", "outgoing_security"])
    def test_without_encryption_only_on_this_machine_or_when_confirmed(self, amara: User, field: str) -> None:
        host = field.replace("security", "host")
        for readable in ("127.evil.contoso.com", "imap.contoso.com", "10.0.0.1"):
            profile = EmailServerProfile(**profile_values(owner=amara) | {host: readable})
            assert list(refusal(profile)) == [field]
        for here in ("localhost", "127.0.0.1", "127.1.2.3", "::1"):
            EmailServerProfile(**profile_values(owner=amara) | {host: here}).full_clean()
        confirmed = profile_values(owner=amara, unencrypted_confirmed=True) | {host: "imap.contoso.com"}
        EmailServerProfile(**confirmed).full_clean()

    @pytest.mark.parametrize("server_type", ["exchange_server", "exchange_online", "gmail"])
    def test_a_type_without_transport_is_refused(self, amara: User, server_type: str) -> None:
        profile = EmailServerProfile(**profile_values(owner=amara, server_type=server_type))
        assert "is not available in this version" in refusal(profile)["server_type"][0]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("caldav_url", "https://cal.contoso.com/"),
            ("carddav_url", "https://card.contoso.com/"),
        ],
    )
    def test_what_nothing_obeys_is_refused_and_what_an_earlier_version_took_is_no_obstacle(
        self, office: Office, field: str, value: Any
    ) -> None:
        setattr(office.profile, field, value)
        assert "Not available in this version" in refusal(office.profile)[field][0]
        stored = EmailServerProfile.objects.filter(pk=office.profile.pk)
        stored.update(**{field: value})
        profile = stored.get()
        profile.description = "Anything else"
        profile.full_clean()
        profile.save()

    def test_so_is_oauth(self, amara: User) -> None:
        profile = EmailServerProfile(**profile_values(owner=amara, authenticate_using="oauth"))
        assert "OAuth 2.0 is not available" in refusal(profile)["authenticate_using"][0]


class TestPasswordTypedAgain:
    SENTENCE = "The user name or the server profile changed: type the password again."

    def test_when_the_user_name_changes(self, office: Office) -> None:
        mailbox = Mailbox.objects.get(pk=office.collection.pk)
        mailbox.username = "other"
        assert refusal(mailbox) == {"password": [self.SENTENCE]}
        mailbox.password = "Feldsalat 23"
        mailbox.full_clean()

    def test_when_the_profile_changes(self, office: Office) -> None:
        values = profile_values(name="Branch", owner=office.amara, incoming_port=20143)
        mailbox = Mailbox.objects.get(pk=office.collection.pk)
        mailbox.server_profile = EmailServerProfile.objects.create(**values)
        assert refusal(mailbox) == {"password": [self.SENTENCE]}

    def test_also_when_the_stored_password_was_not_loaded(self, office: Office) -> None:
        mailbox = Mailbox.objects.defer("password").get(pk=office.collection.pk)
        mailbox.username = "other"
        with pytest.raises(ValidationError, match="type the password again"):
            mailbox.save()

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("incoming_host", "localhost"),
            ("incoming_port", 144),
            ("outgoing_security", "tls"),
            ("username", "other"),
        ],
    )
    def test_when_the_location_of_a_profile_with_credentials_changes(
        self, amara: User, field: str, value: Any
    ) -> None:
        profile = self.with_credentials(amara)
        setattr(profile, field, value)
        assert list(refusal(profile)) == ["password"]
        profile.password = "Feldsalat 23"
        profile.full_clean()

    def test_a_detour_over_another_sign_in_does_not_free_it(self, amara: User) -> None:
        profile = self.with_credentials(amara)
        profile.authenticate_using, profile.incoming_host = "mailbox", "localhost"
        profile.full_clean()
        profile.save()
        profile.authenticate_using = "profile"
        assert list(refusal(profile)) == ["password"]

    def with_credentials(self, owner: User) -> EmailServerProfile:
        values = {"authenticate_using": "profile", "username": "postmaster", "password": "Feldsalat 23"}
        profile = EmailServerProfile.objects.create(**profile_values(owner=owner, **values))
        return EmailServerProfile.objects.get(pk=profile.pk)


class TestServerMailbox:
    CREDENTIALS = {
        "incoming_method": "server_side",
        "allow_credentials": True,
        "username": "ForwardMailbox",
        "password": "Feldsalat 23",
    }

    def test_two_mailboxes_do_not_read_the_same_folder_of_the_same_account(self, office: Office) -> None:
        second = forward(office, server_profile=office.profile, **self.CREDENTIALS)
        assert refusal(second) == {
            "username": [
                "The mailbox Collection 1 already reads INBOX of ForwardMailbox on 127.0.0.1. "
                "Two mailboxes cannot collect from the same place."
            ]
        }

    def test_nor_through_the_two_doors_of_one_server(self, office: Office) -> None:
        EmailServerProfile.objects.filter(pk=office.profile.pk).update(incoming_port=143)
        tls = EmailServerProfile.objects.create(
            **profile_values(name="Tls", owner=office.amara, incoming_port=993, incoming_security="tls")
        )
        assert "username" in refusal(forward(office, server_profile=tls, **self.CREDENTIALS))

    def test_nor_by_another_protocol_whatever_folder_stands_there_unused(self, office: Office) -> None:
        EmailServerProfile.objects.filter(pk=office.profile.pk).update(incoming_port=143)
        pop3 = profile_values(name="Pop", owner=office.amara, server_type="pop3_smtp", incoming_port=110)
        branch = EmailServerProfile.objects.create(**pop3, incoming_folder="Copies")
        assert "username" in refusal(forward(office, server_profile=branch, **self.CREDENTIALS))
        EmailServerProfile.objects.filter(pk=office.profile.pk).update(incoming_folder="Copies")
        forward(office, server_profile=branch, **self.CREDENTIALS).full_clean()

    @pytest.mark.parametrize(
        "difference",
        [{"incoming_folder": "Copies"}, {"incoming_port": 20143}, {"incoming_host": "localhost"}],
    )
    def test_another_folder_or_server_is_another_place(self, office: Office, difference: Any) -> None:
        branch = EmailServerProfile.objects.create(
            **profile_values(name="Branch", owner=office.amara) | difference
        )
        second = forward(office, server_profile=branch, **self.CREDENTIALS)
        second.full_clean()
        second.save()
        for name, value in (
            ("incoming_folder", "INBOX"),
            ("incoming_port", 10143),
            ("incoming_host", "127.0.0.1"),
        ):
            setattr(branch, name, value)
        assert "Two mailboxes cannot collect from the same place." in refusal(branch)["incoming_host"][0]

    def service(self, office: Office, name: str, **values: Any) -> EmailServerProfile:
        """A profile whose own account opens the mailboxes by their addresses."""
        own = {"authenticate_using": "profile", "username": "service", "password": "Feldsalat 23"}
        made = EmailServerProfile.objects.create(
            **profile_values(name=name, owner=office.amara, **own) | values
        )
        return EmailServerProfile.objects.get(pk=made.pk)

    def test_an_account_is_the_same_whoever_signs_in_for_it(self, office: Office) -> None:
        """Collection 1 signs in as forwardmailbox; the service account would open just that mailbox."""
        second = forward(
            office,
            email_address="forwardmailbox",
            server_profile=self.service(office, "Service"),
            incoming_method="server_side",
        )
        assert "already reads INBOX of forwardmailbox" in refusal(second)["email_address"][-1]

    def test_a_profile_edit_does_not_bring_two_together_either(self, office: Office) -> None:
        profile = self.service(office, "Service", incoming_folder="Copies")
        forward(
            office,
            email_address="noah@contoso.com",
            server_profile=profile,
            incoming_method="server_side",
        ).save()
        office.collection.username = "noah@contoso.com"
        office.collection.password = "Feldsalat 23"
        office.collection.save()
        profile.incoming_folder = "INBOX"
        assert "2 mailboxes would read INBOX of noah@contoso.com" in refusal(profile)["incoming_host"][0]
        profile.incoming_folder = "Copies"
        profile.authenticate_using = "mailbox"
        profile.full_clean()

    def test_what_a_mailbox_does_not_use_is_no_account(self, office: Office) -> None:
        office.collection.allow_credentials = False
        office.collection.save()
        forward(office, server_profile=office.profile, **self.CREDENTIALS).full_clean()


def both_at_once(*writes: Callable[[], None]) -> list[ValidationError]:
    """Run the writes in two threads that meet just before; the refusals among them."""
    meeting = threading.Barrier(len(writes), timeout=30)
    refusals: list[ValidationError] = []

    def run(write: Callable[[], None]) -> None:
        meeting.wait()
        try:
            write()
        except ValidationError as refused:
            refusals.append(refused)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(write,)) for write in writes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return refusals


@pytest.mark.django_db(transaction=True)
class TestTwoWritersAtOnce:
    """Each looked before the other had written, and `full_clean()` let both pass."""

    def test_take_the_same_address(self, office: Office) -> None:
        first, second = (forward(office, email_address=address) for address in ("a@b.org", "A@b.org"))
        first.full_clean(), second.full_clean()
        [refused] = both_at_once(first.save, second.save)
        assert "already belongs to the forward mailbox" in refused.messages[0]
        assert Mailbox.objects.filter(email_address__iexact="a@b.org").count() == 1

    def test_a_user_and_a_queue_take_the_same_address(self, office: Office) -> None:
        user = User(username="bram", password="!", email="bram@contoso.com")
        queue = Queue(name="Second", email_address="bram@contoso.com", owner=office.amara)
        user.full_clean(), queue.full_clean()
        assert len(both_at_once(user.save, queue.save)) == 1
        assert Mailbox.objects.filter(email_address="bram@contoso.com").count() == 1

    def test_take_the_same_folder_of_the_server(self, office: Office) -> None:
        sign_in = {"allow_credentials": True, "username": "copies", "password": "Feldsalat 23"}
        pair = [
            forward(
                office,
                email_address=f"{number}@contoso.com",
                server_profile=EmailServerProfile.objects.get(pk=office.profile.pk),
                incoming_method="server_side",
                **sign_in,
            )
            for number in (1, 2)
        ]
        for mailbox in pair:
            mailbox.full_clean()
        [refused] = both_at_once(*(mailbox.save for mailbox in pair))
        assert list(refused.message_dict) == ["username"]
        assert Mailbox.objects.filter(username="copies").count() == 1

    def noahs(self, office: Office) -> EmailServerProfile:
        """A profile whose service account opens noah@contoso.com, in a folder where nobody else reads."""
        own = {"authenticate_using": "profile", "username": "service", "password": "Feldsalat 23"}
        values = profile_values(name="Service", owner=office.amara, incoming_folder="Copies", **own)
        profile = EmailServerProfile.objects.create(**values)
        mailbox = forward(office, email_address="noah@contoso.com", incoming_method="server_side")
        mailbox.server_profile = profile
        mailbox.save()
        return EmailServerProfile.objects.get(pk=profile.pk)

    def test_two_profiles_move_to_the_same_place(self, office: Office) -> None:
        service = self.noahs(office)
        office.collection.username, office.collection.password = "Noah@contoso.com", "Feldsalat 23"
        office.collection.save()
        pair = [service, EmailServerProfile.objects.get(pk=office.profile.pk)]
        for profile in pair:
            profile.incoming_folder = "Orders"
            profile.full_clean()
        [refused] = both_at_once(*(profile.save for profile in pair))
        assert "Two mailboxes cannot collect from the same place" in refused.messages[0]
        assert EmailServerProfile.objects.filter(incoming_folder="Orders").count() == 1

    def test_a_profile_moves_to_where_a_mailbox_begins_to_read(self, office: Office) -> None:
        service = self.noahs(office)
        service.incoming_folder = "INBOX"
        mailbox = Mailbox.objects.get(pk=office.collection.pk)
        mailbox.username, mailbox.password = "noah@contoso.com", "Feldsalat 23"
        service.full_clean(), mailbox.full_clean()
        [refused] = both_at_once(service.save, mailbox.save)
        assert "Two mailboxes cannot collect from the same place" in refused.messages[0]

    def test_one_takes_the_server_away_and_one_begins_to_use_it(self, office: Office) -> None:
        branch = EmailServerProfile.objects.create(**profile_values(name="Branch", owner=office.amara))
        profile = EmailServerProfile.objects.get(pk=branch.pk)
        profile.incoming_host = ""
        mailbox = Mailbox.objects.get(queue=office.support)
        mailbox.server_profile, mailbox.incoming_method = branch, "server_side"
        profile.full_clean(), mailbox.full_clean()
        [refused] = both_at_once(profile.save, mailbox.save)
        assert set(refused.message_dict) < {"incoming_host", "incoming_method"}
        branch.refresh_from_db()
        mailbox = Mailbox.objects.get(queue=office.support)
        assert branch.can_receive == (mailbox.server_profile == branch)
