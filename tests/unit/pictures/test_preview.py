from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from service.pictures.panels import FIELD_MM, SECTIONS, cut, plane_grid, section_grid
from service.pictures.preview import PreviewSource, render_preview

GAP, HEADER = 4, 46
CENTRE = np.array([3.0, -5.0, 8.0])
FAT = 1000.0


def landmarks() -> Volume:
    """A cube of grey with a bright ball on its left, front and top: right, back and bottom have none."""
    grid = Grid.axis_aligned((100, 100, 100), 2.0, CENTRE)
    k, j, i = np.unravel_index(np.arange(100**3), grid.shape)
    x, y, z = (grid.to_world(np.stack([i, j, k], axis=1)) - CENTRE).T
    array = np.where(np.abs(np.stack([x, y, z])).max(axis=0) < 90, 200.0, 0.0)
    for place in ((60, 0, 0), (0, -60, 0), (0, 0, 60)):
        array[np.linalg.norm(np.stack([x, y, z], axis=1) - place, axis=1) < 15] = FAT
    return Volume(array.reshape(grid.shape).astype(np.float32), grid)


def plane(volume: Volume, columns: tuple[float, ...], rows: tuple[float, ...], offset: float) -> Volume:
    """A 256 x 256 plane at 1 mm, `offset` mm along its normal from the centre."""
    column, row = np.array(columns), np.array(rows)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([column, row, np.cross(column, row)], axis=1)
    affine[:3, 3] = CENTRE + offset * affine[:3, 2] - (column + row) * 255 / 2
    return resample(volume, Grid((1, 256, 256), affine))


def picture(source: PreviewSource, footer: str = "Research use.") -> np.ndarray:
    return np.asarray(Image.open(BytesIO(render_preview(source, title="title", footer=footer))).convert("RGB"))


def panel(shown: np.ndarray, row: int, column: int) -> np.ndarray:
    """Grey levels of a panel, without the letters at its edges."""
    top, left = HEADER + row * (FIELD_MM + GAP), column * (FIELD_MM + GAP)
    return shown[top : top + FIELD_MM, left : left + FIELD_MM].astype(int)[18:-18, 18:-18]


def source(**changes: object) -> PreviewSource:
    volume = landmarks()
    given = {"baseline": volume, "delayed": volume, "transform": RigidTransform.identity(), "centre": CENTRE}
    return PreviewSource(**{**given, **changes})  # type: ignore[arg-type]


def bright(found: np.ndarray) -> tuple[str, str]:
    """Where the bright balls lie: (left, right or middle; top, bottom or middle) of each, sorted."""
    at = np.argwhere(found[..., 0] > 150)
    middle = found.shape[0] / 2
    vertical = {"top" if y < middle - 30 else "bottom" if y > middle + 30 else "middle" for y, _ in at}
    horizontal = {"left" if x < middle - 30 else "right" if x > middle + 30 else "middle" for _, x in at}
    return "/".join(sorted(horizontal)), "/".join(sorted(vertical))


def test_sections_are_turned_as_radiologists_read_them() -> None:
    shown = picture(source())
    sagittal, axial, coronal = (bright(panel(shown, row, 0)) for row in range(3))
    assert sagittal == ("left/middle", "middle/top")  # the front on the left, the top above
    assert axial == ("middle/right", "middle/top")  # the patient's left on the right, the front above
    assert coronal == ("middle/right", "middle/top")


def test_a_refusal_shows_the_acquired_images_only_and_all_its_reasons() -> None:
    short, long = picture(source()), picture(source(), footer=", ".join(f"REASON_NUMBER_{n}" for n in range(12)))
    assert short.shape[1] == long.shape[1] == 2 * FIELD_MM + GAP
    below = HEADER + 3 * FIELD_MM + 2 * GAP
    assert long.shape[0] > short.shape[0] > below
    assert long[-16:-4].max() > 100  # the last line is there, and within the picture
    assert long[below:, -3:].max() == 0


def test_the_delayed_image_is_shown_where_the_baseline_lies() -> None:
    moved = RigidTransform.from_euler((0, 0, 8), (12, -6, 4), CENTRE)
    delayed = resample(landmarks(), landmarks().grid, moved.inverse())
    shown = picture(source(delayed=delayed, transform=moved))
    for row in range(3):
        before, after = (panel(shown, row, column)[30:-30, 30:-30] for column in (0, 1))
        assert np.abs(before - after).mean() < 6
    unaligned = picture(source(delayed=delayed))
    assert np.abs(panel(unaligned, 1, 0) - panel(unaligned, 1, 1)).mean() > 12


