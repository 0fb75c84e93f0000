"""Cornerstone3D, the viewer inside OHIF, in Chromium: installed once into build/, served from this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "tests" / "integration" / "viewer"
INSTALLED = REPOSITORY / "build" / "viewer"
_WORKER = "node_modules/@cornerstonejs/dicom-image-loader/dist/esm/decodeImageFrameWorker.js"
_QUIET = (
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--no-package-lock",
    "--fetch-retries=0",
    "--fetch-timeout=20000",
)


def viewer() -> Path:
    """Folder with page.html and the bundled viewer; skips where Node.js is not there, or its packages are not."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm (Debian: apt-get install nodejs npm)")
    problem = _install()
    if problem:
        pytest.skip(f"Cornerstone3D cannot be installed here: {problem}")
    for name in ("page.js", "page.html"):
        shutil.copy(SOURCE / name, INSTALLED)
    built = _run(
        "node_modules/.bin/esbuild", "page.js", f"decodeImageFrameWorker={_WORKER}",  # a worker is a file of its own
        "--bundle", "--format=esm", "--outdir=site", "--external:fs", "--external:path", "--log-level=error",
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    shutil.copy(SOURCE / "page.html", INSTALLED / "site")
    _place_decoders(INSTALLED / "site")
    return INSTALLED / "site"


@cache
def _install() -> str:
    """Once, by whichever run is the first; why it could not, or nothing."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    wanted = (SOURCE / "package.json").read_text()
    stamp = INSTALLED / ".installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        (INSTALLED / "package.json").write_text(wanted)
        done = _run("npm", "install", *_QUIET)
        if done.returncode != 0:
            return " ".join(done.stderr.splitlines()[:3])
        stamp.write_text(wanted)
    return ""


def _place_decoders(site: Path) -> None:
    """Where the loader asks for them: by the name that a bundler would have resolved."""
    for package in (INSTALLED / "node_modules/@cornerstonejs").glob("codec-*"):
        exported = json.loads((package / "package.json").read_text())["exports"]
        for name in ("wasm", "decodewasm"):
            if f"./{name}" in exported:
                place = site / "@cornerstonejs" / package.name / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(package / exported[f"./{name}"], place)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=INSTALLED, capture_output=True, text=True, check=False, timeout=240)


class _Quiet(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".dcm": "application/dicom"}  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """URL of the folder's files on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
