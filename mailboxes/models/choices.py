"""The words of domain.md as choices; their labels are those of the pages."""

from __future__ import annotations

from django.db.models import TextChoices


class Kind(TextChoices):
    USER = "user", "User"
    QUEUE = "queue", "Queue"
    FORWARD = "forward", "Forward"

    @classmethod
    def of(cls, *, is_forward_mailbox: bool, user_id: int | None) -> Kind:
        """Whose mailbox it is: nobody's, a user's, or else a queue's."""
        if is_forward_mailbox:
            return cls.FORWARD
        return cls.USER if user_id else cls.QUEUE


class Direction(TextChoices):
    INCOMING = "incoming", "Incoming"
    OUTGOING = "outgoing", "Outgoing"
    ACT = "act", "Appointments, Contacts, and Tasks"


class IncomingMethod(TextChoices):
    NONE = "none", "None"
    FORWARD = "forward", "Forward Mailbox"
    OUTLOOK = "outlook", "Microsoft Dynamics 365 for Outlook"
    SERVER_SIDE = "server_side", "Server-Side Synchronization or Email Router"


class OutgoingMethod(TextChoices):
    NONE = "none", "None"
    OUTLOOK = "outlook", "Microsoft Dynamics 365 for Outlook"
    SERVER_SIDE = "server_side", "Server-Side Synchronization or Email Router"


class ActMethod(TextChoices):
    NONE = "none", "None"
    OUTLOOK = "outlook", "Microsoft Dynamics 365 for Outlook"
    SERVER_SIDE = "server_side", "Server-Side Synchronization"


class Approval(TextChoices):
    EMPTY = "empty", "Empty"
    APPROVED = "approved", "Approved"
    PENDING = "pending", "Pending"
    REJECTED = "rejected", "Rejected"


class TestStatus(TextChoices):
    __test__ = False  # not a test class

    NOT_RUN = "not_run", "Not Run"
    SUCCESS = "success", "Success"
    FAILURE = "failure", "Failure"


class Word(TextChoices):
    """How a direction stands, the most urgent first; the labels are the words on the pages."""

    ATTENTION = "attention", "Needs attention"
    WAITING = "waiting", "Waiting"
    OUT_OF_DATE = "out-of-date", "Out of date"
    TESTING = "testing", "Testing"
    UNTESTED = "untested", "Not tested"
    NOT_SET_UP = "not-set-up", "Not set up"
    WORKING = "working", "Working"
    OFF = "off", "Switched off"


class StepState(TextChoices):
    PASSED = "passed", "Passed"
    FAILED = "failed", "Failed"
    NOT_REACHED = "not_reached", "Not reached"


class SkipReason(TextChoices):
    """Why a copy was not collected."""

    TOO_OLD = "too_old", "Received before Process Email From"
    VANISHED = "vanished", "Gone from the server before it could be read"


class MessageState(TextChoices):
    RECEIVED = "received", "Received"
    DELIVERED = "delivered", "Delivered"
    QUARANTINED = "quarantined", "In quarantine"
    DISCARDED = "discarded", "Discarded"


class OutgoingState(TextChoices):
    """How far a message that leaves has come, and each of its recipients."""

    DRAFT = "draft", "Draft"
    QUEUED = "queued", "Queued"
    SENDING = "sending", "Sending"
    SENT = "sent", "Sent"
    DEFERRED = "deferred", "Deferred"
    FAILED = "failed", "Failed"
    UNCERTAIN = "uncertain", "Uncertain"
    BOUNCED = "bounced", "Bounced"


class RecipientKind(TextChoices):
    TO = "to", "To"
    CC = "cc", "Cc"
    BCC = "bcc", "Bcc"


class TokenPlace(TextChoices):
    """Where a mail carries the token by which an answer to it is known, beside the reply headers."""

    NONE = "none", "Nowhere: by reply headers alone"
    SUBJECT = "subject", "In the subject"
    ADDRESS = "address", "In the reply address"


class AlertLevel(TextChoices):
    ERROR = "error", "Error"
    WARNING = "warning", "Warning"
    INFORMATION = "information", "Information"


class Theme(TextChoices):
    AUTO = "auto", "Auto"
    LIGHT = "light", "Light"
    DARK = "dark", "Dark"


class IncomingFilter(TextChoices):
    ALL = "all", "All messages"
    REPLIES = "replies", "Replies only"


class Command(TextChoices):
    """What can be asked for many mailboxes at once; the labels are those of the buttons."""

    TEST = "test", "Test & Enable"
    APPROVE = "approve", "Approve Email"
    REJECT = "reject", "Reject Email"
    DEFAULTS = "defaults", "Apply Default Email Settings"
    ACTIVATE = "activate", "Activate"
    DEACTIVATE = "deactivate", "Deactivate"
    COLLECT = "collect", "Collect now"


class ItemState(TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    REFUSED = "refused", "Refused"
    STOPPED = "stopped", "Stopped"


class SignInEventKind(TextChoices):
    """What happened to somebody's sign-in; `{by}` is who did it."""

    LINK_MADE = "link_made", "{by} made a sign-in link."
    LINK_MAILED = "link_mailed", "A sign-in link was mailed, as somebody had asked for on the sign-in page."
    LINK_USED = "link_used", "A sign-in link was used to choose a new password."
    PASSWORD_CHANGED = "password_changed", "The password was changed."
    PASSWORD_SET = "password_set", "{by} set a new password."
    SESSIONS_ENDED = "sessions_ended", "{by} ended all sessions."
    FACTOR_ADDED = "factor_added", "A second factor was set up."
    FACTOR_REMOVED = "factor_removed", "The second factor was removed."
    FACTOR_TAKEN = "factor_taken", "{by} removed the second factor."
    CODES_MADE = "codes_made", "New recovery codes were made."
