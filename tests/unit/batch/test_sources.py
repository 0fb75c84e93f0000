from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pydicom
import pytest
from pydicom.fileset import FileSet

from service.batch.sources import FileSource, find_files
from service.errors import UsageError
from tests.builders.batch import small_baseline
from tests.builders.patients import write
from tests.builders.programs import needs, required


def names(*sources: Path) -> list[str]:
    return [found.member or found.path.name for found in find_files(sources)]


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def medium(folder: Path, *, slices: int = 3) -> Path:
    """A DICOMDIR by pydicom, as on a CD."""
    files = FileSet()
    for dataset in small_baseline()[:slices]:
        files.add(dataset)
    files.write(folder)
    return folder / "DICOMDIR"


def test_files_of_any_depth_are_found_in_a_stable_order(tmp_path: Path) -> None:
    for place in ("b/two/deep/er/x.dcm", "a.dcm", "b/one.dcm", "b/two/.hidden"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(place.encode())
    found = list(find_files([tmp_path]))
    assert [f.path.relative_to(tmp_path).as_posix() for f in found] == [
        "a.dcm", "b/one.dcm", "b/two/.hidden", "b/two/deep/er/x.dcm",
    ]  # fmt: skip
    assert found == list(find_files([tmp_path]))
    assert found[-1].read() == b"b/two/deep/er/x.dcm"
    assert found[-1].place == str(tmp_path / "b/two/deep/er")


def test_the_members_of_an_archive_are_files_like_others(tmp_path: Path) -> None:
    packed = archive(tmp_path / "in/the/deep.zip", {"study/1.dcm": b"one", "2.dcm": b"two", "study/empty/": b""})
    first, second = find_files([tmp_path])
    assert (first.read(), second.read()) == (b"two", b"one")
    assert (first.place, second.place) == (str(packed), f"{packed}!study")
    assert list(find_files([packed])) == [first, second]


def test_a_file_named_twice_is_found_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.dcm").write_bytes(b"1")
    assert names(tmp_path, tmp_path / "a", tmp_path / "a/1.dcm") == ["1.dcm"]


def test_a_linked_folder_is_followed_and_a_loop_ends(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/1.dcm").write_bytes(b"1")
    (tmp_path / "data/back").symlink_to(tmp_path / "data")
    (tmp_path / "study").mkdir()
    (tmp_path / "study/linked").symlink_to(tmp_path / "data")
    assert names(tmp_path / "study") == ["1.dcm"]


def test_a_link_to_nothing_is_told_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "annex/object")
    os.mkfifo(tmp_path / "pipe")
    (found,) = find_files([tmp_path])
    with pytest.raises(FileNotFoundError):
        found.read()


def test_a_folder_that_cannot_be_listed_is_among_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "open.dcm").write_bytes(b"1")
    real = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert names(tmp_path) == ["open.dcm", "locked"]


def test_all_sources_that_are_not_there_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere, .*neither: not there; accepted: a folder"):
        list(find_files([tmp_path / "nowhere", tmp_path, tmp_path / "neither"]))


def test_a_dicomdir_names_its_files(tmp_path: Path) -> None:
    directory = medium(tmp_path / "cd")
    found = list(find_files([directory]))
    uids = {pydicom.dcmread(f.path).SOPInstanceUID for f in found}
    assert uids == {d.SOPInstanceUID for d in small_baseline()[:3]}
    assert {f.path for f in find_files([tmp_path / "cd"])} == {f.path for f in found}


