"""A secret in a record: sealed for its row, never in clear, opened only by `reveal()`."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
from typing import Any

import pytest
from django.core import serializers
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Value
from django.forms.models import model_to_dict

from emailprofiles.models import EmailServerProfile
from emailprofiles.secrets import Secret, SecretUnreadable
from mailboxes.models import Mailbox
from tests.conftest import Office, forward_values, profile_values

WORD = "Feldsalat 23"  # what the mailbox of the office fixture signs in with


def stored(office: Office) -> Mailbox:
    return Mailbox.objects.get(pk=office.collection.pk)


def column(mailbox: Mailbox) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT password FROM mailboxes_mailbox WHERE id = %s", [mailbox.pk])
        text: str = cursor.fetchone()[0]
    return text


def put(mailbox: Mailbox, text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE mailboxes_mailbox SET password = %s WHERE id = %s", [text, mailbox.pk])


class TestReading:
    def test_what_was_typed_comes_back_sealed(self, office: Office) -> None:
        password = stored(office).password
        assert password.reveal() == WORD
        assert password.sealed is not None
        assert WORD not in column(office.collection)

    def test_none_is_false_and_empty(self, office: Office) -> None:
        password = office.amara.mailbox.password
        assert not password
        assert password.reveal() == ""
        assert column(office.amara.mailbox) == ""

    @pytest.mark.parametrize("columns", [("name",), ("name", "secret_id"), ("name", "password")])
    def test_a_deferred_one_is_read_when_asked_for(self, office: Office, columns: tuple[str, ...]) -> None:
        mailbox = Mailbox.objects.only(*columns).get(pk=office.collection.pk)
        assert mailbox.password.reveal() == WORD
        mailbox.full_clean()
        mailbox.save()
        assert stored(office).connection_version == 1

    def test_a_refreshed_one_is_the_stored_one(self, office: Office) -> None:
        mailbox = stored(office)
        mailbox.password = "something else"
        mailbox.refresh_from_db()
        assert mailbox.password.reveal() == WORD

    def test_the_same_word_is_never_sealed_to_the_same_text(self, office: Office) -> None:
        before = column(office.collection)
        office.collection.password = WORD
        office.collection.save()
        assert column(office.collection) != before


class TestWriting:
    def test_cleaning_and_saving_leave_it_as_it_is(self, office: Office) -> None:
        for mailbox in (stored(office), Mailbox.objects.get(pk=office.amara.mailbox.pk)):
            before = column(mailbox)
            mailbox.full_clean()
            mailbox.save()
            assert (column(mailbox), mailbox.connection_version) == (before, 1)

    def test_setting_what_was_read_leaves_it_too(self, office: Office) -> None:
        mailbox = stored(office)
        before = column(mailbox)
        mailbox.password = stored(office).password
        mailbox.save()
        assert column(mailbox) == before

    def test_a_secret_of_another_row_is_sealed_anew(self, office: Office) -> None:
        values = forward_values(email_address="second@contoso.com", owner=office.amara)
        second = Mailbox.new_forward(**values, password=stored(office).password)
        second.save()
        second = Mailbox.objects.get(pk=second.pk)
        second.password = stored(office).password
        second.save()
        assert Mailbox.objects.get(pk=second.pk).password.reveal() == WORD
        assert column(second) != column(office.collection)

    def test_an_empty_one_removes_it(self, office: Office) -> None:
        mailbox = stored(office)
        mailbox.allow_credentials, mailbox.password = False, ""
        mailbox.save()
        assert column(mailbox) == ""

    @pytest.mark.parametrize("new", ["Rapunzel 24", Secret("Rapunzel 24")])
    def test_update_is_refused(self, office: Office, new: Any) -> None:
        changed = stored(office)
        changed.password = new
        with pytest.raises(TypeError, match="is sealed for its row"), transaction.atomic():
            Mailbox.objects.update(password=new)
        with pytest.raises(TypeError, match="is sealed for its row"), transaction.atomic():
            Mailbox.objects.bulk_update([changed], ["password"])
        assert stored(office).password.reveal() == WORD

    def test_bulk_create_seals(self, office: Office) -> None:
        [profile] = EmailServerProfile.objects.bulk_create(
            [EmailServerProfile(**profile_values(name="Branch", owner=office.amara, password="Rapunzel 24"))]
        )
        assert EmailServerProfile.objects.get(pk=profile.pk).password.reveal() == "Rapunzel 24"

    @pytest.mark.parametrize("value", [7, ["x"], Value("x")])
    def test_only_text_is_taken(self, office: Office, value: Any) -> None:
        with pytest.raises(TypeError, match="takes text or a Secret"):
            office.collection.password = value

    def test_nothing_is_looked_up_by_it(self, office: Office) -> None:
        assert Mailbox.objects.exclude(password="").get() == office.collection
        with pytest.raises(TypeError):
            Mailbox.objects.filter(password=WORD).exists()


class TestBoundToItsRow:
    def test_copied_to_another_row_it_does_not_open(self, office: Office) -> None:
        put(office.amara.mailbox, column(office.collection))
        with pytest.raises(SecretUnreadable, match="belongs to another record"):
            Mailbox.objects.get(user=office.amara).password.reveal()

    def test_copied_to_another_field_it_does_not_open(self, amara: Any) -> None:
        profile = EmailServerProfile.objects.create(**profile_values(owner=amara, password=WORD))
        with connection.cursor() as cursor:
            cursor.execute("UPDATE emailprofiles_emailserverprofile SET outgoing_password = password")
        profile = EmailServerProfile.objects.get(pk=profile.pk)
        assert profile.password.reveal() == WORD
        with pytest.raises(SecretUnreadable):
            profile.outgoing_password.reveal()

    @pytest.mark.parametrize(
        "text", ["Feldsalat 23", "1.abc", "1.abc.!!!", "2.abc.AAAA", "1.abc.AAAA", "1..", "ä.ö.ü"]
    )
    def test_damaged_text_is_said_to_be_damaged(self, office: Office, text: str) -> None:
        put(office.collection, text)
        with pytest.raises(SecretUnreadable, match="is damaged") as error:
            stored(office).password.reveal()
        assert text not in str(error.value)

    def test_a_flipped_bit_does_not_open(self, office: Office) -> None:
        text = column(office.collection)
        put(office.collection, text[:-6] + ("A" if text[-6] != "A" else "B") + text[-5:])
        with pytest.raises(SecretUnreadable):
            stored(office).password.reveal()


class TestNeverShown:
    """Neither what was typed just now nor what was read shows itself, in any way in which records are shown."""

    @pytest.fixture(params=["typed", "read"])
    def mailbox(self, request: pytest.FixtureRequest, office: Office) -> Mailbox:
        mailbox = stored(office)
        if request.param == "typed":
            mailbox.password = WORD
        return mailbox

    def test_as_text(self, mailbox: Mailbox) -> None:
        secret = mailbox.password
        shown = [
            repr(secret),
            str(secret),
            f"{secret}",
            f"{secret!r}",
            "{!r} {}".format(*[secret] * 2),
            ascii(secret),
        ]
        assert set(shown) == {"***", "*** ***"}
        assert WORD not in repr(vars(mailbox)) + repr(mailbox.__getstate__()) + repr([secret])

    def test_in_a_log(self, mailbox: Mailbox, caplog: pytest.LogCaptureFixture) -> None:
        logging.getLogger("mailboxes").warning("%s %r %s", mailbox.password, vars(mailbox), mailbox)
        assert "***" in caplog.text
        assert WORD not in caplog.text

    def test_in_a_pickle(self, mailbox: Mailbox) -> None:
        with pytest.raises(TypeError, match="not serialised"):
            pickle.dumps(mailbox.password)
        if mailbox.password.sealed is None:
            with pytest.raises(TypeError, match="not serialised"):
                pickle.dumps(mailbox)
        else:
            assert WORD.encode() not in pickle.dumps(mailbox)

    def test_in_a_copy_which_still_opens(self, mailbox: Mailbox) -> None:
        for duplicate in (copy.copy(mailbox), copy.deepcopy(mailbox)):
            assert duplicate.password.reveal() == WORD
            assert WORD not in repr(vars(duplicate))
        assert copy.deepcopy(mailbox.password).reveal() == WORD

    @pytest.mark.parametrize("form", ["json", "jsonl", "xml", "python"])
    def test_in_an_export(self, mailbox: Mailbox, form: str) -> None:
        text = str(serializers.serialize(form, [mailbox]))
        assert WORD not in text
        assert column(mailbox) not in text

    def test_as_json(self, mailbox: Mailbox) -> None:
        with pytest.raises(TypeError):
            json.dumps({"password": mailbox.password})

    def test_in_a_form(self, mailbox: Mailbox) -> None:
        assert "password" not in model_to_dict(mailbox)

    def test_in_values(self, mailbox: Mailbox) -> None:
        rows = [*Mailbox.objects.values("password"), *Mailbox.objects.values_list("password")]
        assert WORD not in repr(rows) + str([str(*row) for row in Mailbox.objects.values_list("password")])

    def test_in_a_dump_of_the_database(self, mailbox: Mailbox) -> None:
        output = io.StringIO()
        call_command("dumpdata", "mailboxes.mailbox", "emailprofiles", stdout=output)
        assert "forwardmailbox" in output.getvalue()
        assert WORD not in output.getvalue()
        assert column(mailbox) not in output.getvalue()

    def test_in_the_statements_that_save_it(self, mailbox: Mailbox) -> None:
        with CapturedStatements() as statements:
            mailbox.full_clean()
            mailbox.save()
        assert statements
        assert not [statement for statement in statements if WORD in statement]


class CapturedStatements(list[str]):
    """All that is sent to the database inside the with, with its parameters."""

    def __enter__(self) -> CapturedStatements:
        self._wrapper = connection.execute_wrapper(self._note)
        self._wrapper.__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        self._wrapper.__exit__(*args)

    def _note(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.append(f"{sql} {[str(param) for param in params or ()]}")
        return execute(sql, params, many, context)
