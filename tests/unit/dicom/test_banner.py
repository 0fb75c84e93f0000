from __future__ import annotations

import numpy as np
import pytest

from service.dicom.banner import banner, burn_in

SIZES = [(64, 64), (80, 64), (96, 80), (128, 128), (170, 256), (256, 170), (256, 256), (512, 512), (1024, 1024)]


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_banner_is_whole_legible_and_leaves_the_image_recognisable(size, simulated):
    strip = banner(*size, simulated_training=simulated)

    height, columns = strip.shape
    assert columns == size[1]
    assert height <= 0.34 * size[0]
    assert strip.min() == 0
    assert strip.max() > 0.95
    assert 0.04 < (strip > 0.5).mean() < 0.4
    letters = np.flatnonzero((strip > 0.3).any(axis=1))
    assert letters.max() - letters.min() + 1 >= 6  # a capital letter's height that can be read
    cut_off = strip[[0, -1]].max(), strip[:, [0, -1]].max()
    assert max(cut_off) < 0.5


def test_a_common_matrix_carries_every_word():
    """Rendered alone, the long line is wider than half of a 256 image: nothing was shortened away."""
    strip = banner(170, 256, simulated_training=False)
    first_line = strip[: strip.shape[0] // 2]

    inked = np.flatnonzero((first_line > 0.3).any(axis=0))
    assert inked.max() - inked.min() > 0.55 * 256


@pytest.mark.parametrize("size", [(256, 256), (320, 300), (512, 512), (1024, 1024)])
def test_on_a_common_matrix_the_banner_takes_no_more_than_an_eighth_of_the_rows(size):
    """The convexity of the brain may lie just below."""
    for simulated in (False, True):
        assert banner(*size, simulated_training=simulated).shape[0] <= size[0] / 8 + 1


def test_a_larger_matrix_has_larger_letters():
    small, large = (banner(n, n, simulated_training=False).shape[0] for n in (256, 1024))

    assert large >= 3 * small


def test_a_model_of_simulated_training_has_a_banner_of_its_own():
    for size in [(96, 128), (60, 320), (256, 256), (512, 512)]:
        plain, simulated = (banner(*size, simulated_training=flag) for flag in (False, True))
        assert plain.shape != simulated.shape or np.abs(plain - simulated).max() > 0.5


@pytest.mark.parametrize("size", [(40, 40), (8, 300), (300, 12)])
def test_a_matrix_too_small_for_words_still_gets_what_fits(size):
    strip = banner(*size, simulated_training=True)

    assert strip.shape[0] <= size[0]
    assert strip.shape[1] == size[1]
    assert strip.max() > 0.3


def test_burning_in_changes_the_first_rows_only_and_not_the_original():
    plane = np.full((128, 128), 300.0, dtype=np.float32)

    burned = burn_in(plane, black=-5.0, white=1005.0, simulated_training=False)

    height = banner(128, 128, simulated_training=False).shape[0]
    assert (plane == 300).all()
    assert (burned[height:] == 300).all()
    assert (burned[:height] != 300).any(axis=1).all()
    assert burned[:height].min() == -5
    assert burned[:height].max() > 950
