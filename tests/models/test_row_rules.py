"""The truth table: what `full_clean()` accepts by the row rules is exactly what the database accepts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, product
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction

from emailprofiles.models import AuthenticateUsing, EmailServerProfile, SecurityChoice, ServerType
from mailboxes.models import ActMethod, Approval, IncomingMethod, Mailbox, OutgoingMethod, Queue, User
from tests.conftest import profile_values

Row = dict[str, Any]
numbers = count(1)


def rows(**columns: Iterable[Any]) -> Iterator[Row]:
    for values in product(*columns.values()):
        yield dict(zip(columns, values, strict=True))


def model_accepts(record: models.Model) -> bool:
    """The row rules of `full_clean()`: fields and constraints, without the rules across rows."""
    try:
        record.clean_fields()
        record.validate_constraints()
    except ValidationError:
        return False
    return True


def database_accepts(record: models.Model) -> bool:
    """An INSERT that passes by `save()`, and is taken back."""
    try:
        with transaction.atomic():
            type(record)._default_manager.bulk_create([record])
            transaction.set_rollback(True)
    except IntegrityError:
        return False
    return True


def judged(records: Iterable[tuple[Row, models.Model]]) -> list[tuple[Row, bool, bool]]:
    """Each row with what the model and the database say of it."""
    told = [(row, model_accepts(record), database_accepts(record)) for row, record in records]
    assert {by_database for _, _, by_database in told} == {True, False}, "this table decides nothing"
    return told


def disagreements(told: Iterable[tuple[Row, bool, bool]]) -> list[tuple[Row, bool, bool]]:
    return [(row, by_model, by_database) for row, by_model, by_database in told if by_model != by_database]


@pytest.fixture
def without_mailbox(amara: User) -> tuple[User, Queue]:
    """Bram and the queue Support, as no save() would leave them: without a mailbox."""
    [bram] = User.objects.bulk_create([User(username="bram", email="bram@contoso.com")])
    [support] = Queue.objects.bulk_create(
        [Queue(name="Support", email_address="support@contoso.com", owner=amara)]
    )
    return bram, support


@pytest.fixture
def profile(amara: User) -> EmailServerProfile:
    return EmailServerProfile.objects.create(**profile_values(owner=amara))


@pytest.fixture
def mailbox(amara: User, without_mailbox: tuple[User, Queue], profile: EmailServerProfile) -> Any:
    """Makes an unsaved mailbox from a row of the table; what the row leaves open fits its kind."""
    bram, support = without_mailbox

    def make(row: Row) -> Mailbox:
        kind = row.get("kind", "user")
        values = {
            "name": "Someone",
            "owner": amara,
            "email_address": f"someone{next(numbers)}@contoso.com",
            "user": bram if "user" in kind else None,
            "queue": support if "queue" in kind else None,
            "is_forward_mailbox": "forward" in kind,
            "approval": Approval.EMPTY if "forward" in kind else Approval.PENDING,
            "server_profile": profile if row.get("profile", True) else None,
        }
        return Mailbox(
            **values | {name: value for name, value in row.items() if name not in ("kind", "profile")}
        )

    return make


KINDS = ["", "user", "queue", "forward", "user queue", "user forward", "queue forward", "user queue forward"]


def is_allowed(row: Row) -> bool:
    """The synchronization methods that domain.md allows, said a second time and differently."""
    kind = row["kind"]
    incoming, outgoing, act = row["incoming_method"], row["outgoing_method"], row["act_method"]
    if "server_side" in (incoming, outgoing, act) and not row["profile"]:
        return False
    if kind == "forward":
        return incoming in ("none", "server_side") and outgoing == act == "none"
    if kind == "queue":
        return incoming != "outlook" and outgoing != "outlook" and act == "none"
    return kind == "user"


def test_methods_of_each_kind_are_those_that_the_domain_allows(mailbox: Any) -> None:
    table = list(
        rows(
            kind=KINDS,
            incoming_method=IncomingMethod.values,
            outgoing_method=OutgoingMethod.values,
            act_method=ActMethod.values,
            profile=[True, False],
        )
    )
    told = judged((row, mailbox(row)) for row in table)
    assert [line for line in told if line[2] != is_allowed(line[0])] == []
    assert disagreements(told) == []


def test_model_and_database_agree_on_deleting_and_approval(mailbox: Any) -> None:
    table = rows(
        kind=KINDS,
        delete_emails_after_processing=[True, False],
        approval=[*Approval.values, "perhaps"],
    )
    assert disagreements(judged((row, mailbox(row)) for row in table)) == []


def test_model_and_database_agree_on_credentials(mailbox: Any) -> None:
    table = rows(
        kind=["user", "queue", "forward"],
        allow_credentials=[True, False],
        username=["bram", ""],
        password=["Feldsalat 23", ""],
    )
    assert disagreements(judged((row, mailbox(row)) for row in table)) == []


def test_model_and_database_agree_on_unknown_methods_and_empty_texts(mailbox: Any) -> None:
    table = [
        *({name: "fax"} for name in ("incoming_method", "outgoing_method", "act_method")),
        *rows(name=["Bram", ""], email_address=["bram@contoso.com", ""]),
    ]
    assert disagreements(judged((row, mailbox(row)) for row in table)) == []


def test_only_one_active_mailbox_has_an_address(mailbox: Any) -> None:
    taken = {"kind": "forward", "email_address": "post@contoso.com"}
    Mailbox.objects.bulk_create([mailbox(taken)])
    table = rows(
        kind=["forward"],
        email_address=["post@contoso.com", "POST@Contoso.com", "other@contoso.com"],
        is_active=[True, False],
    )
    assert disagreements(judged((row, mailbox(row)) for row in table)) == []
    assert not database_accepts(mailbox(taken | {"email_address": "Post@contoso.COM"}))


@pytest.fixture
def new_profile(amara: User) -> Any:
    def make(row: Row) -> EmailServerProfile:
        return EmailServerProfile(**profile_values(owner=amara) | row)

    return make


def test_model_and_database_agree_on_servers_and_sign_in(new_profile: Any) -> None:
    table = rows(
        server_type=ServerType.values,
        authenticate_using=AuthenticateUsing.values,
        incoming_host=["imap.contoso.com", ""],
        outgoing_host=["smtp.contoso.com", ""],
        username=["postmaster"],
        password=["Feldsalat 23"],
    )
    assert disagreements(judged((row, new_profile(row)) for row in table)) == []


def test_model_and_database_agree_on_the_credentials_of_a_profile(new_profile: Any) -> None:
    table = rows(
        authenticate_using=[AuthenticateUsing.PROFILE, AuthenticateUsing.MAILBOX],
        username=["postmaster", ""],
        password=["Feldsalat 23", ""],
        same_sign_in_for_outgoing=[True, False],
        outgoing_username=["postmaster", ""],
        outgoing_password=["Feldsalat 23", ""],
    )
    assert disagreements(judged((row, new_profile(row)) for row in table)) == []


RANGES = {
    "incoming_port": (1, 65535),
    "outgoing_port": (1, 65535),
    "min_polling_interval_minutes": (0, 1440),
    "messages_per_cycle": (1, 100_000),
    "max_concurrent_connections": (1, 65536),
    "timeout_seconds": (1, 100),
}


@pytest.mark.parametrize(("column", "low", "high"), [(name, *ends) for name, ends in RANGES.items()])
def test_numbers_of_a_profile_stay_in_their_range(new_profile: Any, column: str, low: int, high: int) -> None:
    told = {value: database_accepts(new_profile({column: value})) for value in (low - 1, low, high, high + 1)}
    assert list(told.values()) == [False, True, True, False]
    assert disagreements(judged(((column, value), new_profile({column: value})) for value in told)) == []


def test_model_and_database_agree_on_choices_and_the_default(new_profile: Any) -> None:
    table = [
        {"server_type": "carrier pigeon"},
        {"authenticate_using": "handshake"},
        {"incoming_folder": ""},
        {"sent_folder": "INBOX"},
        {"sent_folder": "inbox"},
        {"sent_folder": "Sent"},
        {"sent_folder": "Sent", "incoming_folder": "SENT"},
        {"sent_folder": "S_nt%", "incoming_folder": "Sent"},
        *(
            {f"{side}_security": choice}
            for side in ("incoming", "outgoing")
            for choice in SecurityChoice.values
        ),
        *({f"{side}_security": "wax"} for side in ("incoming", "outgoing")),
        *rows(is_default=[True, False], is_active=[True, False]),
    ]
    assert disagreements(judged((row, new_profile(row)) for row in table)) == []


@pytest.mark.parametrize("taken", [{"name": "HEAD office"}, {"name": "Branch", "is_default": True}])
def test_a_second_profile_of_that_name_or_a_second_default_is_refused(new_profile: Any, taken: Row) -> None:
    new_profile({"is_default": True}).save()
    assert not model_accepts(new_profile(taken))
    assert not database_accepts(new_profile(taken))


def test_a_row_rule_tells_its_sentence_at_its_field(mailbox: Any) -> None:
    row = {"kind": "forward", "outgoing_method": "server_side"}
    with pytest.raises(ValidationError) as refusal:
        mailbox(row).full_clean()
    assert refusal.value.message_dict == {
        "outgoing_method": [
            "For a forward mailbox only None is allowed: answers leave through the mailbox of the user or queue."
        ]
    }
