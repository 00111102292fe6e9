"""Carries out `bumpscout calibrate`: what a plan does on background alone, and with a signal.

Background-only pseudo-experiments are drawn from a generator fitted to the data (the window of the
largest excess masked, which is not reported). Trials are kept in the folder as they finish, so the
same command goes on after an interruption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from bumpscout.calibrate_report import Calibration, calibration_text, write_calibration
from bumpscout.cluster import local_executor, usable_cpus
from bumpscout.files import read_model
from bumpscout.folder import Options
from bumpscout.scan_config import read_config
from bumpscout.steps import check_there, open_vault
from bumpscout.trial_store import run_tasks
from bumpscout_tools.code import code_sha256
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.files import write_atomic

if TYPE_CHECKING:
    from bumpscout_tools.events.view import View
    from bumpscout_tools.scan.alarms import NullTrial
    from bumpscout_tools.scan.injection import Injected
    from bumpscout_tools.scan.null import NullModel
    from bumpscout_tools.scan.plan import SearchPlan
    from bumpscout_tools.script import ScriptTask

__all__ = [
    "DATA_STREAM",
    "Calibrating",
    "check_signal",
    "claim_folder",
    "fit_generator",
    "run_calibration",
    "run_tasks",
    "seed_of",
]

Progress = Callable[[str, str, int | None, int | None], None]
MARK = "calibrate.json"
CONTAMINATED_REPLAYS = 4
"""Replays of each contaminated generator; ten of them show p down to 0.027."""
DATA_STREAM = 31
"""Second word of the entropy of a pseudo-experiment; not 0, as numpy pads entropy with zeros."""


class Calibrating(BaseModel, frozen=True, extra="forbid"):
    """Options of `calibrate`.

    Attributes:
        n_null: background-only data sets.
        n_replays: replays from the null generator fitted to each.
        strengths: S/sqrt(B) within 5% of the mass, of the injected signal.
        n_signal: pseudo-experiments at each strength.
        n_contaminated: of these, how many also get a null generator fitted to them, signal and all.
        mass_gev: of the signal; the median of its events by default.
    """

    n_null: int = 100
    n_replays: int = 1
    strengths: tuple[float, ...] = (1.0, 2.0, 3.0)
    n_signal: int = 20
    n_contaminated: int = 10
    mass_gev: float | None = None
    workers: int | None = None


class _Mark(BaseModel, frozen=True, extra="forbid"):
    """What a folder of trials belongs to."""

    plan_sha256: str
    data_sha256: str
    signal_sha256: str | None
    seed: int
    n_replays: int
    n_contaminated: int
    code_sha256: str


def run_calibration(
    config_file: Path,
    out: Path,
    options: Calibrating,
    *,
    data: Path | None = None,
    signal: Path | None = None,
    seed: int | None = None,
    progress: Progress,
    as_json: bool = False,
) -> str:
    """Calibrate the plan of a configuration and return what is printed at its end.

    Args:
        config_file: see `bumpscout.scan_config.ScanConfig`.
        out: folder of the trials and the report; one of the same calibration goes on.
        options: how many trials of what.
        data: file of events, instead of that of the configuration.
        signal: events of a signal alone; without it only false alarms are measured.
        seed: instead of that of the configuration.
        progress: called with (stage, message, done, total).
        as_json: return the content of ``calibration.json`` instead of the summary.

    Raises:
        ConfigurationError: if configuration or folder cannot be used.
        InputDataError: if the data cannot be searched, or the signal does not fit them.
    """
    from bumpscout_sandbox.engine import resolve_on
    from bumpscout_sandbox.priors import read_priors

    config = read_config(config_file)
    if config.plan.blinding != "open":
        raise ConfigurationError(
            "calibrate fits its background to all events of the data, which a plan with "
            "`blinding: staged` forbids. Calibrate it on simulation, with `blinding: open`."
        )
    path = data or config.data
    if path is None:
        raise ConfigurationError(
            f"{config_file} names no data; add `data: FILE` to it, or give --data."
        )
    check_there(path)
    if signal is not None:
        check_there(signal, "--signal")
    used_seed = config.seed if seed is None else seed
    progress("data", f"reading {path.name}", None, None)
    asked = [name for detector in config.plan.detectors for name in detector.features]
    vault = open_vault(path, Options(seed=used_seed), asked)
    signal_vault = open_vault(signal, Options(seed=used_seed), asked) if signal else None
    planned = read_priors(config.plan, vault.card().sha256)
    resolved = resolve_on(planned, vault.view(), used_seed)
    plan = resolved.plan
    for line in (*resolved.understood, *resolved.not_understood):
        progress("plan", line, None, None)
    mark = _Mark(
        plan_sha256=plan.sha256(),
        data_sha256=vault.card().sha256,
        signal_sha256=signal_vault.card().sha256 if signal_vault else None,
        seed=used_seed,
        n_replays=options.n_replays,
        n_contaminated=options.n_contaminated if signal_vault else 0,
        code_sha256=code_sha256(),
    )
    claim_folder(out, mark)
    null, background = fit_generator(plan, vault.view(), used_seed, progress)
    events = mass = None
    if signal_vault is not None:
        events = signal_vault.view()
        mass = options.mass_gev or float(np.median(events.mass))
        check_signal(null, events, mass, max(options.strengths), used_seed)
    workers = options.workers or usable_cpus()
    with local_executor(workers) as executor:
        nulls = _nulls(plan, null, used_seed, options, executor, out, progress)
        injected: list[Injected] = []
        if events is not None and mass is not None:
            injected = _injected(
                plan, null, events, mass, used_seed, options, executor, out, progress
            )
    progress("report", "drawing figures", None, None)
    report = Calibration.of(plan, path.name, background, nulls, injected, used_seed)
    write_calibration(out, report)
    return report.model_dump_json(indent=2) if as_json else calibration_text(report, out)


def claim_folder(out: Path, mark: BaseModel, name: str = MARK) -> None:
    """Make the folder, or go on in one of the same calibration.

    Args:
        out: the folder.
        mark: what its trials belong to; the same one must be in a folder that is not empty.
        name: of the file that holds the mark.

    Raises:
        ConfigurationError: if the folder cannot be written, or holds something else.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        known = out / name
        if known.exists():
            if read_model(known, type(mark)) != mark:
                raise ConfigurationError(
                    f"{out} holds the trials of another plan, data, signal, seed or version of the "
                    "code. Choose another --out."
                )
            return
        if any(out.iterdir()):
            raise ConfigurationError(f"{out} is not empty. Choose another --out.")
    except OSError as error:
        raise ConfigurationError(f"Cannot write {out}: {error.strerror}.") from error
    write_atomic(known, mark.model_dump_json(indent=1) + "\n")


