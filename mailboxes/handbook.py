"""What the help is about: its topics in their order, and the headings of each; the texts are templates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import reverse


@dataclass(frozen=True, slots=True)
class Topic:
    """One page: `sections` are its headings in their order, as (id, text)."""

    slug: str
    title: str
    says: str
    sections: tuple[tuple[str, str], ...] = ()

    @property
    def address(self) -> str:
        return reverse("help-topic", args=[self.slug])

    @property
    def template(self) -> str:
        return f"mailboxes/help/{self.slug}.html"

    def heading(self, anchor: str) -> str:
        """The text of a section; a KeyError for one that the page does not have."""
        return dict(self.sections)[anchor]


# Groups of topics, as the first page of the help lists them.
HANDBOOK: tuple[tuple[str, tuple[Topic, ...]], ...] = (
    (
        "Deciding",
        (
            Topic(
                "forward-or-individual",
                "Forward mailbox or individual mailboxes",
                "Two ways for mail to come in: one box that collects for everyone, or each mailbox by itself.",
            ),
            Topic(
                "synchronization-method",
                "Choosing a synchronization method",
                "Who does the work of each direction, and what follows from the choice.",
            ),
        ),
    ),
    (
        "Setting up",
        (
            Topic(
                "forwarding-rules",
                "Forwarding rules on the mail server",
                "How the copies get into the forward mailbox, and what each way leaves in the headers.",
                (
                    ("exchange", "Exchange Server"),
                    ("microsoft-365", "Microsoft 365"),
                    ("gmail", "Gmail and Google Workspace"),
                    ("dovecot-sieve", "Dovecot with Sieve"),
                    ("postfix", "Postfix"),
                ),
            ),
            Topic(
                "shared-mailbox",
                "A shared mailbox for a queue",
                "How the mail of an Office 365 shared mailbox reaches a queue without a further license.",
            ),
            Topic(
                "credentials",
                "Credentials",
                "Whose user name and password open a mailbox, where they are kept, and when they are asked for again.",
            ),
            Topic(
                "test-and-enable",
                "Test & Enable",
                "What a test does on the server, what its results mean, and what it vouches for.",
            ),
            Topic(
                "approval",
                "Approval of addresses",
                "Why a new address waits, who may approve it, and what happens to its mail until then.",
            ),
        ),
    ),
    (
        "Every day",
        (
            Topic(
                "routing",
                "Routing",
                "For whom a collected message is: the rules, their order, and how far each is to be trusted.",
            ),
            Topic(
                "quarantine",
                "Quarantine",
                "Messages that were collected and could not be delivered: reasons, and what to do about each.",
            ),
        ),
    ),
)


def topics() -> Iterator[Topic]:
    for _group, members in HANDBOOK:
        yield from members


def topic(slug: str) -> Topic:
    """The topic of this name; a KeyError for one that the help does not have."""
    return {one.slug: one for one in topics()}[slug]
