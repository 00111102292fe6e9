"""A bump under other choices: a real one survives them, and each choice is really another."""

from __future__ import annotations

import itertools

import numpy as np

from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.conclude import conclude
from bumpscout_tools.scan.execute import execute, prepare
from bumpscout_tools.scan.robustness import variants_of
from bumpscout_tools.scan.serial import SerialExecutor


def test_a_signal_survives_every_choice_and_choices_differ(make_plan, make_view, cwola):
    plan, view = make_plan(), make_view(16_000, seed=3, n_signal=250)
    rng = np.random.default_rng
    outcome = execute(plan, view, rng(2), SerialExecutor(), cwola, lambda _line: None)
    prepared = prepare(plan, view, rng(2))
    scores = [cwola(0, task, prepared.view) for task in prepared.tasks]
    fixed = NullCells.scores_held_fixed(plan)
    ended = conclude(plan, prepared, scores, outcome, fixed)
    best = ended.best()
    assert best is not None
    variants = {variant.name: variant for variant in ended.variants[best.test_id]}
    expected = {"bins half as wide", "bins twice as wide", "window 2 bins wider"}
    assert expected < set(variants)
    assert any(name.startswith("p") for name in variants)
    believable = [variant for variant in variants.values() if variant.believable]
    assert len(believable) >= 3
    assert all(variant.local_z > 0.8 * best.local_z for variant in believable)
    assert len({round(variant.local_z, 6) for variant in variants.values()}) > 3
    for variant in variants.values():
        assert variant.excess == (variant.local_z - best.null_mean) / best.null_width


def test_leading_bumps_do_not_overlap(make_plan, make_view, at_random):
    plan, view = make_plan(), make_view(16_000)
    rng = np.random.default_rng(2)
    outcome = execute(plan, view, rng, SerialExecutor(), at_random, lambda _line: None)
    leading = outcome.leading()
    assert leading[0] == outcome.best()
    intervals = sorted(cell.interval_gev for cell in leading)
    assert all(low[1] <= high[0] for low, high in itertools.pairwise(intervals))
    assert all(cell.local_z >= 1 for cell in leading[1:])
    assert len(outcome.leading(1)) == 1


def test_an_order_that_does_not_describe_the_side_bands_is_not_believed(
    make_plan, make_view, at_random
):
    plan, view = make_plan(), make_view(16_000)
    rng = np.random.default_rng
    outcome = execute(plan, view, rng(2), SerialExecutor(), at_random, lambda _line: None)
    layout = prepare(plan, view, rng(2)).layout
    cell = outcome.cells[outcome.ranking[0]].model_copy(update={"order": 3})
    # A spectrum much more curved than any power of (1 - x).
    mass = layout.edges[0] * np.exp(0.25 * np.abs(rng(3).normal(size=200_000)))
    fixed = NullCells.scores_held_fixed(plan)
    found = {v.name: v.believable for v in variants_of(plan, layout, mass, cell, fixed)}
    assert not found["p2"]
    assert found["p4"]
