"""Limits behind cuts: against pyhf and hand counting, doubtful fits, every working point."""

from __future__ import annotations

import math

import numpy as np
import pyhf
import pytest

from bumpscout_tools.background import DijetBasis, fit
from bumpscout_tools.inference import peak_grid
from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.execute import prepare
from bumpscout_tools.scan.limits_plan import LimitPlan
from bumpscout_tools.scan.limits_scan import scan_limits, window_of_mass
from bumpscout_tools.scan.limits_spectrum import CutSpectrum, cut_limits, limit_masses
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.serial import SerialExecutor

EDGES = 2000.0 * np.exp(0.03 * np.arange(41))
NARROW = LimitPlan(widths=(0.05,), toys=0)
RNG = np.random.default_rng(8)


@pytest.fixture
def smooth(make_mass):
    mass = make_mass(200_000, np.random.default_rng(5))
    counts = np.histogram(mass, EDGES)[0].astype(float)
    return fit(counts, DijetBasis(EDGES, 13000.0, 4), 4).expected


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_a_limit_agrees_with_pyhf(smooth):
    """One free parameter of the background: its normalisation, which pyhf has too."""
    basis = DijetBasis(EDGES, 13000.0, 1)
    flat = fit(smooth / 400.0, basis, 1).expected
    counts = np.random.default_rng(1).poisson(flat).astype(float)
    spectrum = CutSpectrum(counts, efficiency_error=0.15)
    (row,) = cut_limits(spectrum, basis, (1,), 0.05, NARROW, np.array([3000.0]), RNG).rows
    assert row.expected is not None
    scale = row.expected[2]
    template = peak_grid([3000.0], [0.05], NARROW.resolution).templates(EDGES)[0]
    theirs = pyhf.Model(
        {
            "channels": [
                {
                    "name": "mass",
                    "samples": [
                        {
                            "name": "signal",
                            "data": (scale * template).tolist(),
                            "modifiers": [
                                {"name": "mu", "type": "normfactor", "data": None},
                                {
                                    "name": "efficiency",
                                    "type": "normsys",
                                    "data": {"hi": 1.15, "lo": 1 / 1.15},
                                },
                            ],
                        },
                        {
                            "name": "background",
                            "data": flat.tolist(),
                            "modifiers": [{"name": "b", "type": "normfactor", "data": None}],
                        },
                    ],
                }
            ],
            "parameters": [{"name": "mu", "bounds": [[0, 20]], "inits": [1.0]}],
        },
        poi_name="mu",
    )
    data = [*counts, *theirs.config.auxdata]
    observed, expected = pyhf.infer.intervals.upper_limits.upper_limit(
        data, theirs, np.linspace(0.1, 4, 100), level=0.05
    )
    assert row.observed == pytest.approx(scale * float(observed), rel=0.02)
    assert row.expected == pytest.approx([scale * float(x) for x in expected], rel=0.03)


def test_fluctuations_of_the_training_widen_a_limit_by_their_width(smooth):
    """With many events the median limit is 1.96 standard deviations, whatever makes them."""
    basis = DijetBasis(EDGES, 13000.0, 4)
    counts = np.random.default_rng(3).poisson(smooth).astype(float)
    found = [
        cut_limits(
            CutSpectrum(counts, null_width=w), basis, (4,), 0.05, NARROW, np.array([3000.0]), RNG
        ).rows[0]
        for w in (1.0, 1.5)
    ]
    fixed, trained = found
    assert fixed.expected is not None
    assert trained.expected is not None
    assert trained.expected[2] / fixed.expected[2] == pytest.approx(1.5, rel=0.02)
    assert trained.training == pytest.approx(fixed.error * math.sqrt(1.25), rel=0.02)


def test_a_signal_in_the_window_does_not_drive_the_order(smooth):
    basis = DijetBasis(EDGES, 13000.0, 5)
    template = peak_grid([3000.0], [0.0], 0.03).templates(EDGES)[0]
    counts = np.random.default_rng(2).poisson(smooth + 2500 * template).astype(float)
    mask = np.abs(np.sqrt(EDGES[1:] * EDGES[:-1]) / 3000 - 1) < 0.1
    orders, mass = (2, 3, 4, 5), np.array([3000.0])
    plain = LimitPlan(widths=(0.0,), toys=0)
    masked = cut_limits(CutSpectrum(counts, mask), basis, orders, 0.05, plain, mass, RNG)
    driven = cut_limits(CutSpectrum(counts), basis, orders, 0.05, plain, mass, RNG)
    assert masked.believable
    assert masked.rows[0].observed is not None
    assert masked.rows[0].observed > 2500
    assert not driven.believable


