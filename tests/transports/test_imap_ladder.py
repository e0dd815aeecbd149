"""Test & Enable against a real Dovecot: each thing that is wrong fails at its own step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from emailprofiles.errors import (
    CapabilityMissing,
    CertificateExpired,
    CertificateUntrusted,
    CertificateWrongName,
    EncryptionRequired,
    FolderMissing,
    FolderReadOnly,
    MailError,
    MayNotOpen,
    NameNotResolved,
    NotTls,
    PortClosed,
    SettingsIncomplete,
    SignInRefused,
    TryLater,
)
from emailprofiles.transports import TRANSPORTS
from emailprofiles.transports.imap import Imap
from emailprofiles.wire import Anonymous, Disposal, Endpoint, Password, Security, Step, StepName
from tests.servers import EXPIRED, NO_PLAINTEXT, UNTRUSTED, WRONG_NAME, Certificates, Dovecot, free_port
from tests.transports.conftest import SECRET

UP_TO_SIGN_IN = [StepName.NAME, StepName.PORT, StepName.TLS, StepName.GREETING, StepName.SIGNED_IN]
FOLDER_STEPS = [StepName.FOLDER, StepName.MAY_DELETE, StepName.MESSAGE]


def climb(imap: Imap, disposal: Disposal = Disposal.DELETE) -> tuple[list[Step], MailError | None]:
    """The steps that ended well, and the error that ended the ladder."""
    steps: list[Step] = []
    with imap:
        try:
            for step in imap.connect_steps():
                steps.append(step)
            for step in imap.open_steps(disposal):
                steps.append(step)
        except MailError as error:
            return steps, error
    return steps, None


def test_the_registry_finds_it() -> None:
    assert TRANSPORTS["incoming"]["imap"] is Imap


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
def test_all_steps_with_encryption(dovecot: Dovecot, amara: str, security: Security) -> None:
    dovecot.append(amara, b"Subject: one\r\n\r\nhello\r\n")
    steps, error = climb(Imap(dovecot.endpoint(security), Password(amara, SECRET)))
    assert error is None
    assert [step.name for step in steps] == UP_TO_SIGN_IN + FOLDER_STEPS
    seen = {step.name: step.seen for step in steps}
    assert seen[StepName.NAME] == "127.0.0.1"
    assert seen[StepName.TLS] == "TLS 1.3, certificate from Contoso CA, expires 1 Jan 3000"
    assert "IMAP4REV1" in seen[StepName.GREETING]
    assert seen[StepName.SIGNED_IN] == amara
    assert seen[StepName.FOLDER].startswith("1 message, oldest ")
    assert seen[StepName.MAY_DELETE] == "yes (UIDPLUS)"
    assert seen[StepName.MESSAGE].startswith("the newest, 23 octets, received ")


def test_all_steps_in_the_clear_with_an_empty_folder(dovecot: Dovecot, amara: str) -> None:
    steps, error = climb(Imap(dovecot.endpoint(), Password(amara, SECRET)))
    assert error is None
    assert StepName.TLS not in [step.name for step in steps]
    assert [step.seen for step in steps[-3:]] == ["0 messages", "yes (UIDPLUS)", "the folder is empty"]


def test_the_test_changes_nothing(dovecot: Dovecot, amara: str) -> None:
    dovecot.append(amara, b"Subject: one\r\n\r\n")
    dovecot.append(amara, b"Subject: two\r\n\r\n", flags=[r"\Deleted"])
    before = [(kept.uid, kept.flags - {r"\Recent"}) for kept in dovecot.messages(amara)]
    for disposal in Disposal:
        climb(Imap(dovecot.endpoint(), Password(amara, SECRET)), disposal)
    assert [(kept.uid, kept.flags - {r"\Recent"}) for kept in dovecot.messages(amara)] == before


Change = Callable[[Endpoint], Endpoint]


@pytest.mark.parametrize(
    ("security", "change", "step", "error"),
    [
        (Security.TLS, lambda e: replace(e, host="nosuch.invalid"), StepName.NAME, NameNotResolved),
        (Security.TLS, lambda e: replace(e, host=""), StepName.NAME, SettingsIncomplete),
        (Security.TLS, lambda e: replace(e, port=free_port()), StepName.PORT, PortClosed),
        (Security.STARTTLS, lambda e: replace(e, security=Security.TLS), StepName.TLS, NotTls),
        (Security.TLS, lambda e: replace(e, host=EXPIRED), StepName.TLS, CertificateExpired),
        (Security.STARTTLS, lambda e: replace(e, host=EXPIRED), StepName.TLS, CertificateExpired),
        (Security.TLS, lambda e: replace(e, host=WRONG_NAME), StepName.TLS, CertificateWrongName),
        (Security.STARTTLS, lambda e: replace(e, host=WRONG_NAME), StepName.TLS, CertificateWrongName),
        (Security.TLS, lambda e: replace(e, host=UNTRUSTED), StepName.TLS, CertificateUntrusted),
        (Security.TLS, lambda e: replace(e, ca_file=""), StepName.TLS, CertificateUntrusted),
        (Security.NONE, lambda e: replace(e, host=NO_PLAINTEXT), StepName.SIGNED_IN, EncryptionRequired),
    ],
)
def test_a_wrong_endpoint_fails_at_its_step(
    dovecot: Dovecot, amara: str, security: Security, change: Change, step: StepName, error: type[MailError]
) -> None:
    endpoint = change(dovecot.endpoint(security))
    steps, failure = climb(Imap(endpoint, Password(amara, SECRET)))
    assert type(failure) is error
    assert failure.step is step
    ladder = [name for name in StepName if name is not StepName.SETTINGS]
    if endpoint.security is Security.NONE:
        ladder.remove(StepName.TLS)
    assert [done.name for done in steps] == ladder[: ladder.index(step)]


def test_a_wrong_password_is_refused_with_the_servers_words(dovecot: Dovecot, amara: str) -> None:
    _steps, error = climb(Imap(dovecot.endpoint(), Password(amara, "wrong")))
    assert type(error) is SignInRefused
    assert error.step is StepName.SIGNED_IN
    assert "Authentication failed" in error.server_words
    assert amara in str(error)


def test_an_unknown_user_is_refused_like_a_wrong_password(dovecot: Dovecot) -> None:
    _steps, error = climb(Imap(dovecot.endpoint(), Password("nobody-known", "wrong")))
    assert type(error) is SignInRefused


def test_imap_knows_no_anonymous_sign_in(dovecot: Dovecot) -> None:
    _steps, error = climb(Imap(dovecot.endpoint(), Anonymous()))
    assert type(error) is SettingsIncomplete
    assert error.step is StepName.SIGNED_IN


@pytest.mark.parametrize("password", ['q"uo\\te', "sp ace", "pässwörd–€", "{5}", "(*%", "Tr0ub4dor&3" * 20])
def test_any_password_is_carried_as_it_is(dovecot: Dovecot, amara: str, password: str) -> None:
    user = f"{amara}-special"
    dovecot.add_user(user, password)
    _steps, error = climb(Imap(dovecot.endpoint(), Password(user, password)))
    assert error is None


@pytest.mark.parametrize("bad", ["a\r\nb", "a\0b", "a\nb"])
def test_what_would_end_a_command_is_not_sent(dovecot: Dovecot, amara: str, bad: str) -> None:
    for credentials in (Password(bad, SECRET), Password(amara, bad), Password(amara, SECRET, bad)):
        _steps, error = climb(Imap(dovecot.endpoint(), credentials))
        assert type(error) is SettingsIncomplete
    _steps, error = climb(Imap(dovecot.endpoint(), Password(amara, SECRET), bad))
    assert type(error) is SettingsIncomplete
    assert error.step is StepName.FOLDER


def test_a_service_account_opens_the_mailbox_of_another(dovecot: Dovecot, amara: str) -> None:
    dovecot.add_master(f"service-{amara}", "of the house")
    dovecot.append(amara, b"Subject: hers\r\n\r\n")
    steps, error = climb(Imap(dovecot.endpoint(), Password(f"service-{amara}", "of the house", amara)))
    assert error is None
    assert steps[-4].seen == f"service-{amara} for {amara}"
    assert steps[-3].seen.startswith("1 message")


def test_an_account_that_is_no_service_account_does_not(dovecot: Dovecot, amara: str) -> None:
    dovecot.add_user(f"{amara}-boris", SECRET)
    _steps, error = climb(Imap(dovecot.endpoint(), Password(f"{amara}-boris", SECRET, amara)))
    assert isinstance(error, SignInRefused | MayNotOpen)


def test_a_missing_folder_is_named(dovecot: Dovecot, amara: str) -> None:
    _steps, error = climb(Imap(dovecot.endpoint(), Password(amara, SECRET), "Bestellungen/März"))
    assert type(error) is FolderMissing
    assert error.step is StepName.FOLDER
    assert "Bestellungen/März" in str(error)


@pytest.mark.parametrize(
    "folder", ["Orders & more", "Bestellungen/März", 'a "quoted" one', "台北", "back\\slash"]
)
def test_any_folder_name_opens(dovecot: Dovecot, amara: str, folder: str) -> None:
    dovecot.make_folder(amara, folder)
    steps, error = climb(Imap(dovecot.endpoint(), Password(amara, SECRET), folder))
    assert error is None
    assert steps[-3].seen == "0 messages"


@pytest.mark.parametrize("disposal", list(Disposal))
def test_a_folder_that_can_only_be_read_fails_where_it_is_to_be_changed(
    dovecot: Dovecot, amara: str, disposal: Disposal
) -> None:
    dovecot.make_folder(amara, "Archive", rights="lr")
    steps, error = climb(Imap(dovecot.endpoint(), Password(amara, SECRET), "Archive"), disposal)
    assert steps[-1].name is StepName.FOLDER
    assert type(error) is FolderReadOnly
    assert error.step is StepName.MAY_DELETE


def test_a_folder_where_mail_may_be_marked_but_not_deleted(dovecot: Dovecot, amara: str) -> None:
    dovecot.make_folder(amara, "Kept", rights="lrws")
    imap = Imap(dovecot.endpoint(), Password(amara, SECRET), "Kept")
    with imap:
        imap.connect()
        folder = imap.open()
    assert (folder.may_delete, folder.may_mark_read) == (False, True)
    assert climb(imap, Disposal.MARK_READ)[1] is None
    _steps, error = climb(imap, Disposal.DELETE)
    assert isinstance(error, FolderReadOnly)


@pytest.mark.parametrize(
    ("capabilities", "seen"),
    [("IMAP4rev1 UIDPLUS UNSELECT", "yes (UIDPLUS)"), ("IMAP4rev1 MOVE", "yes, by moving to Trash")],
)
def test_either_way_to_delete_will_do(certificates: Certificates, capabilities: str, seen: str) -> None:
    with Dovecot(certificates, extra=f"imap_capability = {capabilities} SPECIAL-USE\n") as server:
        server.add_user("amara", SECRET)
        steps, error = climb(Imap(server.endpoint(), Password("amara", SECRET)))
    assert error is None
    assert steps[-2].seen == seen


def test_a_server_that_cannot_delete_just_these_is_refused(certificates: Certificates) -> None:
    with Dovecot(certificates, extra="imap_capability = IMAP4rev1\n") as server:
        server.add_user("amara", SECRET)
        _steps, error = climb(Imap(server.endpoint(), Password("amara", SECRET)))
        assert type(error) is CapabilityMissing
        assert error.step is StepName.MAY_DELETE
        assert climb(Imap(server.endpoint(), Password("amara", SECRET)), Disposal.MARK_READ)[1] is None


def test_too_many_connections_are_never_taken_for_a_bad_password(certificates: Certificates) -> None:
    with Dovecot(certificates, extra="mail_max_userip_connections = 1\n") as server:
        server.add_user("amara", SECRET)
        with server.client("amara"):
            _steps, error = climb(Imap(server.endpoint(), Password("amara", SECRET)))
    assert type(error) is TryLater
    assert error.step is StepName.SIGNED_IN
    assert "Maximum number of connections" in error.server_words
