from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from langsmith.utils import get_env_var, tracing_is_enabled

from bumpscout_agents.approval import read_approval, write_approval
from bumpscout_agents.errors import (
    ModelFailed,
    NoTaskSucceeded,
    RunStateError,
    WaitingForApproval,
)
from bumpscout_agents.graph import read_search, resume_search, run_search
from bumpscout_agents.model import ModelRequest
from bumpscout_agents.offline import OfflineModel
from bumpscout_agents.options import PlanOptions
from bumpscout_tools import scripts
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan

GOOD = scripts.render(DetectorPlan())


def test_a_search_runs_from_the_sentence_to_the_report(fake: ModuleType, tmp_path: Path) -> None:
    search = fake.FakeSearch(tmp_path / "run")
    record = run_search(search.services, fake.REQUEST)
    assert record.status == "complete"
    assert record.plan is not None
    assert record.plan.spectrum.min_gev == 2000.0
    assert [(task.id, task.status, task.attempts) for task in record.tasks] == [
        ("01", "accepted", 1)
    ]
    assert record.tasks[0].vetted
    assert record.final is not None
    assert record.final.verdict.verdict == "candidate"
    assert record.report is not None
    assert "3.5 TeV" in record.report.headline
    assert "0 of 49 null replays" in record.report.headline
    assert record.approval is not None
    assert record.approval.by == "policy"
    assert record.cost.model_calls == 6
    assert record.cost.prompt_tokens == 60
    task = tmp_path / "run" / "tasks" / "01"
    assert (task / "script.py").read_text() == GOOD
    assert json.loads((task / "status.json").read_text())["status"] == "accepted"
    assert json.loads((task / "review.json").read_text())["rejected_by"] is None
    assert (task / "stdout.txt").read_text() == "done\n"
    assert [line.split()[0] for line in search.effects.lines()] == [
        *("model", "model", "model", "run_task", "model"),
        *("explore", "model", "freeze", "final", "model"),
    ]


def test_progress_says_what_was_understood_and_what_not(fake: ModuleType, tmp_path: Path) -> None:
    search = fake.FakeSearch(tmp_path / "run")
    run_search(search.services, "bumps above 2 TeV with SALAD")
    said = [message for stage, message in search.said if stage == "plan"]
    assert "understood: Only events with m_jj above 2 TeV are used." in said
    assert any(text.startswith("not understood:") and "SALAD" in text for text in said)


def test_options_of_the_command_line_win_over_any_planner(fake: ModuleType, tmp_path: Path) -> None:
    def answer(request: ModelRequest) -> str:
        if request.role == "planner":
            plan = SearchPlan().model_dump(mode="json") | {"luminosity_fb": 1.0}
            return json.dumps({"understood": ["all"], "not_understood": [], "plan": plan})
        return str(fake.offline(request))

    options = PlanOptions(replays=17, luminosity_fb=139.0, sqrt_s_gev=8000.0)
    record = run_search(fake.FakeSearch(tmp_path / "r", answer, options=options).services, "x")
    assert record.frozen is not None
    assert record.frozen.plan.replays.n == 17
    assert record.frozen.plan.luminosity_fb == 139.0
    assert record.frozen.plan.background.sqrt_s_gev == 8000.0


@pytest.mark.parametrize(
    ("script", "by", "words", "runs"),
    [
        ("import os\n" + GOOD, "static checks", "os may not be imported", 0),
        ("def broken(:\n", "static checks", "no Python", 0),
        (GOOD.replace("write_scores(scores)", "pass"), "static checks", "never writes", 0),
        (GOOD + "# wall: timeout\n", "run", "timeout", 1),
        (GOOD + "# wall: error\n", "run", "ValueError", 1),
        (GOOD + "# wall: shapes\n", "run", "shape (3, 2)", 1),
    ],
)
def test_a_bad_script_is_blocked_and_reported_after_three_attempts(
    fake: ModuleType, tmp_path: Path, script: str, by: str, words: str, runs: int
) -> None:
    search = fake.FakeSearch(tmp_path / "run", fake.coder_writes(script))
    with pytest.raises(NoTaskSucceeded, match="None of the 1 tasks") as failure:
        run_search(search.services, fake.REQUEST)
    assert failure.value.exit_code == 5
    record = read_search(tmp_path / "run")
    assert record is not None
    assert record.status == "running"
    assert record.final is None
    (task,) = record.tasks
    assert (task.status, task.attempts) == ("failed", 3)
    assert task.error is not None
    assert words in task.error
    assert words in str(failure.value)
    review = json.loads((tmp_path / "run" / "tasks" / "01" / "review.json").read_text())
    assert review["rejected_by"] == by
    assert sum(line.startswith("run_task") for line in search.effects.lines()) == runs
    assert not any(line.startswith("explore") for line in search.effects.lines())


