"""Who may do what: three groups and their permissions (domain: People and permissions)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Q, QuerySet, TextChoices

from emailprofiles import history

ADMINISTER = "mailboxes.administer_email"
APPROVE = "mailboxes.approve_email_address"
SEE_MAILBOXES = "mailboxes.view_mailbox"
SEE_PROFILES = "emailprofiles.view_emailserverprofile"
SEE_ALERTS = "mailboxes.view_alert"


LAST_ADMINISTRATOR = "is the last active administrator: give this role to someone else first."


class Role(TextChoices):
    ADMINISTRATOR = "administrator", "Email administrator"
    APPROVER = "approver", "Address approver"
    STAFF = "staff", "Staff"
    USER = "user", "User"


GROUPS: dict[Role, tuple[str, frozenset[str]]] = {
    Role.ADMINISTRATOR: (
        "Email administrators",
        frozenset({ADMINISTER, APPROVE, SEE_MAILBOXES, SEE_PROFILES, SEE_ALERTS}),
    ),
    Role.APPROVER: ("Address approvers", frozenset({APPROVE, SEE_MAILBOXES})),
    Role.STAFF: ("Staff", frozenset({SEE_MAILBOXES, SEE_PROFILES, SEE_ALERTS})),
}


def make_groups(**kwargs: Any) -> None:
    """Create missing groups after a migration; what an administrator changed in them stays."""
    if Group._meta.db_table not in connection.introspection.table_names():
        return  # other apps were migrated alone
    for name, permissions in GROUPS.values():
        if Group.objects.filter(name=name).exists():
            continue
        found = list(_permissions(permissions))
        if len(found) == len(permissions):  # all apps are migrated by now
            Group.objects.create(name=name).permissions.set(found)


def _permissions(names: Iterable[str]) -> Iterable[Permission]:
    for name in names:
        app, codename = name.split(".")
        yield from Permission.objects.filter(content_type__app_label=app, codename=codename)


def role_of(user: Any) -> Role:
    """The role shown beside a name; a superuser is an administrator."""
    if isinstance(user, AnonymousUser):
        return Role.USER
    if user.is_superuser:
        return Role.ADMINISTRATOR
    names = {group.name for group in user.groups.all()}
    return next((role for role, (name, _) in GROUPS.items() if name in names), Role.USER)


def having(role: Role) -> Q:
    """SQL twin of `role_of`: the users of whom it says this role."""
    above = list(Role)[: list(Role).index(role)]
    found = _in_group(role) | Q(is_superuser=True) if role == Role.ADMINISTRATOR else _in_group(role)
    for higher in above:
        found &= ~having(higher)
    return found


def _in_group(role: Role) -> Q:
    """SQL: in the group of this role; everyone has the role without a group."""
    if role not in GROUPS:
        return Q()
    members = get_user_model().groups.through._default_manager.filter(group__name=GROUPS[role][0])
    return Q(pk__in=members.values("user"))


def administrators() -> QuerySet[Any]:
    """Active users who may administer email: by a group of any name, by themselves, or as superusers."""
    app, codename = ADMINISTER.split(".")
    permission = Permission.objects.filter(content_type__app_label=app, codename=codename).values("pk")
    users = get_user_model()
    by_group = users.groups.through._default_manager.filter(group__permissions__in=permission)
    alone = users.user_permissions.through._default_manager.filter(permission__in=permission)
    may = Q(is_superuser=True) | Q(pk__in=by_group.values("user")) | Q(pk__in=alone.values("user"))
    return users._default_manager.filter(may, is_active=True).order_by()


def is_last_administrator(user: Any) -> bool:
    """Whether nobody would be left who administers email, were it not for this user."""
    found = administrators()
    return (
        user.pk is not None and found.filter(pk=user.pk).exists() and not found.exclude(pk=user.pk).exists()
    )


def set_role(user: Any, role: Role) -> None:
    """Put the user into the group of this role, and out of the other two.

    Raises ValidationError when nobody would be left who administers email.
    """
    if role != Role.ADMINISTRATOR and is_last_administrator(user):
        raise ValidationError({"role": f"{user} {LAST_ADMINISTRATOR}"})
    before = role_of(user)
    user.groups.remove(*Group.objects.filter(name__in=[name for name, _ in GROUPS.values()]))
    if role in GROUPS:
        user.groups.add(Group.objects.get(name=GROUPS[role][0]))
    if (after := role_of(user)) != before:
        history.note(user, role=(before, after))
