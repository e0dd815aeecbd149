"""What no program on these wires can undercut: commands sent as fast as they can be, answers read and thrown away.

python -m tests.benchmarks.wire imap PORT ACCOUNT PASSWORD            fetch and delete a whole INBOX
python -m tests.benchmarks.wire pop3 PORT ACCOUNT PASSWORD            the same
python -m tests.benchmarks.wire many PORT PREFIX PASSWORD N THREADS   fetch N small INBOXes and mark as read
python -m tests.benchmarks.wire looks PORT PREFIX PASSWORD N THREADS  sign in to N, open the INBOX, leave
"""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from tests.benchmarks import clock

HOST = "127.0.0.1"
BATCH = 200
IN_FLIGHT = 4
BUFFER = 1 << 20
DONE = re.compile(rb"\r\nzq(\d{7}) (OK|NO|BAD)")
LONGEST_MATCH = 15


class Imap:
    """One connection. `said` numbers what was sent, `unanswered` is what the server has not finished, in any order."""

    def __init__(self, port: int, account: str, password: str) -> None:
        self.socket = socket.create_connection((HOST, port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(BUFFER)
        self._tail = b"\r\n"
        self.said = 0
        self.unanswered: set[int] = set()
        self.socket.recv(1000)
        self.wait(self.say(f"LOGIN {account} {password}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait(self.say("LOGOUT"))
        self.socket.close()

    def say(self, command: str) -> int:
        self.said += 1
        self.unanswered.add(self.said)
        self.socket.sendall(b"zq%07d %s\r\n" % (self.said, command.encode()))
        return self.said

    def wait(self, number: int) -> bytes:
        """Until this command is answered; the last piece that came."""
        piece = b""
        while number in self.unanswered:
            got = self.socket.recv_into(self._buffer)
            if not got:
                raise ConnectionError("the server left")
            piece = self._tail + memoryview(self._buffer)[:got]
            for match in DONE.finditer(piece):
                if match[2] != b"OK":
                    raise ConnectionError(
                        piece[match.start() : match.start() + 200].decode("ascii", "replace")
                    )
                self.unanswered.discard(int(match[1]))
            self._tail = piece[-LONGEST_MATCH:]
        return piece

    def select(self) -> int:
        """Open the INBOX; how many messages it has."""
        exists = re.search(rb"\* (\d+) EXISTS", self.wait(self.say("SELECT INBOX")))
        assert exists
        return int(exists[1])

    def empty(self) -> int:
        """Fetch everything, IN_FLIGHT commands of BATCH messages at a time, and delete what was fetched.

        The numbers are those of a folder that was filled and never touched: 1 and upwards.
        """
        number = self.select()
        starts = deque(range(1, number + 1, BATCH))
        fetching: deque[tuple[int, str]] = deque()
        while starts or fetching:
            while starts and len(fetching) < IN_FLIGHT:
                start = starts.popleft()
                uids = f"{start}:{start + BATCH - 1}"
                fetching.append((self.say(f"UID FETCH {uids} (UID BODY.PEEK[])"), uids))
            said, uids = fetching.popleft()
            self.wait(said)
            self.say(f"UID STORE {uids} +FLAGS.SILENT (\\Deleted)")
            self.say(f"UID EXPUNGE {uids}")
        while self.unanswered:
            self.wait(min(self.unanswered))
        self.wait(self.say("UID EXPUNGE 1:*"))  # Dovecot passes by what it was told of during a FETCH
        return number


def imap(port: int, account: str, password: str) -> int:
    with Imap(port, account, password) as server:
        return server.empty()


def pop3(port: int, account: str, password: str) -> int:
    """Everything is said at once, while another thread reads until the server has said farewell."""
    with socket.create_connection((HOST, port), 60) as server, server.makefile("rb", BUFFER) as replies:
        replies.readline()
        server.sendall(f"USER {account}\r\nPASS {password}\r\nSTAT\r\n".encode())
        number = int([replies.readline() for _ in range(3)][2].split()[1])
        words = "".join(f"RETR {n}\r\nDELE {n}\r\n" for n in range(1, number + 1)) + "QUIT\r\n"
        speaker = threading.Thread(target=server.sendall, args=(words.encode(),))
        speaker.start()
        last = b""
        while piece := replies.read1(BUFFER):
            last = (last + piece)[-100:]
        speaker.join()
    assert b"\r\n+OK" in last, last
    return number


LOOK = ("SELECT INBOX",)
FETCH_AND_MARK = (*LOOK, "UID FETCH 1:* (UID BODY.PEEK[])", "UID STORE 1:* +FLAGS.SILENT (\\Seen)")


def many(port: int, prefix: str, password: str, number: int, threads: int) -> int:
    """Each account with one connection, on which everything is said at once."""
    return _at_once(FETCH_AND_MARK, port, prefix, password, number, threads)


def looks(port: int, prefix: str, password: str, number: int, threads: int) -> int:
    return _at_once(LOOK, port, prefix, password, number, threads)


def _at_once(
    commands: tuple[str, ...], port: int, prefix: str, password: str, number: int, threads: int
) -> int:
    def one(n: int) -> bool:
        said = (f"LOGIN {prefix}{n} {password}", *commands, "LOGOUT")
        lines = b"".join(b"zq%07d %s\r\n" % (at, line.encode()) for at, line in enumerate(said))
        with socket.create_connection((HOST, port), 60) as server:
            server.sendall(lines)
            heard = b"".join(iter(lambda: server.recv(BUFFER), b""))
        answers = [match[2] for match in DONE.finditer(heard)]
        return answers == [b"OK"] * len(said)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(one, range(number)))


def main(what: str, port: str, account: str, password: str, *numbers: str) -> None:
    works = {"imap": imap, "pop3": pop3, "many": many, "looks": looks}
    clock.tell(lambda: works[what](int(port), account, password, *map(int, numbers)))  # type: ignore[operator]


if __name__ == "__main__":
    main(*sys.argv[1:])