def fit_generator(
    plan: SearchPlan, view: View, seed: int, progress: Progress
) -> tuple[NullModel, tuple[float, int, float]]:
    """Fit the null generator of a data set, the window of its largest excess masked.

    Returns:
        The generator, and its (expected events, order, goodness of fit).

    Raises:
        ConfigurationError: if no cell of the plan has a fit that can be believed.
    """
    from bumpscout_tools.scan.execute import execute, prepare
    from bumpscout_tools.scan.null import fit_null
    from bumpscout_tools.scan.serial import SerialExecutor

    progress("null", "scanning once, to know which window to mask", None, None)
    coarse = plan.model_copy(
        update={"working_points": plan.working_points.model_copy(update={"refine_rounds": 0})}
    )
    rng = np.random.default_rng(seed)
    outcome = execute(coarse, view, rng, SerialExecutor(), _vetted, lambda _test: None)
    best = outcome.best()
    if best is None:
        raise ConfigurationError(
            "No cell of this plan has a background fit that can be believed on these data, so "
            "there is nothing to calibrate."
        )
    prepared = prepare(plan, view, np.random.default_rng(seed))
    null = fit_null(
        plan,
        prepared,
        best.window_gev,
        seed,
        lambda done, total: progress("null", "fitting the null generator", done, total),
    )
    return null, (null.expected, null.order, null.fit_p)