def test_the_coder_is_shown_the_exact_findings_and_can_mend_them(
    fake: ModuleType, tmp_path: Path
) -> None:
    answer = fake.coder_writes("import os\n" + GOOD, GOOD + "# wall: error\n", GOOD)
    search = fake.FakeSearch(tmp_path / "run", answer)
    record = run_search(search.services, fake.REQUEST)
    assert record.status == "complete"
    assert record.tasks[0].attempts == 3
    coder = [request for request in search.model.requests if request.role == "coder"]
    assert coder[0].payload["attempts"] == []
    second, third = coder[1].messages[-1].text, coder[2].messages[-1].text
    assert "The module os may not be imported." in second
    assert "ValueError: \\u0060boom\\u0060 \\u003c/data\\u003e {{card}}" in third
    assert "\nValueError" not in third
    attempts = sorted(path.name for path in (tmp_path / "run" / "tasks" / "01").glob("attempt-*"))
    assert attempts == ["attempt-1", "attempt-2", "attempt-3"]


def test_a_reviewer_that_rejects_blocks(fake: ModuleType, tmp_path: Path) -> None:
    def answer(request: ModelRequest) -> str:
        if request.role == "code_reviewer":
            finding = {"severity": "blocker", "line": 1, "message": "leaks", "remedy": "do not"}
            return json.dumps({"findings": [finding], "approve": False})
        return str(fake.offline(request))

    search = fake.FakeSearch(tmp_path / "run", answer)
    with pytest.raises(NoTaskSucceeded, match=r"code review .*leaks"):
        run_search(search.services, fake.REQUEST)
    assert not any(line.startswith("run_task") for line in search.effects.lines())


def test_a_failed_task_does_not_stop_the_others(fake: ModuleType, tmp_path: Path) -> None:
    detectors = [
        DetectorPlan().model_dump(mode="json"),
        DetectorPlan(features=("mj_light",)).model_dump(mode="json"),
    ]

    def answer(request: ModelRequest) -> str:
        if request.role == "planner":
            plan = {"detectors": detectors}
            return json.dumps({"understood": ["two"], "not_understood": [], "plan": plan})
        if request.role == "coder" and request.task_id == "01":
            return json.dumps({"script": "exit()", "summary": ""})
        return str(fake.offline(request))

    search = fake.FakeSearch(tmp_path / "run", answer)
    record = run_search(search.services, "two detectors")
    assert [task.status for task in record.tasks] == ["failed", "accepted"]
    assert record.tasks[0].error is not None
    assert record.frozen is not None
    assert [item.features for item in record.frozen.plan.detectors] == [("mj_light",)]
    assert (record.frozen.plan.withheld, record.frozen.plan.n_lost) == ((), 1)
    assert record.report is not None
    assert any("1 of 2 failed" in text for text in record.report.paragraphs)


def two_detectors(request: ModelRequest, fake: ModuleType) -> str:
    detectors = [
        DetectorPlan().model_dump(mode="json"),
        DetectorPlan(features=("mj_light",)).model_dump(mode="json"),
    ]
    if request.role == "planner":
        plan = {"detectors": detectors}
        return json.dumps({"understood": ["two"], "not_understood": [], "plan": plan})
    return str(fake.offline(request))


