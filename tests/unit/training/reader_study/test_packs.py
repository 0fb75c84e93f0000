"""A pack tells its reader nothing but the pictures: names, headers, sizes, dates and order are the same for all."""

from __future__ import annotations

import csv
import itertools
import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from service.imaging.volume import Grid
from tests.builders.html import parse
from tests.builders.reader_study import MODEL, study_key
from training.reader_study.dicom_files import STORED_PER_FAT_UNIT
from training.reader_study.images import PatientPictures
from training.reader_study.key import REAL, REAL_AGAIN
from training.reader_study.packs import write_packs
from training.reader_study.scale import COLUMNS

MAY_DIFFER = {  # between items; everything else must be equal in every file of a plane
    "PatientID", "PatientName", "StudyID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID",
    "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelData",
}  # fmt: skip
KEY = study_key(patients=5, versions=(REAL, MODEL, REAL_AGAIN))


def patient_pictures(seed: int) -> PatientPictures:
    """Real and predicted differ as much as they like: empty, bright, beyond the window."""
    rng = np.random.default_rng(seed)
    grids = []
    for directions in (((0, 1, 0), (0, 0, -1), (-1, 0, 0)), ((1, 0, 0), (0, 1, 0), (0, 0, 1))):
        affine = np.eye(4)
        affine[:3, :3] = np.array(directions).T
        affine[:3, 3] = rng.uniform(-150, 150, 3)
        grids.append(Grid((1, 256, 256), affine))
    real = tuple(rng.uniform(0, 1.2, (256, 256)).astype(np.float32) for _ in grids)
    predicted = (np.zeros((256, 256), np.float32), np.full((256, 256), 7.5, np.float32))
    return PatientPictures(grids=tuple(grids), versions={REAL: real, MODEL: predicted}, warnings=())


SHOWN = {name: patient_pictures(n) for n, name in enumerate(KEY.patients)}


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "packs"
    write_packs(KEY, SHOWN, out)
    return out


@pytest.fixture(scope="module")
def images(packs):
    """Item -> plane -> data set."""
    found = defaultdict(dict)
    for path in packs.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        found[dataset.PatientID]["axial" if "axial" in path.name else "sagittal"] = dataset
    return found


def test_each_reader_gets_a_folder_an_installment_with_images_and_both_forms(packs):
    for reader, installment in itertools.product((1, 2), (1, 2, 3)):
        folder = packs / f"reader-{reader}" / f"installment-{installment}"
        assert {p.name for p in folder.iterdir()} == {"images", "ratings.csv", "form.html"}
        assert len(list((folder / "images").iterdir())) == 5
        assert len(list(folder.rglob("*.dcm"))) == 10


def test_items_hold_the_pictures_of_their_patient_and_version(images):
    for item in KEY.items:
        version = REAL if item.version == REAL_AGAIN else item.version
        for plane, truth in zip(("sagittal", "axial"), SHOWN[item.patient].versions[version], strict=True):
            stored = images[item.item][plane].pixel_array
            expected = np.clip(np.rint(truth * STORED_PER_FAT_UNIT), 0, 2000)
            assert np.array_equal(stored[20:], expected[20:])


def test_headers_are_equal_but_for_what_is_drawn_and_where_the_planes_lie(images):
    for plane in ("sagittal", "axial"):
        seen = defaultdict(set)
        for planes in images.values():
            for element in (*planes[plane].file_meta, *planes[plane]):
                seen[element.keyword or str(element.tag)].add(str(element.value))
        differing = {name for name, values in seen.items() if len(values) > 1}
        assert differing - {"MediaStorageSOPInstanceUID"} <= MAY_DIFFER
        assert {len(planes[plane]) for planes in images.values()} == {len(images[KEY.items[0].item][plane])}


def test_no_header_is_private_or_holds_a_date_a_source_or_a_model(images):
    for planes in images.values():
        for dataset in planes.values():
            everything = [element for element in dataset.iterall() if element.keyword != "PixelData"]
            assert not any(element.tag.is_private for element in everything)
            assert not any(element.value for element in everything if element.VR in {"DA", "TM", "DT"})
            text = " ".join(str(element.value) for element in everything).lower()
            assert not any(word in text for word in ("patient-00", "volume3d", "sha256", "csf24 volume"))
            assert "SourceImageSequence" not in dataset and "ContributingEquipmentSequence" not in dataset
            assert dataset.PatientIdentityRemoved == "YES"


