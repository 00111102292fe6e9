"""Recast: efficiencies by counting, limits on what passes turned into a produced signal."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference import peak_grid
from bumpscout_tools.scan.injection import Injected, Yield
from bumpscout_tools.scan.limits_plan import LimitPlan
from bumpscout_tools.scan.plan import SearchPlan, WorkingPointPlan
from bumpscout_tools.scan.recast import recast_signal
from bumpscout_tools.scan.replay import Excess
from bumpscout_tools.statistics import poisson_z

EDGES = 2000.0 * np.exp(0.03 * np.arange(41))
WINDOW = (11, 17)
MASS = 3000.0
CUT = 0.01
PER_STRENGTH = 50.0
PLAN = SearchPlan(
    luminosity_fb=10.0,
    working_points=WorkingPointPlan(efficiencies=(CUT,)),
    limits=LimitPlan(toys=0),
)


def trial(strength: float, number: int, efficiency: float) -> Injected:
    """A cut that keeps 1% of a falling background and a part of the signal."""
    rng = np.random.default_rng([number, int(10 * strength)])
    centres = np.sqrt(EDGES[1:] * EDGES[:-1]) / 2000
    template = peak_grid([MASS], [0.0], 0.02).templates(EDGES)[0]
    injected = int(PER_STRENGTH * strength)
    near = slice(12, 15)
    rows = []
    for cut, size, kept in ((None, 40_000.0, 1.0), (CUT, 400.0, efficiency)):
        mean = centres**-6 / (centres**-6).sum() * size
        keeps = [*(kept * template / template.sum()), 1 - kept]
        signal = rng.multinomial(injected, np.maximum(keeps, 0.0) / np.sum(keeps))[:-1]
        counts = rng.poisson(mean) + signal
        n, b = float(counts[near].sum()), float(mean[near].sum())
        rows.append(
            Yield(
                efficiency=cut,
                n_observed=int(n),
                n_expected=b,
                error=float(np.sqrt(n + 0.02 * b)),
                n_true=int(signal[near].sum()),
                n_passed=int(signal.sum()),
                local_z=float(poisson_z(np.array([n]), np.array([b]))[0]),
                believable=True,
                counts=tuple(map(int, counts)),
                true_counts=tuple(map(int, signal)),
            )
        )
    cell = Excess(
        detector=0, efficiency=CUT, excess=rows[1].local_z, local_z=rows[1].local_z, believable=True
    )
    return Injected(
        mass_gev=MASS,
        strength=strength,
        number=number,
        n_injected=injected,
        n_signal=injected,
        cells=(cell,),
        cell_mass_gev=(MASS,),
        yields=tuple(rows),
        edges_gev=tuple(EDGES),
        window=WINDOW,
    )


@pytest.fixture(scope="module")
def recast():
    """Efficiency 20% at strength 1 and 60% at 4: a cut that learns the signal."""
    zero = [trial(0.0, k, 0.0) for k in range(25)]
    some = [trial(s, k, e) for s, e in ((1.0, 0.2), (4.0, 0.6)) for k in range(15)]
    rng = np.random.default_rng(1)
    return recast_signal(PLAN, "toy", [*zero, *some], zero, sigma_relative=0.02, rng=rng)


def test_efficiency_map_is_what_was_counted(recast):
    for strength, true in (("1", 0.2), ("4", 0.6)):
        everything, cut = recast.efficiencies[strength]
        assert everything.mean == 1.0
        assert abs(cut.mean - true) < 3 * cut.error
        n = 15 * int(PER_STRENGTH * float(strength))
        assert cut.error == pytest.approx(np.sqrt(true * (1 - true) / n), rel=0.5)
        assert cut.response == pytest.approx(1.0, abs=0.1)


def test_the_excluded_signal_is_one_that_trains_its_own_efficiency(recast):
    _, cut = recast.limits
    assert cut.visible_events is not None
    assert cut.injected_events is not None
    assert cut.low_events < cut.visible_events < cut.high_events
    # Efficiency from 0.2 at 50 to 0.6 at 200 events, times the response: linear in between.
    weak, strong = (recast.efficiencies[s][1] for s in ("1", "4"))
    keeps = np.interp(
        cut.injected_events,
        [0.0, 50.0, 200.0],
        [0.0, weak.mean * weak.response, strong.mean * strong.response],
    )
    assert cut.injected_events * keeps == pytest.approx(cut.visible_events, rel=0.01)
    # At 10/fb one event is 1e-4 pb.
    assert cut.cross_section_pb == pytest.approx(cut.injected_events * 1e-4)
    assert cut.strength == pytest.approx(cut.injected_events / PER_STRENGTH)


def test_the_cut_needs_less_than_no_cut(recast):
    needed = {(one.efficiency, one.sigma): one for one in recast.needed}
    three, five = needed[CUT, 3.0].strength, needed[CUT, 5.0].strength
    assert three is not None
    assert five is not None
    assert 1.0 < three.value < five.value < 4.0
    assert three.low < three.value < three.high
    assert needed[CUT, 3.0].cross_section_pb == pytest.approx(three.value * PER_STRENGTH * 1e-4)
    assert needed[None, 5.0].strength is None
    assert [at.found_5pc.k for at in recast.detected][-1] == 15


def test_too_few_repetitions_are_refused_with_the_reason():
    failed = Injected(mass_gev=MASS, strength=1.0, number=0, error="no such window")
    zero = [trial(0.0, k, 0.0) for k in range(6)]
    with pytest.raises(ConfigurationError, match="no such window"):
        recast_signal(
            PLAN, "toy", [*zero, failed], zero, sigma_relative=0.02, rng=np.random.default_rng(1)
        )