def test_a_predicted_volume_and_its_increase_are_shown_in_every_section() -> None:
    volume = landmarks()
    increase = volume.with_array(np.where(volume.array > 500, 800.0, 0.0).astype(np.float32))
    shown = picture(source(fat_baseline=FAT, fat_delayed=FAT, predicted=(volume,), increase=(increase,)))
    assert shown.shape[1] == 4 * FIELD_MM + 3 * GAP
    for row in range(3):
        np.testing.assert_array_equal(panel(shown, row, 2), panel(shown, row, 0))
        heat = panel(shown, row, 3)
        assert bright(heat) == bright(panel(shown, row, 0))
        assert np.median(heat) == 0


def test_the_planes_of_a_slice_model_are_compared_with_the_same_planes_of_the_acquired_images() -> None:
    volume, tilt = landmarks(), np.deg2rad(-11)
    planes = (
        plane(volume, (0, 1, 0), (0, 0, -1), 10.0),
        plane(volume, (1, 0, 0), (0, np.cos(tilt), np.sin(tilt)), 9.0),
    )
    shown = picture(source(fat_baseline=FAT, fat_delayed=FAT, predicted=planes, increase=planes))
    for row in (0, 1):
        baseline, delayed, predicted = (panel(shown, row, column) for column in range(3))
        np.testing.assert_array_equal(baseline, delayed)
        assert np.abs(baseline - predicted).max() <= 2  # the same place, the same scale
    centre = picture(source())
    assert np.abs(panel(centre, 1, 0) - panel(shown, 1, 0)).max() > 50  # and not the plane through the centre
    coronal = panel(shown, 2, 2)
    assert (coronal.max(axis=(1, 2)) > 0).sum() < 20  # one line of text on black
    np.testing.assert_array_equal(coronal, panel(shown, 2, 3))


def test_an_unknown_fat_signal_gives_each_series_a_window_of_its_own() -> None:
    volume = landmarks()
    brighter = volume.with_array(volume.array * 3)
    apart = picture(source(delayed=brighter))
    assert np.abs(panel(apart, 0, 0) - panel(apart, 0, 1)).max() <= 1
    together = picture(source(delayed=brighter, fat_baseline=FAT, fat_delayed=FAT))
    assert np.abs(panel(together, 0, 0) - panel(together, 0, 1)).max() > 50


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_of_a_plane_keeps_its_middle_and_directions(section: str) -> None:
    grid = section_grid(section, CENTRE)  # type: ignore[arg-type]
    again = plane_grid(Grid((1, 256, 300), grid.affine))
    np.testing.assert_allclose(again.directions, grid.directions)
    np.testing.assert_allclose(again.centre, Grid((1, 256, 300), grid.affine).centre)
    assert plane_grid(grid).same_as(grid)
    assert cut(landmarks(), grid).shape == (FIELD_MM, FIELD_MM)


def predicted_with(footer: str, title: str = "title") -> np.ndarray:
    volume = landmarks()
    shown = source(predicted=(volume,), increase=(volume,), fat_baseline=FAT, fat_delayed=FAT)
    png = render_preview(shown, title=title, footer=footer)
    return np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    "footer", ["volume3d 0.1.0. Research use. " * 6, "a-model-" * 40 + "x 1.0"], ids=["words", "a long name"]
)
def test_the_footer_stays_clear_of_the_colour_bar_and_within_the_picture(footer: str) -> None:
    shown = predicted_with(footer)
    below = shown[HEADER + 3 * FIELD_MM + 2 * GAP :]
    coloured = np.flatnonzero((np.ptp(below, axis=2) > 60).any(axis=1))  # text is grey
    bar_ends = coloured.max() + 1
    written = np.flatnonzero((below[bar_ends + 3 :, : FIELD_MM * 3] > 100).any(axis=(1, 2)))
    assert written.size > 0
    assert below[: bar_ends + 3, : FIELD_MM * 3].max() == 0  # nothing beside the bar, and space below it
    assert below[:, -3:].max() == 0 == below[-1].max()


def test_a_title_with_a_long_name_is_broken_and_none_of_it_is_lost() -> None:
    shown = predicted_with("Research use.", title="csf24 case " + "x" * 200 + ": 24 h PREDICTED, not acquired")
    short = predicted_with("Research use.")
    added = shown.shape[0] - short.shape[0]
    assert added > 0
    assert shown[: HEADER + added, :3].max() == 0 == shown[: HEADER + added, -3:].max()
    np.testing.assert_array_equal(shown[HEADER + added :], short[HEADER:])
