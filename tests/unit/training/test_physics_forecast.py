"""The solver's own forecast finds the head in the scanner, and reads the tracer that is there."""

import numpy as np

from service.imaging.reflux import fluid_signal
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Volume
from tests.builders.simulated import three_visits
from tests.builders.tube import bar
from training.comparison.physics import _pose, _tracer_seen, average_physiology
from training.comparison.physics_fit import fit_physiology, physiology_at
from training.figures.tracer import BAND, HOURS, MEASURED
from training.simulate.ground_truth import move
from training.simulate.lattice import to_volume
from training.simulate.signal import PAPER_PROTOCOL, signal_increase, tracer_per_tissue
from training.simulate.tissues import Tissue
from training.simulate.transport import solve
from training.simulate.truth import measures


def test_the_pose_is_found_from_what_both_frames_know(head):
    to_head = RigidTransform.from_euler((5, -4, 3), (7, -6, 2), head.grid.centre)
    nothing = Volume(np.zeros(head.grid.shape, np.float32), head.grid)
    seen = move(head.anatomy, to_head, head.grid, head.labels, head.grid)
    patient = three_visits((nothing,) * 3, RigidTransform.identity(), RigidTransform.identity(), seen)
    assert np.allclose(_pose(head, patient).matrix, to_head.inverse().matrix, atol=1e-6)


def test_tracer_that_is_there_is_read_from_the_increase(head, cells):
    c = np.where(cells.basal & ~cells.ventricle, 0.2, 0.0).astype(np.float32) * (cells.csf > 0.3)
    labels = to_volume(cells, c, np.ones(len(c), bool), head.grid) * np.isin(head.labels, Tissue.CSF)
    rise = (fluid_signal(labels.astype(np.float64)) - fluid_signal(0.0)).astype(np.float32)
    found = _tracer_seen(cells, Volume(rise, head.grid), RigidTransform.identity())
    filled = cells.csf > 0.95
    assert abs(np.median(found[filled & (c > 0)]) - 0.2) < 0.05
    assert np.median(found[filled & (c == 0)]) == 0


def test_an_average_patient_has_as_much_tracer_in_the_head_as_the_one_who_was_measured(cells):
    course = solve(cells, average_physiology(), HOURS[:3], step_scale=2.0)
    found = [measures(cells, course[hours]) for hours in HOURS[:3]]
    for name, measured in MEASURED.items():
        for hours, simulated, real in zip(HOURS, found, measured, strict=False):
            assert BAND[0] * real < simulated[f"{name}_mmol"] < BAND[1] * real, (name, hours)
    assert found[1]["total_mmol"] > found[0]["total_mmol"]  # still rising between 4 and 24 hours
    assert np.isclose(found[0]["total_mmol"], found[0]["csf_mmol"] + found[0]["brain_mmol"])


def test_reflux_is_read_off_the_delayed_scan():
    cells, average = bar(n=41, h=12.0), average_physiology()
    refluxing = physiology_at(np.array([-1.2, 0.3, 0.2, -0.2, 0.5, 0.4, -0.3]), average)
    seen = solve(cells, refluxing, (1.5,))[1.5]

    found = fit_physiology(cells, seen, 1.5, average)

    assert average.ventricular_flow > 0 > found.ventricular_flow
    assert abs(found.ventricular_flow - refluxing.ventricular_flow) < 0.15
    assert found.clearance_csf == average.clearance_csf  # nothing of it shows by then


def test_fluid_brightens_as_the_reflux_index_reads_it(head):
    tracer = tracer_per_tissue(
        head, np.full(head.labels.shape, 0.2, np.float32), np.zeros(head.labels.shape, np.float32)
    )

    rise = signal_increase(PAPER_PROTOCOL, head, tracer)
    expected = float(fluid_signal(0.2) - fluid_signal(0.0))
    assert np.isclose(np.median(rise[head.labels == Tissue.CSF]), expected, rtol=0.1)
    assert rise[head.labels == Tissue.ORBITAL_FAT].max() == 0