def check_signal(
    null: NullModel, signal: View, mass_gev: float, strength: float, seed: int
) -> None:
    """Refuse a signal that could not be injected, before any trial is made.

    Raises:
        InputDataError: if it lies outside the spectrum, or has too few events.
    """
    from bumpscout_tools.scan.injection import inject

    low, high = null.masses[0], null.masses[-1]
    if not low < mass_gev < high:
        raise InputDataError(
            f"The signal's mass, {mass_gev:.0f} GeV, lies outside the fitted range of the "
            f"background, {low:.0f} to {high:.0f} GeV. Give another --mass or --signal."
        )
    rng = np.random.default_rng(seed_of(seed, "check"))
    inject(null.draw(rng), signal, mass_gev, strength, rng)


def _in_flight(options: Calibrating) -> int:
    """Return how many trials are handed out at a time: one more a worker than it can run."""
    return 2 * (options.workers or usable_cpus())


def _vetted(_index: int, task: ScriptTask, view: View) -> npt.NDArray[np.float64]:
    from bumpscout_tools.scripts import run_vetted

    return run_vetted(task, view)


def seed_of(seed: int, *parts: object) -> int:
    """Return a seed of its own for each trial, the same whatever was run before."""
    text = "/".join(map(str, (seed, *parts)))
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)


def _null_task(
    plan: SearchPlan, null: NullModel, number: int, seed: int, n_replays: int
) -> NullTrial:
    """Draw one background-only data set and put it through the procedure."""
    from bumpscout_tools.scan.alarms import null_trial

    own = seed_of(seed, "null", number)
    view = null.draw(np.random.default_rng((own, DATA_STREAM)))
    return null_trial(
        plan, view, name=str(number), seed=own, run_script=_vetted, n_replays=n_replays
    )


def _signal_task(
    plan: SearchPlan,
    null: NullModel,
    signal: View,
    mass_gev: float,
    strength: float,
    number: int,
    seed: int,
    n_replays: int,
) -> Injected:
    """Draw one background-only data set, inject the signal, scan, and replay its own null."""
    from bumpscout_tools.scan.injection import injection_trial

    own = seed_of(seed, "signal", mass_gev, strength, number)
    return injection_trial(
        plan,
        null.draw(np.random.default_rng((own, DATA_STREAM))),
        signal,
        mass_gev=mass_gev,
        strength=strength,
        number=number,
        seed=own,
        run_script=_vetted,
        keep_record=True,
        n_replays=n_replays,
    )


def _nulls(
    plan: SearchPlan,
    null: NullModel,
    seed: int,
    options: Calibrating,
    executor: Executor,
    out: Path,
    progress: Progress,
) -> list[NullTrial]:
    from bumpscout_tools.scan.alarms import NullTrial

    tasks = {
        str(number): partial(_null_task, plan, null, number, seed, options.n_replays)
        for number in range(options.n_null)
    }
    return run_tasks(
        tasks,
        NullTrial,
        out / "nulls.jsonl",
        executor,
        lambda done, total: progress("null", "background-only data sets", done, total),
        _in_flight(options),
    )


def _injected(
    plan: SearchPlan,
    null: NullModel,
    signal: View,
    mass_gev: float,
    seed: int,
    options: Calibrating,
    executor: Executor,
    out: Path,
    progress: Progress,
) -> list[Injected]:
    from bumpscout_tools.scan.injection import Injected

    tasks = {
        f"{mass_gev!r}/{strength!r}/{number}": partial(
            _signal_task,
            plan,
            null,
            signal,
            mass_gev,
            strength,
            number,
            seed,
            CONTAMINATED_REPLAYS if strength and number < options.n_contaminated else 0,
        )
        for strength in sorted({0.0, *options.strengths})
        for number in range(options.n_signal)
    }
    return run_tasks(
        tasks,
        Injected,
        out / "injected.jsonl",
        executor,
        lambda done, total: progress("signal", "pseudo-experiments with a signal", done, total),
        _in_flight(options),
    )
