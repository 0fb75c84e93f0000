from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from pydicom.fileset import FileSet
from pydicom.uid import JPEGLSLossless

from service.batch.index import Index, build_index
from service.batch.sources import find_files
from tests.builders.batch import SLICES, small_baseline, small_delayed
from tests.builders.dicom import to_bytes
from tests.builders.dicom_encoding import encode
from tests.builders.patients import write


def index_of(*sources: Path) -> Index:
    return build_index(find_files(sources))


def test_series_are_told_apart_however_their_files_are_mixed(tmp_path: Path) -> None:
    for number, dataset in enumerate([*small_baseline(), *small_delayed()]):
        (tmp_path / f"{number % 7}").mkdir(exist_ok=True)
        (tmp_path / f"{number % 7}" / f"{number}").write_bytes(to_bytes(dataset))
    seen = []
    index = build_index(find_files([tmp_path]), on_file=lambda: seen.append(1))
    assert {uid: len(found) for uid, found in index.series.items()} == {
        d[0].SeriesInstanceUID: SLICES for d in (small_baseline(), small_delayed())
    }
    assert len(seen) == 2 * SLICES
    assert index.patients == {"P1": list(index.series)}


def test_series_without_a_patient_id_stand_by_study(tmp_path: Path) -> None:
    write(small_baseline("", study=1)[:1], tmp_path / "a")
    write(small_delayed("", study=2)[:1], tmp_path / "b")
    assert [len(uids) for uids in index_of(tmp_path).patients.values()] == [1, 1]


def test_other_files_are_counted_and_disturb_nothing(tmp_path: Path) -> None:
    write(small_baseline()[:2], tmp_path / "dicom")
    (tmp_path / "notes.txt").write_text("read me")
    (tmp_path / "empty").touch()
    (tmp_path / "preview.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    (tmp_path / "starts-alike").write_bytes(b"\x08\x00" + b"\xff" * 300)
    index = index_of(tmp_path)
    assert (index.not_dicom, index.unusable) == (4, [])
    assert [len(found) for found in index.series.values()] == [2]


def test_a_large_file_of_another_kind_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.batch.sources.MAX_FILE_BYTES", 1000)
    (tmp_path / "film.mp4").write_bytes(bytes(5000))
    index = index_of(tmp_path)
    assert (index.not_dicom, index.unusable) == (1, [])


def test_a_file_without_the_prefix_is_still_dicom(tmp_path: Path) -> None:
    dataset = small_baseline()[0]
    (tmp_path / "bare").write_bytes(to_bytes(dataset)[132:])
    assert list(index_of(tmp_path).series) == [dataset.SeriesInstanceUID]


def test_a_file_cut_in_its_header_is_told_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "cut.dcm").write_bytes(to_bytes(small_baseline()[0])[:340])
    index = index_of(tmp_path)
    assert (index.not_dicom, index.series) == (0, {})
    (found,) = index.unusable
    assert (found.source.path.name, found.code in {"NOT_DICOM", "MISSING_UID"}) == ("cut.dcm", True)


def test_a_file_cut_in_its_pixels_is_known_to_lack_them(tmp_path: Path) -> None:
    content = to_bytes(small_baseline()[0])
    (tmp_path / "cut.dcm").write_bytes(content[:-100])
    ((instance,),) = index_of(tmp_path).series.values()
    assert not instance.header.has_pixel_data


def test_what_cannot_be_read_is_told_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nothing")
    (found,) = index_of(tmp_path).unusable
    assert (found.code, found.message) == ("FILE_UNREADABLE", "No such file or directory")


def test_an_instance_that_lies_there_twice_alike_counts_once(tmp_path: Path) -> None:
    write(small_baseline()[:3], tmp_path / "a")
    write(small_baseline()[:3], tmp_path / "b")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as packed:
        packed.writestr("x", to_bytes(small_baseline()[0]))
    index = index_of(tmp_path)
    assert [len(found) for found in index.series.values()] == [3]
    assert index.conflicts == {}


def test_two_contents_under_one_uid_are_a_conflict(tmp_path: Path) -> None:
    (baseline,) = {d.SeriesInstanceUID for d in small_baseline()}
    write(small_baseline()[:3], tmp_path / "a")
    write(small_baseline(RescaleSlope="1", RescaleIntercept="7")[:2], tmp_path / "b")
    index = index_of(tmp_path)
    assert index.conflicts == {baseline: 2}
    assert [len(found) for found in index.series.values()] == [3]


@pytest.mark.parametrize("order", [("plain", "packed"), ("packed", "plain")])
def test_copies_in_another_encoding_or_with_another_institution_are_the_same_images(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    plain = small_baseline()[:3]
    packed = encode(plain, JPEGLSLossless)
    packed[0].InstitutionName = "Elsewhere"
    copies = {"plain": plain, "packed": packed}
    for folder, name in zip("ab", order, strict=True):
        write(copies[name], tmp_path / folder)
    index = index_of(tmp_path)
    (found,) = index.series.values()
    assert (index.conflicts, index.recoded, len(found)) == ({}, 3, 3)
    everything = [hashlib.sha256(to_bytes(dataset)).hexdigest() for dataset in (*plain, *packed)]
    first_by_hash = {min(pair) for pair in zip(everything[:3], everything[3:], strict=True)}
    assert {instance.sha256 for instance in found} == first_by_hash  # whichever was found first


def test_a_third_copy_that_differs_is_still_a_conflict(tmp_path: Path) -> None:
    write(small_baseline()[:2], tmp_path / "a")
    write(encode(small_baseline()[:2], JPEGLSLossless), tmp_path / "b")
    write(small_baseline(RescaleSlope="1", RescaleIntercept="7")[:1], tmp_path / "c")
    index = index_of(tmp_path)
    assert (list(index.conflicts.values()), index.recoded) == ([1], 2)


def test_a_uid_that_two_series_claim_casts_doubt_on_both(tmp_path: Path) -> None:
    first, second = small_baseline()[:2], small_delayed()[:2]
    second[0].SOPInstanceUID = second[0].file_meta.MediaStorageSOPInstanceUID = first[0].SOPInstanceUID
    write(first, tmp_path / "a")
    write(second, tmp_path / "b")
    assert index_of(tmp_path).conflicts == {first[0].SeriesInstanceUID: 1, second[0].SeriesInstanceUID: 1}


def test_a_dicomdir_in_a_folder_is_no_damaged_image(tmp_path: Path) -> None:
    files = FileSet()
    for dataset in small_baseline()[:2]:
        files.add(dataset)
    files.write(tmp_path)
    (tmp_path / "DICOMDIR").rename(tmp_path / "dicomdir")  # as media are often mounted
    index = index_of(tmp_path)
    assert (index.unusable, index.not_dicom) == ([], 0)
    assert [len(found) for found in index.series.values()] == [2]
