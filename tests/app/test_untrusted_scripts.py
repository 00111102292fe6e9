"""Hand-written scripts take the whole way of a search: wall, gate, scan, replays, verdict."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from bumpscout_agents.errors import NoTaskSucceeded
from bumpscout_agents.graph import read_search, run_search
from bumpscout_agents.model import ModelReply, ModelRequest
from bumpscout_agents.offline import OfflineModel
from bumpscout_agents.options import PlanOptions
from bumpscout_agents.records import SearchRecord
from bumpscout_agents.services import Services
from bumpscout_agents.trace import Trace
from bumpscout_sandbox.bwrap import BubblewrapProvider
from bumpscout_sandbox.gate import Gate
from bumpscout_sandbox.ledger import Ledger
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.vault import Vault
from bumpscout_tools.simulation import LAYOUT_COLUMNS, read_features_h5, write_features_h5

SAMPLE = Path(__file__).parents[2] / "src/bumpscout/samples/dijet_demo.h5"
HEAD = """\
import numpy as np
from bumpscout_tools.script import read_task, read_view, write_scores

task = read_task()
view = read_view()
rng = np.random.default_rng(task.seed)
"""
MASS_SCORE = """\
inside = (view.mass > 3400) & (view.mass < 3600)
noise = 0.01 * rng.random(len(view))
write_scores(np.repeat((inside + noise)[:, None], len(task.windows_gev), axis=1))
"""
EVENT_LIST = """\
inside = (view.mass > 3400) & (view.mass < 3600)
score = view.features[:, 0] + 10.0 * (inside & (view.event_id % 20 == 0))
write_scores(np.repeat(score[:, None], len(task.windows_gev), axis=1))
"""
WRONG_SHAPE = "write_scores(np.ones((len(view) - 1, len(task.windows_gev))))\n"
BUG = "write_scores(np.stack([view.mass_of_the_jet for _ in task.windows_gev], axis=1))\n"
ENDLESS = "while True:\n    rng.random()\nwrite_scores(np.zeros((1, 1)))\n"
UNSAFE = 'import socket\nsocket.create_connection(("192.0.2.1", 80))\n' + WRONG_SHAPE


class HandWritten:
    """The offline policy, but its coder delivers one given script, again and again."""

    name = "hand-written"

    def __init__(self, script: str) -> None:
        self._script = script
        self._policy = OfflineModel()

    def complete(self, request: ModelRequest) -> ModelReply:
        if request.role != "coder":
            return self._policy.complete(request)
        reply = {"script": HEAD + self._script, "summary": "written by hand"}
        return ModelReply(text=json.dumps(reply), model=self.name)


@pytest.fixture(scope="module")
def wall() -> BubblewrapProvider:
    provider = BubblewrapProvider()
    failed = [row for row in provider.check() if row.what == "sandbox" and not row.ok]
    if failed:
        pytest.skip(f"no sandbox on this machine: {failed[0].remedy}")
    return provider


Search = Callable[[str, int], SearchRecord]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third of the bundled sample: enough for a few windows, and quick."""
    path = tmp_path_factory.mktemp("data") / "third.h5"
    table = read_features_h5(SAMPLE)[::3]
    write_features_h5(path, {name: table[name] for name in LAYOUT_COLUMNS})
    return path


@pytest.fixture
def search(wall: BubblewrapProvider, data: Path, tmp_path: Path) -> Search:
    def run(script: str, replays: int) -> SearchRecord:
        workers = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
        with Ledger(tmp_path / "ledger.jsonl") as ledger, workers as executor:
            gate = Gate(
                Vault.open(data, seed=3),
                wall,
                ledger,
                tmp_path,
                seed=3,
                limits=Limits.for_machine().model_copy(update={"wall_s": 10.0}),
                executor=executor,
                parallel=2,
                cancel=threading.Event(),
            )
            services = Services(
                gate=gate,
                model=HandWritten(script),
                trace=Trace(tmp_path / "trace.jsonl"),
                run_dir=tmp_path,
                progress=lambda *_: None,
                options=PlanOptions(replays=replays),
                attempts=2,
            )
            return run_search(services, "Search for a narrow dijet resonance")

    return run


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(BUG, "mass_of_the_jet", id="bug"),
        pytest.param(WRONG_SHAPE, "shape", id="wrong shapes"),
        pytest.param(ENDLESS, "time", id="never ends"),
        pytest.param(UNSAFE, "socket", id="blocked by review"),
    ],
)
def test_a_bad_script_fails_and_is_reported(
    search: Search, tmp_path: Path, script: str, words: str
) -> None:
    with pytest.raises(NoTaskSucceeded):
        search(script, 0)
    record = read_search(tmp_path)
    assert record is not None
    (task,) = record.tasks
    assert task.status in {"failed", "blocked"}
    assert words in str(task.error)
    assert record.final is None


def test_a_score_that_is_the_mass_ends_undecided_by_the_guard(search: Search) -> None:
    record = search(MASS_SCORE, 0)
    assert record.final is not None
    best = record.final.outcome.best()
    assert best is not None
    assert best.local_z > 5, "the fake bump must be there, or the guard is not tested"
    assert record.final.verdict.verdict == "undecided"
    fired = [guard.name for guard in record.final.outcome.guards[best.test_id] if guard.fired]
    assert "mass dependence" in fired
    assert record.final.verdict.claim == "exploratory"


@pytest.mark.slow
def test_a_score_that_picks_events_by_mass_reaches_itself_in_replays(search: Search) -> None:
    record = search(EVENT_LIST, 12)
    assert record.final is not None
    best = record.final.outcome.best()
    assert best is not None
    assert best.local_z > 5
    assert record.final.verdict.verdict not in {"excess", "candidate"}
    procedure = record.final.significance.procedure_p
    assert procedure is not None
    assert procedure.n_reached > 0
