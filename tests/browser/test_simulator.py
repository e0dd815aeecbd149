"""The routing simulator in a browser: a pasted message, its route, without flaws in wide and narrow windows."""

from __future__ import annotations

from typing import Any

import pytest

from mailboxes.models import EmailConfigurationSettings, Mailbox
from tests.conftest import Office

from .conftest import in_every_look
from .test_every_page import PASSWORD, flaws

pytestmark = pytest.mark.django_db(transaction=True)

PASTED = """Delivered-To: forwardmailbox@contoso.com
Received: from mx.contoso.com ([10.1.0.1]) by imap.contoso.com (Dovecot) with LMTP id a; Mon, 1 Jan 2024
Delivered-To: support@contoso.com
Received: from mail.fabrikam.com (mail.fabrikam.com [203.0.113.9]) by mx.contoso.com (Postfix) with ESMTPS id 1
X-Original-To: amara@contoso.com
From: Ben Fischer <ben@fabrikam.com>
To: team@contoso.com
Subject: Offer

Hello
"""


@in_every_look
def test_a_pasted_message_shows_its_route(visitor_with: Any, office: Office, width: int, scheme: str) -> None:
    office.amara.set_password(PASSWORD)
    office.amara.save()
    Mailbox.objects.filter(queue=office.support).update(incoming_method="forward", approval="approved")
    EmailConfigurationSettings.load()
    EmailConfigurationSettings.objects.update(trusted_servers="contoso.com")
    visitor = visitor_with(viewport={"width": width, "height": 900}, color_scheme=scheme)
    visitor.signs_in("amara", PASSWORD)
    visitor.opens("/settings/routing/")
    visitor.page.get_by_label("Headers or whole message").fill(PASTED)
    visitor.presses("Show the route")
    visitor.sees("It would be delivered", "mail.fabrikam.com [203.0.113.9]")
    assert flaws(visitor) == []
    assert visitor.complaints == []
