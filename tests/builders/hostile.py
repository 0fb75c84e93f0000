"""What an attacker would send: valid files and PDUs with a few changes, and files made to hurt."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from random import Random

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset

from service.imaging.volume import Grid, Volume
from service.storage.part10 import encode_head, split_file
from tests.builders.dicom import classic_series, enhanced_series, legacy_converted_series, to_bytes
from tests.builders.network import association_request
from tests.builders.programs import path_of

_INTERESTING = [
    value.to_bytes(size, order)
    for size in (2, 4)
    for value in (0, 1, 7, 0x7FFF, 0x8000, 0xFFFF, *((0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF) * (size == 4)))
    for order in ("little", "big")
]
_TOKENS = (
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",  # an item, a sequence, their ends, all of undefined length
    b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff",
    b"\xfe\xff\x0d\xe0\0\0\0\0",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff",
    *b"AE AS AT CS DA DS DT FL FD IS LO OB OD OF OL OV OW PN SL SQ SS SV UC UI UN UR US UT".split(),
    b"../../../../etc/passwd",
    b"1e308\\-1e308",
    b"NaN\\inf ",
    b"\\" * 64,
    "ÄÖ\u202e".encode(),
    b"\x1b$B\x1b(J",
    b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00",  # JPEG of 65535 x 65535
    b"\xff\x4f\xff\x51\x00\x29\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",  # JPEG 2000 of 2^32 x 2^32
)


def mutate(content: bytes, random: Random, others: tuple[bytes, ...]) -> bytes:
    """One to six changes, mostly where the header is."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        reach = len(changed) if random.random() < 0.4 else min(len(changed), 3000)
        at = random.randrange(max(1, reach))
        kind = random.randrange(9)
        if kind == 0:
            changed[at : at + 1] = bytes([random.randrange(256)])
        elif kind == 1:
            changed[at : at + 1] = bytes([changed[at] ^ 1 << random.randrange(8)]) if changed else b""
        elif kind == 2:
            some = random.choice(_INTERESTING)
            changed[at : at + len(some)] = some
        elif kind == 3:
            changed[at:at] = random.choice(_TOKENS)
        elif kind == 4:
            some = random.choice(_TOKENS)
            changed[at : at + len(some)] = some
        elif kind == 5:
            del changed[at : at + random.choice((1, 2, 4, 8, 100))]
        elif kind == 6:
            some = changed[at : at + random.choice((4, 16, 200))]
            changed[at:at] = some * random.choice((1, 1, 2, 50))
        elif kind == 7:
            other = random.choice(others)
            start = random.randrange(max(1, len(other)))
            changed[at : at + 64] = other[start : start + 64]
        else:
            del changed[at:]
    return bytes(changed)


# Files


@cache
def valid_files() -> tuple[bytes, ...]:
    """One small file of each kind and transfer syntax that is accepted; JPEG only where DCMTK can encode it."""
    array = np.random.default_rng(3).integers(0, 3000, (3, 34, 36)).astype(np.float32)
    volume = Volume(array, Grid.axis_aligned((3, 34, 36), 1.0, (0.0, 0.0, 0.0)))
    builds: list[Callable[..., list[Dataset]]] = [
        *(partial(classic_series, transfer_syntax=syntax) for syntax in _syntaxes()),
        enhanced_series,
        partial(enhanced_series, transfer_syntax=uid.JPEGLSLossless),
        partial(enhanced_series, transfer_syntax=uid.RLELossless),
        legacy_converted_series,
    ]
    return tuple(to_bytes(build(volume)[0]) for build in builds)


def _syntaxes() -> tuple[str, ...]:
    plain = (
        uid.ExplicitVRLittleEndian,
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.RLELossless,
        uid.JPEGLSLossless,
        uid.JPEG2000Lossless,
    )
    return (*plain, uid.JPEGLosslessSV1, uid.JPEGLossless) if path_of("dcmcjpeg") else plain


def hostile_file(number: int, seed: int) -> bytes:
    """The same numbers give the same file."""
    random = Random(f"file {seed} {number}")
    files = valid_files()
    return mutate(random.choice(files), random, files)


def crafted_files() -> dict[str, bytes]:
    """Files made to hurt, by what they do."""
    return {
        "a deflated bomb": _deflated(1 << 30),
        "sequences 5000 deep": _nested(5000),
        "sequences 200000 deep": _nested(200_000),
        "a sequence of 200000 items": _element(0x0008, 0x1140, b"SQ", b"\xfe\xff\x00\xe0\0\0\0\0" * 200_000),
        "rows and columns of 65535": _with(Rows=65535, Columns=65535),
        "2147483647 frames": _with(NumberOfFrames="2147483647"),
        "-1 frames": _with(NumberOfFrames="-1"),
        "no rows": _with(Rows=0),
        "64 bits allocated": _with(BitsAllocated=64, BitsStored=64, HighBit=63),
        "0 bits allocated": _with(BitsAllocated=0),
        "a path for a UID": _with(SOPInstanceUID="../../../../etc/passwd"),
        "a path for a study": _with(StudyInstanceUID="../../x", SeriesInstanceUID="/etc/passwd"),
        "a position that is not finite": _with(ImagePositionPatient=["1e308", "-1e308", "1e308"]),
        "spacing of nothing": _with(PixelSpacing=["0", "0"]),
        "a JPEG 2000 of 2^31 pixels": _encapsulated(uid.JPEG2000Lossless, _j2k_header(46340, 46340)),
        "a JPEG of 65535 pixels a side": _encapsulated(
            uid.JPEGBaseline8Bit, b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0\xff\xd9"
        ),
        "an RLE run without end": _encapsulated(
            uid.RLELossless, b"\x02\0\0\0\x40\0\0\0" + bytes(56) + b"\x81\0" * 9999
        ),
    }


