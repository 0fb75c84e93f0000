"""One whole head for the tests that need its anatomy (about ten seconds).

These tests need the extra ``training``, which `make test` installs.
"""

import numpy as np
import pytest

from training.simulate.heads import draw_shape, make_head
from training.simulate.lattice import lattice


@pytest.fixture(scope="session")
def head():
    rng = np.random.default_rng(11)
    return make_head(draw_shape(rng), rng)


@pytest.fixture(scope="session")
def cells(head):
    return lattice(head)
