"""The commands that the documents give for sending a folder do send it, whatever else lies there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from tests.builders import dcmtk
from tests.builders.network import Inbox, write_series
from tests.builders.programs import needs
from tests.builders.service_process import REPOSITORY

DOCUMENTS = ("README.md", "deploy/README.md", "docs/operations.md")
_COMMAND = re.compile(r"^ *(dcmsend .+?)(?: *#.*)?$", re.MULTILINE)


def command_of(document: str) -> list[str]:
    """The document's one command that sends a folder, as the shell reads it."""
    (found,) = _COMMAND.findall((REPOSITORY / document).read_text(encoding="utf-8"))
    return shlex.split(found)


@needs("dcmsend")
@pytest.mark.needs_dcmtk
@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_folder_of_compressed_images_and_a_readme_is_sent_whole(listen, tmp_path: Path, document: str) -> None:
    folder = tmp_path / "FOLDER"
    for number, syntax in enumerate((JPEGLSLossless, JPEG2000Lossless, RLELossless)):
        (folder / f"{number}").mkdir(parents=True)
        write_series(folder / f"{number}", 2, transfer_syntax=syntax)
    (folder / "README.md").write_text("# What lies here\n")
    inbox = Inbox()
    given = {"csf24.hospital.example": "127.0.0.1", "11112": str(listen(receive=inbox).port), "FOLDER": str(folder)}
    program, *words = command_of(document)
    sent = dcmtk.run(program, *(given.get(word, word) for word in words))
    assert sent.status == 0, sent.text
    assert len(inbox.instances) == 6
