"""Cuts of flat efficiency: drifts with the mass go, a signal stays, order does not matter."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from bumpscout_tools.detectors import CwolaHunting, CwolaSettings, cross_fit
from bumpscout_tools.detectors.flat_cuts import flat_scores
from bumpscout_tools.detectors.guards_explained import variance_outside
from bumpscout_tools.detectors.quantiles import normal_given_mass
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan
from bumpscout_tools.script import ScriptTask
from bumpscout_tools.scripts import run_vetted

WINDOW = (2700.0, 3000.0)


def drifting(seed: int, n: int = 20_000, n_signal: int = 0) -> tuple[View, np.ndarray, np.ndarray]:
    """A score whose mean and width drift with the mass, and a narrow signal of high scores."""
    rng = np.random.default_rng((seed, 3))
    mass = np.concatenate([2000 + rng.exponential(600, n), rng.normal(2850, 40, n_signal)])
    signal = np.arange(n + n_signal) >= n
    t = np.log(mass / 2800)
    score = 0.6 * t + (1 + 0.3 * t) * rng.gumbel(size=n + n_signal) + 5.0 * signal
    ids = rng.integers(2**63, size=n + n_signal, dtype=np.uint64)
    return View(ids, mass, score[:, None], ("score",)), score, signal


def flatness(score: np.ndarray, mass: np.ndarray, cut: float) -> float:
    """Chi-square p-value of what the cut keeps against all, in ten bins of the mass."""
    place = np.digitize(mass, np.quantile(mass, np.linspace(0, 1, 11)[1:-1]))
    kept = score > np.quantile(score, 1 - cut)
    table = [np.bincount(place[rows], minlength=10) for rows in (kept, ~kept)]
    return float(stats.chi2_contingency(np.array(table)).pvalue)


@pytest.mark.parametrize("cut", [0.1, 0.03, 0.01])
def test_an_efficiency_that_drifts_with_the_mass_becomes_flat(cut: float) -> None:
    before, after = [], []
    for seed in range(4):
        view, score, _ = drifting(seed)
        flat = flat_scores(score[:, None], view, [WINDOW])[:, 0]
        before.append(flatness(score, view.mass, cut))
        after.append(flatness(flat, view.mass, cut))
    assert stats.combine_pvalues(before).pvalue < 1e-4
    assert stats.combine_pvalues(after).pvalue > 0.01


def test_a_signal_in_the_window_is_not_flattened_away() -> None:
    view, score, signal = drifting(1, n_signal=150)
    flat = flat_scores(score[:, None], view, [WINDOW])[:, 0]
    inside = (view.mass >= WINDOW[0]) & (view.mass < WINDOW[1])
    background = inside & ~signal

    def kept(values: np.ndarray) -> float:
        return float((values[signal] > np.quantile(values[background], 0.99)).mean())

    assert kept(score) > 0.5
    assert kept(flat) > 0.95 * kept(score)


def test_events_of_one_mass_keep_their_order_and_the_file_does_not_matter() -> None:
    view, score, _ = drifting(2, 4000)
    twice = np.column_stack([score, score])
    flat = flat_scores(twice, view, [WINDOW, (2400.0, 2600.0)])
    shuffled = np.random.default_rng(1).permutation(4000)
    again = flat_scores(twice[shuffled], view.select(shuffled), [WINDOW, (2400.0, 2600.0)])
    assert (again == flat[shuffled]).all()
    same = np.argsort(view.mass)[1000:1010]
    close = View(
        view.event_id,
        np.where(np.isin(np.arange(4000), same), 2500.0, view.mass),
        *(view.features, view.feature_names),
    )
    flat = flat_scores(score[:, None], close, [WINDOW])[:, 0]
    assert (np.argsort(flat[same]) == np.argsort(score[same])).all()


def test_a_score_of_few_values_is_cut_flat_and_tells_no_mass() -> None:
    """Equal scores would all pass or fail together, at some masses only."""
    view, _, _ = drifting(5)
    rng = np.random.default_rng(6)
    few = rng.poisson(2 + 4 * np.log(view.mass / 2000)).astype(float)
    flat = flat_scores(few[:, None], view, [WINDOW])[:, 0]
    assert flatness(few + 1e-6 * rng.random(len(few)), view.mass, 0.1) < 1e-6
    for cut in (0.1, 0.03):
        assert flatness(flat, view.mass, cut) > 0.01
    # Trees that see the scores given the mass cannot tell the mass; of tied ones they could.
    given = normal_given_mass(few, view.mass, np.ones(len(few), dtype=bool))
    rank, nowhere = stats.rankdata(view.mass) / len(few), np.zeros(len(few), dtype=bool)
    assert variance_outside(rank, given[:, None], nowhere) < 0.02


def test_the_scores_given_the_mass_are_standard_normal() -> None:
    view, score, _ = drifting(3)
    found = normal_given_mass(score, view.mass, np.ones(len(view), dtype=bool))
    for part in np.array_split(np.argsort(view.mass), 5):
        assert found[part].mean() == pytest.approx(0, abs=0.05)
        assert found[part].std() == pytest.approx(1, abs=0.05)


def test_too_few_events_outside_are_refused() -> None:
    view, score, _ = drifting(4, 300)
    with pytest.raises(DetectorError, match="at least 200"):
        flat_scores(score[:, None], view, [(2000.0, 2600.0)])


def test_a_plan_makes_the_cuts_of_a_detector_flat(make_events) -> None:
    view = make_events(6000)
    settings = CwolaSettings(members=1, trees=20, folds=3, classifier="trees")
    how = {"features": view.feature_names, "seed": 4}
    expected = cross_fit(CwolaHunting(settings), view, [WINDOW], **how, decorrelate="quantile")
    plan = DetectorPlan(settings=settings.model_dump(), decorrelate="quantile")
    task = ScriptTask(
        detector=plan.name,
        windows_gev=(WINDOW,),
        parameters=plan.settings.model_dump(),
        decorrelate=plan.decorrelate,
        **how,
    )
    assert (run_vetted(task, view) == expected).all()
    plain = cross_fit(CwolaHunting(settings), view, [WINDOW], **how)
    assert not np.array_equal(np.argsort(plain[:, 0]), np.argsort(expected[:, 0]))


def test_a_grid_refuses_flat_cuts() -> None:
    detector = {"name": "autoencoder", "features": ["mj_light"], "decorrelate": "quantile"}
    with pytest.raises(ValidationError, match="decorrelate takes the mass of one spectrum"):
        SearchPlan(detectors=[detector], spectra=[{"mass": "m_jj"}])
