"""One command for many mailboxes: asked for once, carried out by the engine item by item.

`request` writes down the command and its items, waiting. From there each item goes its own way:

    waiting → done | refused        every command but *Test & Enable*: one transaction for each item, through
                                    `lifecycle`, so that every rule holds; `carry_out`, under a lease
    waiting → running → done | refused      *Test & Enable*: `claim_tests` makes a test of an item when a seat
                                    is free, `settle` tells how it ended
    waiting → stopped               somebody pressed *Stop*

The law: what became of an item is committed together with what was done to its mailbox, so nothing is done
twice after a crash, and nothing is forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from emailprofiles import history
from emailprofiles.models import EmailServerProfile

from . import lifecycle, roles
from .configtest import something_to_test
from .models import (
    AppliedDefaults,
    Approval,
    BulkCommand,
    BulkCommandItem,
    Command,
    ConfigurationTest,
    Direction,
    EmailConfigurationSettings,
    ItemState,
    Mailbox,
    StepState,
    SyncState,
    User,
)
from .sync import leases
from .sync.leases import Lease

log = logging.getLogger(__name__)

NOTHING_TO_TEST = "Nothing to test: no direction is Forward Mailbox or server-side here."
DEFAULTS_CHANGED = (
    "The default settings changed after this was confirmed: nothing was applied. "
    "Look at what would change now, and confirm again."
)
_AT_A_TIME = 100


def permission_for(command: Command) -> str:
    """The permission that a command needs."""
    approves = command in (Command.APPROVE, Command.REJECT)
    return roles.APPROVE if approves else roles.ADMINISTER


def commands_of(person: User) -> list[Command]:
    """The commands that this person may give."""
    return [command for command in Command if person.has_perm(permission_for(command))]


# ── Asked ───────────────────────────────────────────────────────────────────────────────────


def request(
    command: Command, mailboxes: QuerySet[Mailbox], by: User, *, defaults: AppliedDefaults | None = None
) -> BulkCommand:
    """Write down the command and its selection, in one statement however many they are.

    `defaults` is what a person confirmed for *Apply Default Email Settings*, and is needed for that.
    """
    if (command == Command.DEFAULTS) is not (defaults is not None):
        raise ValueError("Default settings go with the command that applies them, and with no other.")
    with transaction.atomic():
        bulk = BulkCommand.objects.create(command=command, requested_by=by)
        _list(bulk, mailboxes)
        if defaults is not None:
            _confirm(bulk, defaults)
    return bulk


def _confirm(bulk: BulkCommand, defaults: AppliedDefaults) -> None:
    """What was confirmed stays with the command, and where credentials may go in the profile's history, too."""
    defaults.bulk_command = bulk
    defaults.save()
    profile = defaults.server_profile
    if defaults.sends_credentials and profile is not None:
        with history.acting(bulk.requested_by, str(bulk)):
            confirmed = (defaults.credentials, lifecycle.servers_of(profile))
            history.note(profile, credentials_confirmed=confirmed)


def _list(bulk: BulkCommand, mailboxes: QuerySet[Mailbox]) -> None:
    picked, parameters = mailboxes.order_by().values("pk").query.sql_with_params()
    name = connection.ops.quote_name
    columns = ", ".join(name(column) for column in ("bulk_command_id", "mailbox_id", "state", "said"))
    insert = ("INSERT INTO", name(BulkCommandItem._meta.db_table), f"({columns})", "SELECT %s, m.id, %s, ''")
    select = ("FROM", name(Mailbox._meta.db_table), "m WHERE m.id IN (", picked, ") ORDER BY m.id")
    with connection.cursor() as cursor:
        cursor.execute(" ".join((*insert, *select)), [bulk.pk, ItemState.WAITING, *parameters])


