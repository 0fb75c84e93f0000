"""The documents say what the code does: commands, keys, codes, links and figures are held against it."""

from __future__ import annotations

import ast
import json
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

import service.cli
import training.cli
from service.config import Config, Destination
from service.config.rules import problems_between_keys
from service.dicom.selection import _FAULTS
from service.imaging.quality_limits import LIMITS

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
EXAMPLE = REPOSITORY / "deploy" / "csf24.example.toml"
UNIT = REPOSITORY / "deploy" / "csf24.service"
DOCUMENTS = [
    README,
    REPOSITORY / "CHANGELOG.md",
    *sorted(path for path in (REPOSITORY / "deploy").rglob("*") if path.is_file()),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "onnx_models").glob("*/MODEL_CARD.md")),
]
UsageError = typer.BadParameter.__mro__[1]  # typer brings a click of its own, whose names are private
PROGRAMS = {"csf24": service.cli.app, "csf24-training": training.cli.app}
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)  # indented within a list
_SPAN = re.compile(r"`([^`\n]+)`")
_CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    """Fenced blocks of a Markdown document."""
    return [textwrap.dedent(body) for _, kind, body in _FENCE.findall(text_of(path)) if kind == language]


def spans(text: str) -> list[str]:
    """Code in running text and tables."""
    return _SPAN.findall(_FENCE.sub("", text))


# Commands


def commands(path: Path) -> Iterator[list[str]]:
    """Every csf24 command line that a document spells out, program first, as the shell reads it."""
    lines = [span for span in spans(text_of(path)) if _is_more_than_a_name(span)]
    for language in ("sh", ""):
        for block in blocks(path, language):
            lines += block.replace("\\\n", " ").splitlines()
    lines += [line.removeprefix("ExecStart=") for line in text_of(path).splitlines() if line.startswith("ExecStart=")]
    for line in lines:
        words = shlex.split(line, comments=True)
        for place, word in enumerate(words):
            if Path(word).name in PROGRAMS and (place == 0 or words[place - 1] == "--"):
                yield [Path(word).name, *words[place + 1 :]]
                break


def _is_more_than_a_name(span: str) -> bool:
    """``csf24 convert`` in running text names a command; it is none that anybody types."""
    program, *words = span.split()
    return program in PROGRAMS and any(not re.fullmatch(r"[a-z][a-z-]*", word) for word in words)


def names(path: Path) -> Iterator[list[str]]:
    """Commands that running text only names."""
    for span in spans(text_of(path)):
        if span.split()[0] in PROGRAMS and not _is_more_than_a_name(span):
            yield span.split()


def resolve(words: list[str]) -> tuple[Any, Any, str, list[str]]:
    """The command that a command line means, the context around it, its name, and its arguments.

    Raises
    ------
    UsageError
        There is no such command.
    """
    program, *rest = words
    parser: Any = typer.main.get_command(PROGRAMS[program])
    context, name = None, program
    while hasattr(parser, "commands") and rest:
        context = parser.make_context(name, [rest[0]], parent=context)
        name, parser, rest = parser.resolve_command(context, rest)
    return parser, context, name, rest


def parse(words: list[str]) -> None:
    """As the program itself would.

    Raises
    ------
    UsageError
        There is no such command or option, an argument is missing, or a value is not of its kind.
    """
    parser, context, name, rest = resolve([word for word in words if word != "--help"])
    if not hasattr(parser, "commands"):  # else it is the program alone, or a group of commands
        parser.make_context(name, rest, parent=context)


@every_document
def test_every_command_is_one_that_the_command_line_takes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in commands(path):
        for word in words[1:]:
            if not word.startswith(("-", "/")):
                Path(word).mkdir(parents=True, exist_ok=True)  # some options want what they name to be there
        parse(words)
    for words in names(path):
        resolve(words)


