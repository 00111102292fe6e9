"""Rates of verdicts, the reach with its errors, and the cost of a contaminated null."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.detectors.density import Closure
from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.contamination import contamination
from bumpscout_tools.scan.injection import Injected, Yield
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.reach import reach
from bumpscout_tools.scan.replay import Excess, Replay
from bumpscout_tools.scan.significance import NullSummary
from bumpscout_tools.scan.trials import ScanRecord, verdict_of
from bumpscout_tools.scan.verdict_rates import closures, verdict_rates

PLAN = SearchPlan()
FIXED = NullCells.scores_held_fixed(PLAN)
TOYS = tuple(np.linspace(4.0, 3.0, 50))


def null_summary(auc: float) -> NullSummary:
    closure = Closure(auc, 0.002, 0.5, 0.02, 0.5, 0.02, 0.5, 40_000)
    return NullSummary(
        masked_gev=(3000.0, 4000.0), order=3, fit_p=0.5, expected_events=4e4, closure=closure
    )


def record(**changes: object) -> ScanRecord:
    content = {"described": True, "local_z": 4.0, "toys": TOYS, "n_toys": 2000, **changes}
    return ScanRecord.model_validate(content)


@pytest.mark.parametrize(
    ("observed", "pool", "changes", "verdict"),
    [
        (6.0, np.zeros(400), {}, "excess"),
        (6.0, np.zeros(100), {}, "candidate"),
        (6.0, np.append(np.zeros(100), 7.0), {}, "undecided"),
        (6.0, np.append(np.zeros(80), np.full(20, 7.0)), {}, "no-excess"),
        (6.0, np.zeros(400), {"guards": ("mass dependence",)}, "undecided"),
        (6.0, np.zeros(400), {"null": null_summary(0.6)}, "undecided"),
        (6.0, np.zeros(400), {"described": False}, "undecided"),
        (3.5, np.zeros(400), {}, "no-excess"),
        (3.5, np.zeros(400), {"guards": ("mass dependence",)}, "no-excess"),
        (3.5, np.zeros(400), {"described": False}, "undecided"),
        (-np.inf, np.zeros(400), {}, "undecided"),
    ],
)
def test_the_verdict_of_a_trial_is_that_of_a_search(observed, pool, changes, verdict) -> None:
    assert verdict_of(PLAN, record(**changes), observed, pool) == verdict


def test_rates_count_verdicts_and_objections_by_name() -> None:
    records = [
        record(),
        record(guards=("local lift",), local_z=2.0),
        record(guards=("local lift",), described=False),
        None,
    ]
    found = verdict_rates(PLAN, records, np.array([6.0, 6.0, 2.0, np.inf]), [np.zeros(400)] * 4)
    assert {name: rate.k for name, rate in found.verdicts.items()} == {
        "excess": 1,
        "candidate": 0,
        "no-excess": 0,
        "undecided": 3,
    }
    assert {name: rate.k for name, rate in found.objections.items()} == {
        "guard: local lift": 2,
        "spectrum not described": 1,
        "scan failed": 1,
    }
    assert (found.local_z_above_3.k, found.local_z_above_3.n) == (2, 4)
    two = found.objections["guard: local lift"]
    assert two.low < 0.5 < two.high


def test_closures_list_every_generator() -> None:
    found = closures([record(null=null_summary(0.51)), None, record(null=null_summary(0.6))])
    assert found is not None
    assert found.auc == (0.51, 0.6)
    assert (found.not_closing.k, found.not_closing.n) == (1, 2)
    assert closures([record(), None]) is None


def yields(z: float, true: int) -> tuple[Yield, ...]:
    return tuple(
        Yield(
            efficiency=efficiency,
            n_observed=b + true,
            n_expected=float(b),
            error=float(np.sqrt(b + true)),
            n_true=true,
            local_z=value,
            believable=True,
        )
        for efficiency, b, value in ((None, 1000, z / 4), (0.1, 100, z))
    )


def test_the_reach_has_the_error_of_its_repetitions() -> None:
    """z = 3 x strength, with a spread of one a repetition: the error of a median of n repetitions
    is sqrt(pi/2)/sqrt(n), that of the crossing a third of it, shared between two strengths."""
    rng = np.random.default_rng(3)
    n = 100
    groups = [
        (
            strength,
            [
                Injected(
                    mass_gev=3000.0,
                    strength=strength,
                    number=k,
                    yields=yields(3 * strength + rng.normal(), int(rng.poisson(50 * strength))),
                )
                for k in range(n)
            ],
        )
        for strength in (0.5, 1.5)
    ]
    inclusive, cut = reach(groups, (), FIXED, np.random.default_rng(1))
    assert inclusive.for_3_sigma is None
    assert cut.for_3_sigma.value == pytest.approx(1.0, abs=0.06)
    half = (cut.for_3_sigma.high - cut.for_3_sigma.low) / 2
    assert half == pytest.approx(np.sqrt(np.pi / 2 / n) / 3 / np.sqrt(2), rel=0.3)
    # The same signal on a tenth of the background: sqrt(10) - 1.
    assert cut.gain_percent.value == pytest.approx(100 * (np.sqrt(10) - 1))
    assert cut.gain_percent.low == pytest.approx(cut.gain_percent.high)


def test_an_end_beyond_what_was_injected_is_not_known() -> None:
    """The median at the largest strength is hardly above 3: many bootstraps do not reach it."""
    groups = [
        (
            strength,
            [
                Injected(mass_gev=3000.0, strength=strength, number=k, yields=yields(z, 9))
                for k, z in enumerate(middle + np.linspace(-1, 1, 21))
            ],
        )
        for strength, middle in ((1.0, 0.0), (2.0, 3.02))
    ]
    _, cut = reach(groups, (), FIXED, np.random.default_rng(1))
    assert cut.for_3_sigma.value == pytest.approx(1 + 3 / 3.02)
    assert 1 < cut.for_3_sigma.low < 2
    assert cut.for_3_sigma.high is None


def replay(excess: float, mass: float = 3000.0) -> Replay:
    cells = tuple(
        Excess(detector=0, efficiency=0.1, excess=x, local_z=x, believable=True, mass_gev=m)
        for x, m in ((excess, mass), (0.0, 2000.0))
    )
    return Replay(index=0, n_events=9, cells=cells)


def test_a_null_that_learned_the_signal_costs_significance_and_shows_at_its_place() -> None:
    rng = np.random.default_rng(5)
    clean = [replay(x) for x in rng.normal(2.0, 0.5, 100)]
    observed = np.full(10, 4.0)

    def compared(shift: float):
        trials = [
            Injected(
                mass_gev=3000.0,
                strength=2.0,
                number=k,
                record=record(null=null_summary(0.51)),
                replays=tuple(replay(x + shift) for x in rng.normal(2.0, 0.5, 4)),
            )
            for k in range(10)
        ]
        return contamination(trials, np.zeros(10), observed, FIXED, clean, np.random.default_rng(1))

    same, learned = compared(0.0), compared(2.5)
    assert same is not None
    assert learned is not None
    assert (same.found_5pc.k, same.found_5pc_clean.k, same.n_replays) == (10, 10, 40)
    assert abs(same.shift) < 4 * same.shift_error
    assert same.place_5pc.value < 0.2
    assert (learned.found_5pc.k, learned.found_5pc_clean.k) == (0, 10)
    assert learned.median_p > 0.5 > learned.median_p_clean
    assert learned.shift == pytest.approx(2.5, abs=0.4)
    assert learned.place_5pc.value > 0.9
    assert learned.least_p == pytest.approx(1 / 37)
    assert learned.closures.auc == (0.51,) * 10


def test_without_contaminated_nulls_there_is_nothing_to_compare() -> None:
    trials = [Injected(mass_gev=3000.0, strength=2.0, number=k) for k in range(3)]
    rng = np.random.default_rng(1)
    assert contamination(trials, np.zeros(3), np.zeros(3), FIXED, [replay(1.0)], rng) is None
