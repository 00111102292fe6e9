"""A search with a gate that runs nothing: every effect is logged on the disk, and can kill."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from bumpscout_agents.graph import run_search
from bumpscout_agents.model import ModelReply, ModelRequest
from bumpscout_agents.offline import OfflineModel
from bumpscout_agents.options import PlanOptions
from bumpscout_agents.services import Services
from bumpscout_agents.trace import Trace
from bumpscout_sandbox.card import ColumnCard, DatasetCard
from bumpscout_sandbox.records import FinalScan, FrozenPlan, TaskRun
from bumpscout_tools import scripts
from bumpscout_tools.features.dijet import DIJET_FEATURES
from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.cross_sections import Resolved, resolve_cross_sections
from bumpscout_tools.scan.outcome import (
    Cell,
    CellSpectrum,
    ProcedureP,
    ScanOutcome,
    ScanP,
    Verdict,
)
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.significance import FinalSignificance

REQUEST = "Search for a narrow dijet resonance above 2 TeV"
MARK = "# wall: "


def card(feature_names: tuple[str, ...] = tuple(DIJET_FEATURES)) -> DatasetCard:
    columns = tuple(
        ColumnCard(name=name, unit="", min=0.0, median=0.5, max=1.0, n_unusable=0)
        for name in feature_names
    )
    return DatasetCard(
        name="sample.h5",
        sha256="0" * 64,
        format="LHCO features",
        n_events=70_100,
        n_usable=70_000,
        columns=columns,
        features=columns,
        dropped={},
        mended={},
        n_duplicates=0,
        mass_range_gev=(1200.0, 9000.0),
    )


def cell(test_id: str = "t1", **changes: Any) -> Cell:
    values: dict[str, Any] = {
        "test_id": test_id,
        "detector": "cwola",
        "detector_index": 0,
        "window_gev": (3300.0, 3700.0),
        "efficiency": 0.01,
        "stage": "coarse",
        "n_selected": 700,
        "order": 3,
        "deviance": 20.0,
        "ndf": 22,
        "fit_p": 0.6,
        "believable": True,
        "interval_gev": (3400.0, 3600.0),
        "n_observed": 60,
        "n_expected": 21.5,
        "local_p": 1e-9,
        "local_z": 6.0,
        "null_mean": 0.8,
        "null_width": 0.9,
        "excess": 5.8,
    }
    return Cell(**(values | changes))


def outcome(*cells: Cell) -> ScanOutcome:
    return ScanOutcome(
        fit_range_gev=(2000.0, 8000.0),
        described=True,
        edges_gev=(2000.0, 4000.0, 8000.0),
        windows_gev=((3300.0, 3700.0),),
        n_events=70_000,
        cells=cells,
        ranking=tuple(index for index, item in enumerate(cells) if item.believable),
        inclusive=CellSpectrum(
            test_id="inclusive",
            edges_gev=(2000.0, 4000.0, 8000.0),
            observed=(100, 10),
            expected=(99.0, 11.0),
        ),
    )


class Effects:
    """What really happened, one line each on the disk; `kill_at` ends the process after one."""

    def __init__(self, path: Path, kill_at: int = 0) -> None:
        self.path = path
        self._kill_at = kill_at

    def happened(self, what: str) -> None:
        with self.path.open("a") as file:
            file.write(what + "\n")
        if len(self.lines()) == self._kill_at:
            os._exit(137)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []


class FakeGate:
    """Accepts vetted scripts; a comment ``# wall: timeout|error|shapes`` says what goes wrong."""

    def __init__(self, run_dir: Path, effects: Effects, *, cells: tuple[Cell, ...]) -> None:
        self._store = run_dir / "cache"
        self._store.mkdir(exist_ok=True)
        self._effects = effects
        self._cells = cells
        self.card = card()
        self.fails_alone = False
        self.explored: list[SearchPlan] = []
        self.claims: list[str] = []

    def resolve(self, plan: SearchPlan) -> Resolved:
        return resolve_cross_sections(plan, 70_000)

    def run_task(self, task_id: str, script: str, plan: SearchPlan, detector_index: int) -> TaskRun:
        detector = plan.detectors[detector_index]
        key = hashlib.sha256((script + detector.model_dump_json()).encode()).hexdigest()
        path = self._store / f"{key}.json"
        if path.exists():
            return TaskRun.model_validate_json(path.read_text())
        mark = script.partition(MARK)[2].split("\n")[0]
        kind: Any = mark if mark in ("timeout", "error") else "ok"
        run = TaskRun(
            task_id=task_id,
            outcome=kind,
            accepted=not mark,
            problems=("scores.npy has shape (3, 2), not (70000, 12).",) if mark == "shapes" else (),
            stdout="done\n",
            stderr="Traceback ...\nValueError: `boom` </data> {{card}}\n"
            if mark == "error"
            else "",
            wall_s=1.5,
            cpu_s=1.0,
            max_rss_bytes=1000,
            script_sha256=hashlib.sha256(script.encode()).hexdigest(),
            vetted=script == scripts.render(detector),
        )
        path.write_text(run.model_dump_json())
        self._effects.happened(f"run_task {key}")
        return run

    def explore(self, plan: SearchPlan) -> ScanOutcome:
        self.explored.append(plan)
        self._effects.happened(f"explore {plan.sha256()}")
        return outcome(*self._cells)

    def freeze(self, plan: SearchPlan) -> FrozenPlan:
        self._effects.happened(f"freeze {plan.sha256()}")
        return FrozenPlan(
            plan=plan,
            sha256=plan.sha256(),
            scripts_sha256=("1" * 64,) * len(plan.detectors),
            ledger_head="2" * 64,
            ledger_count=7,
        )

    def final(
        self,
        frozen: FrozenPlan,
        progress: Callable[[str, str, int | None, int | None], None],
        *,
        claim: Literal["confirmatory", "exploratory"] = "exploratory",
        approved_by: Literal["policy", "person"] | None = None,
        out_of_time: Callable[[], bool] = lambda: False,
    ) -> FinalScan:
        del out_of_time, approved_by
        progress("replay", "replays", 1, 2)
        self.claims.append(claim)
        self._effects.happened(f"final {frozen.sha256}")
        scan_p = ScanP(value=2e-4, low=1e-4, high=4e-4, method="toys", n_toys=10_000)
        procedure = ProcedureP(value=0.02, low=0.01, high=0.04, n_replays=49, n_reached=0)
        found = outcome(*self._cells)
        return FinalScan(
            outcome=found,
            significance=FinalSignificance(
                scan_p=scan_p if found.best() else None,
                procedure_p=procedure if found.best() else None,
                calibration=NullCells(
                    efficiencies=(0.01,), means=((0.0,),), widths=((1.0,),), n_replays=20
                ),
            ),
            verdict=Verdict(verdict="candidate" if found.best() else "undecided", claim=claim),
            ledger_head="3" * 64,
            ledger_count=30,
            n_tests=22,
        )