def test_where_the_planes_lie_is_the_same_for_all_versions_of_a_patient(images):
    by_patient = defaultdict(set)
    for item in KEY.items:
        for plane in ("sagittal", "axial"):
            d = images[item.item][plane]
            by_patient[item.patient, plane].add((str(d.ImagePositionPatient), str(d.ImageOrientationPatient)))
    assert {len(places) for places in by_patient.values()} == {1}


def test_every_file_has_the_same_size(packs):
    sizes = {path.name.rpartition("_")[2]: set() for path in packs.rglob("*.dcm")}
    for path in packs.rglob("*.dcm"):
        sizes[path.name.rpartition("_")[2]].add(path.stat().st_size)
    assert {len(found) for found in sizes.values()} == {1}


def test_every_file_and_folder_has_the_same_date(packs):
    assert len({path.stat().st_mtime_ns for path in [packs, *packs.rglob("*")]}) == 1


def test_uids_are_of_one_length_and_no_two_items_share_one(images):
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        uids = [{getattr(d, keyword) for d in planes.values()} for planes in images.values()]
        assert all(len(found) == 1 for found in uids)
        assert len(set.union(*uids)) == len(images)
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        uids = [getattr(d, keyword) for planes in images.values() for d in planes.values()]
        assert len(set(uids)) == len(uids)
        assert {len(uid) for uid in uids} == {44}


def test_the_words_are_burned_into_all_alike(images):
    strips = {planes[plane].pixel_array[:15].tobytes() for planes in images.values() for plane in planes}
    assert len(strips) == 1
    assert np.frombuffer(strips.pop(), np.uint16).max() > 800


def test_names_of_files_hold_position_code_and_plane_only(packs):
    known = {(i.reader, i.installment, i.position): i.item for i in KEY.items}
    for path in packs.rglob("*.dcm"):
        position, code = path.parent.name.split("_")
        reader, installment = (int(part.rpartition("-")[2]) for part in path.parts[-5:-3])
        assert known[reader, installment, int(position)] == code
        assert path.name in {f"{code}_sagittal.dcm", f"{code}_axial.dcm"}


def test_nothing_in_the_packs_is_the_key(packs):
    for path in packs.rglob("*"):
        if path.is_file() and path.suffix != ".dcm":
            text = path.read_text(encoding="utf-8-sig")
            assert not any(word in text for word in ("patient-00", MODEL, REAL_AGAIN))


def test_the_form_to_fill_in_lists_its_items_in_order_and_no_answer(packs):
    with (packs / "reader-2" / "installment-3" / "ratings.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    expected = sorted((i for i in KEY.items if (i.reader, i.installment) == (2, 3)), key=lambda i: i.position)
    assert [row["item"] for row in rows] == [item.item for item in expected]
    assert all(not row[name] for row in rows for name in ("grade", "quality", "percent", "looks", "comment"))


def test_the_form_to_print_names_grades_items_and_that_patients_are_simulated(packs):
    page = parse((packs / "reader-1" / "installment-2" / "form.html").read_text(encoding="utf-8"))
    items = [i for i in KEY.items if (i.reader, i.installment) == (1, 2)]
    text = page.text
    assert all(item.item in text for item in items)
    assert "SIMULATED" in text and "not isointense" in text and "NG" in text
    assert "Transient" not in text  # grade 2 is not on offer
    assert len(page.one("tbody").all("tr")) == len(items)


def test_a_study_of_real_patients_does_not_say_simulated(tmp_path):
    write_packs(replace(KEY, simulated=False), SHOWN, tmp_path / "packs")
    form = next((tmp_path / "packs").rglob("form.html"))
    assert "SIMULATED" not in form.read_text(encoding="utf-8")
    image = pydicom.dcmread(next((tmp_path / "packs").rglob("*.dcm")))
    assert "SIMULATED" not in json.dumps(image.to_json_dict())


def test_packs_are_not_mixed_into_a_folder_with_something_in_it(tmp_path):
    (tmp_path / "other.txt").touch()
    with pytest.raises(Exception, match="not empty"):
        write_packs(KEY, SHOWN, tmp_path)