def test_the_documents_have_the_commands_that_a_newcomer_needs() -> None:
    found = {" ".join(words[:2]) for path in DOCUMENTS for words in (*commands(path), *names(path))}
    assert {f"csf24 {name}" for name in ("serve", "convert", "demo", "doctor", "cases", "models")} <= found
    assert {
        f"csf24-training {name}" for name in ("simulate", "prepare", "fit", "evaluate", "export", "reader-study")
    } <= found
    assert ["csf24", "serve", "--config", "/etc/csf24/csf24.toml"] in list(commands(UNIT))


@pytest.mark.parametrize("line", ["csf24 convrt x", "csf24 cases show", "csf24 demo --output x", "csf24 cases lst"])
def test_a_command_that_does_not_exist_would_be_found(line: str) -> None:
    with pytest.raises(UsageError):
        parse(shlex.split(line))


def test_make_has_the_targets_that_the_documents_name() -> None:
    makefile = text_of(REPOSITORY / "Makefile")
    named = {span.split()[1] for path in DOCUMENTS for span in spans(text_of(path)) if span.startswith("make ")}
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


# Configuration


def keys(section: Any, prefix: str = "") -> dict[str, Any]:
    """Every key with its value, by the names that the file uses."""
    found: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), prefix + (field.alias or name)
        found |= keys(value, f"{key}.") if isinstance(value, BaseModel) else {key: value}
    return found


def written(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every key of a TOML document."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= written(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def test_the_example_file_has_every_key_with_its_default() -> None:
    values = tomllib.loads(text_of(EXAMPLE))
    assert set(written(values)) == set(keys(Config())) - {"destinations"}
    assert Config(**values) == Config()


def test_the_example_s_destination_has_every_key_with_its_default() -> None:
    block = re.search(r"^# \[\[destinations\]\]\n(# \w.*\n)+", text_of(EXAMPLE), re.MULTILINE)
    assert block is not None
    (values,) = tomllib.loads(re.sub(r"^# ", "", block[0], flags=re.MULTILINE))["destinations"]
    assert set(values) == set(Destination.model_fields)
    needed = {name: values[name] for name, field in Destination.model_fields.items() if field.is_required()}
    assert Destination(**values) == Destination(**needed)


def test_every_line_of_the_example_with_a_key_says_what_it_is() -> None:
    lines = text_of(EXAMPLE).splitlines()
    bare = [line for line in lines if re.match(r'[\w"]', line) and "#" not in line]
    explained_above = ("port", "require", "_tolerance", '"', "baseline", "enabled", "host", "received", "results")
    assert [line for line in bare if not any(part in line.split("=")[0] for part in explained_above)] == []


@every_document
def test_every_configuration_in_a_document_can_be_used(path: Path) -> None:
    for block in blocks(path, "toml"):
        config = Config(**tomllib.loads(block))
        # Files and folders are the reader's.
        faults = [text for where, text in problems_between_keys(config) if where[0] != ("storage", "directory")]
        assert [text for text in faults if ", not there; accepted: a readable file" not in text] == []


@every_document
def test_every_key_that_a_document_names_exists(path: Path) -> None:
    known = set(keys(Config())) | {f"destinations.{name}" for name in Destination.model_fields}
    known |= {"pairing.windows"}
    variables = {f"CSF24_{key.replace('.', '__').upper()}" for key in known} | {"CSF24_SECTION__KEY"}
    for span in spans(text_of(path)):
        key = span.split(" = ")[0]
        if re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", key) and key.partition(".")[0] in Config.model_fields:
            assert key in known, key
    for variable in re.findall(r"\bCSF24_[A-Z_]+", text_of(path)):
        assert variable in variables, variable


# Codes


def codes_in_the_code() -> set[str]:
    """Every code a case can carry: of `Reason`, of functions that take one as `code`, of the tables of limits.

    What `service.dicom.selection._other` says is wrapped into NOT_A_T1_HEAD_SERIES and never shown as a code.
    """
    trees = [ast.parse(text_of(path)) for path in sorted((REPOSITORY / "service").rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    takes: dict[str, set[int]] = {}
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and node.name != "_other":
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
            if "code" in names:
                takes.setdefault(node.name, set()).add(names.index("code"))
    found = {*LIMITS, *_FAULTS}
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        given = [keyword.value for keyword in node.keywords if keyword.arg == "code" and called != "SequenceLimit"]
        given += [node.args[place] for place in takes.get(called, ()) if place < len(node.args)]
        values = [value.value for value in given if isinstance(value, ast.Constant)]
        found |= {str(value) for value in values if _CODE.fullmatch(str(value))}
    return found


def section(heading: str) -> str:
    """Of the README, without its heading."""
    return text_of(README).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_readme_s_table_has_every_code_and_no_other() -> None:
    table = [line for line in section("When it refuses").splitlines() if line.startswith("| `")]
    listed = [span for line in table for span in spans(line.split("|")[1])]
    assert len(listed) == len(set(listed))
    elsewhere = set(spans(section("Status page")))
    assert {code for code in listed if not _CODE.fullmatch(code)} == set()
    in_code = codes_in_the_code()
    assert set(listed) - in_code == set()
    assert in_code - set(listed) - elsewhere == set()
    assert {code for code, limit in LIMITS.items() if limit.action == "REJECT"} <= set(listed)


def test_warnings_are_not_listed_as_refusals() -> None:
    refusals, _, warnings = section("When it refuses").partition("**Warnings")
    for code, limit in LIMITS.items():
        assert (f"`{code}`" in warnings) == (limit.action == "WARN"), code
        assert (f"`{code}`" in refusals) == (limit.action == "REJECT"), code


# Figures, links, words


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("onnx_models/*/manifest.json")), ids=lambda p: p.parent.name)
def test_the_readme_says_what_the_shipped_models_were_trained_on(path: Path) -> None:
    manifest = json.loads(text_of(path))
    facts, figures = manifest["training"], manifest["metrics"]
    said = re.sub(r"\s+", " ", section("What it cannot do"))
    assert manifest["simulated_training"]
    assert (
        f"fitted on {facts['train_patients']} simulated patients, {facts['train_patients_bent']} of them bent from one "
        f"real head, and tested on {figures['patients']} simulated ones"
    ) in said


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_document
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(path) if path.suffix == ".md" else ""):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.is_file(), target
        assert found.is_relative_to(REPOSITORY), target
        assert not anchor or anchor in anchors(found), target


