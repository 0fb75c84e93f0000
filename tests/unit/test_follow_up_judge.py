"""What may be compared with a later scan at all."""

import pytest

from service.errors import InputRefused
from service.follow_up import by_fat_alone
from service.imaging.recipe_types import SignalReference


@pytest.mark.parametrize("reference", [None, SignalReference(kind="white_matter", baseline=1.0, delayed=1.1)])
def test_a_pair_that_white_matter_measured_is_not_compared(reference):
    with pytest.raises(InputRefused) as refused:
        by_fat_alone(reference)
    assert [reason.code for reason in refused.value.reasons] == ["REFERENCE_IS_WHITE_MATTER"]


def test_one_that_fat_measured_is():
    by_fat_alone(SignalReference(kind="orbital_fat", baseline=1.0, delayed=1.1))
