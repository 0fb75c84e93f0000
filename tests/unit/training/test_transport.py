"""The tracer obeys its equation, and reflux does what the sign of the ventricular flow says."""

import numpy as np
import pytest

from tests.builders.tube import bar
from training.simulate.lattice import TransportError, lattice
from training.simulate.tissues import Head, Tissue
from training.simulate.transport import Physiology, arrived, assemble, solve, step_length

QUIET = {
    "ventricular_flow": 0.0,
    "spinal_flow": 0.0,
    "dispersion_sas": 9.0,
    "dispersion_basal": 9.0,
    "dispersion_ventricles": 9.0,
    "tissue_dispersion": 1.0,
    "clearance_csf": 0.0,
    "clearance_brain": 0.0,
    "fraction": 0.3,
    "delay_h": 1.0,
}
HEAD = {**QUIET, "dispersion_sas": 70.0, "dispersion_basal": 500.0, "dispersion_ventricles": 300.0, "delay_h": 1.5}


def amount(cells, c):
    return float((cells.fluid * c).sum() * cells.volume * 1e-6)


def test_without_flow_and_clearance_nothing_is_lost():
    tube, still = bar(), Physiology(**QUIET)
    for time, c in solve(tube, still, (1.0, 12.0, 24.0)).items():
        assert amount(tube, c) == pytest.approx(arrived(still, time), rel=1e-6)


def test_a_point_spreads_as_a_gaussian():
    tube = bar(161)
    quick = Physiology(**{**QUIET, "delay_h": 0.02})
    c = solve(tube, quick, (8.0,), step_scale=0.2)[8.0]
    x = np.arange(161) * 3.0
    mean = np.average(x, weights=c)
    variance = np.average((x - mean) ** 2, weights=c)
    diffusion = 1.37 * (1 + quick.dispersion_sas)
    assert variance == pytest.approx(2 * diffusion * 8.0, rel=0.05)


def test_halving_the_step_changes_little():
    tube, still = bar(), Physiology(**QUIET)
    coarse, fine = (solve(tube, still, (24.0,), step_scale=s)[24.0] for s in (1.0, 0.5))
    assert np.abs(coarse - fine).max() < 0.02 * fine.max()


def test_what_leaves_is_what_is_missing():
    """Columns of the operator sum to the loss per cell: clearance and outflow, nothing else."""
    tube = bar()
    flowing = Physiology(**{**QUIET, "ventricular_flow": 0.3, "spinal_flow": 0.4, "clearance_csf": 0.01})
    operator, net = assemble(tube, flowing)
    lost = np.asarray(operator.sum(axis=0)).ravel()
    # inflow enters fresh: a source cell passes on more than it receives
    expected = tube.volume * 0.01 + np.maximum(net, 0) + np.minimum(net, 0) * 0
    balance = lost - expected
    sources = tube.lateral | tube.foramen
    assert np.abs(balance[~sources]).max() < 1e-6 * np.abs(lost).max()
    assert net[tube.convexity].sum() == pytest.approx(-net[sources].sum(), rel=1e-4)


def test_concentrations_never_go_below_zero_at_long_steps():
    tube = bar()
    fast = Physiology(**{**QUIET, "ventricular_flow": -0.5, "spinal_flow": 1.5})
    assert min(c.min() for c in solve(tube, fast, (2.0, 24.0), step_scale=4.0).values()) >= 0


def test_steps_are_short_while_the_bolus_arrives():
    assert step_length(0.0) < step_length(3.0) < step_length(20.0)


def test_ventricles_and_foramen_magnum_are_joined(cells):
    assert cells.lateral.sum() > 100
    assert cells.foramen.any()
    assert cells.convexity.any()


def test_a_head_with_a_closed_aqueduct_is_not_accepted(head):
    labels = head.labels.copy()
    k = round(float(head.grid.to_index([[0, 0, -27.0]])[0, 2]))  # the aqueduct's middle
    plug = labels[k - 4 : k + 5]
    plug[plug == Tissue.LOWER_VENTRICLES] = Tissue.WHITE
    with pytest.raises(TransportError):
        lattice(Head(labels=labels, grid=head.grid, anatomy=head.anatomy))


def test_antegrade_flow_keeps_the_ventricles_free_and_retrograde_flow_fills_them(cells):
    def ventricle_over_outside(flow):
        c = solve(cells, Physiology(**{**HEAD, "ventricular_flow": flow, "spinal_flow": 0.4}), (24.0,))[24.0]
        assert amount(cells, c) <= arrived(Physiology(**HEAD), 24.0)
        outside = np.average(c, weights=cells.csf * ~cells.ventricle)
        return np.average(c, weights=cells.csf * cells.lateral) / outside

    assert ventricle_over_outside(0.5) < 0.1
    assert ventricle_over_outside(-0.15) > 0.5


def test_after_a_month_nothing_is_left(cells):
    times = (24.0, 696.0)
    early, late = solve(cells, Physiology(**{**HEAD, "ventricular_flow": 0.3, "spinal_flow": 0.3}), times).values()
    assert amount(cells, late) < 0.01 * amount(cells, early)


def test_the_tail_goes_on_as_the_solver_would():
    """Past 96 h an exponential stands for the solver; where clearance alone acts, the exponential is known."""
    tube, still = bar(), Physiology(**{**QUIET, "clearance_csf": 0.005})
    late = solve(tube, still, (96.0, 696.0))
    assert amount(tube, late[696.0]) == pytest.approx(amount(tube, late[96.0]) * np.exp(-0.005 * 600), rel=0.05)
