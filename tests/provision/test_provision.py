"""An office from a file: all of it or nothing, and twice the same."""

from __future__ import annotations

import tomllib
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from emailprofiles.models import EmailServerProfile
from mailboxes import provision, roles
from mailboxes.models import EmailConfigurationSettings, Mailbox, Queue, RoutingHeader, User
from mailboxes.provision import Outcome, Report
from mailboxes.routing import ROUTING_HEADERS
from tests.conftest import Office

OFFICE = """
[settings]
require_approval_for_users = false
require_approval_for_queues = false

[[profile]]
name = "Head office"
server_type = "imap_smtp"
incoming = { host = "127.0.0.1", port = 10143, security = "none" }
outgoing = { host = "127.0.0.1", port = 10025, security = "none" }
authenticate_using = "mailbox"
is_default = true

[[user]]
username = "amara"
full_name = "Amara Okafor"
email_address = "amara@contoso.com"
password_env = "AMARA_PASSWORD"
role = "administrator"
mailbox = { incoming = "forward", outgoing = "server_side", credentials = { username = "amara", password_env = "AMARA_MAIL" } }

[[queue]]
name = "Support"
email_address = "support@contoso.com"
owner = "amara"
mailbox = { incoming = "forward", outgoing = "none" }
approved = true

[[forward_mailbox]]
name = "Collection 1"
email_address = "forwardmailbox@contoso.com"
owner = "amara"
profile = "Head office"
incoming = "server_side"
delete_emails_after_processing = true
credentials = { username = "forwardmailbox", password_env = "FORWARD_PASSWORD" }
"""
ENV = {
    "AMARA_PASSWORD": "Petersilie 21",
    "AMARA_MAIL": "Rapunzel 24",
    "FORWARD_PASSWORD": "Feldsalat 23",
}
ALL = ["settings", "profile Head office", "user amara", "queue Support", "forward mailbox Collection 1"]


@pytest.fixture(autouse=True)
def _quick_sign_in_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def apply(text: str, **options: Any) -> Report:
    return provision.apply(tomllib.loads(text), **{"env": ENV} | options)


def told(report: Report) -> dict[str, str]:
    return {line.record: f"{line.outcome} {line.why}".strip() for line in report.lines}


def why_wrong(text: str, **options: Any) -> str:
    """Everything that is wrong, as it is told; nothing may have been written."""
    before = [User.objects.count(), Queue.objects.count(), EmailServerProfile.objects.count()]
    report = apply(text, **options)
    assert not report.is_written
    assert [User.objects.count(), Queue.objects.count(), EmailServerProfile.objects.count()] == before
    return "\n".join(str(line) for line in report.lines if line.outcome == Outcome.WRONG)


@pytest.fixture
def provisioned(db: None) -> None:
    assert apply(OFFICE).is_written


class TestTheExample:
    def test_it_makes_the_office(self, db: None) -> None:
        report = apply(OFFICE)
        assert told(report) == {
            "settings": "changed require_approval_for_users, require_approval_for_queues"
        } | dict.fromkeys(ALL[1:], "new")
        assert (report.is_written, report.wrong) == (True, 0)

        amara, profile = User.objects.get(), EmailServerProfile.objects.get()
        assert (str(amara), amara.first_name, amara.email) == ("Amara Okafor", "Amara", "amara@contoso.com")
        assert amara.check_password("Petersilie 21")
        assert roles.role_of(amara) == roles.Role.ADMINISTRATOR
        assert (profile.owner, profile.is_default) == (amara, True)
        assert (profile.incoming_port, profile.outgoing_security) == (10143, "none")

        own, support = amara.mailbox, Queue.objects.get().mailbox
        assert (own.outgoing_method, own.server_profile, own.approval) == ("server_side", profile, "pending")
        assert (own.username, own.password.reveal()) == ("amara", "Rapunzel 24")
        assert (support.owner, support.approval, support.approval_by) == (amara, "approved", None)
        collection = Mailbox.objects.get(is_forward_mailbox=True)
        assert (collection.incoming_method, collection.delete_emails_after_processing) == (
            "server_side",
            True,
        )
        assert collection.password.reveal() == "Feldsalat 23"

    def test_a_second_time_it_changes_nothing(self, provisioned: None) -> None:
        before = list(Mailbox.objects.values())
        assert told(apply(OFFICE)) == dict.fromkeys(ALL, "equal")
        assert list(Mailbox.objects.values()) == before

    def test_a_dry_run_says_the_same_and_writes_nothing(self, db: None) -> None:
        report = apply(OFFICE, dry_run=True)
        assert told(report)["forward mailbox Collection 1"] == "new"
        assert not report.is_written
        assert not User.objects.exists()
        assert not EmailServerProfile.objects.exists()
        assert told(apply(OFFICE)) == told(report)

    def test_it_finds_what_people_made_by_hand(self, office: Office) -> None:
        report = apply(OFFICE)
        assert report.wrong == 0, report
        assert Queue.objects.get() == office.support
        assert Mailbox.objects.get(is_forward_mailbox=True) == office.collection
        assert EmailServerProfile.objects.get() == office.profile
        assert told(apply(OFFICE)) == dict.fromkeys(ALL, "equal")


