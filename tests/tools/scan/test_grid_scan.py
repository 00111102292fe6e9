"""Scans of grids: the right cell is found, p is uniform, workers and kills change nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bumpscout_tools.detectors.fixed import FixedScores
from bumpscout_tools.errors import BumpscoutError, ConfigurationError, InputDataError
from bumpscout_tools.events.spectra import SpectraTable
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.execute import prepare
from bumpscout_tools.scan.grid_conclude import conclude_grid
from bumpscout_tools.scan.grid_layout import GridEvents, grid_events, grid_scores, resolve_grid
from bumpscout_tools.scan.grid_limits import grid_limits
from bumpscout_tools.scan.grid_scan import GridScan, scan_grid
from bumpscout_tools.scan.grid_significance import GridNull, grid_significance
from bumpscout_tools.scan.grid_toys import NullGrid, make_block, null_grid
from bumpscout_tools.scan.outcome import ScanOutcome
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.scan.verdict import decide

Array = NDArray[Any]
MASSES, CATEGORIES = ("lead", "near", "rare"), ("even", "some")
SIGNAL_GEV = 2200.0


def events(rng: np.random.Generator, n: int = 6000, signal: int = 0, low: float = 1000.0) -> View:
    """Three overlapping masses in two categories; a signal in `rare` of `some` with high scores."""
    size = rng.poisson(n)
    lead = low * np.exp(rng.exponential(0.22, size))
    near = np.where(rng.random(size) < 0.6, lead, lead * np.exp(0.1 * rng.random(size)))
    rare = np.where(rng.random(size) < 0.4, near, np.nan)
    some = rng.random(size) < 0.4
    score = rng.random(size)
    rare[:signal] = SIGNAL_GEV * (1.0 + 0.015 * rng.standard_normal(signal))
    some[:signal] = True
    score[:signal] = rng.uniform(0.95, 1.0, signal)
    bits = (rng.random(size) < 0.7).astype(np.uint64) | (some.astype(np.uint64) << np.uint64(1))
    table = SpectraTable(np.stack([lead, near, rare], axis=1), MASSES, bits, CATEGORIES)
    features = np.column_stack([score, rng.random(size)])
    ids = rng.permutation(size).astype(np.uint64)
    return View(ids, lead, features, ("score", "other"), table)


def grid_plan(**changes: Any) -> SearchPlan:
    content: dict[str, Any] = {
        "detectors": [{"name": "column", "features": ["score"], "settings": {"independent": True}}],
        "spectra": [
            {"masses": MASSES, "categories": CATEGORIES, "min_gev": 1100, "bin_log_width": 0.04}
        ],
        "working_points": {"efficiencies": {"from": 1, "to": 0.02, "n": 8}},
        "toys": 100,
        "replays": {"n": 32},
    }
    return SearchPlan.model_validate({**content, **changes})


def prepared(plan: SearchPlan, view: View, seed: int = 1) -> tuple[SearchPlan, GridEvents]:
    found = grid_events(view, grid_scores(plan, view, seed))
    return resolve_grid(plan, found).plan, found


def scanned(plan: SearchPlan, view: View, executor: Executor | None = None) -> GridScan:
    plan, found = prepared(plan, view)
    return scan_grid(plan, found, executor or SerialExecutor(), list)


def significance(
    plan: SearchPlan, scan: GridScan, folder: Path, executor: Executor | None = None
) -> GridNull:
    return grid_significance(
        plan,
        scan,
        seed=3,
        executor=executor or SerialExecutor(),
        folder=folder,
        data_key="these",
        progress=lambda *_: None,
        parallel=3,
        out_of_time=lambda: False,
    )


def finished(plan: SearchPlan, view: View, folder: Path) -> tuple[GridNull, ScanOutcome]:
    resolved, found = prepared(plan, view)
    scan = scan_grid(resolved, found, SerialExecutor(), list)
    null = significance(resolved, scan, folder)
    return null, conclude_grid(resolved, found, scan, null)


def test_a_signal_is_found_in_its_spectrum_at_its_mass_and_cut(tmp_path: Path) -> None:
    plan = grid_plan(toys=1000, replays={"n": 200})
    null, outcome = finished(plan, events(np.random.default_rng(1), signal=45), tmp_path)
    best = outcome.best()
    assert best is not None
    assert best.spectrum in {"rare / some", "rare / even"}
    assert best.interval_gev[0] < SIGNAL_GEV < best.interval_gev[1]
    assert best.efficiency < 0.2
    assert best.local_z > 5
    assert null.significance.scan_p is not None
    assert null.significance.scan_p.value < 1.35e-3
    assert null.significance.procedure_p is not None
    assert (null.significance.procedure_p.n_reached, null.significance.procedure_p.n_replays) == (
        0,
        200,
    )
    assert "replays are toys" in null.significance.procedure_p.method
    assert decide(plan, outcome, null.significance, claim="confirmatory").verdict == "excess"
    undeclared = plan.model_copy(
        update={"detectors": (DetectorPlan(name="column", features=("score",)),)}
    )
    verdict = decide(undeclared, outcome, null.significance)
    assert verdict.verdict == "undecided"
    assert "independent" in verdict.reasons[0]
    names = {variant.name for variant in outcome.variants[best.test_id]}
    assert {"bins half as wide", "bins twice as wide", "fit starts 2 bins higher"} <= names
    assert min(v.local_z for v in outcome.variants[best.test_id]) > 3


def test_every_cell_says_what_each_order_makes_of_it() -> None:
    scan = scanned(grid_plan(), events(np.random.default_rng(2)))
    assert len(scan.outcome.cells) > 30
    own = [w for (k, w) in scan.place if scan.fits[k].own[w]]
    assert own
    for cell, (k, w) in zip(scan.outcome.cells, scan.place, strict=True):
        assert [one.order for one in cell.hypotheses] == [2, 3, 4, 5, 6]
        same = next(one for one in cell.hypotheses if one.order == cell.order)
        if scan.fits[k].own[w]:
            assert same.local_z == pytest.approx(cell.local_z, abs=1e-6)
            assert same.fit_p >= cell.fit_p - 1e-9


def test_tests_are_recorded_once_each_before_any_result() -> None:
    plan, found = prepared(grid_plan(), events(np.random.default_rng(3)))
    lines: list[dict[str, Any]] = []

    class Late(SerialExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
            assert lines
            return super().submit(*args, **kwargs)

    scan = scan_grid(plan, found, Late(), lines.extend)
    assert [line["test_id"] for line in lines] == [cell.test_id for cell in scan.outcome.cells]
    assert len({line["test_id"] for line in lines}) == len(lines)
    assert {line["spectrum"] for line in lines} == {one.name for one in plan.spectra}


def test_results_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    view, plan = events(np.random.default_rng(4), n=3000), grid_plan()
    one = scanned(plan, view)
    with ThreadPoolExecutor(3) as threads:
        many = scanned(plan, view, threads)
        there = significance(plan, many, tmp_path / "b", threads)
    here = significance(plan, one, tmp_path / "a")
    assert one.outcome == many.outcome
    assert here.significance == there.significance
    np.testing.assert_array_equal(here.mean, there.mean)


def test_finished_toys_are_not_made_again(tmp_path: Path) -> None:
    view, plan = events(np.random.default_rng(5), n=3000), grid_plan()
    scan = scanned(plan, view)
    first = significance(plan, scan, tmp_path)
    with (tmp_path / "grid-scan.jsonl").open("a") as file:
        file.write('{"key": "torn')

    class Idle(SerialExecutor):
        def submit(self, *_: Any, **__: Any) -> Future[Any]:
            raise AssertionError("a finished block was made again")

    again = significance(plan, scan, tmp_path, Idle())
    assert again.significance == first.significance
    np.testing.assert_array_equal(again.width, first.width)
    with pytest.raises(AssertionError, match="made again"):
        grid_significance(
            plan, scan, seed=4, executor=Idle(), folder=tmp_path, data_key="these",
            progress=lambda *_: None, parallel=1, out_of_time=lambda: False,
        )  # fmt: skip


def small(number: int) -> tuple[float, NullGrid, NullGrid]:
    """Return the largest local z of a background-only set, its null, and a broken one."""
    rng = np.random.default_rng((7, number))
    plan = grid_plan(working_points={"efficiencies": [1.0, 0.4, 0.15]})
    scan = scanned(plan, events(rng, n=2500))
    best, null = scan.outcome.best(), null_grid(plan, scan)
    assert best is not None
    return best.local_z, null, replace(null, cells=scan.grid.cells)


def uniform_p(z: Array, toys: Array) -> float:
    """Rank each set among the toys of all others; return the KS probability of the ranks."""
    above = (toys[None] >= z[:, None, None] - 1e-9).sum(axis=2)
    p = (above.sum(axis=1) - np.diagonal(above) + 1) / (toys.size - toys.shape[1] + 1)
    return float(stats.kstest(p, "uniform").pvalue)


def test_scan_p_and_procedure_p_are_uniform_on_background() -> None:
    made = [small(i) for i in range(60)]
    z = np.array([one[0] for one in made])
    toys, replays = (
        np.array([make_block(one[1], kind, i, 0).largest for i, one in enumerate(made)])
        for kind in ("scan", "replay")
    )
    assert uniform_p(z, toys) > 0.01
    assert uniform_p(z, replays) > 0.01
    # Toys of the data themselves, with their fluctuations in them, are no null.
    broken = [make_block(one[2], "scan", i, 0).largest for i, one in enumerate(made[:40])]
    assert uniform_p(z[:40], np.array(broken)) < 1e-6


def test_cells_that_no_order_describes_claim_nothing() -> None:
    view = events(np.random.default_rng(8), n=8000)
    assert view.spectra is not None
    # No smooth function describes a spectrum with gaps.
    kept = np.sin(view.spectra.masses[:, 0] / 60.0) > -0.5
    scan = scanned(grid_plan(), view.select(kept))
    cells = [cell for cell in scan.outcome.cells if cell.spectrum == "lead / even"]
    loosest = max(cells, key=lambda cell: cell.efficiency)
    assert not loosest.believable
    assert loosest.reason
    ranked = {scan.outcome.cells[index].test_id for index in scan.outcome.ranking}
    assert loosest.test_id not in ranked
    summary = next(one for one in scan.outcome.grid if one.spectrum == "lead / even")
    assert not summary.described


def test_a_score_that_is_a_function_of_the_mass_claims_nothing(tmp_path: Path) -> None:
    view = events(np.random.default_rng(10), n=8000)
    peak = np.exp(-0.5 * ((view.mass / SIGNAL_GEV - 1) / 0.03) ** 2)
    view = View(view.event_id, view.mass, peak[:, None], ("score",), view.spectra)
    plan = grid_plan(working_points={"efficiencies": [1.0, 0.4, 0.15]}, toys=1000)
    null, outcome = finished(plan, view, tmp_path)
    assert decide(plan, outcome, null.significance).verdict not in ("excess", "candidate")


def test_events_that_a_detector_learned_from_are_not_scanned() -> None:
    view = events(np.random.default_rng(11))
    settings = {"trees": 20, "subsample": 64, "train_share": 0.3}
    forest = {"name": "isolation-forest", "features": ["score", "other"], "settings": settings}
    plan = grid_plan(
        detectors=[forest],
        luminosity_fb=1.0,
        working_points={"cross_sections_pb": [100.0, 2.0, 0.5, 1e-4]},
    )
    resolved = resolve_grid(plan, found := grid_events(view, grid_scores(plan, view, 1)))
    assert found.share == pytest.approx(0.7, abs=0.03)
    # 2 pb of 1/fb are 2000 events in all, and its share of them among those that are scanned.
    due = [1.0, 2000 * found.share / len(found.view), 500 * found.share / len(found.view)]
    np.testing.assert_allclose(resolved.plan.working_points.efficiencies, due, rtol=2e-3)
    assert len(resolved.not_understood) == 2
    outcome = scan_grid(resolved.plan, found, SerialExecutor(), list).outcome
    assert outcome.n_events == len(found.view)
    assert outcome.all_events_pb == pytest.approx(len(view) / 1000, rel=1e-6)


def without_rare(view: View) -> View:
    table = view.spectra
    assert table is not None
    masses = table.masses.copy()
    masses[:, 2] = np.nan
    spectra = SpectraTable(masses, table.mass_names, table.categories, table.category_names)
    return View(view.event_id, view.mass, view.features, view.feature_names, spectra)


def test_a_spectrum_without_events_is_left_out_and_named() -> None:
    scan = scanned(grid_plan(), without_rare(events(np.random.default_rng(12))))
    reasons = {one.spectrum: one.reason for one in scan.outcome.grid if one.reason}
    assert set(reasons) == {"rare / even", "rare / some"}
    assert set(reasons.values()) == {"no event passes the loosest cut"}
    assert {cell.spectrum for cell in scan.outcome.cells} == {
        f"{mass} / {category}" for mass in MASSES[:2] for category in CATEGORIES
    }


def one_event(view: View) -> View:
    return view.select(np.arange(len(view)) == 0)


def alone(view: View) -> View:
    return View(view.event_id, view.mass, view.features, view.feature_names)


def same(view: View) -> View:
    return view


@pytest.mark.parametrize(
    ("change", "changes", "error", "said"),
    [
        (one_event, {"working_points": {"efficiencies": [1.0]}}, ConfigurationError, "fewer than"),
        (same, {"spectra": [{"mass": "jz"}]}, ConfigurationError, "no mass 'jz'"),
        (
            same,
            {"spectra": [{"mass": "lead", "category": "odd"}]},
            ConfigurationError,
            "no event category 'odd'",
        ),
        (alone, {}, ConfigurationError, "m_jj of all events alone"),
        (
            same,
            {"detectors": [{"name": "column", "features": ["loss"]}]},
            ConfigurationError,
            "loss",
        ),
        (
            same,
            {"spectra": [{"mass": "lead", "edges_gev": np.linspace(1e3, 2e4, 30).tolist()}]},
            ConfigurationError,
            "not below sqrt",
        ),
        (
            same,
            {"spectra": [{"mass": "lead", "min_gev": 9000}]},
            InputDataError,
            "lead: .* events? pass",
        ),
        (
            same,
            {"working_points": {"efficiencies": [1e-4]}},
            ConfigurationError,
            "fewer than 20",
        ),
    ],
)
def test_what_cannot_be_scanned_says_why(
    change: Callable[[View], View],
    changes: dict[str, Any],
    error: type[BumpscoutError],
    said: str,
) -> None:
    view = change(events(np.random.default_rng(13), n=1000))
    with pytest.raises(error, match=said):
        scanned(grid_plan(**changes), view)


def test_several_detectors_are_one_grid() -> None:
    view = events(np.random.default_rng(16), n=3000)
    scores = [{"name": "column", "features": [name]} for name in ("score", "other")]
    both = scanned(grid_plan(detectors=scores), view).outcome
    for index, score in enumerate(scores):
        alone = scanned(grid_plan(detectors=[score]), view).outcome
        part = [cell for cell in both.cells if cell.detector_index == index]
        assert [c.local_z for c in part] == [c.local_z for c in alone.cells]
    assert len({cell.test_id for cell in both.cells}) == len(both.cells)


def test_the_mass_of_all_data_needs_no_further_spectra() -> None:
    plan = grid_plan(spectra=[{"mass": "m_jj", "bin_log_width": 0.04}])
    scan = scanned(plan, alone(events(np.random.default_rng(14))))
    assert {cell.spectrum for cell in scan.outcome.cells} == {"m_jj"}


def test_windows_and_grids_are_not_mixed_up() -> None:
    with pytest.raises(ConfigurationError, match="grid of spectra"):
        prepare(grid_plan(), events(np.random.default_rng(15)), np.random.default_rng(1))


def test_limits_of_a_grid_hold_a_signal_put_in_and_name_spectrum_and_cut() -> None:
    limits = {"widths": [0.0], "resolution": 0.015, "max_points": 3, "toys": 0}
    plan = grid_plan(limits=limits, luminosity_fb=2.0)
    view = events(np.random.default_rng(3), 20_000, signal=120)
    scan = scanned(plan, view)
    found = grid_limits(plan, scan, seed=1, executor=SerialExecutor())
    assert found is not None
    assert found.pb_per_event == pytest.approx(1 / 2000.0)
    spectra = {point.spectrum for point in found.points}
    assert spectra == {column.spectrum.name for column in scan.grid.columns}
    rare = [point for point in found.points if point.spectrum == "rare / some"]
    assert len(rare) == 3
    assert rare[0].efficiency == 1.0
    # Scores of the signal are above 0.95: the cut at 1 keeps all of it, as does that in the middle.
    for point in rare[:2]:
        assert point.cross_section_pb == pytest.approx(
            point.efficiency * len(view) / 2000, rel=1e-3
        )
        row = min(point.rows(0.0), key=lambda row: abs(row.mass_gev - SIGNAL_GEV))
        assert row.observed is not None
        assert row.expected is not None
        assert row.observed > 120 > row.expected[2]
        assert row.signal == pytest.approx(120, abs=3 * row.error)
    # Beside so strong an excess a fit that does not know it has no meaning: no limit is given.
    away = [row for row in rare[1].rows(0.0) if abs(row.mass_gev / SIGNAL_GEV - 1) > 0.15]
    assert away
    assert all(row.observed is None and row.reason for row in away)
    other = [point for point in found.points if point.spectrum == "lead / even"]
    zs = [row.local_z for point in other for row in point.rows(0.0) if row.local_z is not None]
    assert np.mean(np.abs(zs) < 3) > 0.95
    with ThreadPoolExecutor(3) as executor:
        again = grid_limits(plan, scan, seed=1, executor=executor)
    assert again == found


def test_a_fit_that_cannot_be_believed_gives_no_limit() -> None:
    plan = grid_plan(limits={"widths": [0.0], "max_points": 1, "toys": 0})
    scan = scanned(plan, events(np.random.default_rng(4), 8000))
    doubtful = replace(scan.fits[0], doubts=("bent", *scan.fits[0].doubts[1:]))
    found = grid_limits(
        plan,
        replace(scan, fits=(doubtful, *scan.fits[1:])),
        seed=1,
        executor=SerialExecutor(),
    )
    assert found is not None
    first, second = found.points[0].rows(0.0), found.points[1].rows(0.0)
    assert {(row.observed, row.reason) for row in first} == {(None, "bent")}
    assert all(row.observed is not None for row in second)
    assert any("1 of the 8 working points" in sentence for sentence in found.meaning)


def test_a_control_sample_is_a_cut_and_no_thinning_of_the_luminosity() -> None:
    view = events(np.random.default_rng(5), 2000)
    aside = np.arange(len(view)) % 4 == 0
    score, nothing = view.features[:, 0], np.zeros(len(view), dtype=np.bool_)
    control = grid_events(view, [FixedScores(score, aside, nothing)])
    thinned = grid_events(view, [FixedScores(score, aside, aside)])
    assert len(control.view) == len(thinned.view) == np.count_nonzero(~aside)
    assert control.share == 1.0
    assert thinned.share == pytest.approx(0.75, abs=1e-3)
