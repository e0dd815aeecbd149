"""What a file really is: by its first bytes, never by what it says of itself. Imports no Django."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple


class FileType(NamedTuple):
    """One kind of file: its media type, its name in a sentence, its extension, and other types it may declare."""

    media_type: str
    label: str
    extension: str
    also: tuple[str, ...] = ()


PROGRAM = FileType("application/x-msdownload", "a program", "exe", ("application/x-dosexec",))
_ZIPPED = ("application/vnd.", "application/x-zip", "application/epub", "application/java-archive")
_ZIP = FileType("application/zip", "a ZIP archive", "zip", _ZIPPED)
_OLE = FileType("application/x-ole-storage", "an older Office document", "doc", ("application/",))
_WEB = FileType("text/html", "a web page", "html", ("application/xhtml+xml", "text/"))

# The first that fits; (offset, bytes, type).
_BEGINNINGS: tuple[tuple[int, bytes, FileType], ...] = (
    (0, b"%PDF-", FileType("application/pdf", "a PDF", "pdf", ("application/x-pdf",))),
    (0, b"\x89PNG\r\n\x1a\n", FileType("image/png", "a PNG picture", "png", ("image/x-png",))),
    (0, b"\xff\xd8\xff", FileType("image/jpeg", "a JPEG picture", "jpg", ("image/jpg", "image/pjpeg"))),
    (0, b"GIF87a", FileType("image/gif", "a GIF picture", "gif")),
    (0, b"GIF89a", FileType("image/gif", "a GIF picture", "gif")),
    (8, b"WEBP", FileType("image/webp", "a WebP picture", "webp")),
    (0, b"II*\x00", FileType("image/tiff", "a TIFF picture", "tif", ("image/",))),
    (0, b"MM\x00*", FileType("image/tiff", "a TIFF picture", "tif", ("image/",))),
    (0, b"PK\x03\x04", _ZIP),
    (0, b"PK\x05\x06", _ZIP),
    (0, b"Rar!\x1a\x07", FileType("application/vnd.rar", "a RAR archive", "rar", ("application/x-rar",))),
    (0, b"7z\xbc\xaf\x27\x1c", FileType("application/x-7z-compressed", "a 7z archive", "7z")),
    (0, b"\x1f\x8b", FileType("application/gzip", "a gzip archive", "gz", ("application/x-",))),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OLE),
    (
        0,
        b"{\\rtf",
        FileType("application/rtf", "a rich text document", "rtf", ("text/", "application/msword")),
    ),
    (4, b"ftyp", FileType("video/mp4", "a video", "mp4", ("video/", "audio/", "image/"))),
    (0, b"ID3", FileType("audio/mpeg", "a sound", "mp3", ("audio/",))),
    (0, b"MZ", PROGRAM),
    (0, b"\x7fELF", FileType("application/x-executable", "a program", "elf")),
    (0, b"\xcf\xfa\xed\xfe", FileType("application/x-mach-binary", "a program", "macho")),
    (0, b"\xca\xfe\xba\xbe", FileType("application/java-vm", "a program", "class")),
    (0, b"dex\n", FileType("application/x-dex", "a program", "dex")),
    (0, b"L\x00\x00\x00\x01\x14\x02\x00", FileType("application/x-ms-shortcut", "a shortcut", "lnk")),
    (0, b"ITSF", FileType("application/vnd.ms-htmlhelp", "a compiled help file", "chm")),
    (0, b"MSCF", FileType("application/vnd.ms-cab-compressed", "a CAB archive", "cab")),
    (0, b"#!", FileType("text/x-script", "a script", "sh", ("text/", "application/x-"))),
)
_KNOWN = {kind.media_type: kind for _, _, kind in _BEGINNINGS} | {_WEB.media_type: _WEB}
_WEB_BEGINNINGS = (b"<!doctype html", b"<html", b"<script")

PROGRAMS = frozenset(kind.media_type for kind in _KNOWN.values() if kind.label == "a program")

# Media types by which a file says itself that it can be run.
_DECLARED = {
    "application/bat": "bat",
    "application/hta": "hta",
    "application/javascript": "js",
    "application/x-dosexec": "exe",
    "application/x-javascript": "js",
    "application/x-ms-installer": "msi",
    "application/x-ms-shortcut": "lnk",
    "application/x-msdos-program": "exe",
    "application/x-msdownload": "exe",
    "application/x-msi": "msi",
    "application/x-vbs": "vbs",
    "text/javascript": "js",
    "text/vbscript": "vbs",
}
_SAYS_NOTHING = {"", "application/octet-stream", "application/x-download", "application/force-download"}


def detect(data: bytes) -> str:
    """The media type by content; "" where the first bytes do not tell."""
    for offset, beginning, kind in _BEGINNINGS:
        if data.startswith(beginning, offset):
            return kind.media_type
    if b"%PDF-" in data[:1024]:
        return "application/pdf"
    text = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return _WEB.media_type if text.startswith(_WEB_BEGINNINGS) else ""


def disagrees(name: str, declared: str, detected: str) -> str:
    """One sentence when a file is not what it says by type or by name; "" when it is, or nothing is known."""
    kind = _KNOWN.get(detected)
    if kind is None:
        return ""
    if declared not in _SAYS_NOTHING and not _fits(declared, kind):
        return f"It says {declared} and is {kind.label}."
    named = next((other for other in _KNOWN.values() if other.extension == extension(name)), None)
    if named is None or named.label == kind.label or _fits(named.media_type, kind):
        return ""
    return f"Its name says {named.label}; it is {kind.label}."


def _fits(declared: str, kind: FileType) -> bool:
    return declared == kind.media_type or declared.startswith(kind.also)


def extension(name: str) -> str:
    """The last extension, in lower case, without the dot; "" where there is none."""
    _, dot, last = name.rstrip(" ._").rpartition(".")
    return last.strip().lower() if dot else ""


def why_blocked(name: str, declared: str, detected: str, extensions: Collection[str]) -> str:
    """One sentence when an attachment may not be taken out; "" when it may.

    The name counts, what the part says of itself, and what its bytes are: a program is blocked under any
    name as long as exe is.
    """
    if (last := extension(name)) in extensions:
        return f"Files that end in .{last} are blocked."
    if (says := _DECLARED.get(declared, "")) in extensions:
        return f"It says that it is a .{says} file, and these are blocked."
    kind = _KNOWN.get(detected)
    if kind is None:
        return ""
    if kind.extension in extensions or (detected in PROGRAMS and "exe" in extensions):
        return f"It is {kind.label}, whatever its name says, and these are blocked."
    return ""
