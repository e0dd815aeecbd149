"""The parser child: one bad message harms itself only."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailboxes.parsing import Parsed
from mailboxes.reading import ask_for_files, load_files
from mailboxes.sync.parser import ATTACHED, Parser, ParserFailed, Poison

MISBEHAVE = "tests.parsing.targets:misbehave"
HELLO = b"From: amara@contoso.com\nSubject: Hello\n\nIs the office open?\n"


@pytest.fixture
def parser() -> Iterator[Parser]:
    with Parser(deadline=2, target=MISBEHAVE) as parser:
        yield parser


def one(parser: Parser, raw: bytes) -> Parsed | Poison:
    (result,) = parser.parse_many([raw])
    return result


def child_of(parser: Parser) -> int:
    about = one(parser, b"about")
    assert isinstance(about, Parsed)
    return int(about.subject)


def is_alive(pid: int) -> bool:
    """Running, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_end(pid: int, patience: float = 10) -> None:
    until = time.monotonic() + patience
    while is_alive(pid):
        assert time.monotonic() < until, "the child is still there"
        time.sleep(0.02)


def test_results_come_in_order() -> None:
    raws = [b"Subject: %d\n\nbody" % number for number in range(50)]
    with Parser() as parser:
        subjects = [parsed.subject for parsed in parser.parse_many(raws) if isinstance(parsed, Parsed)]
    assert subjects == [str(number) for number in range(50)]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"exit", "Reading the message ended the parser (exit code 7)."),
        (b"crash", "Reading the message ended the parser (signal 11)."),
        (b"raise", "Reading the message ended the parser (exit code 1)."),
        (b"hang", "Reading the message took more than 2 seconds."),
        (b"spin", "Reading the message took more than 2 seconds."),
        (b"grow", "Reading the message took more memory than is allowed."),
        (b"nonsense", "Reading the message ended in an answer that means nothing."),
        (b"another shape", "Reading the message ended in an answer that means nothing."),
    ],
)
def test_only_the_bad_message_is_poison(parser: Parser, raw: bytes, reason: str) -> None:
    before, poison, after = parser.parse_many([HELLO, raw, HELLO])
    assert poison == Poison(reason)
    assert before == after
    assert isinstance(before, Parsed)
    assert before.subject == "Hello"


def test_one_bad_message_after_the_other(parser: Parser) -> None:
    results = list(parser.parse_many([b"exit", b"exit", HELLO, b"exit"]))
    assert [isinstance(result, Poison) for result in results] == [True, True, False, True]


def test_a_child_that_died_idle_is_no_message_s_fault(parser: Parser) -> None:
    child = child_of(parser)
    os.kill(child, signal.SIGKILL)
    wait_for_end(child)
    assert isinstance(one(parser, HELLO), Parsed)
    assert child_of(parser) != child


def test_signals_for_the_engine_do_not_reach_the_message_in_flight(parser: Parser) -> None:
    child = child_of(parser)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(child, number)
    assert child_of(parser) == child


def test_a_large_message_and_a_large_answer_do_not_block_each_other() -> None:
    attached = b"Content-Type: application/pdf; name=plan.pdf\n\n" + b"\x00\xff" * (10 << 20)
    with Parser(target=ATTACHED) as parser:
        results = list(parser.ask_many([ask_for_files(attached, [1], False)] * 3, load_files))
    assert [len(result[1]) for result in results if isinstance(result, dict)] == [20 << 20] * 3


def test_many_that_are_asked_at_once_cost_each_other_nothing() -> None:
    """More than are handed over together, with a bad one in the middle of a portion."""
    raws = [b"Subject: %d\n\n%s" % (number, b"x" * 30_000) for number in range(200)]
    raws[70] = b"exit"
    with Parser(target=MISBEHAVE) as parser:
        results = list(parser.parse_many(raws))
    assert [n for n, result in enumerate(results) if isinstance(result, Poison)] == [70]
    subjects = [result.subject for result in results if isinstance(result, Parsed)]
    assert subjects == [str(number) for number in range(200) if number != 70]


def test_results_that_nobody_takes_are_not_mixed_up(parser: Parser) -> None:
    abandoned = parser.parse_many([HELLO, b"Subject: Other\n\n"])
    next(abandoned)
    result = one(parser, b"Subject: Third\n\n")
    assert isinstance(result, Parsed)
    assert result.subject == "Third"


def test_closing_ends_the_child_and_a_closed_parser_starts_anew() -> None:
    parser = Parser(target=MISBEHAVE)
    child = child_of(parser)
    parser.close()
    assert not is_alive(child)
    assert child_of(parser) != child
    parser.close()


def test_the_child_ends_when_its_parent_is_killed() -> None:
    program = (
        "import sys, time; from tests.parsing.test_child import *\n"
        "print(child_of(Parser(target=MISBEHAVE)), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
        wait_for_end(child)


def test_the_child_sees_none_of_our_secrets(parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELD_KEYS", "canary")
    about = one(parser, b"about")
    assert isinstance(about, Parsed)
    assert "FIELD_KEYS" not in about.text
    assert "PYTHONPATH" in about.text


def test_the_child_does_not_import_django() -> None:
    with Parser(target="tests.parsing.targets:loaded_modules") as parser:
        loaded = one(parser, b"")
    assert isinstance(loaded, Parsed)
    assert "mailboxes.parsing" in loaded.text.split()
    assert "django" not in loaded.text.split()


def test_a_child_that_cannot_start_is_an_error_of_its_own() -> None:
    parser = Parser(target="tests.parsing.targets:is_not_there")
    with pytest.raises(ParserFailed, match="does not start"):
        one(parser, HELLO)


def test_each_thread_has_its_own_parser() -> None:
    found: list[str] = []

    def read(number: int) -> None:
        with Parser() as parser:
            for result in parser.parse_many([b"Subject: %d\n\n" % number] * 20):
                assert isinstance(result, Parsed)
                found.append(result.subject)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(str(number) for number in range(3) for _ in range(20))


def test_the_bytes_of_attachments_stay_in_the_child_until_they_are_asked_for() -> None:
    attached = b"Content-Type: application/pdf; name=plan.pdf\n\n%PDF-1.7"
    inner = b"Content-Type: message/rfc822\n\n" + attached
    with Parser() as parser:
        results = list(parser.parse_many([attached, inner]))
    for result in results:
        assert isinstance(result, Parsed)
        shown = result.forwarded or result
        assert [(one.data, one.size, one.detected_type) for one in shown.attachments] == [
            (b"", 8, "application/pdf")
        ]