class TestChanges:
    @pytest.mark.parametrize(
        ("old", "new", "record", "why"),
        [
            ("Amara Okafor", "Amara Eze", "user amara", "full_name"),
            ("amara@contoso.com", "eze@contoso.com", "user amara", "email_address"),
            ('outgoing = "server_side", cred', 'outgoing = "none", cred', "user amara", "mailbox.outgoing"),
            ('name = "Support"', 'name = "Help"', "queue Help", "name"),
            (
                '"support@contoso.com"',
                '"help@contoso.com"',
                "queue Support",
                "email_address, mailbox.approved",
            ),
            ('name = "Head office"\n', 'name = "HEAD office"\n', "profile HEAD office", "name"),
            ("is_default = true", "timeout_seconds = 5", "profile Head office", "timeout_seconds"),
            ("is_default = true", 'sent_folder = "Gesendete Grüße"', "profile Head office", "sent_folder"),
            (
                "processing = true",
                "processing = false",
                "forward mailbox Collection 1",
                "delete_emails_after_processing",
            ),
        ],
    )
    def test_a_change_is_named_and_then_done(
        self, provisioned: None, old: str, new: str, record: str, why: str
    ) -> None:
        assert OFFICE.count(old) == 1
        changed = OFFICE.replace(old, new)
        assert {name: line for name, line in told(apply(changed)).items() if line != "equal"} == {
            record: f"changed {why}"
        }
        assert set(told(apply(changed)).values()) == {"equal"}

    def test_another_password_is_a_change_and_is_not_shown(self, provisioned: None) -> None:
        env = {"AMARA_PASSWORD": "Kerbel 25", "AMARA_MAIL": "Estragon 26", "FORWARD_PASSWORD": "Dill 27"}
        report = apply(OFFICE, env=env)
        assert told(report) == dict.fromkeys(ALL, "equal") | {
            "user amara": "changed password, mailbox.credentials.password",
            "forward mailbox Collection 1": "changed credentials.password",
        }
        assert not [word for word in (*env.values(), *ENV.values()) if word in repr(report)]
        assert User.objects.get().check_password("Kerbel 25")
        assert Mailbox.objects.get(is_forward_mailbox=True).password.reveal() == "Dill 27"

    def test_a_server_that_moved_gets_the_credentials_that_the_file_states(self, provisioned: None) -> None:
        moved = OFFICE.replace("10143", "20143")
        lines = told(apply(moved))
        assert lines["profile Head office"] == "changed incoming.port"
        assert lines["forward mailbox Collection 1"] == "changed credentials.password"
        collection = Mailbox.objects.get(is_forward_mailbox=True)
        assert (
            collection.credentials_location_version == EmailServerProfile.objects.get().location_version == 2
        )
        assert set(told(apply(moved)).values()) == {"equal"}

    def test_what_the_file_does_not_mention_stays(self, provisioned: None) -> None:
        Mailbox.objects.filter(user__username="amara").update(approval="rejected")
        report = apply('[[user]]\nusername = "amara"\nfull_name = "Amara Okafor"')
        assert told(report) == {"user amara": "equal"}
        assert User.objects.get().mailbox.approval == "rejected"
        assert User.objects.get().check_password("Petersilie 21")

    def test_a_usual_port_follows_the_security_and_another_one_stays(self, db: None) -> None:
        root = User.objects.create_superuser("root", "root@contoso.com", "x")
        text = '[[profile]]\nname = "Branch"\nincoming = { host = "imap.contoso.com", security = "tls" }\n'
        apply(text)
        assert told(apply(text.replace("tls", "starttls")))["profile Branch"] == (
            "changed incoming.security, incoming.port"
        )
        profile = EmailServerProfile.objects.get(owner=root)
        assert profile.incoming_port == 143
        apply(text.replace('"tls"', '"starttls", port = 10143'))
        apply(text)
        profile.refresh_from_db()
        assert (profile.incoming_security, profile.incoming_port) == ("tls", 10143)

    def test_the_default_profile_is_handed_over(self, provisioned: None) -> None:
        second = '[[profile]]\nname = "Branch"\nincoming = { host = "127.0.0.1", security = "none" }\n'
        report = apply(second + '[settings]\ndefault_server_profile = "branch"')
        assert told(report) == {"settings": "changed default_server_profile", "profile Branch": "new"}
        branch = EmailServerProfile.objects.get(is_default=True)
        assert (branch.name, branch.incoming_port, branch.owner.username) == ("Branch", 143, "amara")

    def test_in_one_file_by_its_flags_too(self, provisioned: None) -> None:
        text = (
            '[[profile]]\nname = "Branch"\nincoming = { host = "localhost", security = "none" }\nis_default = true\n'
            '[[profile]]\nname = "Head office"\nis_default = false\n'
        )
        assert told(apply(text)) == {
            "profile Head office": "changed is_default",
            "profile Branch": "new",
        }

    def test_routing_headers_members_and_dates(self, provisioned: None) -> None:
        text = """
        [settings]
        routing_headers = ["Delivered-To", "X-Original-To"]
        [[profile]]
        name = "Head office"
        process_email_from = 2026-01-01T08:00:00
        [[user]]
        username = "bram"
        email_address = "Bram@CONTOSO.com"
        [[queue]]
        name = "Support"
        members = ["bram", "amara"]
        """
        assert told(apply(text)) == {
            "settings": "changed routing_headers",
            "profile Head office": "changed process_email_from",
            "user bram": "new",
            "queue Support": "changed members",
        }
        assert RoutingHeader.names() == ("Delivered-To", "X-Original-To") != ROUTING_HEADERS
        assert set(told(apply(text)).values()) == {"equal"}

    def test_a_new_user_gets_the_defaults_of_the_same_file(self, db: None) -> None:
        text = OFFICE.replace("[settings]", '[settings]\ndefault_incoming_method = "server_side"').replace(
            "[[queue]]", '[[user]]\nusername = "bram"\nemail_address = "bram@contoso.com"\n[[queue]]'
        )
        assert apply(text).wrong == 0
        bram = Mailbox.objects.get(user__username="bram")
        assert (bram.incoming_method, str(bram.server_profile)) == ("server_side", "Head office")
        assert not bram.user.has_usable_password()
        assert roles.role_of(bram.user) == roles.Role.USER

    def test_administrators_change_places(self, provisioned: None) -> None:
        text = """
        [[user]]
        username = "amara"
        role = "staff"
        [[user]]
        username = "bram"
        email_address = "bram@contoso.com"
        role = "%s"
        """
        assert "role: Amara Okafor is the last active administrator" in why_wrong(text % "approver")
        assert told(apply(text % "administrator")) == {"user amara": "changed role", "user bram": "new"}
        assert told(apply(text % "administrator")) == {"user amara": "equal", "user bram": "equal"}

    def test_a_superuser_owns_what_has_no_owner(self, db: None) -> None:
        User.objects.create_superuser("root", "root@contoso.com")
        apply('[[profile]]\nname = "Branch"\noutgoing = { host = "localhost", security = "starttls" }')
        profile = EmailServerProfile.objects.get()
        assert (profile.owner.username, profile.outgoing_port) == ("root", 587)


