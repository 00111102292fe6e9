"""Injected signals: how many are added, what is measured at the true mass, and what is found."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.scan.alarms import NullTrial
from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.injection import Injected, Yield, inject, injection_trial
from bumpscout_tools.scan.performance import performance
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.replay import Excess, Replay


@pytest.fixture
def signal(make_view):
    """Events of the signal alone."""
    both = make_view(0, seed=9, n_signal=3000)
    return both


def test_strength_is_signal_over_root_background_near_the_mass(make_view, signal):
    background = make_view(16_000)
    view, ids = inject(background, signal, 2700.0, 3.0, np.random.default_rng(1))
    near = np.abs(view.mass / 2700.0 - 1) < 0.05
    is_signal = np.isin(view.event_id, ids)
    s, b = (near & is_signal).sum(), (near & ~is_signal).sum()
    # Four standard deviations of a Poisson number.
    assert s == pytest.approx(3.0 * np.sqrt(b), abs=4 * np.sqrt(3.0 * np.sqrt(b)))
    assert len(view) == 16_000 + len(ids)
    assert np.isin(background.event_id, view.event_id).all()
    # The order tells nothing: signal lies everywhere in the rows.
    assert abs(np.flatnonzero(is_signal).mean() / len(view) - 0.5) < 0.1


def test_numbers_of_signal_events_fluctuate_like_poisson(make_view, signal):
    background = make_view(4000)
    numbers = [
        len(inject(background, signal, 2700.0, 3.0, np.random.default_rng(seed))[1])
        for seed in range(200)
    ]
    assert np.var(numbers) / np.mean(numbers) == pytest.approx(1.0, abs=0.4)


def test_impossible_injections_are_refused(make_view, signal):
    background, rng = make_view(16_000), np.random.default_rng(1)
    with pytest.raises(InputDataError, match="needs"):
        inject(background, signal, 2700.0, 300.0, rng)
    with pytest.raises(InputDataError, match="is that its mass"):
        inject(background, signal, 5000.0, 1.0, rng)


def test_a_strong_signal_is_found_and_its_yield_measured(make_plan, make_view, signal, cwola):
    found = injection_trial(
        make_plan(),
        make_view(16_000),
        signal,
        mass_gev=2700.0,
        strength=6.0,
        number=0,
        seed=5,
        run_script=cwola,
    )
    assert found.error is None
    hottest = int(np.argmax([c.excess if c.believable else -np.inf for c in found.cells]))
    assert found.cell_mass_gev[hottest] == pytest.approx(2700.0, rel=0.03)
    inclusive, *cut = found.yields
    assert inclusive.efficiency is None
    assert [row.efficiency for row in cut] == list(make_plan().working_points.efficiencies)
    assert all(row.n_true <= inclusive.n_true for row in cut)
    for row in found.yields:
        assert abs(row.n_observed - row.n_expected - row.n_true) < 4 * row.error


def test_nothing_is_measured_where_no_window_holds_the_mass(make_plan, make_view, cwola):
    far = make_view(0, seed=9, n_signal=3000, signal_gev=8000.0)
    found = injection_trial(
        make_plan(),
        make_view(16_000),
        far,
        mass_gev=8000.0,
        strength=1.0,
        number=0,
        seed=5,
        run_script=cwola,
    )
    assert found.yields == ()


def cells(excess: float) -> tuple[Excess, ...]:
    values = [*np.linspace(-1.5, 1.5, 9), excess]
    return tuple(
        Excess(detector=0, efficiency=0.01, excess=x, local_z=x, believable=True) for x in values
    )


def made(strength: float, number: int, excess: float, mass: float, measured: int) -> Injected:
    rows = (
        Yield(
            efficiency=None,
            n_observed=1000 + measured,
            n_expected=1000,
            error=30,
            n_true=60,
            local_z=strength,
            believable=True,
        ),
        Yield(
            efficiency=0.01,
            n_observed=100 + measured,
            n_expected=100,
            error=10,
            n_true=50,
            local_z=4 * strength,
            believable=True,
        ),
    )
    return Injected(
        mass_gev=3000.0,
        strength=strength,
        number=number,
        n_signal=80,
        cells=cells(excess),
        cell_mass_gev=(*(2000.0 for _ in range(9)), mass),
        yields=rows,
    )


def test_performance_counts_what_is_found_at_the_right_mass_only():
    rng = np.random.default_rng(2)
    nulls = [
        NullTrial(
            name=str(k),
            n_events=1,
            replays=(Replay(index=0, n_events=1, cells=cells(2 + rng.random())),),
        )
        for k in range(199)
    ]
    injected = [
        made(1.0, 0, 2.0, 3000.0, 50),
        made(1.0, 1, 2.0, 3030.0, 50),
        made(2.0, 0, 9.0, 3030.0, 60),
        made(2.0, 1, 9.0, 4000.0, 40),
    ]
    found = performance(SearchPlan(), nulls, injected)
    weak, strong = found.strengths
    assert (weak.found_5pc.k, strong.found_5pc.k, strong.found_5pc.n) == (0, 1, 2)
    assert strong.mass_bias == pytest.approx(0.01)
    assert strong.median_p == pytest.approx(1 / 200)
    inclusive, cut = strong.yields
    assert (inclusive.mean_measured, cut.mean_true) == (50, 50)
    assert cut.covered.k == 2
    # 60 and 40 measured, 50 true, on a background of 100: errors 160^(1/2) and 140^(1/2).
    assert cut.pull_mean == pytest.approx((10 / 160**0.5 - 10 / 140**0.5) / 2)
    # Behind the cut local z is 4 times the strength, in null widths.
    null = NullCells.estimate(SearchPlan(), (), [trial.replays[0] for trial in nulls])
    width = null.widths[0][null.efficiencies.index(0.01)]
    assert width > 1
    one, two = 4 / width, 8 / width
    by_cut = {row.efficiency: row for row in found.reach}
    assert by_cut[None].for_3_sigma is None
    assert one < 5 < two
    assert by_cut[0.01].for_5_sigma.value == pytest.approx(1 + (5 - one) / (two - one))
    # s/sqrt(b) at the largest strength: 50/sqrt(100) behind the cut, 60/sqrt(1000) without.
    gain = 100 * (5 / (60 / np.sqrt(1000)) - 1)
    assert by_cut[0.01].gain_percent.value == pytest.approx(gain)


def test_what_a_trained_cut_shows_without_a_signal_is_no_significance():
    """Repetitions without signal have a mean z of 1 behind the cut: 3 sigma need that much more."""
    injected = [made(s, k, 2.0, 3000.0, 50) for s in (0.0, 1.0, 2.0) for k in (0, 1)]

    def with_z(trial: Injected, z: float) -> Injected:
        inclusive, cut = trial.yields
        rows = (inclusive.model_copy(update={"local_z": z}), cut.model_copy(update={"local_z": z}))
        return trial.model_copy(update={"yields": rows})

    plain = [with_z(t, 4 * t.strength) for t in injected]
    biased = [with_z(t, 4 * t.strength + 1) for t in injected]
    found = [performance(SearchPlan(), quiet_nulls(20), trials) for trials in (plain, biased)]
    (_, cut), (_, shifted) = ([row for row in one.reach] for one in found)
    assert cut == shifted
    z = [one.strengths[0].yields for one in found]
    assert z[1][1].median_z == pytest.approx(z[0][1].median_z)
    assert z[1][0].median_z == pytest.approx(z[0][0].median_z + 1)


def quiet_nulls(n: int) -> list[NullTrial]:
    replay = Replay(index=0, n_events=1, cells=cells(2))
    return [NullTrial(name=str(k), n_events=1, replays=(replay,)) for k in range(n)]


def test_the_mass_is_that_of_the_largest_calibrated_excess():
    """At a cut where background alone has wide excesses, a large one is no detection."""

    def both(tight: float, loose: float) -> tuple[Excess, ...]:
        return tuple(
            Excess(detector=0, efficiency=e, excess=x, local_z=x, believable=True)
            for e, x in ((0.001, tight), (0.1, loose))
        )

    rng = np.random.default_rng(1)
    nulls = [
        NullTrial(
            name=str(k),
            n_events=1,
            replays=(Replay(index=0, n_events=1, cells=both(8 * x, y)),),
        )
        for k, (x, y) in enumerate(rng.normal(size=(99, 2)))
    ]
    injected = made(2.0, 0, 9.0, 3000.0, 50).model_copy(
        update={"cells": both(7.0, 6.0), "cell_mass_gev": (5000.0, 3010.0)}
    )
    (at,) = performance(SearchPlan(), nulls, [injected]).strengths
    assert at.found_5pc.k == 1
    assert at.median_local_z == 6.0
    assert at.mass_bias == pytest.approx(1 / 300)


def test_the_error_of_the_fit_costs_significance():
    sharp = made(2.0, 0, 9.0, 3000.0, 60)
    inclusive, cut = sharp.yields
    # The fit is known as well as the count: the significance falls by the square root of two.
    error = float(np.sqrt(inclusive.n_observed + inclusive.n_expected))
    blurred = inclusive.model_copy(update={"error": error})
    loose = sharp.model_copy(update={"yields": (blurred, cut)})
    z = [
        performance(SearchPlan(), quiet_nulls(5), [x]).strengths[0].yields[0].median_z
        for x in (sharp, loose)
    ]
    assert z == pytest.approx([2.0, np.sqrt(2.0)])


def test_failed_repetitions_are_never_found_and_say_why():
    failed = Injected(mass_gev=3000.0, strength=2.0, number=1, error="no fit")
    good = made(2.0, 0, 9.0, 3000.0, 50)
    nowhere = good.model_copy(update={"yields": ()})
    (at,) = performance(SearchPlan(), quiet_nulls(40), [failed, nowhere, good]).strengths
    assert (at.n, at.n_failed, at.failure) == (3, 1, "no fit")
    assert at.found_5pc.k == 2
    assert [row.n for row in at.yields] == [1, 1]
    (alone,) = performance(SearchPlan(), quiet_nulls(40), [failed]).strengths
    assert (alone.found_5pc.k, alone.median_p, alone.yields) == (0, 1.0, ())
