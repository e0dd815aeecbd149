"""What the templates say again and again: icons, fields, states, pages of a list."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

from django import forms, template
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.contrib.messages.storage.base import Message
from django.core.paginator import Page
from django.forms import BoundField
from django.template import Context
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import handbook
from ..models import Kind

register = template.Library()

# Icons that the sprite of the visual system lacks; they lie in a second one.
_OWN_ICONS = frozenset({"gear", "sign-out"})


@register.simple_tag
def icon(name: str) -> SafeString:
    """A stroke icon; the word beside it says what it means."""
    sprite = "office.svg" if name in _OWN_ICONS else "icons.svg"
    return format_html('<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>', static(sprite), name)


@register.simple_tag(name="help")
def help_link(where: str, label: str = "") -> SafeString:
    """A small link to a topic, or to one of its sections ("topic#section").

    It opens beside the page, so that nothing typed there is lost, and says so to who hears it.
    """
    slug, _, anchor = where.partition("#")
    topic = handbook.topic(slug)
    says = label or (topic.heading(anchor) if anchor else topic.title)
    address = f"{topic.address}#{anchor}" if anchor else topic.address
    return format_html(
        '<a class="to-help" href="{}" target="_blank">{}'
        '<span><span class="vh">Help, in a new tab: </span>{}</span></a>',
        address,
        icon("help"),
        says,
    )


@register.simple_tag(takes_context=True)
def section(context: Context, anchor: str) -> SafeString:
    """The heading of a section of the help, with the text that the list of contents has."""
    return format_html('<h2 id="{}">{}</h2>', anchor, context["topic"].heading(anchor))


@register.inclusion_tag("_field.html")
def field(bound: BoundField, css: str = "", required: bool | None = None, topic: str = "") -> dict[str, Any]:
    """A field with its label, control, sentence, hint and the `topic` of the help that explains it.

    `css` may say "wide", "when-yes", "reveals".
    """
    widget = bound.field.widget
    shape = "control"
    if isinstance(widget, forms.RadioSelect):
        shape = "choice"
    elif isinstance(widget, forms.CheckboxInput):
        shape = "tick"
    shown = bound.field.required if required is None else required
    return {"field": bound, "css": css, "shape": shape, "required": shown, "topic": topic}


@register.inclusion_tag("_locked_field.html")
def locked_field(bound: BoundField, value: str) -> dict[str, Any]:
    """A field that this record can never set, with the value it has and the hint that says why."""
    return {"field": bound, "value": value}


@register.inclusion_tag("_errors.html")
def errors(form: forms.BaseForm) -> dict[str, Any]:
    """The summary on top of a form that was refused, with a link to each field."""
    return {"form": form}


@register.inclusion_tag("_badge.html")
def badge(state: Any) -> dict[str, Any]:
    """A state (css, icon, word) as it stands on labels and results."""
    return {"state": state}


@register.inclusion_tag("_status.html")
def status(state: Any) -> dict[str, Any]:
    """A state (css, icon, word, detail) as it stands in tables."""
    return {"state": state}


@register.simple_tag
def row_status(state: Any) -> SafeString:
    """The same in a list, where the column says the rest: the age of a success, no more of a method None."""
    detail = state.detail.removeprefix("last success ")
    return _row_status(state.css, state.icon, state.word, "" if detail == "method is None" else detail)


@lru_cache(maxsize=1024)
def _row_status(css: str, name: str, word: str, detail: str) -> SafeString:
    # A page of a list has 150 of them: a template for each would be half its time.
    small = format_html("<small>{}</small>", detail) if detail else ""
    return format_html('<span class="status {}">{}<span>{}</span>{}</span>', css, icon(name), word, small)


_KIND_ICONS = {"user": "user", "queue": "queue", "forward": "forward"}


@register.simple_tag
def kind(mailbox: Any) -> SafeString:
    """User, queue or forward, with its icon."""
    return _kind(mailbox.kind)


@lru_cache(maxsize=8)
def _kind(of: Kind) -> SafeString:
    return format_html('<span class="kind">{}{}</span>', icon(_KIND_ICONS[of]), of.label)


@register.inclusion_tag("_pager.html", takes_context=True)
def pager(context: dict[str, Any], page: Page[Any]) -> dict[str, Any]:
    """The foot of a list: how many, and the other pages."""
    elided = page.paginator.get_elided_page_range(page.number, on_each_side=2, on_ends=1)
    return {"page": page, "elided": list(elided), "request": context["request"]}


_NOTICES = {
    "success": ("is-ok", "ok"),
    "info": ("is-info", "info"),
    "warning": ("is-wait", "wait"),
    "error": ("is-bad", "bad"),
}


@register.simple_tag
def message_css(message: Message) -> str:
    return _NOTICES.get(message.level_tag, _NOTICES["info"])[0]


@register.filter
def message_icon(message: Message) -> str:
    return _NOTICES.get(message.level_tag, _NOTICES["info"])[1]


@register.filter
def seconds(milliseconds: int | None) -> str:
    """A duration in milliseconds as the ladder shows it: "0.34 s"; nothing for none."""
    return "" if milliseconds is None else f"{milliseconds / 1000:.2f} s"


@register.filter
def ago(moment: datetime | None) -> str:
    """The age of a success; "never" for none."""
    return str(naturaltime(moment)) if moment else "never"
