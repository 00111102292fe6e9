"""The gate: scores are checked, cached by content, and every test is in the ledger first."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bumpscout_sandbox.engine import ToolsEngine
from bumpscout_sandbox.errors import LedgerBroken
from bumpscout_sandbox.gate import Gate
from bumpscout_sandbox.ledger import Ledger
from bumpscout_sandbox.scoring import ReplayScripts, run_scores, score_problems
from bumpscout_sandbox.vault import Vault
from bumpscout_tools.detectors.settings import CwolaSettings
from bumpscout_tools.errors import ConfigurationError, DetectorError
from bumpscout_tools.scan.plan import (
    DetectorPlan,
    ReplayPlan,
    SearchPlan,
    WorkingPointPlan,
)

SCRIPT = """
import numpy as np
from bumpscout_tools.script import read_task, read_view, write_scores, write_summary
task, view = read_task(), read_view()
rng = np.random.default_rng(task.seed)
scores = rng.random((len(view), len(task.windows_gev))) + 0.01 * view.features[:, :1]
write_scores(scores)
write_summary({"events": len(view)})
print("scored", len(view))
"""
HEAD = SCRIPT.partition("write_scores(scores)")[0]


class CountingProvider:
    """Counts the runs of a provider."""

    def __init__(self, inner) -> None:
        self.inner = inner
        self.name = inner.name
        self.runs = 0

    def check(self):
        return self.inner.check()

    def run(self, job):
        self.runs += 1
        return self.inner.run(job)


@pytest.fixture(scope="module")
def vault(events) -> Vault:
    return Vault.open(events, seed=3)


@pytest.fixture
def plan() -> SearchPlan:
    return SearchPlan(
        detectors=(DetectorPlan(settings=CwolaSettings(folds=2, members=1, trees=5)),),
        working_points=WorkingPointPlan(efficiencies=(0.3, 0.1), refine_rounds=1),
        replays=ReplayPlan(n=2),
        toys=100,
    )


@pytest.fixture
def provider(wall):
    return CountingProvider(wall)


@pytest.fixture
def make_gate(vault, provider, small, tmp_path):
    ledgers = []

    def make() -> Gate:
        for ledger in ledgers:
            ledger.close()
        ledgers.append(Ledger(tmp_path / "ledger.jsonl"))
        return Gate(vault, provider, ledgers[-1], tmp_path, seed=5, limits=small)

    yield make
    for ledger in ledgers:
        ledger.close()


def silent(_stage, _message, _done, _total):
    return None


def bodies(path: Path) -> list[dict]:
    return [json.loads(line)["body"] for line in path.read_text().splitlines()]


def test_accepted_script_is_run_once_and_its_figures_are_kept(make_gate, provider, plan, tmp_path):
    gate = make_gate()
    figure = (
        "import matplotlib.pyplot as plt\n"
        "plt.figure(figsize=(1, 1)); plt.plot([1, 2]); plt.savefig('/out/figure_1.png')\n"
    )
    run = gate.run_task("01", SCRIPT + figure, plan, 0)
    assert (run.outcome, run.accepted, run.vetted, run.problems) == ("ok", True, False, ())
    assert run.stdout == "scored " + str(run.summary["events"]) + "\n"
    assert run.figures == ("tasks/01/figure_1.png",)
    assert (tmp_path / run.figures[0]).read_bytes().startswith(b"\x89PNG")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / run.figures[0]).unlink()
    (tmp_path / run.figures[0]).symlink_to(victim)
    make_gate().run_task("01", SCRIPT + figure + "# once more", plan, 0)
    assert victim.read_text() == "untouched"
    (tmp_path / "tasks" / "03").symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="is a link"):
        make_gate().run_task("03", SCRIPT + figure + "# elsewhere", plan, 0)
    again = make_gate().run_task("02", SCRIPT + figure, plan, 0)
    assert again == run.model_copy(update={"task_id": "02"})
    assert provider.runs == 3


@pytest.mark.parametrize(
    ("script", "outcome", "said"),
    [
        ("raise SystemExit(3)", "error", "exit status 3"),
        ("pass", "ok", "/out/scores.npy was not written"),
        (
            HEAD + "np.save('/out/scores.npy', scores[:-1])",
            "ok",
            "one row for each row of the view",
        ),
        (HEAD + "np.save('/out/scores.npy', scores.T)", "ok", "one column for each window"),
        (HEAD + "np.save('/out/scores.npy', scores.astype('f4'))", "ok", "float64 is needed"),
        (
            HEAD + "scores[5, 1] = np.nan\nnp.save('/out/scores.npy', scores)",
            "ok",
            "first in row 5",
        ),
        (HEAD + "scores[:, 1] = 2\nnp.save('/out/scores.npy', scores)", "ok", "a constant ranks"),
    ],
)
def test_unusable_scores_are_refused_with_a_reason(make_gate, plan, script, outcome, said):
    gate = make_gate()
    run = gate.run_task("01", script, plan, 0)
    assert (run.outcome, run.accepted) == (outcome, False)
    assert said in " ".join(run.problems)
    with pytest.raises(ConfigurationError, match="no accepted script"):
        gate.explore(plan)


def test_a_script_stopped_by_a_limit_may_try_again(vault, provider, small, plan, tmp_path):
    limits = small.model_copy(update={"wall_s": 0.2})
    with Ledger(tmp_path / "l") as ledger:
        gate = Gate(vault, provider, ledger, tmp_path, seed=5, limits=limits)
        for _ in range(2):
            run = gate.run_task("01", "import time; time.sleep(60)", plan, 0)
            assert (run.outcome, run.accepted) == ("timeout", False)
    assert provider.runs == 2


def test_vetted_is_the_template_to_the_letter_and_replays_call_it_directly(
    make_gate, provider, plan, vault
):
    engine = ToolsEngine()
    script = engine.render(plan.detectors[0])
    gate = make_gate()
    assert gate.run_task("01", script, plan, 0).vetted is True
    assert gate.run_task("02", script + "\n", plan, 0).vetted is False
    prepared = engine.prepare(plan, vault.view(), 5)
    task = prepared.tasks[0]
    in_wall = run_scores(provider, script, task, prepared.view, gate._limits, vetted=True).scores
    direct = ReplayScripts((None,), provider, gate._limits, engine)(0, task, prepared.view)
    assert np.array_equal(in_wall, direct)
    assert provider.runs == 3


def test_scans_write_each_test_into_the_ledger_before_its_result(make_gate, plan, tmp_path):
    gate = make_gate()
    gate.run_task("01", SCRIPT, plan, 0)
    seen = []

    class Watching(ToolsEngine):
        def execute(self, plan, view, seed, executor, run_script, record):
            def checked(test):
                record(test)
                seen.append(bodies(tmp_path / "ledger.jsonl")[-1]["test_id"] == test["test_id"])

            return super().execute(plan, view, seed, executor, run_script, checked)

    gate._engine = Watching()
    outcome = gate.explore(plan)
    assert seen == [True] * len(outcome.cells)
    lines = bodies(tmp_path / "ledger.jsonl")
    assert {line["test_id"] for line in lines} == {cell.test_id for cell in outcome.cells}
    assert {(line["kind"], line["scan"]) for line in lines} == {("test", "explore")}


def test_a_whole_search_from_script_to_verdict(make_gate, provider, plan, tmp_path):
    gate = make_gate()
    gate.run_task("01", SCRIPT, plan, 0)
    explored = gate.explore(plan)
    frozen = gate.freeze(plan)
    assert frozen.sha256 == plan.sha256()
    assert frozen.ledger_count == len(explored.cells) + 1
    stages = []
    final = make_gate().final(frozen, lambda *report: stages.append(report[0]))
    # Once on smooth masses for its writer, once on the data, and on two replays.
    assert provider.runs == 4
    assert final.significance.procedure_p.n_replays == 2
    assert final.n_tests == len({cell.test_id for cell in final.outcome.cells})
    assert {"scan", "replays", "toys"} <= set(stages)
    assert final.verdict.claim == "exploratory"
    assert not any("exploration" in reason for reason in final.verdict.reasons)
    state = Ledger.verify(
        tmp_path / "ledger.jsonl", head=final.ledger_head, count=final.ledger_count
    )
    assert state.count == len(bodies(tmp_path / "ledger.jsonl"))


def test_exploration_outside_the_final_plan_is_an_objection(make_gate, plan):
    gate = make_gate()
    gate.run_task("01", SCRIPT, plan, 0)
    gate.explore(plan)
    points = WorkingPointPlan(efficiencies=(0.3,), refine_rounds=0)
    narrow = plan.model_copy(update={"working_points": points, "replays": ReplayPlan(n=0)})
    final = gate.final(gate.freeze(narrow), silent)
    assert any("not part of the final plan" in reason for reason in final.verdict.reasons)
    assert final.n_tests > len(final.outcome.cells)


def test_final_refuses_another_plan_ledger_or_script(make_gate, plan, tmp_path):
    gate = make_gate()
    gate.run_task("01", SCRIPT, plan, 0)
    frozen = gate.freeze(plan)
    other = plan.model_copy(update={"toys": 200})
    with pytest.raises(ConfigurationError, match="was frozen and approved"):
        gate.final(frozen.model_copy(update={"plan": other}), silent)
    with pytest.raises(LedgerBroken, match="the frozen plan knows a line 1"):
        gate.final(frozen.model_copy(update={"ledger_head": "f" * 64}), silent)
    script = tmp_path / "cache" / f"{frozen.scripts_sha256[0]}.py"
    script.write_text(SCRIPT + "print('changed')")
    with pytest.raises(ConfigurationError, match="was changed"):
        gate.final(frozen, silent)


def test_a_resumed_scan_repeats_no_line_and_no_mark_is_lost(make_gate, plan, tmp_path):
    gate = make_gate()
    gate.run_task("01", SCRIPT, plan, 0)
    explored = gate.explore(plan)
    lines = bodies(tmp_path / "ledger.jsonl")
    path = tmp_path / "ledger.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    # Interrupted in the middle: half of the lines, and no mark of this scan yet.
    (tmp_path / "checkpoint.sqlite").unlink()
    path.write_text("".join(whole[: len(whole) // 2]))
    assert make_gate().explore(plan) == explored
    assert bodies(path) == lines
    assert make_gate().explore(plan) == explored
    assert bodies(path) == lines
    path.write_text("".join(whole[:-1]))
    with pytest.raises(LedgerBroken, match=r"checkpoint\.sqlite knows a line"):
        make_gate()


def test_scripts_start_cold_where_the_gate_is_told_so(vault, provider, small, plan, tmp_path):
    loaded = "import sys\nraise SystemExit(40 + ('matplotlib.pyplot' in sys.modules))"
    statuses = []
    for cold in (True, False):
        folder = tmp_path / str(cold)
        folder.mkdir()
        with Ledger(folder / "l") as ledger:
            gate = Gate(vault, provider, ledger, folder, seed=5, limits=small, cold=cold)
            statuses.append(gate.run_task("01", loaded, plan, 0).problems[0])
    assert "exit status 40" in statuses[0]
    assert "exit status 41" in statuses[1]


def test_cached_scores_that_were_spoilt_are_made_again(make_gate, provider, plan, tmp_path):
    gate = make_gate()
    gate.run_task("01", SCRIPT, plan, 0)
    before = gate.explore(plan)
    written_on, scanned = (tmp_path / "cache").glob("*.scores.npy")
    for kept in (written_on, scanned):
        kept.write_bytes(b"\x93NUMPY spoilt")
    assert make_gate().explore(plan) == before
    assert provider.runs == 3


def test_failing_script_ends_a_replay_with_its_problem(wall, small, plan, vault):
    engine = ToolsEngine()
    prepared = engine.prepare(plan, vault.view(), 5)
    replays = pickle.loads(pickle.dumps(ReplayScripts(("1 / 0",), wall, small, engine)))
    with pytest.raises(DetectorError, match="exit status 1"):
        replays(0, prepared.tasks[0], prepared.view)


@pytest.mark.parametrize("task_id", ["../x", "", "a/b", "."])
def test_task_ids_name_plain_folders(make_gate, plan, task_id):
    with pytest.raises(ConfigurationError, match="cannot name a folder"):
        make_gate().run_task(task_id, SCRIPT, plan, 0)


def test_detector_out_of_range_is_refused(make_gate, plan):
    with pytest.raises(ConfigurationError, match="no detector number 1"):
        make_gate().run_task("01", SCRIPT, plan, 1)


def test_equal_scores_come_back_whatever_the_executor(vault, wall, small, plan, tmp_path):
    outcomes = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Ledger(folder / "l") as ledger, ThreadPoolExecutor(number) as executor:
            gate = Gate(vault, wall, ledger, folder, seed=5, limits=small, executor=executor)
            gate.run_task("01", SCRIPT, plan, 0)
            outcomes.append(gate.explore(plan))
    assert outcomes[0] == outcomes[1]


def test_score_problems_name_column_row_and_window():
    windows = [(2000.0, 2200.0), (2200.0, 2400.0)]
    scores = np.random.default_rng(1).random((4, 2))
    assert score_problems(scores, 4, windows) == ()
    scores[2, 1] = np.inf
    (problem,) = score_problems(scores, 4, windows)
    assert "column 1 (window 2200-2400 GeV)" in problem
    assert "1 of 4 values" in problem


REMEMBERS = """
import json
import numpy as np
from bumpscout_tools.script import read_task, read_view, write_scores, write_summary
task, view = read_task(), read_view()
write_scores(np.repeat(view.features[:, :1], len(task.windows_gev), axis=1))
write_summary({"first": view.features[:20, 0].tolist(), "ids": [str(i) for i in view.event_id[:20]],
               "masses": view.mass[:200].tolist()})
"""


def test_what_one_script_prints_tells_the_next_nothing(make_gate, plan, vault):
    """Neither masses nor identifiers nor rows that a script saw are those of the scan or of another
    script; its scores still belong to the right events."""
    gate = make_gate()
    one = gate.run_task("01", REMEMBERS, plan, 0)
    other = gate.run_task("02", REMEMBERS + "# again", plan, 0)
    assert one.accepted, one.problems
    assert one.summary["first"] != other.summary["first"]
    assert not set(one.summary["ids"]) & set(other.summary["ids"])
    assert not np.isin(one.summary["masses"], vault.view().mass).any()
    prepared = ToolsEngine().prepare(plan, vault.view(), 5)
    task = prepared.tasks[0]
    scores = run_scores(gate._provider, REMEMBERS, task, prepared.view, gate._limits).scores
    np.testing.assert_array_equal(scores[:, 0], prepared.view.features[:, 0])
