"""Who sees what when: never two images of one person in an installment, balanced, drawn, repeatable."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.reader_study.allocation import allocate

VERSIONS = ("real", "l2", "l1", "real again")
studies = st.tuples(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**60))


def allocation_of(study):
    patients, versions, readers, seed = study
    return allocate([f"p{n}" for n in range(patients)], VERSIONS[:versions], readers, seed)


@settings(max_examples=60, deadline=None)
@given(studies)
def test_no_reader_meets_a_patient_twice_in_an_installment(study):
    met = Counter((p.reader, p.installment, p.patient) for p in allocation_of(study))
    assert set(met.values()) == {1}


@settings(max_examples=60, deadline=None)
@given(studies)
def test_every_reader_sees_every_version_of_every_patient_once(study):
    patients, versions, readers, _ = study
    seen = Counter((p.reader, p.patient, p.version) for p in allocation_of(study))
    assert set(seen.values()) == {1}
    assert len(seen) == patients * versions * readers


@settings(max_examples=60, deadline=None)
@given(studies)
def test_every_installment_holds_each_version_equally_often_up_to_one(study):
    patients, versions, readers, _ = study
    held = Counter((p.reader, p.installment, p.version) for p in allocation_of(study))
    counts = [
        held[reader, installment, version]
        for reader in range(1, readers + 1)
        for installment in range(1, versions + 1)
        for version in VERSIONS[:versions]
    ]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == patients * versions * readers


@settings(max_examples=60, deadline=None)
@given(studies)
def test_places_run_from_one_and_codes_are_unique_words_without_meaning(study):
    found = allocation_of(study)
    places = defaultdict(list)
    for p in found:
        places[p.reader, p.installment].append(p.position)
    assert all(sorted(of) == list(range(1, len(of) + 1)) for of in places.values())
    codes = [p.item for p in found]
    assert len(set(codes)) == len(codes)
    assert {len(code) for code in codes} == {5}
    assert not set("".join(codes)) & set("AEIOU01")


def test_the_seed_repeats_it_and_another_seed_does_not():
    names = [f"p{n}" for n in range(31)]
    assert allocate(names, VERSIONS[:2], 3, 7) == allocate(names, VERSIONS[:2], 3, 7)
    assert allocate(names, VERSIONS[:2], 3, 7) != allocate(names, VERSIONS[:2], 3, 8)


def test_neither_place_nor_code_nor_installment_tells_the_version():
    """Over many studies each is independent of it: correlations as of chance."""
    names = [f"p{n:02d}" for n in range(30)]
    found = [p for seed in range(40) for p in allocate(names, ("real", "model"), 1, seed)]
    real = np.array([p.version == "real" for p in found], dtype=float)
    traces = {
        "position": [p.position for p in found],
        "installment": [p.installment for p in found],
        "patient and installment": [int(p.patient[1:]) * (3 - 2 * p.installment) for p in found],
        **{f"letter {n}": [ord(p.item[n]) for p in found] for n in range(5)},
        "place in the list": list(range(len(found))),
    }
    correlations = {name: abs(np.corrcoef(real, trace)[0, 1]) for name, trace in traces.items()}
    assert max(correlations.values()) < 4 / np.sqrt(len(found)), correlations


def test_readers_do_not_share_an_order():
    found = allocate([f"p{n}" for n in range(31)], ("real", "model"), 2, 5)
    orders = [[(p.patient, p.version) for p in found if p.reader == r and p.installment == 1] for r in (1, 2)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    ("patients", "versions", "readers"),
    [([], ["real"], 1), (["a", "a"], ["real"], 1), (["a"], [], 1), (["a"], ["r"], 0)],
)
def test_what_cannot_be_allocated_is_refused(patients, versions, readers):
    with pytest.raises(ValueError, match=r"must be given|at least one"):
        allocate(patients, versions, readers, 1)
