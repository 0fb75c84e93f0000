"""A prepared cohort: a folder of examples with what they were made from, and what was left out and why.

``prepared.json`` says whether any of it is simulated; what is fitted on it inherits that and cannot lose it.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from service.errors import InputRefused, Reason, UsageError
from training.examples import Example, load_part, save_example
from training.settings import TrainingRecipe

PARTS = ("train", "val", "test")
NOT_YET = "NOT_SIMULATED_YET"
"""Code of a patient who is still to come: neither prepared nor refused."""
_FILE = "prepared.json"
_SIMULATED = "SIMULATED. "


class Source(Protocol):
    """Where patients come from.

    Attributes
    ----------
    simulated
        Whether any patient is; only a source that knows better may say no.
    split
        Names by part.
    facts
        What the model card needs to name the cohort, e.g. the command that made it.
    kept
        Patients for judging who were prepared although the service refuses them, and why; known once they are.
    """

    simulated: bool
    split: Mapping[str, Sequence[str]]
    facts: Mapping[str, Any]

    @property
    def kept(self) -> Mapping[str, tuple[Reason, ...]]: ...  # noqa: D102 - see above

    def examples(self, name: str, part: str, recipe: TrainingRecipe) -> Iterator[Example]:
        """One for judging, the recipe's variants for training; InputRefused when the service refuses the patient."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientOutcome:
    """What became of a patient; `reasons` is empty when the service would take it.

    One with examples all the same was kept on demand.
    """

    patient: str
    part: str
    examples: int
    reasons: tuple[Reason, ...] = ()

    @property
    def kept(self) -> bool:
        """Although the service refuses it."""
        return bool(self.reasons) and self.examples > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCohort:
    """What is known of a prepared folder."""

    folder: Path
    simulated: bool
    split: Mapping[str, Sequence[str]]
    facts: Mapping[str, Any]
    refused: tuple[str, ...]
    kept: tuple[str, ...]
    variants: int

    def load(self, part: str) -> list[Example]:
        """Examples of `part`: all variants for training, one each for judging."""
        return load_part(self.folder, self.names(part), self.variants if part == "train" else 1)

    def names(self, part: str) -> list[str]:
        """Patients of `part` that were prepared."""
        return [name for name in self.split[part] if (self.folder / f"{name}-0.npz").exists()]


def prepare_cohort(
    source: Source, out: Path, recipe: TrainingRecipe, *, on_patient: Callable[[], None] = lambda: None
) -> list[PatientOutcome]:
    """Examples of every patient into `out`, with ``prepared.json``, ``report.csv`` and ``report.txt``.

    Patients that are there already are kept.

    Raises
    ------
    UsageError
        `out` holds examples of another recipe or of other patients.
    """
    out.mkdir(parents=True, exist_ok=True)
    facts = {
        "simulated": source.simulated,
        "recipe": recipe.name,
        "digest": _digest(recipe),
        "variants": recipe.training.variants,
        "split": {part: list(source.split[part]) for part in PARTS},
        "split_sha256": hashlib.sha256(json.dumps(source.split, sort_keys=True, default=list).encode()).hexdigest(),
        "facts": dict(source.facts),
    }
    known = _read(out) if (out / _FILE).exists() else None
    if known is not None and any(known[key] != facts[key] for key in ("digest", "split_sha256", "simulated")):
        raise UsageError(f"{out} was prepared by another recipe or from another cohort; give another folder")
    kept = {} if known is None else {n: tuple(Reason(**r) for r in each) for n, each in known["kept"].items()}
    outcomes = []
    for part in PARTS:
        for name in source.split[part]:
            outcomes.append(_prepare(source, name, part, recipe, out=out, known=kept.get(name, ())))
            on_patient()
    facts["refused"] = [o.patient for o in outcomes if not o.examples and NOT_YET not in {r.code for r in o.reasons}]
    facts["kept"] = {o.patient: [asdict(reason) for reason in o.reasons] for o in outcomes if o.kept}
    _write(out / _FILE, json.dumps(facts, indent=2) + "\n")
    _report(outcomes, source.simulated, out)
    return outcomes


def open_prepared(folder: Path, recipe: TrainingRecipe) -> PreparedCohort:
    """What `prepare_cohort` wrote.

    Raises
    ------
    UsageError
        It is no such folder, or was prepared by another recipe.
    """
    facts = _read(folder)
    if facts["digest"] != _digest(recipe):
        raise UsageError(
            f"{folder} was prepared by recipe {facts['recipe']}, whose input or answer differs from that of "
            f"{recipe.name}; run `csf24-training prepare` with this recipe into another folder"
        )
    return PreparedCohort(
        folder=folder,
        simulated=facts["simulated"] is not False,
        split=facts["split"],
        facts=facts["facts"],
        refused=tuple(facts["refused"]),
        kept=tuple(facts.get("kept", ())),
        variants=facts["variants"],
    )


def _read(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} is not a prepared cohort; `csf24-training prepare` makes one") from error


def _digest(recipe: TrainingRecipe) -> str:
    """Of all that decides what an example looks like."""
    decides = {
        "preprocessing": asdict(recipe.preprocessing),
        "visits": asdict(recipe.visits),
        "variants": recipe.training.variants,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _prepare(
    source: Source, name: str, part: str, recipe: TrainingRecipe, *, out: Path, known: tuple[Reason, ...]
) -> PatientOutcome:
    """`known`: why a patient that is there already was refused and kept."""
    count = recipe.training.variants if part == "train" else 1
    paths = [out / f"{name}-{variant}.npz" for variant in range(count)]
    if all(path.exists() for path in paths):
        return PatientOutcome(patient=name, part=part, examples=count, reasons=known)
    try:
        made = list(source.examples(name, part, recipe))
    except InputRefused as refusal:
        return PatientOutcome(patient=name, part=part, examples=0, reasons=refusal.reasons)
    for example, path in zip(made, paths, strict=True):
        save_example(example, path)
    return PatientOutcome(patient=name, part=part, examples=count, reasons=source.kept.get(name, ()))


def _report(outcomes: Sequence[PatientOutcome], simulated: bool, out: Path) -> None:
    with (out / "report.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "part", "examples", "code", "message", "measured", "limit"])
        for o in outcomes:
            for reason in o.reasons or (Reason(code="", message=""),):
                writer.writerow(
                    [o.patient, o.part, o.examples, reason.code, reason.message, reason.measured, reason.limit]
                )
    _write(out / "report.txt", report_text(outcomes, simulated))


def report_text(outcomes: Sequence[PatientOutcome], simulated: bool) -> str:
    """In words: how many patients of each part are usable, and why the others are not."""
    lines = [f"{_SIMULATED if simulated else ''}{len(outcomes)} patients"]
    for part in PARTS:
        of_part = [o for o in outcomes if o.part == part]
        kept = sum(o.kept for o in of_part)
        lines.append(
            f"{part}: {sum(o.examples > 0 for o in of_part)} of {len(of_part)} prepared"
            + (f", {kept} of them although the service refuses them" if kept else "")
        )
    codes = Counter(reason.code for o in outcomes for reason in o.reasons)
    lines += [f"refused for {code}: {count}" for code, count in codes.most_common()]
    for o in outcomes:
        lines += [
            f"  {o.patient}: {r.code}: {r.message}"
            + (f" (measured {r.measured}, accepted {r.limit})" if r.measured is not None else "")
            for r in o.reasons
        ]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
