"""Which reader sees which image of whom, in which installment and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ23456789"  # no vowels: no words; no 0, O, 1, I: nothing to misread
_CODE_LENGTH = 5
_NAMING = 1  # stream of random numbers for codes, apart from that of the order


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """One image pair as one reader meets it.

    Attributes
    ----------
    reader, installment, position
        Counted from 1.
    item
        The code that stands on pack and form; says nothing, and no other presentation has it.
    patient
        The study's own name of the patient.
    version
        ``real``, ``real again``, or a model's name and version.
    """

    reader: int
    installment: int
    position: int
    item: str
    patient: str
    version: str


def allocate(patients: Sequence[str], versions: Sequence[str], readers: int, seed: int) -> tuple[Presentation, ...]:
    """Every version of every patient once for each reader, one version of a patient in an installment.

    There are as many installments as versions. Patients are drawn into blocks of that size; within a block the
    versions rotate over the installments (a Latin square with its labels drawn anew for each block), so every
    installment holds each version equally often, up to one. Within an installment the order is drawn. Each reader
    has an allocation and codes of their own.

    Parameters
    ----------
    seed
        Whoever knows it and the patients' names can work out the allocation.

    Raises
    ------
    ValueError
        A name occurs twice, or there is nothing to allocate.
    """
    for what, names in (("patient", patients), ("version", versions)):
        if not names or len(set(names)) != len(names):
            raise ValueError(f"each {what} must be given, and once: {list(names)}")
    if readers < 1:
        raise ValueError("a study needs at least one reader")
    codes = iter(_codes(readers * len(patients) * len(versions), seed))
    found: list[Presentation] = []
    for reader in range(1, readers + 1):
        rng = np.random.default_rng([seed, 0, reader])
        for installment, shown in enumerate(_installments(patients, versions, rng), start=1):
            for position, place in enumerate(rng.permutation(len(shown)), start=1):
                patient, version = shown[place]
                found.append(
                    Presentation(
                        reader=reader,
                        installment=installment,
                        position=position,
                        item=next(codes),
                        patient=patient,
                        version=version,
                    )
                )
    return tuple(found)


def _installments(
    patients: Sequence[str], versions: Sequence[str], rng: np.random.Generator
) -> list[list[tuple[str, str]]]:
    n = len(versions)
    order = [patients[place] for place in rng.permutation(len(patients))]
    shown: list[list[tuple[str, str]]] = [[] for _ in versions]
    for start in range(0, len(order), n):
        labels = rng.permutation(n)
        for row, patient in enumerate(order[start : start + n]):
            for installment in range(n):
                shown[installment].append((patient, versions[labels[(row + installment) % n]]))
    return shown


def _codes(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng([seed, _NAMING])
    codes: dict[str, None] = {}
    while len(codes) < count:
        codes["".join(_LETTERS[n] for n in rng.integers(0, len(_LETTERS), _CODE_LENGTH))] = None
    return list(codes)