def stop(bulk: BulkCommand, by: User) -> int:
    """What waits is not done any more; what is under way ends. Returns how many were stopped."""
    now = timezone.now()
    with transaction.atomic():
        BulkCommand.objects.filter(pk=bulk.pk, stopped_by=None).update(stopped_by=by)
        stopped = _waiting(bulk).order_by().update(state=ItemState.STOPPED, finished_at=now)
        _finish(bulk)
    return stopped


def _finish(bulk: BulkCommand) -> None:
    """Finished, if no item waits or is under way."""
    under_way = (ItemState.WAITING, ItemState.RUNNING)
    if not BulkCommandItem.objects.filter(bulk_command=bulk, state__in=under_way).exists():
        BulkCommand.objects.filter(pk=bulk.pk, finished_at=None).update(
            finished_at=timezone.now(), lease_holder="", lease_until=None
        )


def under_way() -> set[str]:
    """Which kinds of commands are not finished."""
    return set(BulkCommand.objects.filter(finished_at=None).order_by().values_list("command", flat=True))


# ── Carried out: everything but tests ───────────────────────────────────────────────────────


def carry_out(bulk: BulkCommand, stopping: Callable[[], bool]) -> None:
    """Do what waits, one by one, until nothing does, the lease is lost, or we are told to stop."""
    while keys := list(_waiting(bulk).values_list("pk", flat=True)[:_AT_A_TIME]):
        for key in keys:
            if stopping() or not _carry_out_one(bulk, key):
                leases.release_command(bulk)
                return
    _finish(bulk)


def _carry_out_one(bulk: BulkCommand, key: int) -> bool:
    """One item, and what came of it, in one transaction; False when the command is not ours any more."""
    try:
        with transaction.atomic():
            if not leases.held_commands(bulk).select_for_update().exists():
                return False
            item = _waiting(bulk).select_for_update().filter(pk=key).first()
            if item is not None:  # else it was stopped meanwhile
                _say(item, ItemState.DONE, _act(bulk, item))
    except ValidationError as error:
        _refuse(bulk, key, " ".join(error.messages))
    except IntegrityError:
        _refuse(bulk, key, "Another change of the same record came in between. Try it again.")
    except DatabaseError:
        raise
    except Exception as error:  # a mistake of ours must end the item, not repeat it for ever
        log.exception("%s failed for item %s", bulk, key)
        _refuse(bulk, key, f"This ended by a mistake in this program: {type(error).__name__}.")
    return True


def _waiting(bulk: BulkCommand) -> QuerySet[BulkCommandItem]:
    return BulkCommandItem.objects.filter(bulk_command=bulk, state=ItemState.WAITING).order_by("pk")


def _say(item: BulkCommandItem, state: ItemState, said: str) -> None:
    item.state, item.said, item.finished_at = state, said, timezone.now()
    item.save(update_fields=["state", "said", "finished_at"])


def _refuse(bulk: BulkCommand, key: int, why: str) -> None:
    for item in _waiting(bulk).filter(pk=key):
        _say(item, ItemState.REFUSED, why)


def _act(bulk: BulkCommand, item: BulkCommandItem) -> str:
    """Do it to the mailbox as it is now; returns what to say, raises ValidationError with why not."""
    locked = Mailbox.objects.select_for_update(of=("self",)).select_related(
        "server_profile", "owner", "user", "queue"
    )
    if bulk.requested_by is None:
        raise ValidationError("Whoever asked for this is not a user here any more.")
    mailbox = locked.get(pk=item.mailbox_id)
    with history.acting(bulk.requested_by, str(bulk)):
        return _ACTS[Command(bulk.command)](mailbox, bulk.requested_by, bulk)


def _approve(mailbox: Mailbox, by: User, bulk: BulkCommand) -> str:
    if mailbox.approval == Approval.APPROVED:
        return "Was approved already."
    lifecycle.approve(mailbox, by)
    return "Approved."


def _reject(mailbox: Mailbox, by: User, bulk: BulkCommand) -> str:
    if mailbox.approval == Approval.REJECTED:
        return "Was rejected already."
    lifecycle.reject(mailbox, by)
    return "Rejected."


