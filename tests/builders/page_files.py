"""What a status page beyond loopback needs: certificate, key, and a user."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from service.monitoring.role import Role
from service.monitoring.users_file import set_user
from tests.builders.programs import required

_SELF_SIGNED = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=csf24")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFiles:
    """In one folder."""

    certificate: Path
    key: Path
    users: Path


def make_page_files(folder: Path) -> PageFiles:
    made = PageFiles(certificate=folder / "page.pem", key=folder / "page.key", users=folder / "users")
    subprocess.run(
        [required("openssl"), *_SELF_SIGNED, "-keyout", str(made.key), "-out", str(made.certificate)],
        check=True,
        capture_output=True,
    )
    set_user(made.users, "admin", Role.ACT, "correct horse")
    return made
