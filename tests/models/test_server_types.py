"""What a server type asks for: one table, for the types that can be chosen and for those still to come."""

from __future__ import annotations

import pytest

from emailprofiles.models import NOT_OBEYED, AuthenticateUsing, EmailServerProfile, SecurityChoice, ServerType
from emailprofiles.servertypes import (
    FIELDS_OF_SOME_TYPES,
    FIELDS_OF_TYPES,
    PROTOCOLS,
    SIDES,
    unused_fields,
    usual_port,
)

FOLDER = {"incoming_folder", "move_undelivered"}


def unused(server_type: str, sign_in: str = "mailbox", *, same: bool = True) -> frozenset[str]:
    return unused_fields(server_type, sign_in, same_sign_in=same)


@pytest.mark.parametrize("server_type", ServerType.values)
def test_every_type_is_in_every_table(server_type: str) -> None:
    assert set(PROTOCOLS) == set(FIELDS_OF_TYPES) == set(ServerType)
    assert FIELDS_OF_TYPES[server_type] <= FIELDS_OF_SOME_TYPES


def test_the_tables_name_only_columns_of_the_profile() -> None:
    columns = {column.name for column in EmailServerProfile._meta.concrete_fields}
    assert columns >= FIELDS_OF_SOME_TYPES
    assert columns >= set(NOT_OBEYED)


def test_pop3_has_no_folders() -> None:
    assert unused("pop3_smtp") >= FOLDER | {"sent_folder"}
    assert not unused("pop3_smtp") & {"incoming_host", "incoming_port", "outgoing_host", "caldav_url"}


def test_imap_uses_everything_but_the_credentials_it_is_not_given() -> None:
    assert unused("imap_smtp", "profile", same=False) == frozenset()
    assert unused("imap_smtp", "profile") == {"outgoing_username", "outgoing_password"}
    assert "username" in unused("imap_smtp", "anonymous")


def test_only_imap_keeps_copies_of_sent_mail() -> None:
    """The others do so by themselves, or have no folder."""
    assert [server_type for server_type in ServerType.values if "sent_folder" not in unused(server_type)] == [
        "imap_smtp"
    ]


def test_what_stands_in_the_cloud_has_no_server_location() -> None:
    for server_type in ("exchange_online", "gmail"):
        assert {f"{side}_host" for side in SIDES} <= unused(server_type)
    assert "outgoing_host" in unused("exchange_server")


def test_an_unknown_type_hides_nothing() -> None:
    """It is refused for its own sake; what else was typed is judged, too."""
    assert unused("telex", "profile", same=False) == frozenset()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("security", SecurityChoice.values)
@pytest.mark.parametrize("server_type", ["imap_smtp", "pop3_smtp"])
def test_each_protocol_has_its_usual_port(server_type: str, security: str, side: str) -> None:
    assert usual_port(server_type, side, security)


def test_there_is_no_usual_port_where_there_is_no_port() -> None:
    assert usual_port("exchange_online", "incoming", "tls") is None


def test_every_sign_in_has_its_place_in_the_table() -> None:
    for sign_in in AuthenticateUsing.values:
        assert ("username" in unused("imap_smtp", sign_in)) is (sign_in != "profile")