def _activate(mailbox: Mailbox, by: User, bulk: BulkCommand) -> str:
    if mailbox.is_active:
        return "Was active already."
    lifecycle.activate(mailbox)
    return "Active."


def _deactivate(mailbox: Mailbox, by: User, bulk: BulkCommand) -> str:
    if not mailbox.is_active:
        return "Was deactivated already."
    lifecycle.deactivate(mailbox)
    return "Deactivated."


def _collect(mailbox: Mailbox, by: User, bulk: BulkCommand) -> str:
    if not lifecycle.collect_now(mailbox):
        raise ValidationError(lifecycle.why_not_collected(mailbox))
    return "Collected as soon as a worker is free."


def _apply_defaults(mailbox: Mailbox, by: User, bulk: BulkCommand) -> str:
    EmailConfigurationSettings.lock()
    confirmed = bulk.defaults
    if as_words(confirmed) != as_words(default_settings()):
        raise ValidationError(DEFAULTS_CHANGED)
    location = confirmed.location_version if confirmed.sends_credentials else None
    changed = lifecycle.apply_defaults(mailbox, by, credentials_to=location)
    if not changed:
        return "Had these settings already."
    waits = lifecycle.waits_for_confirmation(mailbox)
    return f"Changed: {', '.join(changed)}." + (
        " The stored credentials wait for a confirmation." if waits else ""
    )


_ACTS: dict[Command, Callable[[Mailbox, User, BulkCommand], str]] = {
    Command.APPROVE: _approve,
    Command.REJECT: _reject,
    Command.DEFAULTS: _apply_defaults,
    Command.ACTIVATE: _activate,
    Command.DEACTIVATE: _deactivate,
    Command.COLLECT: _collect,
}


def default_settings() -> AppliedDefaults:
    """What *Apply Default Email Settings* would apply now, not yet confirmed by anybody."""
    settings, profile = EmailConfigurationSettings.load(), EmailServerProfile.default()
    return AppliedDefaults(
        server_profile=profile,
        location_version=profile.location_version if profile else None,
        incoming_method=settings.default_incoming_method,
        outgoing_method=settings.default_outgoing_method,
        act_method=settings.default_act_method,
    )


def as_words(defaults: AppliedDefaults) -> str:
    """All that is applied in one line: equal lines do the same."""
    place = (defaults.server_profile_id, defaults.location_version)
    methods = (defaults.incoming_method, defaults.outgoing_method, defaults.act_method)
    return " ".join(str(part) for part in (*place, *methods))


# ── Carried out: tests ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Claimed:
    """A test that is ours, and the mailbox's lease, unless a pass that yields to the test still holds it."""

    test: ConfigurationTest
    lease: Lease | None


def claim_tests(seats: int, holder: str) -> list[Claimed]:
    """The next tests of bulk commands, within their servers' connection budgets; first those whose worker died."""
    try:
        return _claim_tests(seats, holder)
    except (
        IntegrityError
    ):  # a person asked for the test of one of them at this very moment: the next round sees it
        return []


def _claim_tests(seats: int, holder: str) -> list[Claimed]:
    with transaction.atomic():
        leases.one_claim_at_a_time()
        moment = leases.now()
        tests = list(_abandoned(moment)[:seats])
        tests += _begun(leases.Budgets(moment), seats - len(tests))
        leases.take_tests(tests, holder, moment)
        mailboxes = [test.mailbox_id for test in tests]
        states = SyncState.objects.filter(mailbox__in=mailboxes, direction=Direction.INCOMING)
        held = {lease.mailbox_id: lease for lease in (leases.seize_all(states, holder) if tests else ())}
        return [Claimed(test, held.get(test.mailbox_id)) for test in tests]


def _abandoned(moment: datetime) -> QuerySet[ConfigurationTest]:
    of_many = BulkCommandItem.objects.filter(test=OuterRef("pk"), state=ItemState.RUNNING)
    under_way = ConfigurationTest.objects.filter(Exists(of_many), finished_at=None)
    holders = list(under_way.values_list("lease_holder", flat=True))
    return under_way.filter(leases.free(moment, holders)).order_by("pk")


