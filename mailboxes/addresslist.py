"""Reading address lists (RFC 5322, section 3.4) as they really come. Nothing raises; all is linear."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

MAX_ADDRESSES = 1000
MAX_ADDRESS_LENGTH = 320


class Address(NamedTuple):
    """The display name as written (words still encoded) and the addr-spec, its domain in lower case."""

    name: str
    address: str


# Quoted string, escaped character, address in angle brackets, a separator, a plain run, any leftover.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\\.|<[^<>]*>|[(),:;]|[^"\\<(),:;]+|.', re.DOTALL)
_ADDR_SPEC = re.compile(r'("[^"]+"|[^\s@<>,;:"()\[\]\\]+)@([^\s@<>,;:"()\[\]\\]+|\[[^\s\[\]]+\])')
_AROUND = " \t\r\n\u00a0\u200b\ufeff'<>"
_SOURCE_ROUTE = re.compile(r"\A@[^:]*:")


def addresses(value: str, limit: int = MAX_ADDRESSES) -> list[Address]:
    """The addresses of one header value, in order, at most `limit`; what is none is passed over."""
    found = _of_usual_length(value) if len(value) <= USUAL_LENGTH else _in_list(value)
    return list(islice(found, limit))


USUAL_LENGTH = 200


@lru_cache(maxsize=2048)  # the same few people and mailboxes stand in most headers
def _of_usual_length(value: str) -> tuple[Address, ...]:
    plain = _plain(value.strip())
    return (plain,) if plain else tuple(_in_list(value))


_LOCAL_AND_DOMAIN = r"([A-Za-z0-9_+=.-]+)@([A-Za-z0-9.-]+)"
_PLAIN_ADDRESS = re.compile(_LOCAL_AND_DOMAIN)
_PLAIN_MAILBOX = re.compile(rf'("?)([A-Za-z0-9_=?. -]*)\1 *<{_LOCAL_AND_DOMAIN}>')


def _plain(value: str) -> Address | None:
    """One address in its usual form, with or without a name; None for anything that takes a closer look."""
    if match := _PLAIN_ADDRESS.fullmatch(value):
        name, local, domain = "", *match.groups()
    elif match := _PLAIN_MAILBOX.fullmatch(value):
        _, name, local, domain = match.groups()
    else:
        return None
    return Address(name.strip(), f"{local}@{domain.lower().rstrip('.')}")


def _in_list(value: str) -> Iterator[Address]:
    return (address for words in _split(value) if words for address in _read(words))


def not_addresses(value: str) -> list[str]:
    """What stands in a list that people typed and is no address."""
    pieces = ("".join(words).strip() for words in _split(value) if not list(_read(words)))
    return [piece for piece in pieces if piece]


def address_of(text: str) -> str:
    """The addr-spec that `text` is, its domain in lower case; "" when it is none."""
    if len(text) > MAX_ADDRESS_LENGTH:
        return ""
    text = _SOURCE_ROUTE.sub("", text.strip(_AROUND)).removeprefix("mailto:")
    match = _ADDR_SPEC.fullmatch(re.sub(r"\s*([@.])\s*", r"\1", text))
    return f"{match[1]}@{match[2].lower().rstrip('.')}" if match else ""


def _split(value: str) -> Iterator[list[str]]:
    """The words of one mailbox at a time; a comment is one word, a group's name is left out."""
    words: list[str] = []
    for piece in _without_nesting(_TOKEN.findall(value)):
        if piece in {",", ";"}:
            yield words
            words = []
        elif piece == ":":
            words = []
        else:
            words.append(piece)
    yield words


def _without_nesting(tokens: list[str]) -> Iterator[str]:
    """Tokens with each comment, however deeply nested, as one word "(…)"; unpaired parentheses are text."""
    if tokens.count("(") != tokens.count(")"):
        yield from (piece for piece in tokens if piece not in {"(", ")"})
        return
    comment: list[str] = []
    depth = 0
    for piece in tokens:
        depth += (piece == "(") - (piece == ")")
        if depth > 0 or piece == ")":
            comment.append(piece)
        else:
            yield piece
        if depth <= 0 and comment:
            yield "".join(comment)
            comment, depth = [], 0


def _read(words: list[str]) -> Iterator[Address]:
    """Addresses in angle brackets if there are any, else the plain words that are addresses."""
    if any(_in_brackets(word) for word in words):
        yield from _read_bracketed(words)
        return
    name = next((word[1:-1] for word in words if word.startswith("(")), "")
    plain = [word for word in words if not word.startswith("(")]
    whole = address_of("".join(plain))
    if whole:
        yield Address(name, whole)
        return
    bare = (piece for word in plain if not word.startswith('"') for piece in word.split())
    yield from (Address(name, address) for piece in bare if (address := address_of(piece)))


def _read_bracketed(words: list[str]) -> Iterator[Address]:
    phrase: list[str] = []
    for word in words:
        if not _in_brackets(word):
            phrase.append(word)
            continue
        if address := address_of(word[1:-1]):
            yield Address(_name(phrase), address)
        phrase = []


def _in_brackets(word: str) -> bool:
    return word.startswith("<") and word.endswith(">")


def _name(phrase: list[str]) -> str:
    """The display name; a comment counts only where nothing else was written."""
    spoken = [word for word in phrase if not word.startswith("(") and word.strip()]
    if not spoken:
        return " ".join(word[1:-1] for word in phrase if word.startswith("("))
    return "".join(_unquoted(word) for word in spoken).strip()


def _unquoted(word: str) -> str:
    if len(word) > 1 and word[0] == word[-1] == '"':
        return re.sub(r"\\(.)", r"\1", word[1:-1], flags=re.DOTALL)
    return word
