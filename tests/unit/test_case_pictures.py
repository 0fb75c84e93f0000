"""Few volumes in memory, however many are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.case_pictures import BoundedCache, CasePictures
from service.imaging.volume import Grid, Volume
from service.monitoring.snapshot import SectionRequest
from service.pictures.browsing import encode_browsing
from service.pictures.preview import PreviewSource


@pytest.fixture(scope="module")
def packed() -> bytes:
    grid = Grid.axis_aligned((20, 30, 40), 1.0, (0.0, 0.0, 0.0))
    volume = Volume(np.random.default_rng(0).random(grid.shape, dtype=np.float32), grid)
    source = PreviewSource(baseline=volume, delayed=volume, transform=None, centre=grid.centre)
    return encode_browsing(source, simulated_patient=True, simulated_training=True)


def result(root: Path, name: str, packed: bytes) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "browse.zip").write_bytes(packed)
    return folder


def ask(view: str = "baseline", plane: str = "axial", index: int = 3) -> SectionRequest:
    return SectionRequest(view=view, plane=plane, index=index)


def test_sections_of_many_cases_stay_within_the_bound(tmp_path: Path, packed: bytes) -> None:
    pictures = CasePictures(volume_bytes=50_000, picture_bytes=20_000)  # two volumes; a few pictures

    for number in range(6):
        folder = result(tmp_path, str(number), packed)
        for index in range(8):
            assert pictures.section(folder, ask("checkerboard", index=index)).startswith(b"\x89PNG")  # type: ignore[union-attr]
    assert pictures._volumes.bytes <= 50_000
    assert pictures._pictures.bytes <= 20_000


def test_a_picture_is_drawn_once(tmp_path: Path, packed: bytes) -> None:
    folder, pictures = result(tmp_path, "r1", packed), CasePictures()
    first = pictures.section(folder, ask())
    (folder / "browse.zip").unlink()

    assert pictures.section(folder, ask()) is first


@pytest.mark.parametrize(
    "request_",
    [ask("predicted"), ask("nothing"), ask(plane="oblique"), ask(index=20), ask(index=-1), ask("edges", index=99)],
)
def test_what_is_not_there_is_none(tmp_path: Path, packed: bytes, request_: SectionRequest) -> None:
    pictures = CasePictures()

    assert pictures.section(result(tmp_path, "r1", packed), request_) is None
    assert pictures.section(tmp_path / "removed by retention", ask()) is None


def test_the_cache_forgets_what_was_asked_for_longest_ago() -> None:
    made: list[str] = []

    def make(name: str) -> bytes:
        made.append(name)
        return b"four"

    cache: BoundedCache[bytes] = BoundedCache(8, len)
    for name in ("a", "b", "a", "c", "a", "b"):
        cache.get(name, lambda name=name: make(name))  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]
    assert cache.bytes == 8


def test_what_cannot_be_made_is_asked_for_again() -> None:
    cache: BoundedCache[bytes] = BoundedCache(8, len)

    assert cache.get("x", lambda: None) is None
    assert cache.get("x", lambda: b"y") == b"y"
