"""Licences of what an installation brings along, as the packages state them."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[3]
_COPYLEFT = re.compile(r"\b(?:A|L)?GPL|General Public License|\bMPL\b|Mozilla Public|\bEUPL\b|\bSSPL\b", re.IGNORECASE)


def shipped() -> set[str]:
    """Every package that ``csf24[cpu]`` brings along, itself not counted."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["cpu"])]
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        for text in requires(name) or ():
            further = Requirement(text)
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                waiting.append(further)
    return found


def licence(name: str) -> str:
    stated = metadata(name)
    classifiers = [text for text in stated.get_all("Classifier", []) if text.startswith("License ::")]
    return " ".join([stated.get("License-Expression", ""), stated.get("License", "")[:200], *classifiers])


def test_the_manual_names_every_package_that_asks_something_of_who_passes_the_image_on() -> None:
    asking = {name for name in shipped() if _COPYLEFT.search(licence(name))}
    manual = (REPOSITORY / "deploy" / "README.md").read_text().partition("\n## Licences\n")[2].partition("\n## ")[0]
    named = {canonicalize_name(name) for name in re.findall(r"`([a-z0-9-]+)`", manual)} & shipped()
    assert asking == named


def test_every_package_states_a_licence() -> None:
    assert [name for name in shipped() if not licence(name).strip()] == []


def test_what_is_shipped_is_followed_to_its_ends() -> None:
    found = shipped()
    assert {"numpy", "simpleitk", "onnxruntime", "psycopg", "psycopg-binary", "greenlet", "pycparser"} <= found
    assert not {"torch", "scipy", "pytest"} & found
    for name in found:
        try:
            metadata(name)
        except PackageNotFoundError:
            raise AssertionError(f"{name} is not installed, so its licence cannot be looked at") from None