def _begun(budgets: leases.Budgets, seats: int) -> list[ConfigurationTest]:
    """Tests of the first items that wait, whose servers have room, and that nobody tests just now."""
    tests: list[ConfigurationTest] = []
    open_commands = BulkCommand.objects.filter(command=Command.TEST, finished_at=None)
    for bulk in open_commands.order_by("requested_at", "pk"):
        if len(tests) == seats:
            break
        if bulk.started_at is None:
            _begin_tests(bulk)
        tests += _requested(bulk, _with_room(bulk, budgets, seats - len(tests)))
    return tests


def _with_room(bulk: BulkCommand, budgets: leases.Budgets, seats: int) -> list[BulkCommandItem]:
    tested = ConfigurationTest.objects.filter(mailbox=OuterRef("mailbox"), finished_at=None)
    free = _waiting(bulk).exclude(mailbox__server_profile__in=budgets.exhausted()).exclude(Exists(tested))
    items = free.select_related("mailbox__server_profile").defer("mailbox__password")[: seats * 4]
    return list(islice((item for item in items if budgets.admit_test(item.mailbox.server_profile)), seats))


def _requested(bulk: BulkCommand, items: list[BulkCommandItem]) -> list[ConfigurationTest]:
    """A test for each of these items, which run from now on."""
    tests = [ConfigurationTest(mailbox=item.mailbox, requested_by=bulk.requested_by) for item in items]
    ConfigurationTest.objects.bulk_create(tests)
    for item, test in zip(items, tests, strict=True):
        item.test, item.state = test, ItemState.RUNNING
    BulkCommandItem.objects.bulk_update(items, ["test", "state"])
    return tests


def _begin_tests(bulk: BulkCommand) -> None:
    BulkCommand.objects.filter(pk=bulk.pk).update(started_at=timezone.now())
    testable = Mailbox.objects.filter(something_to_test(), pk=OuterRef("mailbox"))
    _waiting(bulk).exclude(Exists(testable)).order_by().update(
        state=ItemState.REFUSED, said=NOTHING_TO_TEST, finished_at=timezone.now()
    )


def settle() -> None:
    """Tell of each test that has ended how it ended; finish the commands whose last one it was."""
    running = BulkCommandItem.objects.filter(state=ItemState.RUNNING, bulk_command__finished_at=None)
    running.filter(test=None).update(state=ItemState.WAITING)  # its test was deleted: once more
    ended = list(running.filter(test__finished_at__isnull=False).prefetch_related("test__steps"))
    for item in ended:
        assert item.test is not None
        (item.state, item.said), item.finished_at = outcome(item.test), timezone.now()
    BulkCommandItem.objects.bulk_update(ended, ["state", "said", "finished_at"], batch_size=_AT_A_TIME)
    for bulk in BulkCommand.objects.filter(command=Command.TEST, finished_at=None, started_at__isnull=False):
        _finish(bulk)


def outcome(test: ConfigurationTest) -> tuple[ItemState, str]:
    """Done when each direction passed; the sentence says which did, and the cause of those that did not."""
    steps = list(test.steps.all())
    failed = {step.direction: step.cause for step in steps if step.state == StepState.FAILED}
    tested = [direction for direction in Direction if any(step.direction == direction for step in steps)]
    passed = " and ".join(direction.label for direction in tested if direction not in failed)
    if not steps:
        return ItemState.REFUSED, NOTHING_TO_TEST
    sentences = [f"{Direction(direction).label}: {cause}" for direction, cause in failed.items()]
    if passed:
        sentences.append(f"{passed[0]}{passed[1:].replace('Outgoing', 'outgoing')} passed.")
    return (ItemState.REFUSED if failed else ItemState.DONE), " ".join(sentences)
