"""The one seam between records and servers: turns rows into a transport and decides whose credentials apply."""

from __future__ import annotations

from django.conf import settings

from emailprofiles.errors import SettingsIncomplete
from emailprofiles.models import AuthenticateUsing, EmailServerProfile
from emailprofiles.secrets import Secret, SecretUnreadable
from emailprofiles.servertypes import PROTOCOLS
from emailprofiles.transports import TRANSPORTS, IncomingTransport, OutgoingTransport
from emailprofiles.wire import Anonymous, Credentials, Disposal, Endpoint, Password, Security, StepName

from .models import Mailbox


def open_incoming(mailbox: Mailbox) -> IncomingTransport:
    """A transport that collects for this mailbox, not connected yet; raises SettingsIncomplete."""
    profile = _profile(mailbox)
    transport = TRANSPORTS["incoming"].get(PROTOCOLS[profile.server_type][0])
    if transport is None or not profile.incoming_host:
        raise _incomplete(f"the profile {profile.name} has no incoming server that we can speak to")
    return transport(incoming_endpoint(profile), incoming_credentials(mailbox), profile.incoming_folder)


def open_outgoing(mailbox: Mailbox) -> OutgoingTransport:
    """A transport that sends for this mailbox, not connected yet; raises SettingsIncomplete."""
    profile = _profile(mailbox)
    transport = TRANSPORTS["outgoing"].get(PROTOCOLS[profile.server_type][1])
    if transport is None or not profile.outgoing_host:
        raise _incomplete(f"the profile {profile.name} has no outgoing server that we can speak to")
    return transport(outgoing_endpoint(profile), outgoing_credentials(mailbox))


def disposal_of(mailbox: Mailbox) -> Disposal:
    """What becomes of this mailbox's copies on the server after processing."""
    return Disposal.DELETE if mailbox.delete_emails_after_processing else Disposal.MARK_READ


def incoming_endpoint(profile: EmailServerProfile) -> Endpoint:
    return _endpoint(profile, profile.incoming_host, profile.incoming_port, profile.incoming_security)


def outgoing_endpoint(profile: EmailServerProfile) -> Endpoint:
    return _endpoint(profile, profile.outgoing_host, profile.outgoing_port, profile.outgoing_security)


def incoming_credentials(mailbox: Mailbox) -> Credentials:
    """The mailbox's own, or the profile's on behalf of the mailbox's address (RFC 4616)."""
    profile = _profile(mailbox)
    if profile.authenticate_using == AuthenticateUsing.PROFILE:
        return _password(profile.username, profile.password, authorize_as=mailbox.email_address)
    return _own(mailbox, profile)


def outgoing_credentials(mailbox: Mailbox) -> Credentials:
    """The mailbox's own, the profile's, or none."""
    profile = _profile(mailbox)
    if profile.authenticate_using == AuthenticateUsing.ANONYMOUS:
        return Anonymous()
    if profile.authenticate_using == AuthenticateUsing.PROFILE:
        if profile.same_sign_in_for_outgoing:
            return _password(profile.username, profile.password)
        return _password(profile.outgoing_username, profile.outgoing_password)
    return _own(mailbox, profile)


def _own(mailbox: Mailbox, profile: EmailServerProfile) -> Credentials:
    if not mailbox.allow_credentials or not mailbox.username or not mailbox.password:
        raise _incomplete(f"{mailbox.name} has no credentials, and the profile {profile.name} asks for them")
    if mailbox.credentials_location_version != profile.location_version:
        raise _incomplete(
            f"the server of {profile.name} changed, and nobody has confirmed the stored credentials for it"
        )
    return _password(mailbox.username, mailbox.password)


def _password(username: str, secret: Secret, authorize_as: str = "") -> Password:
    try:
        return Password(username, secret.reveal(), authorize_as)
    except SecretUnreadable as error:
        raise _incomplete(str(error)) from error


def _profile(mailbox: Mailbox) -> EmailServerProfile:
    if mailbox.server_profile is None:
        raise _incomplete(f"{mailbox.name} has no server profile")
    if not mailbox.server_profile.is_active:
        raise _incomplete(f"the profile {mailbox.server_profile.name} is not active")
    return mailbox.server_profile


def _endpoint(profile: EmailServerProfile, host: str, port: int, security: str) -> Endpoint:
    return Endpoint(
        host=host,
        port=port,
        security=Security(security),
        timeout=float(profile.timeout_seconds),
        ca_file=settings.TLS_CA_FILE,
        allow_internal=settings.ALLOW_INTERNAL_SERVERS,
    )


def _incomplete(what: str) -> SettingsIncomplete:
    return SettingsIncomplete(what, step=StepName.SETTINGS)
