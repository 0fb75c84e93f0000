"""Archives that a batch does not look into are told, not taken for some other kind of file."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from service.batch.index import Index, build_index
from service.batch.sources import find_files
from tests.builders.batch import small_baseline
from tests.builders.dicom import to_bytes


def index_of(*sources: Path) -> Index:
    return build_index(find_files(sources))


def packed(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def tarred(mode: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        entry = tarfile.TarInfo("1.dcm")
        entry.size = 4000
        archive.addfile(entry, io.BytesIO(os.urandom(4000)))
    return made.getvalue()


SLICE = to_bytes(small_baseline()[0])
ARCHIVES = {
    "half.zip": packed({"1.dcm": SLICE, "2.dcm": SLICE})[: len(SLICE)],
    "half-without-a-suffix": packed({"1.dcm": SLICE, "2.dcm": SLICE})[: len(SLICE)],
    "overwritten.zip": bytes(5000),
    "empty.zip": b"",
    "study.tgz": tarred("w:gz"),
    "study.tar.xz": tarred("w:xz"),
    "study.tar.bz2": tarred("w:bz2"),
    "study.tar": tarred("w"),
    "cut.tgz": tarred("w:gz")[:9],
    "image.dcm.gz": gzip.compress(SLICE),
    "study.7z": b"7z\xbc\xaf\x27\x1c" + bytes(100),
    "study.rar": b"Rar!\x1a\x07\x00" + bytes(100),
}


@pytest.mark.parametrize("named", [True, False], ids=["named", "in a folder"])
@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_is_not_looked_into_is_told_by_name(tmp_path: Path, name: str, named: bool) -> None:
    place = tmp_path / name
    place.write_bytes(ARCHIVES[name])
    index = index_of(place if named else tmp_path)
    (found,) = index.unusable
    assert (found.source.path, found.code, index.not_dicom) == (place, "FILE_UNREADABLE", 0)
    assert list(index.unread) == [place]


def test_an_archive_within_another_is_told_and_its_neighbours_are_read(tmp_path: Path) -> None:
    inner = packed({"1.dcm": SLICE})
    (tmp_path / "outer.zip").write_bytes(
        packed({"a/inner.zip": inner, "a/2.dcm": SLICE, "a/inner.tgz": tarred("w:gz")})
    )
    index = index_of(tmp_path)
    assert [found.source.name for found in index.unusable] == ["inner.tgz", "inner.zip"]
    assert list(index.unread) == [tmp_path / "outer.zip"]
    assert [len(found) for found in index.series.values()] == [1]


def test_an_encrypted_archive_and_a_folder_that_cannot_be_listed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = bytearray(packed({"1.dcm": SLICE}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + at] |= 1  # the flag that says it is encrypted
    (tmp_path / "locked.zip").write_bytes(raw)
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert set(index_of(tmp_path).unread) == {tmp_path / "locked.zip", tmp_path / "closed"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("half.docx", packed({"[Content_Types].xml": os.urandom(5000)})[:3000]),
        ("b.nii.gz", gzip.compress(bytes(348) + os.urandom(500))),
        ("sub.json.gz", gzip.compress(b'{"a": 1}')),
        ("notes.txt", b"PK is how a .zip begins"),
        ("damaged.gz", b"\x1f\x8b\x08\x00" + bytes(30)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # random bytes are no name for a test
)
def test_other_files_are_not_taken_for_archives(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "outer.zip").write_bytes(packed({name: content}))
    index = index_of(tmp_path)
    assert (index.not_dicom, index.unusable) == (2, [])


def test_an_image_that_is_named_like_an_archive_is_an_image(tmp_path: Path) -> None:
    (tmp_path / "image.zip").write_bytes(SLICE)
    index = index_of(tmp_path)
    assert (len(index.series), index.unusable) == (1, [])
