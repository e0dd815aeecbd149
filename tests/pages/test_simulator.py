"""The routing simulator: the engine's own decision, told before anything is delivered."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from mailboxes.models import Delivery, EmailConfigurationSettings, Mailbox, Message
from tests.conftest import Office

from .letters import collected

ADDRESS = "/settings/routing/"
HEADERS = (
    "Delivered-To: support@contoso.com\n"
    "Received: from mail.fabrikam.com (mail.fabrikam.com [203.0.113.9]) by mx.contoso.com (Postfix)\n"
    "X-Original-To: amara@contoso.com\nTo: team@contoso.com\n"
)


def ready(mailbox: Mailbox) -> None:
    Mailbox.objects.filter(pk=mailbox.pk).update(incoming_method="forward", approval="approved")


def text_of(response: Any) -> str:
    return response.content.decode().replace("&#x27;", "'")


def test_it_shows_the_route_and_the_boundary_and_delivers_nothing(office: Office, amaras: Client) -> None:
    ready(office.support.mailbox)
    ready(office.amara.mailbox)
    EmailConfigurationSettings.load()
    EmailConfigurationSettings.objects.update(trusted_servers="contoso.com")

    response = amaras.post(ADDRESS, {"mailbox": office.collection.pk, "message": HEADERS})

    page = text_of(response)
    assert response.status_code == 200
    assert "The Delivered-To header names support@contoso.com, the address of the queue Support." in page
    assert "names amara@contoso.com, but stands below the first line of a foreign server" in page
    assert "from mail.fabrikam.com [203.0.113.9]" in page
    assert "The boundary: not from one of our servers" in page
    assert not Message.objects.exists()
    assert not Delivery.objects.exists()


def test_it_says_who_may_not_receive_and_that_no_server_is_known(office: Office, amaras: Client) -> None:
    page = text_of(amaras.post(ADDRESS, {"mailbox": office.collection.pk, "message": HEADERS}))

    assert "It would wait in quarantine" in page
    assert "May not receive" in page
    assert "The address waits for approval" in page
    assert "Nothing is known about our own mail servers" in page


def test_a_file_is_read_whole(office: Office, amaras: Client) -> None:
    ready(office.support.mailbox)
    file = SimpleUploadedFile("copy.eml", b"Envelope-To: support@contoso.com\r\nSubject: Offer\r\n\r\nHello")

    page = text_of(amaras.post(ADDRESS, {"mailbox": office.collection.pk, "file": file}))

    assert "It would be delivered" in page
    assert "Offer" in page


@pytest.mark.parametrize(
    ("sent", "field", "sentence"),
    [
        ({"message": HEADERS, "mailbox": ""}, "mailbox", "Choose the forward mailbox"),
        ({"message": HEADERS, "mailbox": "999999"}, "mailbox", "Choose one of the forward mailboxes."),
        ({"message": " \n"}, "message", "Paste the headers of a message, or choose an .eml file."),
        ({"message": "x" * (1024 * 1024 + 1)}, "message", "at most 1048576 characters"),
        ({"file": SimpleUploadedFile("empty.eml", b"\r\n")}, "file", "The file is empty"),
    ],
)
def test_what_is_missing_is_said_at_its_field(
    sent: dict[str, Any], field: str, sentence: str, office: Office, amaras: Client
) -> None:
    response = amaras.post(ADDRESS, {"mailbox": office.collection.pk} | sent)

    assert response.status_code == 422
    assert sentence in " ".join(response.context["form"].errors[field])


def test_a_stored_message_lends_its_headers(office: Office, amaras: Client) -> None:
    message = collected(office.collection)

    form = amaras.get(f"{ADDRESS}?message={message.pk}").context["form"]

    assert form["mailbox"].value() == office.collection.pk
    assert "X-Original-To: support@contoso.com" in form["message"].value()
    assert "Hello" not in form["message"].value()
    assert f"{ADDRESS}?message={message.pk}" in text_of(amaras.get(f"/messages/{message.pk}/"))
    for nonsense in ("999999", "x", ""):
        assert amaras.get(f"{ADDRESS}?message={nonsense}").status_code == 200