def test_the_readme_is_short_and_its_pictures_are_small() -> None:
    for path in (REPOSITORY / "docs").glob("*.png"):
        picture = path.read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 400_000
    assert len(text_of(README).splitlines()) <= 330


FORBIDDEN = {
    "a place on somebody's machine": r"(?<![\w.])/(?:work|root|home|tmp)/|\.\./shared|\blocalhost:\d",
    "a package registry": r"pythonhosted|pypi\.|index-url|conda\.|registry\.",
    "something left undone": r"\b(?:TODO|FIXME|XXX|TBD)\b|@[A-Z]+@",
    "advertising": r"state.of.the.art|cutting.edge|revolutioni|seamless|powerful|blazing|world.class|effortless",
    "a claim of clinical use": r"\bclinically (?:validated|proven)|\bFDA\b|\bCE[- ]mark|for clinical use",
}


@every_document
@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_document_holds_what_does_not_belong_there(path: Path, what: str) -> None:
    assert re.findall(FORBIDDEN[what], text_of(path), re.IGNORECASE if what != "something left undone" else 0) == []


@pytest.mark.parametrize("path", [README, UNIT.with_name("README.md")], ids=["README", "deploy"])
def test_both_manuals_say_what_the_predictions_are_not(path: Path) -> None:
    assert re.search(r"research use, not for\s+diagnosis", text_of(path)[:1000], re.IGNORECASE)
