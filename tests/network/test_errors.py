"""The error tree: complete in words, safe to show."""

from __future__ import annotations

import base64
import pickle

import pytest

from emailprofiles import errors
from emailprofiles.errors import (
    MailError,
    NameNotResolved,
    Nature,
    Scope,
    ServerBusy,
    SignInRefused,
    at_step,
    redacted,
    scrub,
)
from emailprofiles.wire import StepName

PASSWORD = 'Tr0ub4dor"&\\3é'


def tree(root: type[MailError]) -> list[type[MailError]]:
    return [root, *(below for child in root.__subclasses__() for below in tree(child))]


RAISABLE = [
    kind
    for kind in tree(MailError)
    if kind.__module__ == errors.__name__
    and (not kind.__name__.endswith("Error") or kind is errors.ProtocolError)
]


@pytest.mark.parametrize("kind", RAISABLE, ids=lambda kind: kind.__name__)
def test_every_error_says_what_happened_what_to_do_and_how_far_it_reaches(kind: type[MailError]) -> None:
    assert kind.sentence
    assert kind.advice.endswith(".")
    assert isinstance(kind.scope, Scope)
    assert isinstance(kind.nature, Nature)
    assert str(kind()) == kind.sentence
    assert "imap.contoso.com" in str(kind("imap.contoso.com"))


@pytest.mark.parametrize("kind", RAISABLE, ids=lambda kind: kind.__name__)
def test_every_error_is_drawn_in_the_tree(kind: type[MailError]) -> None:
    drawing = errors.__doc__ or ""
    line = next(line for line in drawing.splitlines() if f"─ {kind.__name__} " in line)
    assert kind.scope.value in line
    assert kind.nature.value.replace("needs_", "needs a ") in line


def test_a_sentence_names_what_it_is_about() -> None:
    assert str(NameNotResolved("imap.exmple.test")) == "imap.exmple.test could not be resolved"


def test_the_servers_words_are_one_short_printable_line() -> None:
    error = ServerBusy(server_words="NO\r\n\x1b[31mtoo\x00 many" + "x" * 900)
    assert error.server_words.startswith("NO [31mtoo many")
    assert len(error.server_words) == 500
    assert error.server_words.isprintable()


def test_an_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(SignInRefused("amara", server_words="no", step=StepName.SIGNED_IN)))
    assert (str(error), error.server_words, error.step) == (
        "The server refused the sign-in of amara",
        "no",
        StepName.SIGNED_IN,
    )


def test_the_step_that_failed_first_keeps_the_error() -> None:
    with pytest.raises(ServerBusy) as raised, at_step(StepName.GREETING), at_step(StepName.TLS):
        raise ServerBusy
    assert raised.value.step is StepName.TLS


@pytest.mark.parametrize(
    "echo",
    [
        PASSWORD,
        PASSWORD.upper(),
        'Tr0ub4dor\\"&\\\\3é',
        base64.b64encode(PASSWORD.encode()).decode(),
        base64.b64encode(f"boris\0amara\0{PASSWORD}".encode()).decode(),
        base64.b64encode(f"\0amara\0{PASSWORD}".encode()).decode().rstrip("="),
        repr(PASSWORD.encode()),
        repr(b'"Tr0ub4dor\\"&\\\\3\xc3\xa9"'),
        PASSWORD.encode("ascii", "ignore").decode(),
    ],
)
def test_no_echo_of_a_secret_is_shown(echo: str) -> None:
    shown = redacted(f"NO you said {echo} to me", [PASSWORD])
    assert "***" in shown
    assert "ub4dor" not in shown.lower()
    assert echo not in shown
    assert shown.startswith("NO you said ")


def test_words_without_a_secret_stay_as_they_are() -> None:
    words = "NO [AUTHENTICATIONFAILED] Authentication failed. (mail.contoso.com/abcdEFGH1234)"
    assert redacted(words, [PASSWORD, ""]) == words


def test_scrubbing_reaches_the_causes() -> None:
    def fail() -> None:
        try:
            raise ValueError(f"LOGIN amara {PASSWORD}".encode())
        except ValueError as cause:
            raise ServerBusy(server_words=f"said {PASSWORD}") from cause

    with pytest.raises(ServerBusy) as raised:
        fail()
    scrub(raised.value, [PASSWORD])
    assert PASSWORD not in raised.value.server_words
    assert "ub4dor" not in repr(raised.value.__cause__)