@needs("dcmmkdir")
@pytest.mark.needs_dcmtk
def test_a_dicomdir_made_by_dcmtk_is_read(tmp_path: Path) -> None:
    paths = write(small_baseline()[:2], tmp_path)
    for number, path in enumerate(paths):
        path.rename(tmp_path / f"IM{number}")
    done = subprocess.run(
        [required("dcmmkdir"), "+r", "+id", str(tmp_path), "-Pgp"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "DICOMDIR") == ["IM0", "IM1"]


def test_a_file_that_a_dicomdir_lists_and_the_medium_lacks_is_told(tmp_path: Path) -> None:
    directory = medium(tmp_path / "cd")
    next(find_files([directory])).path.unlink()
    found = list(find_files([directory]))
    assert [f.path.exists() for f in found] == [False, True, True]


@pytest.mark.parametrize("escape", [["..", "SECRET"], ["/etc", "passwd"], ["A", "..", "..", "SECRET"], "/etc/passwd"])
def test_a_dicomdir_cannot_reach_outside_of_its_folder(tmp_path: Path, escape: list[str] | str) -> None:
    directory = medium(tmp_path / "cd")
    (tmp_path / "SECRET").write_bytes(b"x")
    dataset = pydicom.dcmread(directory)
    (first, *_) = (r for r in dataset.DirectoryRecordSequence if "ReferencedFileID" in r)
    with pydicom.config.disable_value_validation():
        first.ReferencedFileID = escape
        dataset.save_as(directory)
    found = [f.path for f in find_files([directory])]
    assert len(found) == 2
    assert all(path.is_relative_to((tmp_path / "cd").resolve()) for path in found)


def test_a_link_out_of_the_medium_is_not_taken_from_a_dicomdir(tmp_path: Path) -> None:
    directory = medium(tmp_path / "cd")
    first = next(find_files([directory])).path
    shutil.move(first, tmp_path / "elsewhere")
    first.symlink_to(tmp_path / "elsewhere")
    assert len(list(find_files([directory]))) == 2


@pytest.mark.parametrize("content", [b"", b"no directory", bytes(128) + b"DICM" + bytes(40)])
def test_a_damaged_dicomdir_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    directory = tmp_path / "DICOMDIR"
    directory.write_bytes(content)
    if content.startswith(bytes(128)):
        assert list(find_files([directory])) == []
    else:
        with pytest.raises(UsageError, match="not a readable DICOMDIR"):
            list(find_files([directory]))


def test_an_archive_that_is_cut_short_is_one_file(tmp_path: Path) -> None:
    packed = archive(tmp_path / "cut.zip", {"1.dcm": os.urandom(5000)})
    packed.write_bytes(packed.read_bytes()[:3000])
    (found,) = find_files([tmp_path])
    assert found == FileSource(path=packed)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_member_does_not_take_the_others_with_it(tmp_path: Path, compression: int) -> None:
    content = bytes(range(256)) * 40
    packed = archive(tmp_path / "bad.zip", {"1.dcm": content, "2.dcm": content[::-1]}, compression)
    raw = bytearray(packed.read_bytes())
    for at in range(45, 60):
        raw[at] ^= 0xFF
    packed.write_bytes(raw)
    first, second = find_files([packed])
    with pytest.raises(OSError):  # in the words of whichever decompressor
        first.read()
    assert second.read() == content[::-1]


def test_an_encrypted_member_cannot_be_read(tmp_path: Path) -> None:
    packed = archive(tmp_path / "locked.zip", {"1.dcm": b"secret"})
    raw = bytearray(packed.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + at] |= 1  # the flag that says it is encrypted
    packed.write_bytes(raw)
    (found,) = find_files([packed])
    with pytest.raises(OSError, match=r"cannot be read \(RuntimeError\)"):
        found.read()


def test_an_archive_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    packed = archive(tmp_path / "a.zip", {"1.dcm": b"old"})
    os.utime(packed, (1, 1))
    (found,) = find_files([packed])
    assert found.read() == b"old"
    archive(packed, {"1.dcm": b"new"})
    assert found.read() == b"new"


def test_a_file_larger_than_any_volume_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.batch.sources.MAX_FILE_BYTES", 1000)
    (tmp_path / "large.dcm").write_bytes(bytes(1001))
    (tmp_path / "fits.dcm").write_bytes(bytes(1000))
    archive(tmp_path / "z.zip", {"bomb.dcm": bytes(10_000_000)})
    fits, large, bomb = find_files([tmp_path])
    assert len(fits.read()) == 1000
    for source in (large, bomb):
        assert source.read(first=10) == bytes(10)
        with pytest.raises(OSError, match="larger than 1000 bytes"):
            source.read()