class LoggedModel:
    """A model whose every answer is an effect."""

    def __init__(self, effects: Effects, answer: Callable[[ModelRequest], str] | None) -> None:
        self._effects = effects
        self._answer = answer
        self.requests: list[ModelRequest] = []
        self.name = "offline" if answer is None else "scripted"

    def complete(self, request: ModelRequest) -> ModelReply:
        self.requests.append(request)
        text = (self._answer or offline)(request)
        self._effects.happened(f"model {request.role} {request.sha256()}")
        return ModelReply(text=text, model=self.name, prompt_tokens=10, completion_tokens=5)


def offline(request: ModelRequest) -> str:
    return OfflineModel().complete(request).text


def coder_writes(*texts: str) -> Callable[[ModelRequest], str]:
    """Answer as the offline policy, with these scripts for the attempts of each task."""

    def answer(request: ModelRequest) -> str:
        if request.role != "coder":
            return offline(request)
        script = texts[min(request.attempt, len(texts)) - 1]
        return json.dumps({"script": script, "summary": "by hand"})

    return answer


class FakeSearch:
    """Services around a fake gate in one run folder."""

    def __init__(
        self,
        run_dir: Path,
        answer: Callable[[ModelRequest], str] | None = None,
        *,
        kill_at: int = 0,
        cells: tuple[Cell, ...] | None = None,
        **wishes: Any,
    ) -> None:
        run_dir.mkdir(exist_ok=True)
        self.effects = Effects(run_dir / "effects.log", kill_at)
        self.gate = FakeGate(run_dir, self.effects, cells=(cell(),) if cells is None else cells)
        self.model = LoggedModel(self.effects, answer)
        self.said: list[tuple[str, str]] = []
        self.services = Services(
            gate=self.gate,
            model=self.model,
            trace=Trace(run_dir / "trace.jsonl"),
            run_dir=run_dir,
            progress=lambda stage, message, _done, _total: self.said.append((stage, message)),
            options=wishes.pop("options", PlanOptions()),
            **wishes,
        )


if __name__ == "__main__":
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    run_search(FakeSearch(folder, kill_at=number).services, REQUEST)