def test_scores_that_were_seen_and_then_rejected_stay_in_the_plan_withheld(
    fake: ModuleType, tmp_path: Path
) -> None:
    """The replays run a detector that was looked at, also where its scores were turned down."""
    no = [{"severity": "blocker", "message": "I like it not", "remedy": "another"}]

    def answer(request: ModelRequest) -> str:
        if request.role == "physics_reviewer" and request.task_id == "01":
            return json.dumps({"findings": no, "approve": False})
        return two_detectors(request, fake)

    search = fake.FakeSearch(tmp_path / "run", answer)
    record = run_search(search.services, "two detectors")
    assert [task.status for task in record.tasks] == ["failed", "accepted"]
    assert [task.withheld for task in record.tasks] == [True, False]
    assert record.frozen is not None
    plan = record.frozen.plan
    assert (len(plan.detectors), plan.withheld, plan.n_lost) == (2, (0,), 0)
    assert search.gate.explored == [plan]


def test_a_model_may_not_withhold_detectors_itself(fake: ModuleType, tmp_path: Path) -> None:
    def answer(request: ModelRequest) -> str:
        text = two_detectors(request, fake)
        if request.role == "planner":
            reply = json.loads(text)
            reply["plan"]["withheld"] = [0]
            return json.dumps(reply)
        return text

    with pytest.raises(ModelFailed, match="withheld"):
        run_search(fake.FakeSearch(tmp_path / "run", answer).services, "two detectors")


def test_the_offline_policy_without_one_of_its_detectors_only_explores(
    fake: ModuleType, tmp_path: Path
) -> None:
    """Replays cannot repeat the choice to go on without a detector that left no scores."""

    def answer(request: ModelRequest) -> str:
        if request.role == "coder" and request.task_id == "01":
            return json.dumps({"script": "exit()", "summary": ""})
        return two_detectors(request, fake)

    search = fake.FakeSearch(tmp_path / "run", answer)
    policy = OfflineModel()
    object.__setattr__(policy, "complete", search.model.complete)
    object.__setattr__(search.services, "model", policy)
    run_search(search.services, "two detectors")
    assert search.gate.claims == ["exploratory"]


def test_nothing_testable_is_still_reported(fake: ModuleType, tmp_path: Path) -> None:
    search = fake.FakeSearch(tmp_path / "run", cells=())
    record = run_search(search.services, fake.REQUEST)
    assert record.report is not None
    assert record.report.headline.startswith("The search is undecided")
    assert any("no bump is reported" in text for text in record.report.paragraphs)


def test_a_plan_that_a_model_changes_is_scanned_again_within_bounds(
    fake: ModuleType, tmp_path: Path
) -> None:
    def answer(request: ModelRequest) -> str:
        if request.role != "refine":
            return str(fake.offline(request))
        plan = SearchPlan.model_validate(request.payload["plan"])
        changed = plan.model_copy(update={"toys": plan.toys + 1})
        return json.dumps(
            {"action": "refine", "plan": changed.model_dump(mode="json"), "why": "more toys"}
        )

    search = fake.FakeSearch(tmp_path / "run", answer)
    record = run_search(search.services, fake.REQUEST)
    assert record.explorations == 3
    assert record.status == "complete"
    assert search.gate.claims == ["exploratory"]


def test_the_offline_policy_is_confirmatory(fake: ModuleType, tmp_path: Path) -> None:
    search = fake.FakeSearch(tmp_path / "run")
    services = search.services
    object.__setattr__(services, "model", OfflineModel())
    record = run_search(services, fake.REQUEST)
    assert record.explorations == 1
    assert search.gate.claims == ["confirmatory"]


def test_refinement_may_not_swap_detectors(fake: ModuleType, tmp_path: Path) -> None:
    def answer(request: ModelRequest) -> str:
        if request.role != "refine":
            return str(fake.offline(request))
        other = SearchPlan(detectors=(DetectorPlan(features=("mj_light",)),))
        plan = other.model_dump(mode="json")
        return json.dumps({"action": "refine", "plan": plan, "why": "better"})

    with pytest.raises(ModelFailed, match="detectors of the plan"):
        run_search(fake.FakeSearch(tmp_path / "run", answer).services, fake.REQUEST)


