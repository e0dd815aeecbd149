"""What a POP3 server means when it refuses, as our errors: tables only."""

from __future__ import annotations

from emailprofiles.errors import FolderReadOnly, ServerBusy, SignInRefused, TryLater
from emailprofiles.transports import imap_words
from emailprofiles.transports.imap_words import Meaning

_ENCRYPTION, *_REST = imap_words.ANYTIME

# Response codes are those of RFC 2449 and RFC 3206; the wordings are Dovecot's, Courier's, Cyrus', Qpopper's and
# Exchange's. Somebody has to look into [SYS/PERM], but on the server: once that is done, we find out by ourselves.
_ONE_MAILBOX = (
    "[in-use]",
    "[login-delay]",
    "[sys/perm]",
    "maildrop already",
    "already locked",
    "lock busy",
    "unable to lock",
    "is locked",
    "can't get lock",
    "in use by another",
    "mailbox in use",
    "mailbox is in use",
    "login interval",
    "logins too frequent",
)
_CODED = (Meaning(("[sys/temp]",), ServerBusy), Meaning(_ONE_MAILBOX, TryLater))
ANYTIME = (_ENCRYPTION, *_CODED, *_REST)
AT_SIGN_IN = (_ENCRYPTION, *_CODED, Meaning(("[auth]",), SignInRefused), *_REST)
AT_DELETION = (
    Meaning(("read-only", "read only", "permission denied", "not permitted"), FolderReadOnly),
    *ANYTIME,
)
