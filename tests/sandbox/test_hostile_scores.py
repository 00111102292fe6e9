"""Scores that cheat, through gate and sandbox to the verdict; validation/searches has them all."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from bumpscout_sandbox.gate import Gate
from bumpscout_sandbox.ledger import Ledger
from bumpscout_sandbox.records import FinalScan
from bumpscout_sandbox.vault import Vault
from bumpscout_tools.simulation.layout import write_features_h5

STUDY = Path(__file__).parents[2] / "validation/searches/hostile_scores.py"
REPLAYS = 10
"""The fewest that calibrate the detector's null: what nothing reaches is a `candidate` then."""


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hostile_scores", STUDY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def vault(study: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    path = tmp_path_factory.mktemp("data") / "events.h5"
    write_features_h5(path, study.columns(study.N_SIGNAL, 1))
    return Vault.open(path, seed=study.SEED)


@pytest.fixture
def search(study: ModuleType, vault: Vault, wall, small, tmp_path: Path):
    def run(name: str) -> FinalScan:
        plan = study.plan(REPLAYS)
        with Ledger(tmp_path / "ledger.jsonl") as ledger:
            gate = Gate(vault, wall, ledger, tmp_path, seed=study.SEED, limits=small)
            run = gate.run_task("01", study.script_of(name, vault, plan), plan, 0)
            assert run.accepted, run.problems
            return gate.final(gate.freeze(plan), lambda *_: None)

    return run


def fired(final: FinalScan) -> set[str]:
    best = final.outcome.best()
    assert best is not None
    return {guard.name for guard in final.outcome.guards[best.test_id] if guard.fired}


@pytest.mark.slow
def test_an_honest_script_finds_the_signal_and_passes_the_controls(search) -> None:
    final = search("honest")
    best = final.outcome.best()
    assert final.verdict.verdict == "candidate", final.verdict.reasons
    assert sum(best.interval_gev) / 2 == pytest.approx(2600, rel=0.05)
    assert "smooth-mass controls" in {g.name for g in final.outcome.guards[best.test_id]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recognises", "remembered"])
def test_a_score_that_cheats_claims_nothing_although_a_signal_is_there(search, name: str) -> None:
    final = search(name)
    assert final.outcome.best().local_z > 4, "the fake bump must be there"
    assert final.verdict.verdict in ("undecided", "no-excess")
    if final.significance.scan_p.value < 1e-3:
        assert fired(final)
