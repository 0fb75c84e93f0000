"""Archives that are not looked into, told by their first bytes: what they hold would otherwise be missed in silence."""

from __future__ import annotations

import lzma
import zlib

HEAD = 4096
"""First bytes of a file that tell an archive."""
_NAMES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".7z", ".rar")
_MAGIC = {b"7z\xbc\xaf\x27\x1c": "a .7z archive", b"Rar!\x1a\x07": "a .rar archive"}
_ZIP, _NAME_LENGTH_AT, _NAME_AT = b"PK\x03\x04", 26, 30  # APPNOTE.TXT 4.3.7, local file header
_NO_SERIES = ("[Content_Types].xml", "mimetype", "META-INF/", "_rels/", "docProps/", "word/", "xl/", "ppt/")
"""First members of office documents and programs, which are .zip archives too."""
_TAR_AT, _TAR = 257, b"ustar"
_DICM_AT, _DICM = 128, b"DICM"
_INFLATED, _MOST_MEMORY = 512, 2**27


def unopened_archive(name: str, head: bytes, *, nested: bool) -> str | None:
    """Why a file that may hold series is passed over, in words that go on with "it is"; None for all other files.

    Parameters
    ----------
    name
        Of the file.
    head
        Its first `HEAD` bytes.
    nested
        Whether it lies within an archive; a .zip elsewhere is opened, so that one that comes here is damaged.
    """
    if head.startswith(_ZIP):
        if _first_member(head).startswith(_NO_SERIES) or _first_member(head).endswith(".npy"):
            return None
        return "a .zip archive within another; unpack it" if nested else "a .zip archive that is damaged or cut short"
    known = next((what for magic, what in _MAGIC.items() if head.startswith(magic)), None)
    if known is None and _is_tar(head):
        known = "a .tar archive"
    inflated = _inflated(head)
    if known is None and (_is_tar(inflated) or inflated[_DICM_AT:].startswith(_DICM)):
        known = "compressed"
    if known is not None:
        return f"{known}; unpack it"
    return "damaged, or no archive though it is named like one" if name.lower().endswith(_NAMES) else None


def _first_member(head: bytes) -> str:
    length = int.from_bytes(head[_NAME_LENGTH_AT : _NAME_LENGTH_AT + 2], "little")
    return head[_NAME_AT : _NAME_AT + length].decode("utf-8", "replace")


def _is_tar(content: bytes) -> bool:
    return content[_TAR_AT:].startswith(_TAR)


def _inflated(head: bytes) -> bytes:
    """The first bytes of what is compressed by gzip or xz; else, or if that is damaged, nothing."""
    try:
        if head.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(wbits=31).decompress(head, _INFLATED)
        if head.startswith(b"\xfd7zXZ\x00"):
            return lzma.LZMADecompressor(memlimit=_MOST_MEMORY).decompress(head, _INFLATED)
    except (zlib.error, lzma.LZMAError):
        pass
    return b""