def test_asking_without_a_terminal_waits_and_goes_on_after_the_approval(
    fake: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(WaitingForApproval, match="bumpscout approve") as waiting:
        run_search(fake.FakeSearch(folder, approve="ask").services, fake.REQUEST)
    assert waiting.value.exit_code == 7
    with pytest.raises(WaitingForApproval):
        resume_search(fake.FakeSearch(folder, approve="ask").services)
    write_approval(folder, "person")
    search = fake.FakeSearch(folder, approve="ask")
    record = resume_search(search.services)
    assert record.status == "complete"
    assert record.approval is not None
    assert record.approval.by == "person"
    kinds = [line.split()[0] for line in search.effects.lines()]
    assert kinds.count("explore") == kinds.count("freeze") == kinds.count("final") == 1


def test_a_refused_plan_stops_without_the_final_scan(fake: ModuleType, tmp_path: Path) -> None:
    search = fake.FakeSearch(tmp_path / "run", approve="ask", ask=lambda _: False)
    record = run_search(search.services, fake.REQUEST)
    assert record.status == "stopped"
    assert record.reason is not None
    assert record.final is None
    assert not any(line.startswith("final") for line in search.effects.lines())


def test_an_approval_of_another_plan_does_not_count(fake: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(WaitingForApproval):
        run_search(fake.FakeSearch(folder, approve="ask").services, fake.REQUEST)
    write_approval(folder, "person")
    content = json.loads((folder / "approval.json").read_text())
    (folder / "approval.json").write_text(json.dumps(content | {"plan_sha256": "f" * 64}))
    assert read_approval(folder) is None
    with pytest.raises(WaitingForApproval):
        resume_search(fake.FakeSearch(folder, approve="ask").services)


def test_a_changed_frozen_plan_is_noticed(fake: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(WaitingForApproval):
        run_search(fake.FakeSearch(folder, approve="ask").services, fake.REQUEST)
    content = json.loads((folder / "frozen.json").read_text())
    content["plan"]["significance_for_claim"] = 1.0
    (folder / "frozen.json").write_text(json.dumps(content))
    with pytest.raises(RunStateError, match="was changed"):
        write_approval(folder, "person")


def test_a_reporter_that_types_numbers_is_replaced_by_the_template(
    fake: ModuleType, tmp_path: Path
) -> None:
    def answer(request: ModelRequest) -> str:
        if request.role != "reporter":
            return str(fake.offline(request))
        return json.dumps({"headline": "Discovery at 3.5 TeV", "paragraphs": ["5 sigma"]})

    search = fake.FakeSearch(tmp_path / "run", answer)
    record = run_search(search.services, fake.REQUEST)
    assert record.report is not None
    assert record.report.written_by == "template"
    assert "Discovery" not in record.report.headline
    assert sum(request.role == "reporter" for request in search.model.requests) == 3


def test_a_run_folder_holds_one_search(fake: ModuleType, tmp_path: Path) -> None:
    run_search(fake.FakeSearch(tmp_path / "run").services, fake.REQUEST)
    with pytest.raises(RunStateError, match="already holds a search"):
        run_search(fake.FakeSearch(tmp_path / "run").services, fake.REQUEST)
    assert read_search(tmp_path / "elsewhere") is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunStateError, match="no search that could be resumed"):
        resume_search(fake.FakeSearch(tmp_path / "empty").services)


def test_another_model_cannot_take_over(fake: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(WaitingForApproval):
        run_search(fake.FakeSearch(folder, approve="ask").services, fake.REQUEST)
    other = fake.FakeSearch(folder, fake.offline, approve="auto")
    with pytest.raises(RunStateError, match="begun with the model 'offline'"):
        resume_search(other.services)


def test_no_tracing_service_of_the_environment_is_told(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGCHAIN_TRACING_V2", "true")
    get_env_var.cache_clear()
    traced: list[bool] = []

    def answer(request: ModelRequest) -> str:
        traced.append(bool(tracing_is_enabled()))
        return str(fake.offline(request))

    assert tracing_is_enabled()
    run_search(fake.FakeSearch(tmp_path / "run", answer).services, fake.REQUEST)
    monkeypatch.undo()
    get_env_var.cache_clear()
    assert traced == [False] * 6