class TestSecrets:
    FORWARD = OFFICE.replace('password_env = "FORWARD_PASSWORD"', "%s")

    def test_from_a_file(self, db: None, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("Dill 27 \n")
        assert apply(self.FORWARD % 'password_file = "secret"', folder=tmp_path).wrong == 0
        assert Mailbox.objects.get(is_forward_mailbox=True).password.reveal() == "Dill 27 "

    def test_or_in_the_file_itself(self, db: None) -> None:
        assert apply(self.FORWARD % 'password = "Dill 27"').wrong == 0
        assert Mailbox.objects.get(is_forward_mailbox=True).password.reveal() == "Dill 27"

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ('password_env = "NOWHERE"', "password_env: the environment variable NOWHERE is not set."),
            ('password_env = "EMPTY"', "password_env: is empty."),
            (
                'password_file = "nowhere"',
                "password_file: nowhere cannot be read (No such file or directory).",
            ),
            ('password_file = "latin1"', "password_file: latin1 is not UTF-8 text."),
            ('password = ""', "password: is empty."),
            ("password = 4711", "password: expected a text."),
            ('password = "x", password_env = "EMPTY"', "password: give only one of password, password_env."),
        ],
    )
    def test_a_missing_one_is_wrong(self, db: None, tmp_path: Path, given: str, sentence: str) -> None:
        (tmp_path / "latin1").write_bytes(b"\xe4")
        wrong = why_wrong(self.FORWARD % given, env=ENV | {"EMPTY": ""}, folder=tmp_path)
        assert wrong == f"wrong    forward mailbox Collection 1: credentials.{sentence}"

    def test_a_profile_has_two(self, db: None) -> None:
        text = OFFICE.replace(
            'authenticate_using = "mailbox"',
            'authenticate_using = "profile"\nusername = "office"\npassword_env = "AMARA_MAIL"\n'
            'same_sign_in_for_outgoing = false\noutgoing_username = "office"\noutgoing_password = "Dill 27"',
        )
        assert apply(text).wrong == 0
        profile = EmailServerProfile.objects.get()
        assert (profile.password.reveal(), profile.outgoing_password.reveal()) == ("Rapunzel 24", "Dill 27")
        assert set(told(apply(text)).values()) == {"equal"}
        assert told(apply(text.replace("10143", "20143")))["profile Head office"] == (
            "changed incoming.port, password, outgoing_password"
        )


