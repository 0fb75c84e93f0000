"""The papers for hospitals are held against the code: tables of the conformance statement, tests and codes named."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydicom.datadict import dictionary_description, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from service import __version__
from service.app import _STATUSES
from service.config import Config, Destination
from service.dicom import coding, identity, structured_report
from service.dicom.derived import derive_prediction, derive_refusal
from service.dicom.facts import OutputSelection
from service.errors import ConfigError, InputRefused, PermanentError, Reason, RetryableError, UsageError
from service.jobs.workflow import _reason
from service.network import contexts, stack, statuses
from service.network.requests import Excess, Rejection, TurnedAway
from service.network.statuses import is_accepted
from tests.architecture.test_docs import REPOSITORY, blocks, codes_in_the_code, keys, spans, text_of
from tests.builders.source_series import (
    FAT,
    MODEL,
    PAGE,
    QUALITY,
    REFLUX,
    derivation_facts,
    enhanced_source_series,
    head_sized_volume,
    restored_for,
    slice_pair_for,
    source_pair,
    source_series,
)

DOCS = REPOSITORY / "docs"
STATEMENT = DOCS / "conformance-statement.md"
RISKS = DOCS / "risk-list.md"
SECURITY = DOCS / "security.md"
OPERATIONS = DOCS / "operations.md"
INTENDED_USE = DOCS / "intended-use.md"
Row = dict[str, str]


def table(path: Path, heading: str) -> list[Row]:
    """The first table below a heading, by its columns."""
    below = re.split(rf"^#+ {re.escape(heading)}$", text_of(path), flags=re.MULTILINE)
    assert len(below) == 2, f"{heading!r} stands {len(below) - 1} times in {path.name}"
    section = re.split(r"^#", below[1], flags=re.MULTILINE)[0]
    first = re.search(r"^\|.*(\n\|.*)*", section, re.MULTILINE)
    assert first is not None, heading
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first[0].splitlines()]
    assert len(rows) > 2, heading
    assert all(len(row) == len(rows[0]) for row in rows), heading
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def numbers(cell: str) -> set[int]:
    """Of statuses such as 0x0000 and 0xB000-0xBFFF."""
    found: set[int] = set()
    for part in re.findall(r"0x[0-9A-F]{4}(?:-0x[0-9A-F]{4})?", cell):
        first, _, last = part.partition("-")
        found |= set(range(int(first, 16), int(last or first, 16) + 1))
    return found


# The conformance statement: network


def test_the_listener_accepts_the_sop_classes_of_the_list() -> None:
    rows = table(STATEMENT, "Storage SOP classes that the listener accepts")
    assert [row["UID"] for row in rows] == [str(context.abstract_syntax) for context in contexts.offered_storage()]
    assert [row["SOP class"] for row in rows] == [UID(row["UID"]).name for row in rows]
    assert {row["UID"] for row in rows if row["predicted from"] == "yes"} == set(contexts.MR_IMAGES)


def test_transfer_syntaxes_stand_in_the_order_of_preference() -> None:
    rows = table(STATEMENT, "Transfer syntaxes of storage")
    for context in (*contexts.offered_storage(), *contexts.offered_images()):
        assert [row["UID"] for row in rows] == [str(syntax) for syntax in context.transfer_syntax]
    assert [row["transfer syntax"] for row in rows] == [UID(row["UID"]).name for row in rows]


def test_what_is_proposed_is_as_stated() -> None:
    proposed = {
        "Verification": contexts.verification(),
        "Storage Commitment": contexts.storage_commitment(),
        "C-FIND": contexts.study_root_find(),
        "C-MOVE": contexts.study_root_move(),
        "C-GET": contexts.study_root_get(),
    }
    rows = table(STATEMENT, "Presentation contexts proposed")
    assert {row["service"] for row in rows} == set(proposed)
    for row in rows:
        context = proposed[row["service"]]
        assert row["SOP class"] == context.abstract_syntax
        assert row["transfer syntaxes"].split(", ") == [str(syntax) for syntax in context.transfer_syntax]


def test_every_rejection_is_listed_with_its_answer() -> None:
    rows = table(STATEMENT, "Association requests that are rejected")
    stated = {
        row["reason"].strip("`"): tuple(int(row[column]) for column in ("result", "source", "diagnostic"))
        for row in rows
    }
    assert stated == {why.name.lower(): why.answer for why in Rejection}


@pytest.mark.parametrize(
    ("heading", "kind"),
    [("Connections that do not become associations", TurnedAway), ("Excess on an association", Excess)],
)
def test_every_other_reason_of_the_listener_is_listed(heading: str, kind: Any) -> None:
    assert sorted(row["reason"].strip("`") for row in table(STATEMENT, heading)) == sorted(
        why.name.lower() for why in kind
    )


def names_used(module: str, *functions: str) -> set[str]:
    """Statuses that a module names, or that some of its functions do."""
    tree = ast.parse(text_of(REPOSITORY / "service" / "network" / module))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in functions]
    return {
        node.attr
        for root in nodes or [tree]
        for node in ast.walk(root)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "statuses"
    }


def test_the_statuses_that_are_sent_are_those_of_the_code() -> None:
    rows = table(STATEMENT, "Statuses that csf24 sends")
    stated = {row["name in the code"].strip("`"): int(row["status"], 16) for row in rows}
    used = names_used("storage_scp.py") | names_used("conversation.py")
    used |= names_used("commitment.py", "record", "answer_report") & set(stated)  # record() also logs failure reasons
    used |= {name for name in vars(statuses) if getattr(statuses, name) in _STATUSES.values()}
    assert set(stated) == used
    assert {name: getattr(statuses, name) for name in stated} == stated


def test_of_all_statuses_a_peer_may_answer_to_c_store_the_listed_ones_are_acceptance() -> None:
    accepted, other = table(STATEMENT, "Storage")
    assert numbers(accepted["statuses of C-STORE"]) == {status for status in range(1 << 16) if is_accepted(status)}
    assert other["taken for"] == "not accepted"


def test_the_statuses_of_queries_are_those_of_the_code() -> None:
    rows = table(STATEMENT, "Statuses of C-FIND, C-MOVE and C-GET")
    stated = {
        row["then"].partition(":")[0]: numbers(row["statuses"]) for row in rows if row["statuses"] != "all others"
    }
    assert stated["a match"] == set(statuses.PENDING)
    assert stated["the list is whole"] == stated["done"] == {statuses.SUCCESS}
    assert stated["failed"] == {statuses.MOVE_DESTINATION_UNKNOWN}


def keys_asked(module: str, function: str) -> list[str]:
    """Keywords of an identifier, in the order in which a function sets them."""
    tree = ast.parse(text_of(REPOSITORY / "service" / "network" / module))
    (body,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function]
    assigned = [target for node in ast.walk(body) if isinstance(node, ast.Assign) for target in node.targets]
    found = [target for target in assigned if isinstance(target, ast.Attribute)]
    return [node.attr for node in found if isinstance(node.value, ast.Name) and node.value.id == "keys"]


def keyword_of(cell: str) -> str:
    """Of an attribute that is written with its tag."""
    match = re.fullmatch(r"(.+) \(([0-9A-F]{4}),([0-9A-F]{4})\)", cell)
    assert match is not None, cell
    tag = int(match[2] + match[3], 16)
    assert dictionary_description(tag) == match[1]
    return keyword_for_tag(tag)


def test_queries_ask_with_the_keys_that_are_listed() -> None:
    confirming = [keyword_of(row["key"]) for row in table(STATEMENT, "Query: does the PACS keep the result")]
    assert confirming == keys_asked("query.py", "_keys")
    rows = table(STATEMENT, "Query: what has the PACS of this patient")
    for level, function in (("STUDY", "_studies"), ("SERIES", "_series")):
        stated = [keyword_of(row["key"]) for row in rows if row["level"] == level]
        assert sorted(["QueryRetrieveLevel", *stated]) == sorted(keys_asked("search.py", function))
    assert keys_asked("retrieve.py", "_keys") == ["QueryRetrieveLevel", "StudyInstanceUID", "SeriesInstanceUID"]


def test_it_names_the_implementation_as_the_code_does() -> None:
    stated = dict(re.findall(r"^\| (Implementation [^|]+) \| (\S+) \|$", text_of(STATEMENT), re.M))
    assert stated == {
        "Implementation Class UID, associations": stack.IMPLEMENTATION_CLASS_UID,
        "Implementation Version Name, associations": stack.IMPLEMENTATION_VERSION_NAME,
        "Implementation Class UID, files that csf24 makes": identity.IMPLEMENTATION_CLASS_UID,
        "Implementation Version Name, files that csf24 makes": identity.IMPLEMENTATION_VERSION_NAME,
    }


def test_defaults_are_those_of_the_configuration() -> None:
    known = keys(Config())
    for row in table(STATEMENT, "6. Configuration"):
        stated = tomllib.loads(f"value = {row['default'].strip('`')}")["value"]
        value = known[row["key"].strip("`")]
        assert stated == (list(value) if isinstance(value, tuple) else value), row["key"]


def test_the_keys_that_timeouts_rest_on_exist() -> None:
    known = {*keys(Config()), *(f"destinations.{name}" for name in Destination.model_fields)}
    for row in table(STATEMENT, "Timeouts"):
        assert set(spans(row["seconds"])) <= known


# The conformance statement: objects

FILLED = {
    "IssuerOfPatientID": "HOSPITAL",
    "PatientBirthTime": "0405",
    "PatientAge": "074Y",
    "PatientSize": "1.7",
    "PatientWeight": "70",
    "PatientIdentityRemoved": "NO",
    "DeidentificationMethod": "none",
    "StudyDescription": "Head",
    "InstitutionName": "Hospital",
    "TimezoneOffsetFromUTC": "+0200",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "Doctor",
    "PositionReferenceIndicator": "NASION",
    "ScanOptions": "PFP",
    "InversionTime": "900",
    "ImagedNucleus": "1H",
    "ImagingFrequency": "127.7",
    "NumberOfAverages": "1",
    "LossyImageCompression": "01",
    "LossyImageCompressionRatio": "8.5",
    "LossyImageCompressionMethod": "ISO_10918_1",
}
BARE = dict.fromkeys(
    (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
        *("AccessionNumber", "ReferringPhysicianName", "Manufacturer", "ScanningSequence", "SequenceVariant"),
        *("MRAcquisitionType", "RepetitionTime", "EchoTime", "FlipAngle", "EchoTrainLength", "SpecificCharacterSet"),
        *("SeriesNumber", "BodyPartExamined", "PositionReferenceIndicator", "SliceThickness", "PatientPosition"),
        *("MagneticFieldStrength", "ScanOptions"),
    )
)
EVERYTHING = OutputSelection(
    mr_image=True, parametric_map=True, structured_report="comprehensive", encapsulated_pdf=True
)
GROUPS = {
    "Secondary Capture": ("Every object", "Predicted images", "Secondary Capture", "Rescale of Secondary Captures"),
    "MR Image": ("Every object", "Predicted images", "MR Image"),
    "Parametric Map": ("Every object", "Parametric Map"),
    "Structured Report": ("Every object", "Structured Report"),
    "Encapsulated PDF": ("Every object", "Encapsulated PDF"),
    "Refusal notice": ("Every object", "Secondary Capture", "Refusal notice"),
}
MODALITIES = {
    **{"Secondary Capture": "OT", "MR Image": "MR", "Parametric Map": "OT", "Structured Report": "SR"},
    "Encapsulated PDF": "DOC",
}


def issuer() -> list[Dataset]:
    item = Dataset()
    item.UniversalEntityID, item.UniversalEntityIDType = "1.2.3", "ISO"
    return [item]


def cases() -> list[tuple[Any, Any]]:
    """Pairs of series with their predictions: full headers and bare ones, one study and two, two kinds of model."""
    sequences = {"IssuerOfPatientIDQualifiersSequence": issuer(), "IssuerOfAccessionNumberSequence": issuer()}
    full = source_pair(**FILLED, **sequences)
    bare = (source_series(**BARE), source_series(**BARE, series=7))
    plain = source_pair()
    halves = head_sized_volume()
    halves = halves.with_array(halves.array / 2)
    narrow = tuple(replace(series, window=(0.5, 0.5)) for series in source_pair(halves, rescale=(0.5, 0.0)))
    several = (enhanced_source_series(), enhanced_source_series(study=2, series=7))
    volumes = [(pair, restored_for(pair[0])) for pair in (full, bare, plain, narrow, several)]
    return [*volumes, (plain, slice_pair_for(plain[0]))]


def kind_of(made: Dataset) -> str:
    if "SR Storage" in made.SOPClassUID.name:
        return "Structured Report"
    return made.SOPClassUID.name.removesuffix(" Storage").removesuffix(
        " Image" * ("Secondary" in made.SOPClassUID.name)
    )


@pytest.fixture(scope="module")
def objects() -> dict[str, list[Dataset]]:
    """Of each kind some, as different as they can be."""
    found: dict[str, list[Dataset]] = {kind: [] for kind in GROUPS}
    for (baseline, delayed), restored in cases():
        for facts in (derivation_facts(), derivation_facts(model=replace(MODEL, simulated_training=True), warnings=())):
            for outputs in (EVERYTHING, replace(EVERYTHING, structured_report="basic-text", mr_image=False)):
                for made in derive_prediction(
                    baseline,
                    delayed,
                    restored,
                    facts,
                    outputs,
                    fat_baseline=FAT,
                    reflux=REFLUX,
                    quality=QUALITY,
                    page=PAGE,
                ):
                    found[kind_of(made)].append(made)
            planes = [(p.sop_class_uid, p.sop_instance_uid) for p in baseline.planes]
            for instances in (planes, []):
                found["Refusal notice"] += derive_refusal(
                    baseline.template,
                    [Reason(code="NO_TRACER", message="None.")],
                    facts,
                    source_series_uids=("1.2.3", "1.2.4"),
                    source_instances=instances,
                    picture=None,
                )
    return found


@pytest.mark.parametrize("kind", GROUPS)
def test_the_attributes_of_an_object_are_those_of_its_tables(kind: str, objects: dict[str, list[Dataset]]) -> None:
    made = objects[kind]
    stated: dict[str, Row] = {}
    for row in [row for heading in GROUPS[kind] for row in table(STATEMENT, heading)]:
        tag = int(row["tag"].strip("()").replace(",", ""), 16)
        assert row["attribute"] == dictionary_description(tag)
        assert keyword_for_tag(tag) not in stated, row["attribute"]
        stated[keyword_for_tag(tag)] = row
    assert {element.keyword for dataset in made for element in dataset} == set(stated)
    for keyword, row in stated.items():
        present = [keyword in dataset for dataset in made]
        filled = [not dataset[keyword].is_empty for dataset in made if keyword in dataset]
        shown = (kind, keyword, row["presence"], sum(present), sum(filled), len(made))
        match row["presence"]:
            case "ALWAYS":
                assert all(present) and all(filled), shown
            case "VNAP":
                assert all(present) and not all(filled) and any(filled), shown
            case "ANAP":
                assert any(present) and not all(present), shown
            case presence:
                assert (presence, all(present), any(filled)) == ("EMPTY", True, False), shown
        if re.fullmatch(r"`[^`]+`", row["value"]):
            values = {
                "\\".join(map(str, v)) if not isinstance(v := dataset[keyword].value, str | int) else str(v)
                for dataset in made
                if keyword in dataset
            }
            assert values == {row["value"].strip("`")}, shown


def test_objects_have_no_private_attributes_and_the_modality_that_is_stated(objects: dict[str, list[Dataset]]) -> None:
    for kind, made in objects.items():
        for dataset in made:
            assert [element.tag for element in dataset.iterall() if element.tag.is_private] == []
            assert dataset.Modality == MODALITIES.get(kind, "OT")
            assert not any(dataset.get(f"Acquisition{part}") for part in ("Date", "Time", "DateTime"))
            assert dataset.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"


def test_the_codes_are_those_of_the_code() -> None:
    known = [value for module in (coding, structured_report) for value in vars(module).values()]
    known += [structured_report._grade_code(grade) for grade in ("0", "3", "4", "indeterminate", "not gradable")]
    rows = table(STATEMENT, "Coded values")
    assert {(row["code"], row["scheme"], row["meaning"]) for row in rows} == {
        (code.value, code.scheme_designator, code.meaning) for code in known if isinstance(code, Code)
    }


# Tests, modules and codes that the papers name


def named(path: Path, pattern: str) -> list[re.Match[str]]:
    return [match for span in spans(text_of(path)) if (match := re.fullmatch(pattern, span))]


def of_errors() -> set[str]:
    """Codes that red cases have by the class of their error."""
    kinds = [*PermanentError.__subclasses__(), *RetryableError.__subclasses__(), PermanentError]
    never = (ConfigError, UsageError, InputRefused)  # end before there is a case, or bring codes of their own
    general = [kind for kind in kinds if kind.__module__ == "service.errors" and kind not in never]
    return {_reason(kind.__new__(kind)).code for kind in general}


@cache
def known_codes() -> frozenset[str]:
    return frozenset(codes_in_the_code() | of_errors())


@pytest.mark.parametrize("path", [SECURITY, RISKS, OPERATIONS, INTENDED_USE], ids=lambda path: path.stem)
def test_every_file_test_and_code_that_a_paper_names_exists(path: Path) -> None:
    known = known_codes()
    for match in named(path, r"(tests|service|training|deploy)/[\w./-]+"):
        assert (REPOSITORY / match[0]).is_file(), match[0]
    for match in named(path, r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+"):
        assert match[0] in known, match[0]
    rows = re.split(r"\n(?!  )", text_of(path))  # of tables; an item of a list with its further lines
    for row in (row for row in rows if "tests/" in row):
        files = [span for span in spans(row) if span.startswith("tests/")]
        texts = "".join(text_of(REPOSITORY / file) for file in files)
        for span in spans(row):
            if span.startswith("test_"):
                assert f"def {span}(" in texts, span


def test_every_threat_has_what_proves_its_cover_or_says_that_there_is_none() -> None:
    rows = table(SECURITY, "Threats")
    assert {row[""] for row in rows} == set("STRIDE")
    for row in rows:
        assert row["proved by"] or row["left"], row["threat"]
        assert not row["proved by"] or all(span.startswith("test") for span in spans(row["proved by"]))


SURELY = (
    *("wrong patient", "wrong time point", "swapped order", "mirrored head", "misregistered head"),
    *("tracer that is not there", "tracer that is missing", "mistaken for an acquired image"),
    *("input outside the training data", "baseline enhanced", "motion, noise, ghosts", "scale error", "lost case"),
    *("duplicated case", "silent CPU fallback", "stale, altered or wrong model", "misread reflux grade", "data leak"),
)


def controls_of_risks() -> list[Row]:
    """Of each section its items by their label, with id and hazard."""
    sections = re.findall(r"^### (R\d\d) (.+)\n\n((?:[- ] .+\n)+)", text_of(RISKS), re.MULTILINE)
    return [
        {"id": number, "hazard": hazard, **dict(re.findall(r"^- ([\w ]+): ((?:.|\n  )+)$", items, re.MULTILINE))}
        for number, hazard, items in sections
    ]


def test_every_risk_has_a_control_that_names_module_and_test() -> None:
    risks, controls = table(RISKS, "Risks before control"), controls_of_risks()
    assert (
        [row["id"] for row in risks] == [row["id"] for row in controls] == [f"R{n + 1:02}" for n in range(len(risks))]
    )
    assert set(SURELY) <= {row["hazard"] for row in risks}
    for before, after in zip(risks, controls, strict=True):
        assert before["hazard"] == after["hazard"]
        severity, probability = before["severity"], before["probability"]
        assert severity in set("1234") and probability in set("ABCD"), before
        residual = re.match(rf"{severity}([ABCD]) after {severity}{probability}; \S", after["Residual"])
        assert residual is not None and residual[1] <= probability, before["id"]
        assert after["Control"]
        assert [span for span in spans(after["Module"]) if span.startswith("service/")], before["id"]
        assert [span for span in spans(after["Verified by"]) if span.startswith("tests/")], before["id"]
        assert set(spans(after.get("Code", ""))) <= known_codes(), before["id"]


def test_the_estimate_is_called_an_estimate() -> None:
    assert "first estimate" in text_of(RISKS)[:600]


# Operations


def test_the_codes_of_red_cases_are_those_of_the_errors() -> None:
    text = text_of(OPERATIONS).partition("Red cases carry")[2].partition("\n## ")[0]
    assert {span for span in spans(text) if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", span)} == of_errors()


def test_every_alert_has_its_first_look() -> None:
    rules = set(re.findall(r"alert: (\w+)", text_of(REPOSITORY / "deploy" / "csf24.alerts.yml")))
    assert {span for span in spans(text_of(OPERATIONS)) if span.startswith("Csf24")} == rules


def run_shell(lines: str, folder: Path) -> None:
    done = subprocess.run(["sh", "-euc", lines], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_backup_comes_back_as_it_was_with_the_commands_as_written(tmp_path: Path) -> None:
    shell = "\n".join(blocks(OPERATIONS, "sh"))
    backup, restore = re.findall(r"^tar .+$", shell, re.MULTILINE)
    for folder in ("backup", "lib/csf24/spool"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "lib/csf24/spool/one.dcm").write_bytes(b"image")
    (tmp_path / "lib/csf24/spool/one.dcm").chmod(0o640)
    for line in (backup, "mv lib/csf24 lib/csf24.lost", restore):
        run_shell(line.replace("/backup/", f"{tmp_path}/backup/").replace("/var/lib", f"{tmp_path}/lib"), tmp_path)
    restored = tmp_path / "lib/csf24/spool/one.dcm"
    assert (restored.read_bytes(), restored.stat().st_mode & 0o777) == (b"image", 0o640)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_request_for_a_certificate_names_the_machine_and_its_key_is_nobody_else_s(tmp_path: Path) -> None:
    (lines,) = [block for block in blocks(OPERATIONS, "sh") if "openssl req" in block]
    run_shell(lines, tmp_path)
    shown = subprocess.run(
        ["openssl", "req", "-in", "csf24.csr", "-noout", "-text", "-verify"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "DNS:csf24.hospital.example" in shown.stdout
    assert (tmp_path / "csf24.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("path", [STATEMENT, SECURITY, RISKS, OPERATIONS, INTENDED_USE], ids=lambda path: path.stem)
def test_every_paper_says_which_version_it_is_of_and_what_it_is_not_for(path: Path) -> None:
    start = re.sub(r"\s+", " ", text_of(path))[:400]
    assert "Research use, not for diagnosis" in start
    assert path == OPERATIONS or f"csf24 {__version__}" in start


def test_the_intended_use_is_one_page_and_says_what_the_models_say() -> None:
    text = text_of(INTENDED_USE)
    assert len(text.splitlines()) < 60
    for card in (REPOSITORY / "onnx_models").glob("*/MODEL_CARD.md"):
        assert f"../onnx_models/{card.parent.name}/MODEL_CARD.md" in text
        assert "they are not clinical evidence" in re.sub(r"\s+", " ", text_of(card))
    assert "they are not clinical evidence" in re.sub(r"\s+", " ", text)
