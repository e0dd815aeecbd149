"""Messages: the list, and one message with its attachments and the reasons for its way."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import BinaryField, Prefetch, Q, QuerySet, Value
from django.db.models.functions import Length, Substr
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.dateparse import parse_datetime
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from emailprofiles.wire import Disposal

from .. import answers, mime, outbox, roles, safehtml, search, words
from ..access import person
from ..correspondence import conversation
from ..models import (
    Answer,
    Attachment,
    Delivery,
    Mailbox,
    Message,
    MessageState,
    Original,
    OutgoingMessage,
    User,
)
from ..models.mail import Messages
from ..parsing import Header, Parsed
from ..sync.parser import Poison, take_out

PAGE = 50
SOURCE_SHOWN = 256 * mime.KB
HEADERS_SHOWN = 64 * mime.KB
EMBEDDED_AT_MOST = 2_000_000

DISPOSALS = {Disposal.DELETE.value: "deleted", Disposal.MARK_READ.value: "marked read"}

# The frame that shows a stranger's HTML: nothing is loaded, run, sent or navigated from there.
FRAME_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
# Types whose name in a download can do no harm; everything else is only bytes.
HARMLESS_TYPES = safehtml.PICTURES | {"application/pdf", "text/plain", "text/csv", "application/zip"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of a list begins or ends that is ordered by a moment and the id, or by a `key` that equals the id,
    newest first."""

    at: datetime
    pk: int

    @classmethod
    def read(cls, written: str) -> Place | None:
        """The place written in an address as "2026-11-24T13:52:41+00:00_48213"; None for anything else."""
        moment, _, number = written.rpartition("_")
        try:
            at = parse_datetime(moment)
        except ValueError:
            return None
        if at is None or at.tzinfo is None or not number.isdecimal():
            return None
        return cls(at, int(number[:18]))

    @classmethod
    def of(cls, row: Any, moment: str) -> str:
        return f"{getattr(row, moment).isoformat()}_{row.pk}"

    def older(self, moment: str, key: str = "") -> Q:
        return self._beyond(moment, key, "lt")

    def newer(self, moment: str, key: str = "") -> Q:
        return self._beyond(moment, key, "gt")

    def _beyond(self, moment: str, key: str, way: str) -> Q:
        if key:
            return Q(**{f"{key}__{way}": self.pk})
        beyond = Q(**{f"{moment}__{way}": self.at}) | Q(**{f"pk__{way}": self.pk})
        return Q(**{f"{moment}__{way}e": self.at}) & beyond


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and the places where the pages beside this one begin; "" where there is none."""

    rows: list[Any]
    before: str
    after: str


def page_of(
    rows_of: QuerySet[Any], request: HttpRequest, key: str = "", *, moment: str = "received_at"
) -> Page:
    """The page that `before` or `after` in the address asks for; one query, whatever the size.

    By `moment`, or as they came in here, by the number in `key`.
    """
    before, after = (Place.read(request.GET.get(name, "")) for name in ("before", "after"))
    order = [key] if key else [moment, "pk"]
    if after is not None:
        rows = list(rows_of.filter(after.newer(moment, key)).order_by(*order)[: PAGE + 1])
        more, rows = len(rows) > PAGE, rows[:PAGE][::-1]
        return _page(rows, moment, older=bool(rows), newer=more)
    found = rows_of.filter(before.older(moment, key)) if before else rows_of
    rows = list(found.order_by(*(f"-{field}" for field in order))[: PAGE + 1])
    return _page(rows[:PAGE], moment, older=len(rows) > PAGE, newer=before is not None)


def _page(rows: list[Any], moment: str, *, older: bool, newer: bool) -> Page:
    return Page(
        rows,
        before=Place.of(rows[-1], moment) if rows and older else "",
        after=Place.of(rows[0], moment) if rows and newer else "",
    )


@require_safe
@login_required
def message_list(request: HttpRequest) -> HttpResponse:
    """Newest first; what a person may not see does not exist for them."""
    user, asked = person(request), request.GET.get("mailbox", "").replace("\x00", "").strip()
    mailbox = _mailbox(user, asked)
    shown = _rows(request)
    if state := request.GET.get("state", ""):
        shown = shown.filter(state=state)
    if asked:
        shown = shown.filter(_by_way(mailbox, request.GET.get("way", ""))) if mailbox else shown.none()
    typed = request.GET.get("q", "")
    found = search.matching(shown, typed)
    context = {
        "page": page_of(found, request, search.newest_first() if found is not shown else ""),
        "states": MessageState.choices,
        "mailbox": mailbox,
        "may_see_all": user.has_perm(roles.ADMINISTER),
        "is_filtered": any(request.GET.get(name) for name in ("q", "mailbox", "state")),
    }
    return render(request, "mailboxes/message_list.html", context)


def _rows(request: HttpRequest) -> Messages:
    """What a list shows of a message; bodies stay in the database."""
    visible = Message.objects.visible_to(person(request))
    rows = visible.defer("considered", "recipients", "defects")
    return rows.select_related("mailbox").prefetch_related(_deliveries(request))


def _deliveries(request: HttpRequest) -> Prefetch[str, QuerySet[Delivery], str]:
    """Whom it reached, as far as the viewer may know."""
    deliveries = Delivery.objects.visible_to(person(request)).order_by("pk")
    return Prefetch("deliveries", deliveries.select_related("mailbox", "delivered_by"), to_attr="reached")


def _mailbox(user: User, asked: str) -> Mailbox | None:
    """The mailbox of a number in an address, or of what was typed: an address or a name.

    Who may not see mailboxes asks for the own one and those of own queues; no other one exists for them.
    """
    known = Mailbox.objects.all() if user.has_perm(roles.SEE_MAILBOXES) else Mailbox.objects.own(user)
    if asked.isdecimal():
        return known.filter(pk=int(asked[:18])).first()
    named = known.filter(Q(email_address__iexact=asked) | Q(name__iexact=asked))
    return named.order_by("-is_active", "pk").first() if asked else None


def _by_way(mailbox: Mailbox, way: str) -> Q:
    """What was collected there, what reached it, or both; a forward mailbox is reached by nothing."""
    if mailbox.is_forward_mailbox and way != "reached":
        return Q(mailbox=mailbox)
    reached = Q(pk__in=Delivery.objects.filter(mailbox=mailbox).values("message"))
    if way == "reached":
        return reached
    collected = Q(mailbox=mailbox)
    return collected if way == "collected" else collected | reached


@require_safe
@login_required
def message(request: HttpRequest, pk: int) -> HttpResponse:
    """One message: as text, or as HTML in a frame of its own, with all that is known about its way."""
    found, headers = _visible(request, pk), _headers(pk)
    said, unreadable = words.of(found)
    embedded = safehtml.clean(said.html) if said.html else None
    as_html = embedded is not None and (not said.text.strip() or request.GET.get("as") == "html")
    context = {
        "message": found,
        "as_html": as_html,
        "embedded": embedded,
        "text": list(paragraphs(said.text)),
        "unreadable": unreadable,
        "headers": headers,
        "automatic": _automatic(found, headers),
        "answer": _answer(found, person(request)),
        "conversation": conversation(found, person(request)),
        "considered": found.considered.splitlines(),
        "defects": found.defects.splitlines(),
        "disposal": DISPOSALS.get(found.disposal, found.disposal),
        "attachments": found.attachments.all(),
        "may_write": not found.is_stub and bool(outbox.senders(person(request))),
    }
    return render(request, "mailboxes/message.html", context)


def _visible(request: HttpRequest, pk: int) -> Message:
    """The message; 404 for those who may not see it, as for one that is not there."""
    visible = Message.objects.visible_to(person(request)).select_related("mailbox", "waiting_for")
    return get_object_or_404(visible.prefetch_related(_deliveries(request)), pk=pk)


def _headers(pk: int) -> list[tuple[str, str]]:
    """The header as it was collected, the topmost field first; of a giant one the beginning."""
    start = Substr("raw", Value(1), Value(HEADERS_SHOWN), output_field=BinaryField())
    beginning = Original.objects.values_list(start, flat=True).get(pk=pk)
    raw = mime.with_line_feeds(bytes(beginning or b""))  # SQLite has nothing for the beginning of nothing
    fields, _ = mime.read_header(raw, mime.message_start(raw), len(raw), lambda _: None)
    return [(name, mime.decoded(mime.readable(value))) for name, value in fields]


def _automatic(message: Message, headers: Sequence[tuple[str, str]]) -> str:
    """Why it counts as mail of a machine; of what was forwarded as attachment the header shown is another one's."""
    if message.shows_forwarded:
        return ""
    header = tuple(Header(name, value) for name, value in headers)
    return answers.is_automatic(
        Parsed(sender=message.sender, sender_name=message.sender_name, headers=header)
    )


