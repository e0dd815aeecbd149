"""A mail host on loopback, as small offices have one: Postfix in front, Dovecot with LMTP and Sieve behind it.

    with MailHost(certificates, {"/etc/dovecot/sieve/collect.sieve": script}) as host:
        host.dovecot.add_user("noah@contoso.com", "secret")
        host.takes(letter, "noah@contoso.com")
        host.holds("noah@contoso.com", 1)

`files` are recipes: what they call /etc/postfix and /etc/dovecot lies in a temporary directory, together with
queue and log. Lines for main.cf and master.cf come after those that the host needs anyway. Nothing listens on
anything but loopback. Postfix needs root, and its own user.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.servers import GOOD, Certificates, Dovecot, Kept, free_port, needs

MAIN = """
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
maillog_file = {base}/log
maillog_file_prefixes = {base}
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = mx1.contoso.com
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = contoso.com
virtual_transport = lmtp:unix:private/dovecot-lmtp
smtpd_peername_lookup = no
disable_dns_lookups = yes
notify_classes =
"""

MASTER = """
{host}:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

BEHIND = """
protocols = imap lmtp
hostname = imap.contoso.com
submission_host = {host}:{port}
service lmtp {{
  unix_listener {base}/queue/private/dovecot-lmtp {{
    mode = 0600
    user = postfix
  }}
}}
protocol lmtp {{
  mail_plugins = acl sieve
  postmaster_address = postmaster@contoso.com
}}
"""


def needs_a_mail_host() -> None:
    """Skip the test where such a host cannot run."""
    for server in ("dovecot", "sieve", "postfix"):
        needs(server)
    if os.geteuid() != 0:
        pytest.skip("Postfix needs root")


class MailHost:
    """Takes mail for contoso.com by SMTP and keeps it for IMAP; `dovecot` is where its people are added."""

    def __init__(self, certificates: Certificates, files: dict[str, str]) -> None:
        self.certificates, self.files = certificates, files
        self.port = free_port()
        self._postfix: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.base = Path(tempfile.mkdtemp(prefix="mailhost-", dir="/tmp"))  # short: sockets lie in it
        self.base.chmod(0o755)
        for name in ("queue", "data", "etc/postfix", "etc/dovecot/sieve"):
            (self.base / name).mkdir(mode=0o755, parents=True)
        os.chown(self.base / "data", pwd.getpwnam("postfix").pw_uid, -1)
        self._write()
        self._start_postfix()
        behind = BEHIND.format(base=self.base, host=GOOD, port=self.port)
        self.dovecot = Dovecot(self.certificates, behind + self._recipe("/etc/dovecot/dovecot.conf"))
        self.dovecot.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.dovecot.__exit__(kind, error, trace)
        self._stop_postfix()
        shutil.rmtree(self.base, ignore_errors=True)

    @property
    def log(self) -> str:
        path = self.base / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    # mail

    def takes(self, raw: bytes, *recipients: str) -> None:
        """One message arrives from outside, for these people."""
        with smtplib.SMTP(GOOD, self.port, timeout=10) as smtp:
            smtp.sendmail("ines@example.org", recipients, raw)

    def holds(self, address: str, count: int) -> list[Kept]:
        """What lies in the box of this person as soon as it is so many."""
        deadline = time.monotonic() + 20
        while len(kept := self.dovecot.messages(address)) < count:
            assert time.monotonic() < deadline, f"{len(kept)} for {address}\n{self.log}{self.dovecot.log}"
            time.sleep(0.05)
        return kept

    # life

    def _recipe(self, path: str) -> str:
        return self.files.get(path, "").replace("/etc/", f"{self.base}/etc/")

    def _write(self) -> None:
        places = {"base": self.base, "host": GOOD, "port": self.port}
        needed = {"/etc/postfix/main.cf": MAIN, "/etc/postfix/master.cf": MASTER}
        for path in {*needed, *self.files}:
            text = needed.get(path, "").format(**places) + self._recipe(path)
            Path(f"{self.base}{path}").write_text(text)

    def _start_postfix(self) -> None:
        self._postfix = subprocess.Popen(
            ["postfix", "-c", f"{self.base}/etc/postfix", "start-fg"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._postfix.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((GOOD, self.port), 2) as probe:
                if probe.recv(4) == b"220 ":
                    return
            time.sleep(0.05)
        self._stop_postfix()
        raise RuntimeError(f"Postfix did not start:\n{self.log}")

    def _stop_postfix(self) -> None:
        if self._postfix is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._postfix.pid, signal.SIGKILL)  # nobody will miss its queue
            self._postfix.wait()
        self._postfix = None
