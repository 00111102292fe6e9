"""Staged blinding: what is seen before an approval, what one approval opens, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from bumpscout_sandbox.blinding import EXPLORED_SHARE, BlindingRefused
from bumpscout_sandbox.gate import Gate
from bumpscout_sandbox.ledger import Ledger
from bumpscout_sandbox.vault import Vault
from bumpscout_tools.detectors.settings import CwolaSettings
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.scan.plan import (
    DetectorPlan,
    ReplayPlan,
    SearchPlan,
    WindowPlan,
    WorkingPointPlan,
)

PLAN, SCRIPTS = "a" * 64, ("c" * 64,)
PRINTS = """
import numpy as np
from bumpscout_tools.script import read_task, read_view, write_scores, write_summary
task, view = read_task(), read_view()
rng = np.random.default_rng(task.seed)
write_scores(rng.random((len(view), len(task.windows_gev))))
write_summary({"events": len(view), "masses": sorted(map(float, view.mass))[:50]})
"""


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.jsonl") as opened:
        yield opened


@pytest.fixture(scope="module")
def staged(events) -> Vault:
    return Vault.open(events, seed=3, blinding="staged")


def kinds(ledger: Ledger) -> list[object]:
    return [body["kind"] for body in ledger.bodies() if isinstance(body, dict)]


def test_the_two_parts_are_all_events_and_share_none(events, ledger):
    everything = Vault.open(events, seed=3).view()
    vault = Vault.open(events, seed=3, blinding="staged")
    assert vault.card().blinding == "staged"
    explored, sealed = vault.view(), vault.claimed(PLAN, SCRIPTS, "person", ledger)
    assert len(explored) / len(everything) == pytest.approx(EXPLORED_SHARE, abs=0.02)
    assert not np.isin(explored.event_id, sealed.event_id).any()
    both = np.sort(np.concatenate([explored.event_id, sealed.event_id]))
    assert np.array_equal(both, np.sort(everything.event_id))
    # The split knows nothing of the mass.
    error = everything.mass.std() / np.sqrt(len(explored))
    assert abs(explored.mass.mean() - everything.mass.mean()) < 5 * error


def test_the_card_describes_the_explored_events_alone(staged):
    mass, card = staged.view().mass, staged.card()
    assert card.mass_range_gev == (mass.min(), mass.max())


def test_the_card_says_nothing_of_the_columns_of_sealed_events(events, tmp_path):
    # An event that is sealed with this seed becomes the most extreme of the file.
    explored = Vault.open(events, seed=3, blinding="staged").card()
    path = tmp_path / "events.h5"
    with h5py.File(events) as source:
        items, values = source["df/block0_items"][:], source["df/block0_values"][:]
    column = list(items).index(b"mj1")
    for row in range(40):
        changed = values.copy()
        changed[row, column] *= 1000.0
        with h5py.File(path, "w") as target:
            group = target.create_group("df")
            group["block0_values"], group["block0_items"] = changed, items
        openly = Vault.open(path, seed=3).card().columns[column]
        assert openly.max > 100 * explored.columns[column].max
        staged = Vault.open(path, seed=3, blinding="staged").card().columns[column]
        if staged.max < openly.max:
            break
    else:
        pytest.fail("none of 40 events is sealed, although four of five are")
    assert staged.max <= explored.columns[column].max


def test_without_an_approval_nothing_more_is_seen_and_the_attempt_is_logged(staged, ledger):
    with pytest.raises(BlindingRefused, match="not approved"):
        staged.claimed(PLAN, SCRIPTS, None, ledger)
    assert kinds(ledger) == ["refused"]


def test_an_approval_opens_one_plan_once(staged, ledger):
    first = staged.claimed(PLAN, SCRIPTS, "person", ledger)
    again = staged.claimed(PLAN, SCRIPTS, "person", ledger)
    assert first.sha256() == again.sha256()
    assert kinds(ledger) == ["unblinded"]
    with pytest.raises(BlindingRefused, match="unblinded for the plan aaaa"):
        staged.claimed("b" * 64, SCRIPTS, "person", ledger)
    with pytest.raises(BlindingRefused, match="aaaaaaaaaaaa with other scripts"):
        staged.claimed(PLAN, ("d" * 64,), "person", ledger)
    assert kinds(ledger) == ["unblinded", "refused", "refused"]


def test_too_few_events_to_explore_are_refused(events, tmp_path):
    path = tmp_path / "small.h5"
    with h5py.File(events) as source, h5py.File(path, "w") as target:
        group = target.create_group("df")
        group["block0_values"] = source["df/block0_values"][:1500]
        group["block0_items"] = source["df/block0_items"][:]
    with pytest.raises(InputDataError, match="staged blinding"):
        Vault.open(path, seed=3, blinding="staged")


@pytest.fixture
def plan() -> SearchPlan:
    return SearchPlan(
        detectors=(DetectorPlan(settings=CwolaSettings(folds=2, members=1, trees=5)),),
        windows=WindowPlan(min_events=20),
        working_points=WorkingPointPlan(efficiencies=(0.3,), refine_rounds=0),
        replays=ReplayPlan(n=0),
        toys=100,
        luminosity_fb=1.0,
        blinding="staged",
    )


def test_scripts_are_written_on_smooth_masses_and_the_claim_is_on_unseen_events(
    staged, wall, small, plan, ledger, tmp_path: Path
):
    gate = Gate(staged, wall, ledger, tmp_path, seed=5, limits=small)
    run = gate.run_task("01", PRINTS, plan, 0)
    assert run.accepted, run.problems
    seen = np.array(run.summary["masses"])
    assert not np.isin(seen, staged.view().mass).any()
    explored = gate.explore(plan)
    assert explored.n_events <= len(staged.view())
    frozen = gate.freeze(plan)
    with pytest.raises(BlindingRefused):
        gate.final(frozen, lambda *_: None)
    other = frozen.model_copy(update={"scripts_sha256": ("d" * 64,)})
    with pytest.raises(ConfigurationError, match="does not freeze this plan with these scripts"):
        gate.final(other, lambda *_: None, approved_by="person")
    final = gate.final(frozen, lambda *_: None, claim="confirmatory", approved_by="person")
    assert final.outcome.n_events > 3 * explored.n_events
    assert final.outcome.luminosity_share == pytest.approx(1 - EXPLORED_SHARE)
    assert final.verdict.claim == "confirmatory"
    lines = [json.loads(x)["body"] for x in ledger.path.read_text().splitlines()]
    order = [line["kind"] for line in lines]
    # Events were handed out after freezing, and before the first test on them.
    first_final = next(i for i, line in enumerate(lines) if line.get("scan") == "final")
    assert order.index("frozen") < order.index("unblinded") < first_final
