"""The volumes that a case page leafs through, and their sections."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from service.pictures.browsing import LARGEST_ERROR, encode_browsing, read_contents, read_layer
from service.pictures.preview import INCREASE_FULL_SCALE, PreviewSource
from service.pictures.sections import count_of, layer_png, middle_of, overlay_png, picture_size

FAT = 100.0
CENTRE = np.array([5.0, -4.0, 3.0])
SHIFT = np.array([7.0, -3.0, 2.0])


def _ramp(grid: Grid) -> np.ndarray:
    """Rises by 0.5 from right to left, 0.25 to the back, 1 upwards, so that every direction tells itself."""
    nk, nj, ni = grid.shape
    k, j, i = np.indices(grid.shape)
    x, y, z = grid.to_world(np.stack([i, j, k], axis=-1).reshape(-1, 3)).T.reshape(3, nk, nj, ni)
    return (200 + 0.5 * x + 0.25 * y + z).astype(np.float32)


@pytest.fixture(scope="module")
def source() -> PreviewSource:
    grid = Grid.axis_aligned((30, 40, 50), 2.0, CENTRE)
    moved = Grid(grid.shape, grid.affine + np.pad(SHIFT[:, None], ((0, 1), (3, 0))))
    baseline = Volume(_ramp(grid), grid)
    increase = Volume(np.full(grid.shape, 0.4 * FAT, dtype=np.float32), grid)
    return PreviewSource(
        baseline=baseline,
        delayed=Volume(baseline.array, moved),
        transform=RigidTransform.from_euler((0, 0, 0), SHIFT),
        centre=CENTRE,
        fat_baseline=FAT,
        fat_delayed=FAT,
        predicted=(Volume(baseline.array + increase.array, grid),),
        increase=(increase,),
        lower=(increase.with_array(increase.array * np.float32(0.5)),),
        upper=(increase.with_array(increase.array * np.float32(1.5)),),
    )


def _written(source: PreviewSource, tmp_path: Path, **labels: bool) -> Path:
    path = tmp_path / "browse.zip"
    given = {"simulated_patient": False, "simulated_training": True, **labels}
    path.write_bytes(encode_browsing(source, **given))
    return path


def test_every_layer_lies_on_one_level_grid_of_a_millimetre(source: PreviewSource, tmp_path: Path) -> None:
    contents = read_contents(_written(source, tmp_path))

    assert contents is not None
    assert contents.layers == ("baseline", "delayed", "predicted", "increase", "uncertainty")
    assert contents.shape == (59, 79, 99)
    assert [middle_of(plane, contents) for plane in ("sagittal", "axial", "coronal")] == [49, 29, 39]
    assert [count_of(plane, contents) for plane in ("sagittal", "axial", "coronal")] == [99, 59, 79]
    assert contents.registered


def test_layers_hold_what_was_there_within_the_stated_error(source: PreviewSource, tmp_path: Path) -> None:
    path = _written(source, tmp_path)
    contents = read_contents(path)
    assert contents is not None
    layers = {layer: read_layer(path, layer, contents) for layer in contents.layers}
    inside = (slice(6, -6), slice(6, -6), slice(10, -10))

    assert all(values is not None for values in layers.values())
    increase, width = layers["increase"][inside], layers["uncertainty"][inside]  # type: ignore[index]
    expected = 255 * 0.4 / INCREASE_FULL_SCALE
    assert np.abs(increase.astype(float) - expected).max() <= LARGEST_ERROR + 1
    assert np.abs(width.astype(float) - expected).max() <= LARGEST_ERROR + 1  # 1.5 - 0.5 of the increase
    apart = layers["baseline"][inside].astype(int) - layers["delayed"][inside]  # type: ignore[index]
    assert np.abs(apart).max() <= 2 * LARGEST_ERROR + 2  # the transform brought the delayed scan back


def test_sections_are_upright_with_the_patient_s_right_on_the_left(source: PreviewSource, tmp_path: Path) -> None:
    path = _written(source, tmp_path)
    contents = read_contents(path)
    assert contents is not None
    values = read_layer(path, "baseline", contents)
    assert values is not None

    def halves(plane: str) -> tuple[float, float, float, float]:
        """Mean grey of the left, right, upper and lower half of the scan inside the picture."""
        shown = np.asarray(Image.open(io.BytesIO(layer_png(values, "baseline", plane, 40, contents))).convert("L"))
        width, height = picture_size(plane, contents)
        assert shown.shape == (height, width)
        nk, nj, ni = contents.shape
        columns, rows = {"sagittal": (nj, nk), "axial": (ni, nj), "coronal": (ni, nk)}[plane]
        left = (width - columns) // 2
        scan = shown[16 : 16 + rows, left : left + columns].astype(float)
        scan = scan[16:-16, 12:-12]  # without the letters
        half, middle = scan.shape[1] // 2, scan.shape[0] // 2
        return scan[:, :half].mean(), scan[:, half:].mean(), scan[:middle].mean(), scan[middle:].mean()

    for plane in ("sagittal", "axial", "coronal"):
        left, right, upper, lower = halves(plane)
        assert right > left  # to the patient's left, or to the back, the ramp rises
        assert bool(upper > lower) is (plane != "axial")  # head up; in axial sections the front is up


def test_a_refusal_without_registration_has_the_two_scans_as_the_scanner_had_them(
    source: PreviewSource, tmp_path: Path
) -> None:
    refused = PreviewSource(baseline=source.baseline, delayed=source.delayed, transform=None, centre=CENTRE)
    contents = read_contents(_written(refused, tmp_path))

    assert contents is not None
    assert contents.layers == ("baseline", "delayed")
    assert not contents.registered


def test_single_planes_are_left_to_the_preview(source: PreviewSource, tmp_path: Path) -> None:
    planes = PreviewSource(
        baseline=source.baseline,
        delayed=source.delayed,
        transform=source.transform,
        centre=CENTRE,
        fat_baseline=FAT,
        fat_delayed=FAT,
        predicted=source.predicted * 2,
        increase=source.increase * 2,
    )
    contents = read_contents(_written(planes, tmp_path))

    assert contents is not None
    assert contents.layers == ("baseline", "delayed")


def test_labels_change_the_picture(source: PreviewSource, tmp_path: Path) -> None:
    pictures = set()
    for patient in (True, False):
        for training in (True, False):
            path = _written(source, tmp_path, simulated_patient=patient, simulated_training=training)
            contents = read_contents(path)
            assert contents is not None
            values = read_layer(path, "predicted", contents)
            assert values is not None
            pictures.add(layer_png(values, "predicted", "axial", 20, contents))
    assert len(pictures) == 4


def test_an_overlay_shows_where_the_scans_differ(source: PreviewSource, tmp_path: Path) -> None:
    path = _written(source, tmp_path)
    contents = read_contents(path)
    assert contents is not None
    fixed = np.zeros(contents.shape, dtype=np.uint8)
    fixed[:, 20:50, 30:60] = 200
    moved = np.full(contents.shape, 90, dtype=np.uint8)

    tiles = np.asarray(Image.open(io.BytesIO(overlay_png((fixed, moved), "checkerboard", "axial", 20, contents))))
    edges = np.asarray(Image.open(io.BytesIO(overlay_png((fixed, moved), "edges", "axial", 20, contents))))
    assert {0, 90, 200} <= set(np.unique(tiles[..., 0]))
    orange = (edges == (255, 160, 40)).all(axis=-1)
    assert 150 < orange.sum() < 600  # the outline of 30 x 30, two pixels wide, and not its inside


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"\x00" * 100])
def test_a_damaged_file_is_no_file(tmp_path: Path, source: PreviewSource, content: bytes) -> None:
    good = read_contents(_written(source, tmp_path))
    assert good is not None
    path = tmp_path / "broken.zip"
    path.write_bytes(content)

    assert read_contents(path) is None
    assert read_layer(path, "baseline", good) is None
    assert read_contents(tmp_path / "none.zip") is None
