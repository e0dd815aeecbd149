"""What every protocol over TCP does before it says its first word, and what it must never say."""

from __future__ import annotations

import re
from collections.abc import Iterator

from emailprofiles import network
from emailprofiles.errors import SettingsIncomplete, at_step
from emailprofiles.transports.seam import Transport
from emailprofiles.wire import ENDS_A_COMMAND, Security, Step, StepName

OCTETS_PER_SECOND = 16 * 1024
"""As slowly as a message may leave us."""


class OverSocket(Transport):
    """A transport over one guarded socket. `_spent` when nobody knows what the next octet would belong to."""

    _sock: network.BoundedSocket | None = None
    _spent: bool = False

    def reached_steps(self) -> Iterator[Step]:
        """NAME, PORT, and TLS where it begins with the first octet; then `_sock` is open."""
        self._spent = False
        with at_step(StepName.NAME):
            addresses = network.resolve(self.endpoint)
        yield Step(StepName.NAME, ", ".join(address.host for address in addresses))
        with at_step(StepName.PORT):
            self._sock = network.connect(self.endpoint, addresses)
        yield Step(StepName.PORT, network.peer(self._sock))
        if self.endpoint.security is Security.TLS:
            with at_step(StepName.TLS):
                self._sock, seen = network.start_tls(self._sock, self.endpoint)
            yield Step(StepName.TLS, seen)

    @property
    def _reached(self) -> network.BoundedSocket:
        assert self._sock is not None, "reached_steps() comes first"
        return self._sock

    @property
    def _greeting_step(self) -> StepName:
        """The rung that a greeting belongs to: with STARTTLS nothing of it counts before encryption."""
        return StepName.TLS if self.endpoint.security is Security.STARTTLS else StepName.GREETING

    @property
    def _where(self) -> str:
        return f"{self.endpoint.host} port {self.endpoint.port}"


_LINE_END = re.compile(rb"\r\n|\n|\r")


def in_lines(raw: bytes) -> bytes:
    """A message with CRLF behind each line, as every protocol carries it, however `raw` ends them."""
    lines = _LINE_END.sub(b"\r\n", raw)
    return lines if lines.endswith(b"\r\n") or not lines else lines + b"\r\n"


def speakable(what: str, text: str) -> str:
    """`text`, unless it holds what would end a command and begin another."""
    if any(letter in text for letter in ENDS_A_COMMAND):
        raise SettingsIncomplete(f"{what} contains a line break or NUL")
    return text
