"""Writing and the outbox in the browser: as a user, as one of a queue, and as an administrator."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from mailboxes import outbox
from mailboxes.models import (
    EmailConfigurationSettings,
    Mailbox,
    OutgoingMessage,
    OutgoingRecipient,
    Queue,
    User,
)
from mailboxes.parsing import parse
from mailboxes.views import compose
from mailboxes.writing import File, Person
from tests.conftest import Office

from .letters import attached, delivered

NEW = "/outbox/new/"


def sends(mailbox: Mailbox, office: Office) -> Mailbox:
    stored = Mailbox.objects.get(pk=mailbox.pk)
    stored.server_profile, stored.outgoing_method, stored.approval = office.profile, "server_side", "approved"
    stored.save()
    return stored


@pytest.fixture
def priya(office: Office) -> User:
    """A plain user who sends, and is a member of Support, which sends, too."""
    user = User.objects.create_user("priya", "priya@contoso.com", first_name="Priya", last_name="Nair")
    sends(user.mailbox, office)
    sends(office.support.mailbox, office)
    office.support.members.add(user)
    return User.objects.get(pk=user.pk)


@pytest.fixture
def hers(priya: User) -> Client:
    client = Client()
    client.force_login(priya)
    return client


def typed(mailbox: Mailbox, **more: object) -> dict[str, object]:
    return {
        "mailbox": mailbox.pk,
        "to": "Boris <boris@example.org>",
        "subject": "Offer",
        "text": "Good morning",
        "then": "send",
    } | more


def page(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_a_message_is_written_and_stands_in_the_outbox_with_the_reason_why_it_waits(
    hers: Client, priya: User
) -> None:
    form = page(hers, NEW)
    assert "Priya Nair &lt;priya@contoso.com&gt;" in form
    assert "Support &lt;support@contoso.com&gt;" in form
    response = hers.post(
        NEW,
        typed(
            priya.mailbox,
            cc="ines@example.org, Tomasz <tomasz@example.org>",
            bcc="secret@example.org",
            attach=SimpleUploadedFile("plan.txt", b"the plan", "text/plain"),
            as_html="on",
        ),
    )
    message = OutgoingMessage.objects.get()
    assert response["Location"] == reverse("outbox-message", args=[message.pk])
    assert message.state == "queued"
    assert [(one.kind, one.address) for one in message.recipients.all()] == [
        ("to", "boris@example.org"),
        ("cc", "ines@example.org"),
        ("cc", "tomasz@example.org"),
        ("bcc", "secret@example.org"),
    ]
    found = parse(message.raw)
    assert (found.text.strip(), found.attachments[0].data) == ("Good morning", b"the plan")
    assert "Good morning" in found.html
    assert "secret" not in message.raw.decode()
    shown = page(hers, response["Location"])
    assert "own user name and password" in shown  # and so it waits
    assert "secret@example.org" in shown  # the writer sees whom else it is for
    listed = page(hers, reverse("outbox-list"))
    assert "own user name and password" in listed
    assert "Offer" in listed


def test_the_page_of_a_stopped_mailbox_says_how_much_waits_in_its_outbox(hers: Client, priya: User) -> None:
    assert "in its outbox" not in page(hers, reverse("my-mailbox"))
    for _ in range(2):
        written(priya.mailbox, priya, "queued")
    assert "2 messages wait in its outbox." in page(hers, reverse("my-mailbox"))


def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost(hers: Client, priya: User) -> None:
    response = hers.post(NEW, typed(priya.mailbox, to="boris at example.org", text="A long letter"))
    shown = response.content.decode()
    assert response.status_code == 422
    assert "“boris at example.org”: this is no email address." in shown
    assert "A long letter" in shown
    assert not OutgoingMessage.objects.exists()

    response = hers.post(NEW, typed(priya.mailbox, to=""))
    assert response.status_code == 422
    assert "Name at least one recipient." in response.content.decode()
    draft = OutgoingMessage.objects.get()  # it can be stored, and is
    assert draft.state == "draft"
    assert f'action="{reverse("outbox-edit", args=[draft.pk])}"' in response.content.decode()
    hers.post(reverse("outbox-edit", args=[draft.pk]), typed(priya.mailbox))
    assert OutgoingMessage.objects.get().state == "queued"


def test_sent_twice_it_is_one_message(hers: Client, priya: User) -> None:
    token = re.search(r'name="token" value="([a-z2-7]{20})"', page(hers, NEW))
    assert token
    for _ in range(3):
        hers.post(NEW, typed(priya.mailbox, token=token[1]))
    assert OutgoingMessage.objects.get().state == "queued"


def test_what_is_typed_in_a_second_window_is_kept_though_the_first_one_was_sent(
    hers: Client, priya: User
) -> None:
    hers.post(NEW, typed(priya.mailbox, then="save"))
    edit = reverse("outbox-edit", args=[OutgoingMessage.objects.get().pk])
    assert hers.post(edit, typed(priya.mailbox)).status_code == 302
    late = hers.post(edit, typed(priya.mailbox, text="A second thought"))
    shown = late.content.decode()
    assert late.status_code == 422
    assert "This message was sent from another window." in shown
    assert "A second thought" in shown
    assert f'action="{NEW}"' in shown
    assert OutgoingMessage.objects.get().text == "Good morning\n"


@pytest.mark.parametrize("subject", ["Offer", "x" * 890])
def test_the_subject_carries_the_token_whole_where_the_settings_ask_for_it(
    hers: Client, priya: User, subject: str
) -> None:
    EmailConfigurationSettings.load()
    EmailConfigurationSettings.objects.update(track_by_token="subject")
    hers.post(NEW, typed(priya.mailbox, subject=subject))
    message = OutgoingMessage.objects.get()
    assert parse(message.raw).subject.endswith(f" [#{message.token}]")


def test_from_is_only_what_the_writer_may_use(hers: Client, office: Office, priya: User) -> None:
    sends(office.amara.mailbox, office)
    foreign = Queue.objects.create(name="Press", email_address="press@contoso.com", owner=office.amara)
    sends(foreign.mailbox, office)
    for mailbox in (office.amara.mailbox, foreign.mailbox, office.collection):
        response = hers.post(NEW, typed(mailbox))
        assert response.status_code == 422
        assert "You may not write from this mailbox." in response.content.decode()
    assert not OutgoingMessage.objects.exists()


def test_who_has_no_mailbox_that_sends_is_told_why(office: Office) -> None:
    client = Client()
    client.force_login(User.objects.create_user("noah", "noah@contoso.com"))
    shown = page(client, NEW)
    assert "No mailbox of yours sends from here" in shown
    assert "outgoing email is None" in shown
    assert client.post(NEW, {"to": "x@example.org"}).status_code == 200
    assert not OutgoingMessage.objects.exists()


def test_blocked_and_large_files_are_refused_and_the_letter_is_kept(hers: Client, priya: User) -> None:
    response = hers.post(NEW, typed(priya.mailbox, attach=SimpleUploadedFile("setup.exe", b"MZ")))
    assert response.status_code == 422
    assert "setup.exe" in response.content.decode()
    draft = OutgoingMessage.objects.get()
    assert draft.state == "draft"
    kept = draft.files.get()
    edit = reverse("outbox-edit", args=[draft.pk])
    assert f'name="keep" value="{kept.pk}"' in page(hers, edit)
    hers.post(edit, typed(priya.mailbox))  # without the tick it is left out
    assert OutgoingMessage.objects.get().state == "queued"
    assert not draft.files.exists()

    EmailConfigurationSettings.objects.update(max_message_size_mb=1)
    big = SimpleUploadedFile("big.bin", b"x" * 1_100_000)
    response = hers.post(NEW, typed(priya.mailbox, attach=big))
    assert "at most 1 MB are sent" in response.content.decode()


# --- answering ---


def test_a_reply_goes_to_who_wrote_and_stays_in_the_conversation(
    hers: Client, office: Office, priya: User
) -> None:
    asked = delivered(office.collection, priya.mailbox, 3)
    shown = page(hers, reverse("message", args=[asked.pk]))
    address = f"{NEW}?answers={asked.pk}&how=reply"
    assert address.replace("&", "&amp;") in shown
    form = page(hers, address)
    assert f"Re: {asked.subject}" in form
    assert "wrote:" in form
    assert asked.sender in form
    hers.post(NEW, typed(priya.mailbox, answers=asked.pk, how="reply", subject=f"Re: {asked.subject}"))
    answer = OutgoingMessage.objects.get()
    assert answer.answers == asked
    headers = {header.name: header.value for header in parse(answer.raw).headers}
    assert headers["In-Reply-To"] == f"<{asked.message_id}>"
    assert asked.message_id in headers["References"]
    hers.post(NEW, typed(priya.mailbox, answers=asked.pk, how="all"))
    assert len(set(OutgoingMessage.objects.values_list("conversation", flat=True))) == 1


HOSTILE = (
    b"From: =?utf-8?q?Eve=0D=0ABcc:_victim@example.org?= <eve@example.org>\r\n"
    b"Reply-To: =?utf-8?q?a=0D=0ABcc:_victim@example.org?= <eve@example.org>, not an address <>, <a@b>@c\r\n"
    b"Message-ID: <x y\x00z\xff\r\n Bcc: victim@example.org>\r\n"
    b"References: <a@b> <c\x0b@d> <" + b"e" * 3000 + b"@f> no-brackets\r\n"
    b"Subject: =?utf-8?q?Hello=0D=0ABcc:_victim@example.org?=\r\n\r\nHi\r\n"
)


@pytest.mark.parametrize("how", ["reply", "all", "forward"])
def test_an_answer_to_a_malformed_mail_carries_nothing_of_it_into_the_header(
    hers: Client, office: Office, priya: User, how: str
) -> None:
    found = parse(HOSTILE)
    asked = delivered(
        office.collection, priya.mailbox, 9, raw=HOSTILE, subject=found.subject, sender=found.sender,
        sender_name=found.sender_name, message_id=found.message_id,
    )  # fmt: skip
    form = page(hers, f"{NEW}?answers={asked.pk}&how={how}")
    subject = re.search(r'name="subject" value="([^"]*)"', form)
    assert subject
    answer = typed(priya.mailbox, answers=asked.pk, how=how, subject=subject[1], to="Eve <eve@example.org>")
    assert hers.post(NEW, answer).status_code == 302
    raw = OutgoingMessage.objects.get().raw
    assert b"\nBcc" not in raw.partition(b"\r\n\r\n")[0]
    assert parse(raw).to == ("eve@example.org",)
    assert max(map(len, raw.split(b"\r\n"))) < 998


def test_who_wrote_a_mail_without_an_address_is_nobody_to_answer_and_that_is_said(
    hers: Client, office: Office, priya: User
) -> None:
    asked = delivered(
        office.collection, priya.mailbox, 8, raw=b"Subject: x\r\n\r\nHi", sender="", sender_name=""
    )
    form = page(hers, f"{NEW}?answers={asked.pk}&how=reply")
    assert "somebody wrote:" in form
    response = hers.post(NEW, typed(priya.mailbox, answers=asked.pk, how="reply", to=""))
    assert "Name at least one recipient." in response.content.decode()


def test_nobody_answers_or_forwards_what_they_may_not_see(hers: Client, office: Office, priya: User) -> None:
    secret = delivered(office.collection, office.amara.mailbox, 4)
    for how in ("reply", "all", "forward"):
        assert hers.get(f"{NEW}?answers={secret.pk}&how={how}").status_code == 404
        assert hers.post(NEW, typed(priya.mailbox, answers=secret.pk, how=how)).status_code == 404
    assert not OutgoingMessage.objects.exists()


def test_a_forward_carries_the_attachments_that_are_chosen_and_never_a_blocked_one(
    hers: Client, office: Office, priya: User
) -> None:
    found = delivered(office.collection, priya.mailbox, 5)
    attached(found, "a.txt", "text/plain", b"first")
    attached(found, "b.exe", "application/x-dosexec", b"second", is_blocked=True)
    form = page(hers, f"{NEW}?answers={found.pk}&how=forward")
    assert 'name="carry" value="1" checked' in form
    assert 'value="2"' not in re.findall(r'name="carry"[^>]*', form)
    assert "Fwd: " in form
    hers.post(NEW, typed(priya.mailbox, answers=found.pk, how="forward", carry=["1", "2"]))
    message = OutgoingMessage.objects.get()
    assert [one.name for one in message.files.all()] == ["a.txt"]


# --- the outbox ---


def written(mailbox: Mailbox, by: User, state: str, **columns: object) -> OutgoingMessage:
    message = outbox.send(
        mailbox, to=[Person("", "boris@example.org")], subject=f"A {state} one", text="x", by=by
    )
    OutgoingMessage.objects.filter(pk=message.pk).update(state=state, **columns)
    OutgoingRecipient.objects.filter(message=message).update(state=state)
    return OutgoingMessage.objects.get(pk=message.pk)


def test_what_a_queue_sent_is_seen_by_its_members_and_drafts_by_their_writer_only(
    hers: Client, amaras: Client, office: Office, priya: User
) -> None:
    queue = Mailbox.objects.get(pk=office.support.mailbox.pk)
    sent = written(queue, office.amara, "sent")
    draft = outbox.save_draft(
        OutgoingMessage(mailbox=queue, written_by=office.amara, subject="Secret thoughts"), {}
    )
    listed = page(hers, reverse("outbox-list"))
    assert "A sent one" in listed
    assert "Secret thoughts" not in listed
    assert hers.get(reverse("outbox-message", args=[sent.pk])).status_code == 200
    assert hers.get(reverse("outbox-message", args=[draft.pk])).status_code == 404
    assert amaras.get(reverse("outbox-message", args=[draft.pk])).status_code == 200
    own = written(priya.mailbox, priya, "sent")
    noah = User.objects.create_user("noah", "noah@contoso.com")
    other = Client()
    other.force_login(noah)
    for message in (sent, own, draft):
        assert other.get(reverse("outbox-message", args=[message.pk])).status_code == 404
        assert other.post(reverse("outbox-cancel", args=[message.pk])).status_code == 404


@pytest.mark.parametrize(
    ("state", "command", "after"),
    [
        ("queued", "cancel", "draft"),
        ("deferred", "now", "queued"),
        ("failed", "again", "queued"),
        ("failed", "cancel", "draft"),
        ("bounced", "again", "queued"),
        ("uncertain", "arrived", "sent"),
        ("uncertain", "again", "queued"),
        ("sent", "again", "sent"),
        ("sent", "cancel", "sent"),
    ],
)
def test_commands_for_one(hers: Client, priya: User, state: str, command: str, after: str) -> None:
    message = written(priya.mailbox, priya, state, next_attempt_at=timezone.now())
    response = hers.post(reverse(f"outbox-{command}", args=[message.pk]), follow=True)
    assert OutgoingMessage.objects.get().state == after
    shown = response.content.decode()
    assert ("not" in shown or "waits already" in shown) if state == after else True


def test_commands_for_many_say_for_how_many_and_why_not_for_the_rest(hers: Client, priya: User) -> None:
    waiting = [written(priya.mailbox, priya, "queued") for _ in range(3)]
    sent = written(priya.mailbox, priya, "sent")
    picks = [one.pk for one in (*waiting, sent)]
    answer = hers.post(reverse("outbox-many"), {"command": "cancel", "pick": picks, "shown": ""}, follow=True)
    shown = answer.content.decode()
    assert "Cancel: done for 3 messages." in shown
    assert "Not for 1: This message was sent, or is on its way" in shown
    assert sorted(OutgoingMessage.objects.values_list("state", flat=True)) == ["draft"] * 3 + ["sent"]


def test_nobody_commands_what_they_may_not_see(office: Office, priya: User) -> None:
    message = written(priya.mailbox, priya, "queued")
    other = Client()
    other.force_login(User.objects.create_user("noah", "noah@contoso.com"))
    other.post(reverse("outbox-many"), {"command": "cancel", "pick": [message.pk], "shown": ""})
    assert OutgoingMessage.objects.get().state == "queued"


def test_the_list_narrows_by_state_and_words_in_a_constant_number_of_queries(
    hers: Client, priya: User, django_assert_max_num_queries: Callable[..., object]
) -> None:
    for state in ("sent", "failed", "uncertain", "queued"):
        for _ in range(12):
            written(priya.mailbox, priya, state)
    assert "A failed one" not in page(hers, f"{reverse('outbox-list')}?view=sent")
    assert "A sent one" not in page(hers, f"{reverse('outbox-list')}?q=uncertain")
    assert "No message here" in page(hers, f"{reverse('outbox-list')}?q=nothing+like+it")
    with django_assert_max_num_queries(26):
        page(hers, reverse("outbox-list"))


def test_words_of_strangers_are_no_markup(hers: Client, priya: User) -> None:
    evil = "<script>alert(1)</script>"
    message = written(priya.mailbox, priya, "failed", why=evil, server_words=evil, subject=evil, text=evil)
    OutgoingRecipient.objects.update(said=evil, name=evil)
    for address in (reverse("outbox-list"), reverse("outbox-message", args=[message.pk])):
        assert evil not in page(hers, address)


def test_recipients_are_offered_from_the_office_and_from_whom_one_wrote_to_before(
    hers: Client, office: Office, priya: User
) -> None:
    Queue.objects.create(name="Hidden board", email_address="board@contoso.com", owner=office.amara)
    outbox.send(priya.mailbox, to=[Person("Boris", "boris@example.org")], subject="x", text="x", by=priya)
    outbox.send(
        Mailbox.objects.get(pk=office.support.mailbox.pk),
        to=[Person("", "private@example.org")], subject="x", text="x", by=office.amara,
    )  # fmt: skip
    search = reverse("recipient-search")
    assert "amara@contoso.com" in page(hers, f"{search}?q=amara")
    assert "support@contoso.com" in page(hers, f"{search}?q=supp")
    assert "boris@example.org" in page(hers, f"{search}?q=bor")
    assert "board@contoso.com" not in page(hers, f"{search}?q=hidden")
    assert "private@example.org" not in page(hers, f"{search}?q=private")
    assert "forwardmailbox@contoso.com" not in page(hers, f"{search}?q=collection")


def test_a_file_of_a_message_is_a_download(hers: Client, priya: User) -> None:
    message = outbox.send(
        priya.mailbox, to=[Person("", "b@example.org")], subject="x", text="x", by=priya,
        files=[File("page.html", "text/html", b"<script>")],
    )  # fmt: skip
    response = hers.get(reverse("outbox-file", args=[message.pk, message.files.get().pk]))
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")


# --- what goes wrong seldom ---


def test_who_takes_back_what_a_colleague_wrote_is_told_so(hers: Client, office: Office, priya: User) -> None:
    message = written(Mailbox.objects.get(pk=office.support.mailbox.pk), office.amara, "queued")
    response = hers.post(reverse("outbox-cancel", args=[message.pk]), follow=True)
    assert response.status_code == 200
    assert "It is a draft again." in response.content.decode()
    assert OutgoingMessage.objects.get().state == "draft"


def test_what_nobody_wrote_can_be_cancelled_and_stays_in_sight(hers: Client, priya: User) -> None:
    message = outbox.send(
        priya.mailbox, to=[Person("", "boris@example.org")], subject="x", text="x", is_automatic=True
    )
    shown = hers.post(reverse("outbox-cancel", args=[message.pk]), follow=True).content.decode()
    assert "Those who do not have it yet do not get it." in shown


def test_the_token_of_somebody_else_s_message_is_of_no_use(hers: Client, office: Office, priya: User) -> None:
    other = written(Mailbox.objects.get(pk=office.support.mailbox.pk), office.amara, "sent")
    response = hers.post(NEW, typed(priya.mailbox, token=other.token))
    assert response.status_code == 302
    mine = OutgoingMessage.objects.exclude(pk=other.pk).get()
    assert mine.written_by == priya
    assert mine.token != other.token


def test_a_forward_that_is_sent_from_an_old_page_still_carries_its_attachments(
    hers: Client, office: Office, priya: User
) -> None:
    found = delivered(office.collection, priya.mailbox, 5)
    attached(found, "a.txt", "text/plain", b"first")
    token = re.search(
        r'name="token" value="([a-z2-7]{20})"', page(hers, f"{NEW}?answers={found.pk}&how=forward")
    )
    assert token
    posted = typed(priya.mailbox, answers=found.pk, how="forward", carry=["1"], token=token[1])
    hers.post(NEW, posted | {"then": "save"})
    hers.post(NEW, posted)  # back, and Send
    message = OutgoingMessage.objects.get()
    assert message.state == "queued"
    assert [one.name for one in message.files.all()] == ["a.txt"]


@pytest.mark.parametrize("name", ["keep", "answers", "carry"])
def test_numbers_that_are_none_break_no_page(hers: Client, priya: User, name: str) -> None:
    hers.post(NEW, typed(priya.mailbox, then="save"))
    draft = OutgoingMessage.objects.get()
    response = hers.post(reverse("outbox-edit", args=[draft.pk]), typed(priya.mailbox) | {name: "9" * 5000})
    assert response.status_code == 302


def test_a_mailbox_whose_domain_no_header_can_carry_is_told_at_its_field(hers: Client, priya: User) -> None:
    Mailbox.objects.filter(pk=priya.mailbox.pk).update(email_address=f"priya@{'ü' * 60}.example")
    response = hers.post(NEW, typed(priya.mailbox))
    assert response.status_code == 422
    assert "cannot be written in a mail" in response.content.decode()


def test_an_address_longer_than_any_is_told_at_its_field(hers: Client, priya: User) -> None:
    response = hers.post(NEW, typed(priya.mailbox, to=f"{'a' * 330}@example.org, {'b@' + 'c.' * 200}example"))
    assert response.status_code == 422


def test_the_list_asks_for_no_password_of_each_row(
    hers: Client, priya: User, django_assert_max_num_queries: Callable[..., object]
) -> None:
    mailbox = Mailbox.objects.get(pk=priya.mailbox.pk)
    mailbox.allow_credentials, mailbox.username, mailbox.password = True, "priya", "x"
    mailbox.save()
    for _ in range(20):
        written(priya.mailbox, priya, "queued")
    with django_assert_max_num_queries(26):
        page(hers, reverse("outbox-list"))


def test_pressed_twice_at_once_it_is_one_message_and_both_are_told_so(
    hers: Client, priya: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find nothing stored; the other one stores it first."""
    token, begun = "a" * 20, compose._begun

    def slowly(*args: Any) -> Any:
        monkeypatch.undo()
        hers.post(NEW, typed(priya.mailbox, token=token))
        return begun(*args)

    monkeypatch.setattr(compose, "_begun", slowly)
    response = hers.post(NEW, typed(priya.mailbox, token=token))
    message = OutgoingMessage.objects.get()
    assert response["Location"] == reverse("outbox-message", args=[message.pk])


def test_a_draft_from_a_mailbox_that_sends_no_more_changes_its_sender_only_by_choice(
    hers: Client, office: Office, priya: User
) -> None:
    support = Mailbox.objects.get(pk=office.support.mailbox.pk)
    hers.post(NEW, typed(support, then="save"))
    support.outgoing_method = "none"
    support.save()
    draft = OutgoingMessage.objects.get()
    address = reverse("outbox-edit", args=[draft.pk])
    assert '<option value="">Choose a mailbox' in page(hers, address)
    assert hers.post(address, typed(priya.mailbox) | {"mailbox": ""}).status_code == 422
    assert hers.post(address, typed(priya.mailbox)).status_code == 302
