"""What a manifest says of its model - calibrated interval, how far it reaches - the service does, and reports."""

from dataclasses import replace

import numpy as np
import pytest

from service.cases import CaseOutcome
from service.inference.calibration import Calibration
from service.inference.reach import Reach
from tests.builders.conversions import RecordingPredictor, convert_datasets, shipped_model
from tests.builders.patients import baseline_series, delayed_series

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("model statements")]
CALIBRATION = Calibration(offsets=(0.0, -0.05, 0.1), coverage=0.95, patients=20, guaranteed=0.95, simulated=True)


class Stating(RecordingPredictor):
    """The shipped model under another manifest."""

    def __init__(self, **changes):
        super().__init__()
        self.changed = replace(shipped_model().manifest, **changes)

    @property
    def manifest(self):
        return self.changed


@pytest.fixture(scope="module")
def plain():
    return convert_datasets(baseline_series(), delayed_series())


def test_a_calibrated_interval_is_moved_and_said_to_be(plain):
    done = convert_datasets(baseline_series(), delayed_series(), Stating(calibration=CALIBRATION))
    assert done.outcome is CaseOutcome.PREDICTED, done.reasons
    assert "20 SIMULATED patients" in done.report["uncertainty"]["calibration"]
    assert plain.report["uncertainty"]["calibration"].startswith("none")
    one, other = plain.course.restored, done.course.restored
    fat, where = done.course.fat_baseline.median, done.course.anatomy.brain_centre
    i, j, k = np.rint(one.increase[0].grid.to_index(where[None])[0]).astype(int)
    at = (0, k, j, i)
    for bound, offset in (("lower", -0.05), ("upper", 0.1)):
        before, after = (getattr(restored, bound)[0].array[at[1:]] for restored in (one, other))
        assert (after - before) / fat == pytest.approx(offset, abs=1e-3)
    assert np.array_equal(one.predicted[0].array, other.predicted[0].array)


def test_another_calibration_makes_other_objects(plain):
    done = convert_datasets(baseline_series(), delayed_series(), Stating(calibration=CALIBRATION))
    assert {f.sop_instance_uid for f in plain.files}.isdisjoint({f.sop_instance_uid for f in done.files})


def test_input_beyond_the_model_s_reach_is_refused_before_it_is_asked():
    nowhere = Reach(mean=(9.0,) * 14, precision=tuple(tuple(np.eye(14)[n]) for n in range(14)), limit=1.0, patients=20)
    model = Stating(reach=nowhere)
    done = convert_datasets(baseline_series(), delayed_series(), model)
    assert done.outcome is CaseOutcome.REFUSED
    assert [reason.code for reason in done.reasons] == ["INPUT_UNUSUAL"]
    assert done.reasons[0].measured > 1 and model.tensors == []
