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
                "first-steps",
                "First steps",
                "From an empty office to the first message that finds its way.",
                (
                    ("order", "In this order"),
                    ("one-mail", "Check it with one mail"),
                    ("next", "Then, one after the other"),
                ),
            ),
            Topic(
                "forward-or-individual",
                "Forward mailbox or individual mailboxes",
                "Two ways for mail to come in: one box that collects for everyone, or each mailbox by itself.",
                (
                    ("compared", "The two compared"),
                    ("forward", "When a forward mailbox is right"),
                    ("individual", "When individual mailboxes are right"),
                    ("both", "Both, side by side"),
                    ("recognised", "How the person is recognised"),
                    ("wrong", "What can go wrong"),
                ),
            ),
            Topic(
                "synchronization-method",
                "Choosing a synchronization method",
                "Who does the work of each direction, and what follows from the choice.",
                (
                    ("incoming", "Incoming email"),
                    ("soon", "How soon mail is collected"),
                    ("outgoing", "Outgoing email"),
                    ("sent", "Copies of sent mail"),
                    ("act", "Appointments, contacts, and tasks"),
                    ("defaults", "What new mailboxes begin with"),
                    ("change", "Changing it later"),
                ),
            ),
        ),
    ),
    (
        "Setting up",
        (
            Topic(
                "forwarding-rules",
                "Forwarding rules on the mail server",
                "How the copies get into the forward mailbox, and what each way leaves in their headers.",
                (
                    ("what-counts", "What counts"),
                    ("exchange", "Exchange Server"),
                    ("microsoft-365", "Microsoft 365"),
                    ("gmail", "Gmail and Google Workspace"),
                    ("dovecot-sieve", "Dovecot with Sieve"),
                    ("postfix", "Postfix"),
                    ("check", "Check it with one mail"),
                ),
            ),
            Topic(
                "shared-mailbox",
                "A shared mailbox for a queue",
                "How the mail of an Office 365 shared mailbox reaches a queue without a license of its own.",
                (
                    ("why", "Why a shared mailbox"),
                    ("directly", "Why it is not read directly"),
                    ("forwarding", "The way that works now"),
                    ("own-server", "Queues on other mail servers"),
                ),
            ),
            Topic(
                "credentials",
                "Credentials",
                "Whose user name and password open a mailbox, where they are kept, and when they are asked for again.",
                (
                    ("whose", "Whose credentials"),
                    ("allow", "Allow to Use Credentials"),
                    ("kept", "How they are kept"),
                    ("again", "When a password is asked for again"),
                    ("app-passwords", "App passwords"),
                ),
            ),
            Topic(
                "test-and-enable",
                "Test & Enable",
                "What a test does on the server, what its results mean, and what it vouches for.",
                (
                    ("steps", "Step by step"),
                    ("test-message", "The test message"),
                    ("look", "Look first"),
                    ("results", "The results"),
                    ("vouches", "What a test vouches for"),
                    ("failed", "When a step fails"),
                ),
            ),
            Topic(
                "approval",
                "Approval of addresses",
                "Why a new address waits, who may approve it, and what happens to its mail until then.",
                (
                    ("why", "Why addresses are approved"),
                    ("who", "Who approves, and where"),
                    ("meanwhile", "What happens meanwhile"),
                    ("off", "Doing without"),
                ),
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
                (
                    ("rules", "The rules, in their order"),
                    ("headers", "Routing headers"),
                    ("trust", "How far to trust them"),
                    ("addresses", "By which addresses people are known"),
                    ("circles", "Mail that goes in a circle"),
                    ("twice", "The same mail twice"),
                    ("replies", "Replies only"),
                    ("why", "Why was this routed here?"),
                ),
            ),
            Topic(
                "quarantine",
                "Quarantine",
                "Messages that were collected and could not be delivered: reasons, and what to do about each.",
                (
                    ("reasons", "Reasons"),
                    ("do", "What can be done"),
                    ("server", "On the server meanwhile"),
                ),
            ),
            Topic(
                "sending",
                "Writing and sending",
                "Who writes from which mailbox, how a message leaves, and what to do when it does not.",
                (
                    ("who", "Who may write from where"),
                    ("write", "Writing and answering"),
                    ("signature", "Signatures"),
                    ("states", "States in the outbox"),
                    ("do", "What you can do"),
                    ("waits", "Why a message waits"),
                    ("uncertain", "When nobody knows whether it was sent"),
                    ("answers", "How answers are known"),
                    ("automatic", "Automatic mail"),
                ),
            ),
            Topic(
                "ledger",
                "The ledger: nothing lost",
                "How every message that a server ever showed is accounted for, and what a difference means.",
                (
                    ("seen", "What is counted"),
                    ("numbering", "When a folder is numbered anew"),
                    ("compared", "Compared with the server"),
                    ("difference", "When something differs"),
                ),
            ),
            Topic(
                "deleting",
                "Deleting on the server",
                "When the copy on the mail server is thrown away, when never, and what stays instead.",
                (
                    ("yes", "With Yes"),
                    ("no", "With No"),
                    ("servers", "Servers with habits of their own"),
                ),
            ),
            Topic(
                "states",
                "States",
                "The words beside each direction, what they mean, and who has to do something.",
                (
                    ("direction", "State of a direction"),
                    ("why", "Why is this mailbox not running?"),
                    ("retries", "Retries"),
                ),
            ),
            Topic(
                "alerts",
                "Alerts",
                "One alert for each cause, with what happened, what we do, and what you can do.",
                (
                    ("read", "How to read one"),
                    ("closing", "How it closes"),
                    ("mail", "What is mailed"),
                ),
            ),
        ),
    ),
    (
        "People and safety",
        (
            Topic(
                "permissions",
                "Roles and permissions",
                "What each of the four roles sees and does.",
                (
                    ("roles", "The four roles"),
                    ("mail", "Who sees mail"),
                ),
            ),
            Topic(
                "security",
                "Security",
                "How mail, passwords and this machine are protected, and what is left to you.",
                (
                    ("network", "On the way"),
                    ("secrets", "Stored passwords and keys"),
                    ("mail", "Mail from strangers"),
                    ("sign-in", "Signing in"),
                    ("yours", "What is left to you"),
                ),
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