def _with(**values: object) -> bytes:
    array = np.zeros((1, 12, 16), np.float32)
    (dataset,) = classic_series(Volume(array, Grid.axis_aligned((1, 12, 16), 1.0, (0.0, 0.0, 0.0))), **values)
    return to_bytes(dataset)


def _plain() -> bytes:
    return valid_files()[0]


def _head_of(syntax: str) -> tuple[bytes, bytes]:
    """(preamble and file meta information for `syntax`, the data set in explicit VR little endian)."""
    content = _plain()
    meta, offset = split_file(content)
    return encode_head(replace(meta, transfer_syntax_uid=syntax)), content[offset:]


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    content = _plain()
    _, offset = split_file(content)
    head = group.to_bytes(2, "little") + element.to_bytes(2, "little") + vr + b"\0\0"
    return content[:offset] + head + len(value).to_bytes(4, "little") + value + content[offset:]


def _nested(depth: int) -> bytes:
    content = _plain()
    _, offset = split_file(content)
    level = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return content[:offset] + level * depth + content[offset:]


def _deflated(size: int) -> bytes:
    """A data set with so many zeros behind it."""
    head, dataset = _head_of(uid.DeflatedExplicitVRLittleEndian)
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1 << 24)
    parts = [squeezed.compress(dataset), *(squeezed.compress(zeros) for _ in range(size >> 24)), squeezed.flush()]
    return head + b"".join(parts)


def _encapsulated(syntax: str, frame: bytes) -> bytes:
    frame += b"\0" * (len(frame) % 2)
    item = b"\xfe\xff\x00\xe0"
    fragments = item + bytes(4) + item + len(frame).to_bytes(4, "little") + frame + b"\xfe\xff\xdd\xe0" + bytes(4)
    head, dataset = _head_of(syntax)
    return (
        head + dataset[: dataset.index(b"\xe0\x7f\x10\x00OW")] + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + fragments
    )


def _j2k_header(width: int, height: int) -> bytes:
    sizes = (width, height, 0, 0, width, height, 0, 0)
    return (
        b"\xff\x4f\xff\x51\0\x29\0\0"
        + b"".join(size.to_bytes(4, "big") for size in sizes)
        + b"\0\1\x0f\1\1"
        + b"\xff\xd9"
    )


# Conversations


def hostile_conversation(number: int, seed: int) -> tuple[bytes, bytes, bool]:
    """(what is said first, what is said once the association is accepted, whether it is the first that is changed)."""
    random = Random(f"conversation {seed} {number}")
    sop_class = random.choice((uid.MRImageStorage, "1.2.840.10008.1.1"))
    request = association_request(calling="FUZZ", sop_class=sop_class)
    content = random.choice(valid_files())
    messages = [_echo(1)] if sop_class != uid.MRImageStorage else [_store(1, content), _store(2, content)]
    rest = b"".join((*messages, b"\5\0\0\0\0\4\0\0\0\0"))
    others = (request, rest, content)
    if random.random() < 0.3:
        return mutate(request, random, others), rest, True
    return request, mutate(rest, random, others), False


def _command(field: int, sop_class: str, message_id: int, *more: bytes, data: bool) -> bytes:
    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return b"\0\0" + number.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value

    elements = (
        element(0x0002, sop_class.encode()),
        element(0x0100, field.to_bytes(2, "little")),
        element(0x0110, message_id.to_bytes(2, "little")),
        *((element(0x0700, b"\0\0"),) if data else ()),
        element(0x0800, (1 if data else 0x0101).to_bytes(2, "little")),
        *(element(0x1000, value) for value in more),
    )
    body = b"".join(elements)
    return element(0x0000, len(body).to_bytes(4, "little")) + body


def _echo(message_id: int) -> bytes:
    return p_data(3, _command(0x0030, "1.2.840.10008.1.1", message_id, data=False))


def _store(message_id: int, content: bytes) -> bytes:
    meta, offset = split_file(content)
    command = _command(0x0001, uid.MRImageStorage, message_id, meta.sop_instance_uid.encode(), data=True)
    dataset = content[offset:]
    return p_data(3, command) + p_data(0, dataset[:1000]) + p_data(2, dataset[1000:])


def p_data(control: int, content: bytes) -> bytes:
    """A P-DATA-TF PDU with one value of presentation context 1 (PS3.8 9.3.5)."""
    value = bytes((1, control)) + content
    return b"\4\0" + (len(value) + 4).to_bytes(4, "big") + len(value).to_bytes(4, "big") + value
