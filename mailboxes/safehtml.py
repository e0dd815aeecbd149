"""The HTML of a message, made harmless: the last but one wall before a stranger's mark-up.

The last one is the frame it is shown in, which has no scripts, no forms, no network and no origin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

import nh3

TAGS = (nh3.ALLOWED_TAGS | {"font", "center", "big"}) - {"map", "area"}
EVERYWHERE = {"align", "valign", "bgcolor", "width", "height", "style", "dir", "lang", "title"}
ATTRIBUTES = {
    **{tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()},
    "*": EVERYWHERE,
    "font": {"color", "face", "size"},
    "img": {"src", "alt"},
    "table": {"border", "cellpadding", "cellspacing"},
}
# What changes the look of text and nothing else: no position over other parts, no url().
STYLES = {
    "background-color", "border", "border-bottom", "border-collapse", "border-color", "border-left",
    "border-radius", "border-right", "border-spacing", "border-style", "border-top", "border-width", "color",
    "direction", "display", "font", "font-family", "font-size", "font-style", "font-weight", "height",
    "letter-spacing", "line-height", "list-style-type", "margin", "margin-bottom", "margin-left",
    "margin-right", "margin-top", "max-width", "min-width", "padding", "padding-bottom", "padding-left",
    "padding-right", "padding-top", "text-align", "text-decoration", "text-indent", "text-transform",
    "vertical-align", "white-space", "width",
}  # fmt: skip
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
MAX_TAGS = 10_000
"""At many a tag a parser of HTML walks through all that are open: this many take it less than a second."""
_TAG = re.compile(r"</?[A-Za-z][^<>]*>?")
_ELSEWHERE = re.compile(r"\s*(?:https?:|//)", re.IGNORECASE)
_EMBEDDED = re.compile(r"\s*(?:data|cid):", re.IGNORECASE)
_PICTURE_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*\Z", re.IGNORECASE)


class Shown(NamedTuple):
    """What a frame may show, and how many pictures of other servers were left out."""

    html: str
    blocked: int


def clean(html: str, pictures: Mapping[str, str] | None = None) -> Shown:
    """`html` without scripts, forms, styles of its own and addresses that a browser would load.

    `pictures` are the message's own, Content-ID to data: URL. Past MAX_TAGS only the words are left.
    """
    blocked: list[str] = []

    def attribute(tag: str, name: str, value: str) -> str | None:
        if (tag, name) != ("img", "src"):
            return None if _EMBEDDED.match(value) else value
        if _ELSEWHERE.match(value):
            blocked.append(value)
        return _own_picture(value.strip(), pictures or {})

    cleaned = nh3.clean(
        _with_few_tags(html),
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=attribute,
        url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
        filter_style_properties=STYLES,
        # A new window, which the sandbox refuses: a click leaves the message where it is.
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return Shown(cleaned, len(blocked))


def _with_few_tags(html: str) -> str:
    first_too_many = next(islice(_TAG.finditer(html), MAX_TAGS, None), None)
    if first_too_many is None:
        return html
    at = first_too_many.start()
    return html[:at] + _TAG.sub(" ", html[at:])


def content_ids(html: str) -> set[str]:
    """The Content-IDs that the pictures of `html` name (RFC 2392)."""
    return {found[:998] for found in re.findall(r"""cid:([^"'\s>]{1,998})""", html, re.IGNORECASE)}


def _own_picture(address: str, pictures: Mapping[str, str]) -> str | None:
    if address.lower().startswith("cid:"):
        return pictures.get(address[4:])
    return address if _PICTURE_DATA.match(address) else None