def _answer(message: Message, user: User) -> Answer | None:
    """What it answers, where the viewer may see that, too."""
    sent = OutgoingMessage.objects.visible_to(user)
    rows = Answer.objects.filter(message=message, outgoing__in=sent.order_by().values("pk"))
    return rows.select_related("outgoing").first()


def paragraphs(text: str) -> Iterator[tuple[bool, str]]:
    """The text in pieces: (whether it is quoted from an earlier mail, the piece without the marks)."""
    lines = text.strip("\n").splitlines()
    for quoted, group in groupby(lines, key=lambda line: line.startswith(">")):
        piece = "\n".join(line.removeprefix(">").removeprefix(" ") if quoted else line for line in group)
        if piece.strip():
            yield quoted, piece


@require_safe
@login_required
def message_html(request: HttpRequest, pk: int) -> HttpResponse:
    """What the frame shows: cleaned, with the message's own pictures, under a policy of its own."""
    found = get_object_or_404(Message.objects.visible_to(person(request)), pk=pk)
    written = words.of(found)[0].html
    html = safehtml.clean(written, _pictures(found, written)).html
    response = render(request, "mailboxes/message_frame.html", {"html": html})
    response["Content-Security-Policy"] = FRAME_POLICY
    return response


def _pictures(found: Message, html: str) -> dict[str, str]:
    """Pictures that the HTML names by their Content-ID, as data: addresses."""
    named = Attachment.objects.filter(
        message=found,
        content_id__in=safehtml.content_ids(html),
        content_type__in=safehtml.PICTURES,
        size__lte=EMBEDDED_AT_MOST,
    )
    shown = {picture.number: picture for picture in named.filter(is_blocked=False)[:20]}
    return {
        shown[
            number
        ].content_id: f"data:{shown[number].content_type};base64,{base64.b64encode(data).decode()}"
        for number, data in _taken_out(list(shown.values())).items()
    }


