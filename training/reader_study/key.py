"""The key of a study: which item is whose image, and of which kind. It must not reach a reader."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.errors import UsageError
from training.reader_study.allocation import Presentation

_FORMAT = "csf24 reader study key 1"

REAL = "real"
REAL_AGAIN = "real again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """All that is kept from the readers.

    Attributes
    ----------
    study
        A random name that is also on every form, so that a form finds its key.
    versions
        In order: `REAL`, the models, and `REAL_AGAIN` where there is one.
    grades
        That the form offers.
    models
        Version -> name, version, sha256, simulated_training.
    left_out
        Patient -> reasons, for those who are in no pack.
    """

    study: str
    seed: int
    simulated: bool
    readers: int
    grades: tuple[int, ...]
    versions: tuple[str, ...]
    models: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, tuple[str, ...]]
    warnings: Mapping[str, tuple[str, ...]]
    items: tuple[Presentation, ...]

    @property
    def predictions(self) -> tuple[str, ...]:
        """The versions that models made."""
        return tuple(version for version in self.versions if version not in (REAL, REAL_AGAIN))

    @property
    def patients(self) -> tuple[str, ...]:
        """Everybody who is in the packs, by name."""
        return tuple(sorted({item.patient for item in self.items}))


def write_key(key: Key, path: Path) -> None:
    """As JSON that only its owner may read.

    Raises
    ------
    UsageError
        There is a file already: the key of another study, without which its ratings are lost.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists; it may be the key of another study. Give another --key") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"format": _FORMAT, **asdict(key)}, file, indent=1)
        file.write("\n")


def read_key(path: Path) -> Key:
    """Read back what `write_key` wrote.

    Raises
    ------
    UsageError
        It is no such file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("format") != _FORMAT:
            raise ValueError("another format")
        items = tuple(Presentation(**item) for item in document.pop("items"))
        for name in ("grades", "versions"):
            document[name] = tuple(document[name])
        return Key(items=items, **document)
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not the key of a reader study ({type(error).__name__}: {error})") from error
