from __future__ import annotations

import re
from dataclasses import replace

import pytest

from service.dicom.identity import ROLES, derived_uid, processing_equipment, series_number
from tests.builders.source_series import MODEL, derivation_facts

FACTS = derivation_facts()
PAIR = ("1.2.826.0.1.1", "1.2.826.0.1.2")


def test_the_same_inputs_give_the_same_uid_and_it_is_a_valid_one():
    uid = derived_uid(FACTS, *PAIR, "secondary-capture", "17")

    assert uid == derived_uid(derivation_facts(), *PAIR, "secondary-capture", "17")
    assert re.fullmatch(r"2\.25\.[1-9][0-9]{0,38}", uid)
    assert len(uid) <= 64


@pytest.mark.parametrize(
    "other",
    [
        (derivation_facts(fingerprint="e" * 64), *PAIR, "role", "1"),
        (FACTS, "1.2.826.0.1.3", PAIR[1], "role", "1"),
        (FACTS, PAIR[0], "1.2.826.0.1.3", "role", "1"),
        (FACTS, PAIR[1], PAIR[0], "role", "1"),
        (FACTS, *PAIR, "other role", "1"),
        (FACTS, *PAIR, "role", "2"),
        (FACTS, *PAIR, "role1"),
        (FACTS, *PAIR, "role", "1", ""),
    ],
)
def test_anything_that_decides_the_result_gives_another_uid(other):
    assert derived_uid(FACTS, *PAIR, "role", "1") != derived_uid(*other)


def test_what_does_not_decide_the_result_keeps_the_uid():
    later = derivation_facts(derived_at=FACTS.derived_at.replace(year=2030), case_id="c000000000000", warnings=())

    assert derived_uid(later, *PAIR, "role") == derived_uid(FACTS, *PAIR, "role")


@pytest.mark.parametrize("source", [None, 0, 1, 301, 8999, 9000, 99_999_999])
def test_derived_series_list_after_their_source(source):
    numbers = [series_number(source, role) for role in ROLES]

    assert len(set(numbers)) == len(ROLES)
    assert min(numbers) > (source or 0)
    assert max(numbers) < 2**31


def test_two_sources_never_share_a_series_number():
    numbers = [series_number(source, role) for source in range(1, 2000) for role in ROLES]

    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("nonsense", [-1, 2**31 - 1])
def test_a_source_number_that_cannot_be_built_on_still_gives_a_valid_one(nonsense):
    assert 9000 <= series_number(nonsense, "secondary-capture") < 2**31


def test_contributing_equipment_names_model_version_and_hash_and_no_place():
    item = processing_equipment(FACTS)

    assert (item.PurposeOfReferenceCodeSequence[0].CodeValue, item.Manufacturer) == ("109102", "csf24")
    assert item.ManufacturerModelName == MODEL.name
    assert list(item.SoftwareVersions) == ["csf24 0.1.0", MODEL.sha256, "volume3d 0.1.0"]
    assert "SIMULATED" not in item.ContributionDescription
    assert not {"StationName", "InstitutionName", "DeviceSerialNumber"} & {e.keyword for e in item}


def test_a_model_of_simulated_training_says_so_in_the_equipment():
    item = processing_equipment(derivation_facts(model=replace(MODEL, simulated_training=True)))

    assert "SIMULATED" in item.ContributionDescription
