"""The corpus, spoilt further: cut, doubled, flipped, spliced. Reading it never fails, and keeps to its limits."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .limits import read
from .test_corpus import CORPUS

FILES = [path.read_bytes() for path in CORPUS]
SPLICES = [
    b"Content-Type: multipart/mixed; boundary=frontier\r\n",
    b"Content-Type: text/html; charset=utf-16\r\n",
    b"Content-Type: message/rfc822\r\n\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Disposition: attachment; filename*0*=utf-7''",
    b"Subject: =?utf-8?B?",
    b"From: (((",
    b"Date: ",
    b"\r\n--frontier\r\n",
    b"\r\n--frontier--\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\x00",
    b"\xff\xfe",
    b"\x1b$B",
    b'"',
    b"?=",
]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A file of the corpus after one to six of these."""
    raw = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 6))):
        spoil = draw(st.sampled_from([flip, cut, double, splice, mix]))
        spoil(draw, raw)
    return bytes(raw)


def place(draw: st.DrawFn, raw: bytearray) -> int:
    return draw(st.integers(0, len(raw)))


def flip(draw: st.DrawFn, raw: bytearray) -> None:
    at = place(draw, raw)
    raw[at : at + 1] = bytes([draw(st.integers(0, 255))])


def cut(draw: st.DrawFn, raw: bytearray) -> None:
    start = place(draw, raw)
    del raw[start : start + draw(st.integers(1, 200))]


def double(draw: st.DrawFn, raw: bytearray) -> None:
    start = place(draw, raw)
    raw[start:start] = raw[start : start + draw(st.integers(1, 300))]


def splice(draw: st.DrawFn, raw: bytearray) -> None:
    at = place(draw, raw)
    raw[at:at] = draw(st.sampled_from(SPLICES))


def mix(draw: st.DrawFn, raw: bytearray) -> None:
    """The end of another file behind the beginning of this one."""
    other = draw(st.sampled_from(FILES))
    raw[place(draw, raw) :] = other[draw(st.integers(0, len(other))) :]


@settings(max_examples=1500, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(spoilt())
def test_what_is_spoilt_is_read_within_the_limits(raw: bytes) -> None:
    read(raw)