class TestWrong:
    @pytest.mark.parametrize(
        ("old", "new", "sentence"),
        [
            (
                "port = 10143",
                "prot = 10143",
                "profile Head office: incoming.prot: there is no such key; did you mean port?",
            ),
            (
                "full_name =",
                "fullname =",
                "user amara: fullname: there is no such key; did you mean full_name?",
            ),
            (
                "approval_for_users",
                "approval",
                "settings: require_approval: there is no such key; did you mean",
            ),
            (
                'credentials = { username = "forw',
                'credentials = { pasword = "x", username = "forw',
                "credentials.pasword: there is no such key; did you mean password?",
            ),
            ("[[queue]]", "[[queues]]", "file: queues: there is no such section; did you mean queue?"),
            (
                "[[forward_mailbox]]",
                "[forward_mailbox]",
                "file: forward_mailbox: write it as [[forward_mailbox]].",
            ),
            (
                'incoming = { host = "127.0.0.1", port = 10143, security = "none" }',
                'incoming = "localhost"',
                "profile Head office: incoming: expected a table such as { host = … }.",
            ),
            ('name = "Support"', 'name = ["Support"]', "name: expected one value."),
            (
                'owner = "amara"\nmailbox',
                'owner = "amra"\nmailbox',
                "queue Support: owner: there is no user amra; did you mean amara?",
            ),
            (
                'profile = "Head office"',
                'profile = "Head ofice"',
                "profile: there is no profile Head ofice; did you mean Head office?",
            ),
            (
                'role = "administrator"',
                'role = "boss"',
                "user amara: role: choose one of administrator, approver, staff, user.",
            ),
            ("approved = true", 'approved = "yes"', "queue Support: approved: expected true or false."),
            (
                'owner = "amara"\nprofile',
                'owner = "amara"\napproved = true\nprofile',
                "approved: A forward mailbox needs no approval",
            ),
            ("port = 10143", "port = 0", "profile Head office: incoming.port: "),
            (
                "[settings]",
                '[settings]\ndefault_act_method = "server_side"',
                "settings: default_act_method: Not available in this version",
            ),
            (
                "is_default = true",
                'carddav_url = "https://card.contoso.com/"',
                "profile Head office: carddav_url: Not available in this version",
            ),
            (
                "is_default = true",
                'caldav_url = "https://cal.contoso.com/"',
                "profile Head office: caldav_url: Not available in this version",
            ),
            ("port = 10143", 'port = "many"', "profile Head office: incoming.port: "),
            (
                "is_default = true",
                'sent_folder = "inbox"',
                "profile Head office: sent_folder: This folder is read: what is sent would be collected",
            ),
            (
                "is_default = true",
                'sent_folder = "Sent\\r\\nZ9 LOGOUT"',
                "profile Head office: sent_folder: This contains a line break or a NUL.",
            ),
            (
                'host = "127.0.0.1", port = 10143',
                'host = "imap.contoso.com", port = 10143',
                "incoming.security: Without encryption everyone",
            ),
            (
                'server_type = "imap_smtp"',
                'server_type = "gmail"',
                "server_type: Gmail is not available in this version",
            ),
            (
                'server_type = "imap_smtp"',
                'server_type = "pigeon"',
                "server_type: Value 'pigeon' is not a valid choice.",
            ),
            (
                '"support@contoso.com"',
                '"amara@contoso.com"',
                "queue Support: email_address: amara@contoso.com already belongs to the user mailbox Amara Okafor.",
            ),
            (
                'email_address = "amara@contoso.com"',
                "",
                "user amara: email_address: This field cannot be blank.",
            ),
            (
                'email_address = "amara@contoso.com"',
                'email_address = "amara"',
                "user amara: email_address: Enter a valid email address.",
            ),
            ('username = "amara"\n', "", "user amara@contoso.com: username: This field cannot be blank."),
            (
                'mailbox = { incoming = "forward", outgoing = "none" }',
                'mailbox = { incoming = "outlook", outgoing = "fax" }',
                "queue Support: mailbox.outgoing: Value 'fax' is not a valid choice.",
            ),
            (
                'mailbox = { incoming = "forward", outgoing = "none" }',
                'mailbox = { incoming = "outlook" }',
                "queue Support: mailbox.incoming: A queue has no Outlook of its own",
            ),
            (
                'username = "forwardmailbox", ',
                "",
                "forward mailbox Collection 1: credentials.username: Type the user name",
            ),
            (
                "is_default = true",
                "is_default = true\nis_active = false",
                "profile Head office: is_default: An inactive profile",
            ),
            (
                "[settings]",
                '[settings]\ndefault_server_profile = "Nowhere"',
                "settings: default_server_profile: there is no profile Nowhere.",
            ),
            (
                "is_default = true",
                'is_default = false\n[settings]\ndefault_server_profile = "Head office"',
                "settings: default_server_profile: is_default of the profile Head office says something else.",
            ),
            (
                "[settings]",
                '[settings]\nrouting_headers = ["X Original"]',
                "settings: routing_headers: 'X Original': A header name has no spaces",
            ),
            (
                "[settings]",
                '[settings]\nrouting_headers = "To"',
                "settings: routing_headers: expected a list of texts.",
            ),
        ],
    )
    def test_each_kind_of_wrong_is_told_with_its_record_and_key(
        self, db: None, old: str, new: str, sentence: str
    ) -> None:
        assert old in OFFICE
        text = OFFICE.replace(old, new, 1)
        if "default_server_profile" in new and "[settings]" in new and old != "[settings]":
            text = text.replace("[settings]", "", 1).replace("require_approval_for_users = false", "", 1)
            text = text.replace("require_approval_for_queues = false", "", 1)
        assert sentence in why_wrong(text)

    def test_all_faults_of_a_file_are_told_at_once(self, db: None) -> None:
        text = (
            OFFICE.replace("10143", "0").replace('"amara@contoso.com"', '"amara"').replace("owner", "ovner")
        )
        lines = why_wrong(text).splitlines()
        assert [line.split(":")[0].removeprefix("wrong").strip() for line in lines] == ALL[1:]

    def test_a_reference_to_something_wrong_says_so(self, db: None) -> None:
        wrong = why_wrong(OFFICE.replace("10143", "0"))
        assert (
            "forward mailbox Collection 1: profile: the profile Head office of this file is wrong itself."
            in wrong
        )

    def test_a_record_stands_once(self, db: None) -> None:
        second = '[[user]]\nusername = "amara"\nemail_address = "other@contoso.com"'
        assert why_wrong(OFFICE + second) == "wrong    user amara: This record stands in the file already."

    def test_an_ambiguous_queue(self, amara: User) -> None:
        for number in (1, 2):
            Queue.objects.create(name="Support", email_address=f"{number}@contoso.com", owner=amara)
        assert "several queues are called Support" in why_wrong('[[queue]]\nname = "Support"')

    def test_a_superuser_keeps_the_role(self, db: None) -> None:
        User.objects.create_superuser("root", "root@contoso.com")
        wrong = why_wrong('[[user]]\nusername = "root"\nrole = "staff"')
        assert wrong.endswith("role: a superuser is always an administrator.")

    def test_no_secret_is_told(self, db: None) -> None:
        text = OFFICE.replace('credentials = { username = "forwardmailbox", ', "credentials = { ")
        report = apply(text.replace('password_env = "FORWARD_PASSWORD"', 'password = "Dill 27"'))
        assert report.wrong
        assert not [word for word in (*ENV.values(), "Dill 27") if word in repr(report)]


