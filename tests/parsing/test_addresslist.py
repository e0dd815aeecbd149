"""Address lists as they really come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboxes.addresslist import addresses


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("amara@contoso.com", [("", "amara@contoso.com")]),
        ("Amara Okafor <amara@contoso.com>", [("Amara Okafor", "amara@contoso.com")]),
        ('"Okafor, Amara" <Amara@Contoso.COM>', [("Okafor, Amara", "Amara@contoso.com")]),
        (r'"Amara \"Ama\" Okafor" <a@x.com>', [('Amara "Ama" Okafor', "a@x.com")]),
        ("a@x.com, b@y.com", [("", "a@x.com"), ("", "b@y.com")]),
        ("a@x.com; b@y.com", [("", "a@x.com"), ("", "b@y.com")]),
        ("a@x.com b@y.com", [("", "a@x.com"), ("", "b@y.com")]),
        ("<a@x.com> <b@y.com>", [("", "a@x.com"), ("", "b@y.com")]),
        ("Amara amara@contoso.com", [("", "amara@contoso.com")]),
        ("amara @ contoso.com", [("", "amara@contoso.com")]),
        ("< amara@contoso.com >", [("", "amara@contoso.com")]),
        ("'amara@contoso.com' <'amara@contoso.com'>", [("'amara@contoso.com'", "amara@contoso.com")]),
        ("root@host (Cron Daemon)", [("Cron Daemon", "root@host")]),
        ("a@x.com (one (two (three))), b@y.com", [("one (two (three))", "a@x.com"), ("", "b@y.com")]),
        ("Amara :-( <a@x.com>, b@y.com", [("-", "a@x.com"), ("", "b@y.com")]),
        ("Friends: a@x.com, Ben <b@y.com>;", [("", "a@x.com"), ("Ben", "b@y.com")]),
        ("undisclosed-recipients:;", []),
        ("unlisted-recipients:; (no To-header on input)", []),
        ("<@relay.example,@other.example:a@x.com>", [("", "a@x.com")]),
        ('"a b"@x.com', [("", '"a b"@x.com')]),
        ("a@[192.0.2.1]", [("", "a@[192.0.2.1]")]),
        ("møller@bücher.example", [("", "møller@bücher.example")]),
        ('"a@x.com" <b@y.com>', [("a@x.com", "b@y.com")]),
        ('"a@x.com"', []),
        ("=?utf-8?q?Evil_=3Ca=40x=2Ecom=3E?= <b@y.com>", [("=?utf-8?q?Evil_=3Ca=40x=2Ecom=3E?=", "b@y.com")]),
        ("", []),
        ("<>", []),
        ("nobody", []),
        ("a@b@c", []),
        ("x" * 400 + "@x.com", []),
    ],
)
def test_reads(value: str, expected: list[tuple[str, str]]) -> None:
    assert [tuple(address) for address in addresses(value)] == expected


def test_takes_no_more_than_the_limit() -> None:
    assert len(addresses("a@x.com, " * 50, limit=7)) == 7


@given(st.text(alphabet="ab@.,;:<>()\"\\[]' =?", max_size=200) | st.text(max_size=200))
def test_never_raises_and_gives_plain_addresses(value: str) -> None:
    for _, address in addresses(value):
        assert "@" in address
        assert not set(address) & set("<>,\n")


@given(
    st.lists(
        st.tuples(
            st.text(alphabet="abcXYZ äß,;:<>()@.'", max_size=30).map(str.strip),
            st.from_regex(r"[a-z]{1,10}(\.[a-z]{1,5})?@[a-z]{1,10}\.example", fullmatch=True),
        ),
        max_size=8,
    )
)
def test_what_programs_write_is_read_back(people: list[tuple[str, str]]) -> None:
    written = ", ".join(f'"{name}" <{address}>' for name, address in people)
    assert [tuple(found) for found in addresses(written)] == people
