from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bumpscout_agents.checkpoint import CHECKPOINT_FILE, JsonSerializer, open_saver
from bumpscout_agents.errors import RunStateError
from bumpscout_agents.graph import read_search, resume_search, run_search
from bumpscout_agents.records import SearchRecord

N_EFFECTS = 10


class Killed(BaseException):
    """Stands for a kill in the middle of a write."""


def _lasting(record: SearchRecord) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude={"cost": True, "approval": {"time"}})


@pytest.fixture(scope="module")
def undisturbed(fake: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    search = fake.FakeSearch(folder)
    record = run_search(search.services, fake.REQUEST)
    assert len(search.effects.lines()) == N_EFFECTS
    return _lasting(record)


@pytest.mark.parametrize("number", range(1, N_EFFECTS + 1))
def test_a_process_killed_after_an_effect_resumes_to_the_same_end(
    fake: ModuleType, undisturbed: dict[str, Any], tmp_path: Path, number: int
) -> None:
    folder = tmp_path / "run"
    program = Path(__file__).parent / "fake_search.py"
    killed = subprocess.run([sys.executable, program, folder, str(number)], check=False)
    assert killed.returncode == 137
    search = fake.FakeSearch(folder)
    assert len(search.effects.lines()) == number
    record = resume_search(search.services)
    assert _lasting(record) == undisturbed
    # Only what was in flight, done but not yet saved, may have been repeated, and only once.
    counts = Counter(search.effects.lines())
    repeated = {line for line, n in counts.items() if n > 1}
    assert repeated <= {search.effects.lines()[number - 1]}
    assert max(counts.values()) <= 2


def test_a_search_cut_at_any_write_resumes_and_repeats_nothing_saved(
    fake: ModuleType,
    undisturbed: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = os.fsync
    writes = 0
    cut_at = 0

    def fsync(handle: int) -> None:
        nonlocal writes
        writes += 1
        real(handle)
        if writes == cut_at:
            raise Killed

    monkeypatch.setattr(os, "fsync", fsync)
    run_search(fake.FakeSearch(tmp_path / "whole").services, fake.REQUEST)
    total = writes
    assert total > 30
    for number in range(1, total + 1):
        folder = tmp_path / f"run-{number}"
        writes, cut_at = 0, number
        with pytest.raises(Killed):
            run_search(fake.FakeSearch(folder).services, fake.REQUEST)
        cut_at = 0
        search = fake.FakeSearch(folder)
        record = resume_search(search.services)
        assert _lasting(record) == undisturbed, number
        assert max(Counter(search.effects.lines()).values()) <= 2
        assert len(search.effects.lines()) <= N_EFFECTS + 1


def test_resuming_a_finished_search_does_nothing(fake: ModuleType, tmp_path: Path) -> None:
    first = run_search(fake.FakeSearch(tmp_path / "run").services, fake.REQUEST)
    search = fake.FakeSearch(tmp_path / "run")
    before = search.effects.lines()
    assert resume_search(search.services) == first
    assert search.effects.lines() == before


def test_the_checkpoint_holds_json_only(fake: ModuleType, tmp_path: Path) -> None:
    run_search(fake.FakeSearch(tmp_path / "run").services, fake.REQUEST)
    with sqlite3.connect(tmp_path / "run" / CHECKPOINT_FILE) as connection:
        kinds = set(connection.execute("select distinct type from checkpoints"))
        kinds |= set(connection.execute("select distinct type from writes"))
    connection.close()
    assert kinds == {("json",)}
    with pytest.raises(RunStateError, match="JSON only"):
        JsonSerializer().loads_typed(("pickle", b"\x80\x04."))
    with pytest.raises(TypeError, match="JSON only"):
        JsonSerializer().dumps_typed({"path": Path("x")})


def test_a_checkpoint_without_a_state_is_as_good_as_none(fake: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with open_saver(folder):
        assert (folder / CHECKPOINT_FILE).exists()
    assert read_search(folder) is None
    assert run_search(fake.FakeSearch(folder).services, fake.REQUEST).status == "complete"


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\x00" + b"\xff" * 200])
def test_a_damaged_checkpoint_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(content)
    with pytest.raises(RunStateError, match="damaged"):
        read_search(tmp_path)


def test_a_foreign_type_in_the_checkpoint_is_refused(fake: ModuleType, tmp_path: Path) -> None:
    run_search(fake.FakeSearch(tmp_path / "run").services, fake.REQUEST)
    connection = sqlite3.connect(tmp_path / "run" / CHECKPOINT_FILE)
    with connection:
        connection.execute("update checkpoints set type = 'msgpack'")
    connection.close()
    with pytest.raises(RunStateError, match="JSON only"):
        read_search(tmp_path / "run")
