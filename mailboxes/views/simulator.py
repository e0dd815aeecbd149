"""The routing simulator: where a message would go, and why, by the engine's own functions; nothing is delivered."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from .. import roles, trace
from ..access import requires
from ..forms.simulator import SimulatorForm
from ..models import Mailbox, Message
from ..parsing import Parsed
from ..routing import REASON_LABELS, RULE_LABELS, Route
from ..sync.ingest import Sorter
from ..sync.parser import Parser, ParserFailed, Poison

SHOWN_HEADER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One Received line as the page tells it."""

    sender: str
    by: str
    is_inside: bool
    is_boundary: bool


@dataclass(frozen=True, slots=True)
class Simulation:
    """What would become of one message."""

    parsed: Parsed
    route: Route
    lines: list[Line]
    knows_servers: bool

    @property
    def rule(self) -> str:
        return RULE_LABELS[self.route.targets[0].rule] if self.route.targets else ""

    @property
    def reason(self) -> str:
        return REASON_LABELS[self.route.reason] if self.route.reason else ""

    @property
    def refused(self) -> list[tuple[str, str]]:
        """Who was found and may not receive, with the reason."""
        return [(one.name, REASON_LABELS[one.why]) for one in self.route.refused]


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def simulator(request: HttpRequest) -> HttpResponse:
    """Ask for a message, and show its route. A stored message (`?message=`) lends its headers."""
    form = SimulatorForm(initial=_stored(request.GET.get("message", "")))
    result = None
    if request.method == "POST":
        form = SimulatorForm(request.POST, request.FILES)
        result = _simulated(form) if form.is_valid() else None
    context = {"form": form, "result": result}
    status = 422 if form.errors else 200
    return render(request, "mailboxes/routing_simulator.html", context, status=status)


def _stored(pk: str) -> dict[str, object]:
    message = Message.objects.filter(pk=int(pk[:18])).first() if pk.isascii() and pk.isdecimal() else None
    if message is None:
        return {}
    raw = message.raw.replace(b"\r\n", b"\n").lstrip(b"\n")
    header = raw.partition(b"\n\n")[0][:SHOWN_HEADER].decode(errors="replace").replace("\0", "")
    return {"mailbox": message.mailbox_id, "message": header}


def _simulated(form: SimulatorForm) -> Simulation | None:
    """Read and route as the engine does; None, with a sentence at the form, when it cannot be read."""
    try:
        with Parser() as parser:
            (parsed,) = parser.parse_many([form.cleaned_data["raw"]])
    except ParserFailed:
        form.add_error(None, "The message could not be read now: no parser can be started on this server.")
        return None
    if isinstance(parsed, Poison):
        field = "file" if form.cleaned_data.get("file") else "message"
        form.add_error(field, f"{parsed.reason} Collected, it would wait in quarantine.")
        return None
    return _simulation(form.cleaned_data["mailbox"], parsed)


def _simulation(mailbox: Mailbox, parsed: Parsed) -> Simulation:
    sorter = Sorter(mailbox)
    (decided,) = sorter.decide([(Message(mailbox=mailbox), parsed)])
    servers = sorter.rules.servers
    found = trace.read(parsed.headers, servers)
    lines = [
        Line(hop.sender if hop.says_from else "", hop.by, hop.is_inside(servers), hop == found.boundary)
        for hop in found.hops
    ]
    return Simulation(parsed, decided.route, lines, bool(servers))