class TestCommand:
    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        for name, value in ENV.items():
            monkeypatch.setenv(name, value)
        path = tmp_path / "office.toml"
        path.write_text(OFFICE)
        return path

    def run(self, *arguments: Any) -> list[str]:
        output = StringIO()
        call_command("provision", *map(str, arguments), stdout=output)
        return output.getvalue().splitlines()

    def test_it_tells_each_record_and_the_sum(self, db: None, file: Path) -> None:
        assert self.run(file, "--dry-run")[-1] == (
            "4 new, 1 changed, 0 equal, 0 wrong. Nothing was written: a dry run."
        )
        assert self.run(file)[1:] == [
            "new      profile Head office",
            "new      user amara",
            "new      queue Support",
            "new      forward mailbox Collection 1",
            "4 new, 1 changed, 0 equal, 0 wrong.",
        ]
        assert self.run(file)[-1] == "0 new, 0 changed, 5 equal, 0 wrong."

    def test_it_ends_with_1_when_something_is_wrong(self, db: None, file: Path) -> None:
        file.write_text(OFFICE.replace("10143", "0"))
        with pytest.raises(CommandError, match=r"3 wrong\. Nothing was written") as ended:
            self.run(file)
        assert ended.value.returncode == 1
        assert not EmailConfigurationSettings.objects.exists()

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [(None, "cannot be read"), (b"\xe4", "is not UTF-8 text"), (b"name = ", "is not a TOML file")],
    )
    def test_it_says_what_is_wrong_with_the_file(
        self, tmp_path: Path, content: bytes | None, sentence: str
    ) -> None:
        path = tmp_path / "office.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CommandError, match=sentence):
            self.run(path)

    def test_a_terminal_gets_a_table(self, db: None, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Terminal(StringIO):
            def isatty(self) -> bool:
                return True

        output = Terminal()
        monkeypatch.setenv("COLUMNS", "100")
        call_command("provision", str(file), stdout=output)
        assert "Record" in output.getvalue()
        assert "forward mailbox Collection 1" in output.getvalue()


class TestPeople:
    WITHOUT_PASSWORD = OFFICE.replace('password_env = "AMARA_PASSWORD"', "%s")

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ('password = "Zwiebel"', "password: This password is too short"),
            ('password = "password1"', "password: This password is too common."),
            ('password_env = "WEAK"', "password_env: The password is too similar to the username."),
            ('password_file = "weak"', "password_file: The password is too similar to the Email address."),
        ],
    )
    def test_a_weak_sign_in_password_is_refused_at_its_key(
        self, db: None, tmp_path: Path, given: str, said: str
    ) -> None:
        (tmp_path / "weak").write_text("amara@contoso\n")
        report = provision.apply(
            tomllib.loads(self.WITHOUT_PASSWORD % given), env=ENV | {"WEAK": "amaramara"}, folder=tmp_path
        )

        line = next(line for line in report.lines if line.record == "user amara")
        assert line.outcome == Outcome.WRONG
        assert said in line.why
        assert not User.objects.exists()

    def test_a_weak_password_that_is_stored_already_is_no_change(self, db: None) -> None:
        amara = User.objects.create_user("amara", "amara@contoso.com", "short")
        roles.set_role(amara, roles.Role.ADMINISTRATOR)

        assert apply(self.WITHOUT_PASSWORD % 'password = "short"').wrong == 0

    def test_what_people_choose_and_who_works_where(self, db: None) -> None:
        text = OFFICE.replace(
            'role = "administrator"\n',
            'role = "administrator"\ntime_zone = "Europe/Berlin"\nlanguage = "en"\ntheme = "dark"\n'
            'incoming_filter = "replies"\n',
        ).replace(
            'owner = "amara"\nmailbox', 'owner = "amara"\nis_private = false\nmembers = ["amara"]\nmailbox'
        )

        assert apply(text).wrong == 0
        assert apply(text).count(Outcome.EQUAL) == 5

        amara, support = User.objects.get(), Queue.objects.get()
        assert (amara.time_zone, amara.theme) == ("Europe/Berlin", "dark")
        assert amara.incoming_filter == "replies"
        assert not support.is_private
        assert list(support.members.all()) == [amara]

    def test_signatures_and_how_sending_is_watched(self, db: None) -> None:
        signature = '''signature = """\nContoso \n\n24 h\n"""\n'''
        text = OFFICE.replace('role = "administrator"\n', f'role = "administrator"\n{signature}')
        text = text.replace('owner = "amara"\nmailbox', f'owner = "amara"\n{signature}mailbox')
        text = text.replace(
            "[settings]\n", '[settings]\ntrack_by_token = "subject"\noutbox_alert_minutes = 0\n'
        )

        assert apply(text).wrong == 0
        assert apply(text).count(Outcome.EQUAL) == 5

        assert User.objects.get().signature == Queue.objects.get().signature == "Contoso\n\n24 h"
        settings = EmailConfigurationSettings.load()
        assert (settings.track_by_token, settings.outbox_alert_minutes) == ("subject", 0)

    @pytest.mark.parametrize(
        ("key", "said"),
        [
            ("signature = '" + "a" * 2001 + "'", "signature: Write at most 2000 characters."),
            (r'signature = "a\u0007"', "signature: Line 1 contains a control character."),
            ('time_zone = "Mars/Olympus"', "time_zone: Type the name of a time zone"),
            ('language = "tlh"', "language: Choose one of: English (en)."),
            ('incoming_filter = "some"', "incoming_filter: Value 'some' is not a valid choice."),
            ('theme = "plaid"', "theme: Value 'plaid' is not a valid choice."),
        ],
    )
    def test_what_cannot_be_honoured_is_refused_at_its_key(self, db: None, key: str, said: str) -> None:
        report = apply(OFFICE.replace('role = "administrator"\n', f'role = "administrator"\n{key}\n'))

        assert said in next(line.why for line in report.lines if line.record == "user amara")

    def test_a_queue_of_a_file_is_private_unless_it_says_otherwise(self, db: None) -> None:
        apply(OFFICE)
        assert Queue.objects.get().is_private
