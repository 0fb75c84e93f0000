from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pydicom
import pytest

from service.errors import StorageUnavailable
from service.storage.part10 import FileMeta, encode_head, split_file
from service.storage.spool import DamagedFile, Spool
from tests.builders.received import EXPLICIT_VR_LE, MR_IMAGE_STORAGE, NOON, make_header, spool_one


def _files(spool: Spool) -> list[Path]:
    """All but the lock."""
    return sorted(path for path in spool.root.rglob("*") if path.is_file() and path.name != "lock")


def test_a_stored_instance_is_a_part_10_file_that_pydicom_reads(spool: Spool) -> None:
    dataset = pydicom.Dataset()
    dataset.PatientID = "P1"
    encoded = io.BytesIO()
    pydicom.dcmwrite(encoded, dataset, implicit_vr=False, little_endian=True)
    stored = spool_one(spool, make_header(), encoded.getvalue())

    read = pydicom.dcmread(spool.path(stored))

    assert read.PatientID == "P1"
    assert read.file_meta.MediaStorageSOPInstanceUID == stored.sop_instance_uid
    assert read.file_meta.MediaStorageSOPClassUID == MR_IMAGE_STORAGE
    assert read.file_meta.TransferSyntaxUID == EXPLICIT_VR_LE
    assert read.file_meta.SourceApplicationEntityTitle == "SCANNER"
    assert spool.read(stored).endswith(encoded.getvalue())


def test_the_path_holds_nothing_that_a_peer_wrote(spool: Spool) -> None:
    stored = spool.write(
        b"x",
        sop_class_uid="../../etc",
        sop_instance_uid="../../../passwd",
        transfer_syntax_uid="1.2",
        calling_ae="..\\..",
        now=NOON,
    )

    assert spool.path(stored).resolve().is_relative_to((spool.root / "objects").resolve())
    assert "passwd" not in stored.relative_path


def test_the_same_content_again_is_the_same_file(spool: Spool) -> None:
    first = spool_one(spool, make_header())
    again = spool_one(spool, make_header())

    assert again == first
    assert len(_files(spool)) == 1


def test_other_content_under_the_same_uid_is_kept_beside_the_first(spool: Spool) -> None:
    first = spool_one(spool, make_header(), b"one")
    second = spool_one(spool, make_header(), b"two")

    assert first.relative_path != second.relative_path
    assert spool.read(first).endswith(b"one")
    assert spool.read(second).endswith(b"two")


def test_a_file_that_was_damaged_since_is_replaced_when_sent_again(spool: Spool) -> None:
    stored = spool_one(spool, make_header(), b"pixels")
    path = spool.path(stored)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StorageUnavailable, match="altered"):
        spool.read(stored)

    spool_one(spool, make_header(), b"pixels")

    assert spool.read(stored).endswith(b"pixels")


def test_too_little_space_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path, min_free_bytes=1 << 60)

    assert not spool.has_room
    with pytest.raises(StorageUnavailable, match="short of space"):
        spool_one(spool, make_header())
    assert _files(spool) == []


def test_a_disk_that_fills_up_in_mid_write_leaves_no_half_file(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write = os.write

    def full_after_four_bytes(descriptor: int, content: bytes) -> int:
        if len(content) <= 96:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, bytes(content[:4]))

    monkeypatch.setattr(os, "write", full_after_four_bytes)
    with pytest.raises(StorageUnavailable, match="no space"):
        spool_one(spool, make_header(), b"y" * 200)
    monkeypatch.undo()

    assert _files(spool) == []
    assert spool.read(spool_one(spool, make_header(), b"y" * 200)).endswith(b"y" * 200)


def test_the_file_and_its_directory_are_synced_before_the_call_returns(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        calls.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name[-5:])
        real_fsync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        calls.append("rename")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    stored = spool_one(spool, make_header())

    shard = spool.path(stored).parent.name
    assert calls[0] == "sync .part"
    assert calls[-2:] == ["rename", f"sync {shard}"]
    assert calls.count("rename") == 1


def test_leftovers_of_a_dead_process_go_and_those_of_a_live_one_stay(tmp_path: Path) -> None:
    alive = Spool(tmp_path, min_free_bytes=0)
    (live_draft,) = (tmp_path / "incoming").iterdir()
    (live_draft / "1.part").write_bytes(b"being written")
    dead = tmp_path / "incoming" / "dead"
    dead.mkdir()
    (dead / "1.part").write_bytes(b"half")

    Spool(tmp_path, min_free_bytes=0).close()

    assert not dead.exists()
    assert (live_draft / "1.part").exists()
    alive.close()


def test_a_scan_describes_every_file_from_the_file_alone(spool: Spool) -> None:
    stored = spool_one(spool, make_header(), b"one")
    broken = spool_one(spool, make_header(number=2), b"two")
    spool.path(broken).write_bytes(b"garbage")

    found = list(spool.scan())

    damaged = [item for item in found if isinstance(item, DamagedFile)]
    (whole,) = [item for item in found if not isinstance(item, DamagedFile)]
    assert [item.relative_path for item in damaged] == [broken.relative_path]
    assert (whole.sop_instance_uid, whole.sha256, whole.calling_ae) == (
        stored.sop_instance_uid,
        stored.sha256,
        "SCANNER",
    )


def test_a_result_appears_whole_or_not_at_all(spool: Spool) -> None:
    def fails_half_way(draft: Path) -> None:
        (draft / "0.dcm").write_bytes(b"0")
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        spool.publish_result("c1", 1, fails_half_way)
    assert not spool.result_path("c1", 1).exists()
    assert _files(spool) == []

    def works(draft: Path) -> None:
        (draft / "0.dcm").write_bytes(b"0")

    directory = spool.publish_result("c1", 1, works)
    assert [path.name for path in directory.iterdir()] == ["0.dcm"]


def test_a_published_result_is_never_built_again(spool: Spool) -> None:
    def build(draft: Path) -> None:
        (draft / "a").write_text("first")

    spool.publish_result("c1", 1, build)

    def must_not_run(draft: Path) -> None:
        pytest.fail("built a second time")

    assert (spool.publish_result("c1", 1, must_not_run) / "a").read_text() == "first"


@pytest.mark.parametrize("case_id", ["", "..", "a/b", "c" * 65])
def test_a_result_path_takes_no_path_tricks(spool: Spool, case_id: str) -> None:
    with pytest.raises(ValueError, match="case id"):
        spool.result_path(case_id, 1)


@pytest.mark.parametrize("cut", [0, 131, 133, 140, 150, 200])
def test_a_cut_head_is_not_taken_for_a_file(cut: int) -> None:
    meta = FileMeta(
        sop_class_uid="1.2.3", sop_instance_uid="1.2.3.4", transfer_syntax_uid="1.2.840.10008.1.2", calling_ae="A"
    )
    head = encode_head(meta)
    assert split_file(head + b"\x08\x00dataset") == (meta, len(head))
    with pytest.raises(ValueError, match=r"Part 10|cut short|lacks"):
        split_file(head[:cut])