def test_where_no_fit_can_be_believed_there_is_a_reason_and_no_limit(smooth):
    wavy = smooth * (1 + 0.5 * np.sin(np.arange(smooth.size)))
    basis = DijetBasis(EDGES, 13000.0, 4)
    found = cut_limits(
        CutSpectrum(np.round(wavy)), basis, (2, 3, 4), 0.05, NARROW, EDGES[10:12], RNG
    )
    assert not found.believable
    assert found.reason is not None
    assert [row.observed for row in found.rows] == [None, None]
    assert all(row.reason == found.reason for row in found.rows)


def test_few_events_take_toys_within_the_budget():
    """No event on almost no background: 3.0 events in the peak, as counting by hand has it."""
    basis = DijetBasis(EDGES, 13000.0, 3)
    counts = np.zeros(40)
    counts[:12] = np.round(400 * np.exp(-0.45 * np.arange(12)))
    settings = LimitPlan(widths=(0.0, 0.05), toys=300)
    masses = np.array([4500.0, 5000.0])
    found = cut_limits(
        CutSpectrum(counts), basis, (2,), 0.05, settings, masses, np.random.default_rng(1), 3
    )
    assert (found.n_by_toys, found.n_toys_wanted) == (3, 4)
    assert [row.method for row in found.rows] == ["toys", "toys", "toys", "asymptotic"]
    assert found.rows[1].observed == pytest.approx(-math.log(0.05), rel=0.15)


def test_masses_cover_the_spectrum_and_belong_to_the_nearest_window():
    masses = limit_masses(EDGES, 0.03)
    assert EDGES[0] < masses[0]
    assert masses[-1] < EDGES[-1]
    assert np.diff(np.log(masses)) == pytest.approx(0.03)
    windows = [(2000.0, 2500.0), (2300.0, 2900.0)]
    assert window_of_mass(windows, 2200.0) == (0, True)
    assert window_of_mass(windows, 2450.0) == (1, True)
    assert window_of_mass(windows, 3500.0) == (1, False)


@pytest.fixture
def prepared(make_view, make_plan):
    view = make_view(n_signal=250)
    plan = make_plan(luminosity_fb=10.0, limits=LimitPlan(widths=(0.0, 0.1), toys=0))
    return plan, prepare(plan, view, np.random.default_rng(1))


def test_every_working_point_has_limits_in_pb(prepared, at_random):
    plan, made = prepared
    scores = at_random(0, made.tasks[0], made.view)
    calibration = NullCells.scores_held_fixed(plan)
    found = scan_limits(
        plan,
        made,
        [scores],
        calibration,
        seed=1,
        luminosity_share=0.5,
        executor=SerialExecutor(),
    )
    assert found is not None
    assert [point.efficiency for point in found.points] == [1.0, 0.1, 0.02]
    # 10/fb, half of them: one event is 1 / 5000 pb.
    assert found.pb_per_event == pytest.approx(1 / 5000)
    n = len(made.view)
    assert found.points[1].cross_section_pb == pytest.approx(round(0.1 * n) / 5000)
    everything = found.points[0].rows(0.0)
    assert [row.mass_gev for row in everything] == pytest.approx(
        limit_masses(made.layout.edges, plan.limits.resolution), rel=1e-5
    )
    at = min(everything, key=lambda row: abs(row.mass_gev - 2700))
    assert at.observed is not None
    assert at.expected is not None
    # The 250 signal events are not excluded, and push the limit above what was expected.
    assert at.observed > 250 > at.expected[2]
    assert "recast" in " ".join(found.meaning)
    again = scan_limits(plan, made, [None], calibration, seed=1, executor=SerialExecutor())
    assert again is not None
    assert [point.efficiency for point in again.points] == [1.0]


def test_a_plan_may_ask_for_no_limits(prepared, at_random):
    plan, made = prepared
    none = SearchPlan.model_validate({**plan.model_dump(), "limits": {"widths": ()}})
    assert (
        scan_limits(
            none,
            made,
            [at_random(0, made.tasks[0], made.view)],
            NullCells.scores_held_fixed(none),
            seed=1,
            executor=SerialExecutor(),
        )
        is None
    )
