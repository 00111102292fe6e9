"""The end of a final scan: calibrated ranking, and guards on the cell that decides."""

from __future__ import annotations

import numpy as np

from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.conclude import conclude
from bumpscout_tools.scan.execute import execute, prepare
from bumpscout_tools.scan.serial import SerialExecutor


def test_ranking_follows_the_calibrated_excess_and_its_first_cell_is_guarded(
    make_plan, make_view, at_random
) -> None:
    plan, view = make_plan(), make_view(8000)
    outcome = execute(
        plan, view, np.random.default_rng(2), SerialExecutor(), at_random, lambda _line: None
    )
    prepared = prepare(plan, view, np.random.default_rng(2))
    scores = [at_random(0, task, prepared.view) for task in prepared.tasks]
    fixed = NullCells.scores_held_fixed(plan)
    assert conclude(plan, prepared, scores, outcome, fixed).ranking == outcome.ranking
    best = outcome.cells[outcome.ranking[0]]
    other = next(
        outcome.cells[i]
        for i in outcome.ranking
        if outcome.cells[i].efficiency != best.efficiency
        and outcome.cells[i].efficiency in fixed.efficiencies
    )
    column = fixed.efficiencies.index(other.efficiency)
    means = list(fixed.means[0])
    means[column] = -100.0
    calibration = fixed.model_copy(update={"means": (tuple(means),)})
    ended = conclude(plan, prepared, scores, outcome, calibration)
    first = ended.cells[ended.ranking[0]]
    assert first.efficiency == other.efficiency
    asked = [guard.name for guard in ended.guards[first.test_id]]
    assert asked
    assert asked == [guard.name for guard in outcome.guards[best.test_id]]
    assert sorted(ended.ranking) == sorted(outcome.ranking)