def _taken_out(parts: Sequence[Attachment]) -> dict[int, bytes]:
    """The bytes of attachments of one message, by number; without those that cannot be taken out of it."""
    if not parts:
        return {}
    raw = bytes(Original.objects.values_list("raw", flat=True).get(pk=parts[0].message_id))
    answer = take_out(raw, [part.number for part in parts], parts[0].in_forwarded)
    return {} if isinstance(answer, Poison) else answer


@require_safe
@login_required
def message_raw(request: HttpRequest, pk: int) -> HttpResponse:
    """The message as it was collected, byte for byte."""
    found = get_object_or_404(Message.objects.visible_to(person(request)), pk=pk)
    if _holds_blocked(request, pk):
        return redirect("message", pk)
    return download(found.raw, f"message-{pk}.eml", "message/rfc822")


def _holds_blocked(request: HttpRequest, pk: int) -> bool:
    """Whether the whole message would hand out a blocked attachment to somebody who may not have it."""
    if person(request).has_perm(roles.ADMINISTER):
        return False
    blocked = Attachment.objects.filter(message=pk, is_blocked=True).exists()
    if blocked:
        messages.error(
            request, "This message carries a blocked attachment: only administrators download it whole."
        )
    return blocked


@require_safe
@login_required
def message_source(request: HttpRequest, pk: int) -> HttpResponse:
    """The bytes of a message as a page: escaped, and of a large one the beginning."""
    found = get_object_or_404(Message.objects.visible_to(person(request)), pk=pk)
    if _holds_blocked(request, pk):
        return redirect("message", pk)
    start = Substr("raw", Value(1), Value(SOURCE_SHOWN), output_field=BinaryField())
    octets, length = Original.objects.values_list(start, Length("raw")).get(pk=pk)
    context = {
        "message": found,
        "source": _visible_bytes(bytes(octets or b"")),
        "shown": min(length or 0, SOURCE_SHOWN),
        "length": length or 0,
    }
    return render(request, "mailboxes/message_source.html", context)


def _visible_bytes(data: bytes) -> str:
    """Text where it is text; every other octet, and every invisible character, as its number."""
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return "".join(
        letter if letter in "\n\t" or letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text
    )


@require_safe
@login_required
def attachment(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """One attachment; always a download, whatever it says it is."""
    if not Message.objects.visible_to(person(request)).filter(pk=pk).exists():
        raise Http404
    part = get_object_or_404(Attachment, message=pk, number=number)
    if part.is_blocked:
        messages.error(request, f"“{part.name}” cannot be downloaded. {part.blocked_because}")
        return redirect("message", pk)
    data = _taken_out([part]).get(number)
    if data is None:
        messages.error(request, f"“{part.name}” could not be taken out of the message; its .eml is whole.")
        return redirect("message", pk)
    says = part.detected_type or part.content_type
    return download(data, part.name, says if says in HARMLESS_TYPES else "application/octet-stream")


def download(data: bytes, name: str, content_type: str) -> HttpResponse:
    """A file to keep, never one to be shown."""
    response = HttpResponse(data, content_type=content_type)
    response["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
