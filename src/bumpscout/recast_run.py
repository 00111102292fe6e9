"""Carries out `bumpscout recast`: what a plan would see of a user's signal.

The signal is injected at several strengths into background-only pseudo-experiments (or into the
data), the detectors are trained anew on each, and the whole plan is carried out. Finished trials
are kept in the folder, so the same command goes on after an interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from bumpscout.calibrate_run import (
    DATA_STREAM,
    Progress,
    check_signal,
    claim_folder,
    fit_generator,
    seed_of,
)
from bumpscout.cluster import local_executor, usable_cpus
from bumpscout.files import read_model
from bumpscout.folder import SCAN_FILE, Options, read_record
from bumpscout.recast_report import RecastReport, SignalFile, recast_text, write_recast
from bumpscout.scan_config import ScanConfig, read_config
from bumpscout.steps import check_there, open_vault
from bumpscout.trial_store import run_tasks
from bumpscout_tools.code import code_sha256
from bumpscout_tools.errors import ConfigurationError, InputDataError

if TYPE_CHECKING:
    from bumpscout_tools.events.view import View
    from bumpscout_tools.scan.injection import Injected
    from bumpscout_tools.scan.null import NullModel
    from bumpscout_tools.scan.plan import SearchPlan
    from bumpscout_tools.script import ScriptTask

__all__ = ["Recasting", "run_recast"]

MARK = "recast.mark.json"
CORE = 0.15
"""Events within this fraction of the mass tell the width of the peak."""
LEAST_WIDTH = 0.01
MIN_CORE = 50


class Recasting(BaseModel, frozen=True, extra="forbid"):
    """Options of `recast`.

    Attributes:
        strengths: S/sqrt(B) within 5% of the mass, before any cut.
        n_null: repetitions without the signal, for each signal.
        n_signal: repetitions at each strength.
        into: what the signal is injected into; repetitions without it are draws from the null.
        luminosity_fb: instead of that of the plan.
    """

    strengths: tuple[float, ...] = (1.0, 2.0, 4.0)
    n_null: int = 30
    n_signal: int = 20
    into: Literal["null", "data"] = "null"
    luminosity_fb: float | None = None
    workers: int | None = None


class _Mark(BaseModel, frozen=True, extra="forbid"):
    """What a folder of trials belongs to."""

    plan_sha256: str
    data_sha256: str
    signals: tuple[SignalFile, ...]
    into: str
    seed: int
    code_sha256: str


@dataclass(frozen=True)
class _Signal:
    about: SignalFile
    view: View


def run_recast(
    plan_or_run: Path,
    signals: Sequence[Path],
    masses_gev: Sequence[float],
    out: Path,
    options: Recasting,
    *,
    data: Path | None = None,
    seed: int | None = None,
    progress: Progress,
    as_json: bool = False,
) -> str:
    """Recast a plan for one or more signals and return what is printed at its end.

    Args:
        plan_or_run: a configuration as `scan` reads it, or the folder of a search or scan.
        signals: files of signal events, one a mass.
        masses_gev: their masses; none: the median of the events of each.
        out: folder of the trials and the report; one of the same recast goes on.
        options: how many trials of what.
        data: file of events, instead of that of the configuration or run.
        seed: instead of that of the configuration or run.
        progress: called with (stage, message, done, total).
        as_json: return the content of ``recast.json`` instead of the summary.

    Raises:
        ConfigurationError: if plan or folder cannot be used.
        InputDataError: if the data cannot be searched, or a signal does not fit them.
    """
    from bumpscout_sandbox.engine import resolve_on
    from bumpscout_sandbox.priors import read_priors

    config = _plan_of(plan_or_run)
    path = data or config.data
    if path is None:
        raise ConfigurationError(f"{plan_or_run} names no data; give --data FILE.")
    if masses_gev and len(masses_gev) != len(signals):
        raise ConfigurationError(
            f"{len(signals)} signals and {len(masses_gev)} masses: give --signal-mass once for "
            "each --signal, in their order, or not at all."
        )
    check_there(path)
    used_seed = config.seed if seed is None else seed
    progress("data", f"reading {path.name}", None, None)
    asked = [name for detector in config.plan.detectors for name in detector.features]
    vault = open_vault(path, Options(seed=used_seed), asked)
    plan = config.plan
    if options.luminosity_fb is not None:
        plan = plan.model_copy(update={"luminosity_fb": options.luminosity_fb})
    planned = read_priors(plan, vault.card().sha256)
    resolved = resolve_on(planned, vault.view(), used_seed)
    plan = resolved.plan
    for line in (*resolved.understood, *resolved.not_understood):
        progress("plan", line, None, None)
    features = tuple(dict.fromkeys(name for d in plan.detectors for name in d.features))
    read = [
        _read_signal(file, masses_gev[k] if masses_gev else None, features, used_seed, progress)
        for k, file in enumerate(signals)
    ]
    mark = _Mark(
        plan_sha256=plan.sha256(),
        data_sha256=vault.card().sha256,
        signals=tuple(one.about for one in read),
        into=options.into,
        seed=used_seed,
        code_sha256=code_sha256(),
    )
    claim_folder(out, mark, MARK)
    null, background = fit_generator(plan, vault.view(), used_seed, progress)
    _check_windows(plan, vault.view(), read, used_seed)
    for one in read:
        check_signal(null, one.view, one.about.mass_gev, max(options.strengths), used_seed)
    into = _with_features(vault.view(), features) if options.into == "data" else None
    with local_executor(options.workers or usable_cpus()) as executor:
        trials: list[list[Injected]] = []
        for number, one in enumerate(read):
            tasks = {
                f"{strength!r}/{k}": partial(
                    _trial, plan, null, into, one.view, one.about.mass_gev, strength, k, used_seed
                )
                for strength in sorted({0.0, *options.strengths})
                for k in range(options.n_signal if strength else options.n_null)
            }
            trials.append(
                _run(tasks, out / f"signal-{number}.jsonl", executor, one, progress, options)
            )
    progress("report", "limits and figures", None, None)
    report = RecastReport.of(
        plan, path.name, background, [one.about for one in read], trials, options.into, used_seed
    )
    write_recast(out, report)
    return report.model_dump_json(indent=2) if as_json else recast_text(report, out)


def _plan_of(source: Path) -> ScanConfig:
    """Return plan, data and seed of a configuration file or of a run folder."""
    from bumpscout_tools.scan.plan import SearchPlan

    if not source.is_dir():
        config = read_config(source)
    else:
        record = read_record(source)
        if (source / SCAN_FILE).exists():
            config = read_config(source / SCAN_FILE)
        else:
            config = ScanConfig(
                data=Path(record.data),
                seed=record.options.seed,
                plan=read_model(source / "plan.json", SearchPlan),
            )
    if config.plan.blinding != "open":
        raise ConfigurationError(
            "recast fits its background to all events of the data, which a plan with `blinding: "
            "staged` forbids before the claim. Recast it on simulation, with `blinding: open`."
        )
    return config


def _read_signal(
    file: Path, mass_gev: float | None, features: Sequence[str], seed: int, progress: Progress
) -> _Signal:
    """Open a signal file and say what its events are.

    Raises:
        InputDataError: if it holds partons or lacks features of the plan, or its peak cannot be
            measured.
    """
    check_there(file, "--signal")
    progress("data", f"reading {file.name}", None, None)
    vault = open_vault(file, Options(seed=seed), list(features))
    card, view = vault.card(), vault.view()
    if "lhe" in card.format.lower():
        raise InputDataError(
            f"{file.name} is an LHE file: its partons have a mass, but no jet masses and no "
            "substructure, which is what the detectors of a plan decide by. Shower and reconstruct "
            "its events into the format of the data and give these. Without a cut on a score the "
            "limits on all events in limits.json hold for it, with an acceptance of your own."
        )
    missing = [name for name in features if name not in view.feature_names]
    if missing:
        raise InputDataError(
            f"{file.name} ({card.format}) lacks {', '.join(missing)}, which the plan uses. Give "
            "signal events in the format of the data."
        )
    mass = float(np.median(view.mass)) if mass_gev is None else mass_gev
    core = view.mass[np.abs(view.mass / mass - 1) < CORE]
    if len(core) < MIN_CORE:
        raise InputDataError(
            f"Only {len(core)} events of {file.name} lie within {CORE:.0%} of {mass:.0f} GeV, and "
            f"the width of the peak needs {MIN_CORE}; is that its mass?"
        )
    low, high = np.quantile(core, (0.16, 0.84))
    width = max(float((high - low) / (2 * mass)), LEAST_WIDTH)
    about = SignalFile(
        name=file.name,
        sha256=card.sha256,
        format=card.format,
        n_events=card.n_events,
        n_usable=card.n_usable,
        mass_gev=mass,
        sigma_relative=width,
    )
    return _Signal(about, view)


def _with_features(view: View, features: Sequence[str]) -> View:
    """Return the view with the features of the plan alone."""
    columns = [view.feature_names.index(name) for name in features]
    return replace(view, features=view.features[:, columns], feature_names=tuple(features))


def _check_windows(plan: SearchPlan, view: View, read: Sequence[_Signal], seed: int) -> None:
    """Refuse a signal that no signal window of the plan holds, before any trial is made.

    Raises:
        InputDataError: if there is one.
    """
    from bumpscout_tools.scan.execute import prepare
    from bumpscout_tools.scan.limits_scan import window_of_mass

    windows = prepare(plan, view, np.random.default_rng(seed)).layout.windows_gev
    for one in read:
        mass = one.about.mass_gev
        if not windows or not window_of_mass(windows, mass)[1]:
            low, high = (windows[0][0], windows[-1][1]) if windows else (0.0, 0.0)
            raise InputDataError(
                f"No signal window of the plan holds {mass:.0f} GeV, the mass of {one.about.name}: "
                f"on these data they span {low:.0f} to {high:.0f} GeV. Windows need side bands "
                "with enough events; give --signal-mass or another signal."
            )


def _trial(
    plan: SearchPlan,
    null: NullModel,
    into: View | None,
    signal: View,
    mass_gev: float,
    strength: float,
    number: int,
    seed: int,
) -> Injected:
    """Inject into a draw from the null generator, or into the data, and carry out the plan.

    Repetitions without a signal are always draws: those of the data would all be the same events,
    and no null to rank among or to set expected limits in.
    """
    from bumpscout_tools.scan.injection import injection_trial

    own = seed_of(seed, "recast", mass_gev, strength, number)
    background = into if strength else None
    if background is None:
        background = null.draw(np.random.default_rng((own, DATA_STREAM)))
    return injection_trial(
        plan,
        background,
        signal,
        mass_gev=mass_gev,
        strength=strength,
        number=number,
        seed=own,
        run_script=_vetted,
        keep_spectra=True,
    )


def _vetted(_index: int, task: ScriptTask, view: View) -> npt.NDArray[np.float64]:
    from bumpscout_tools.scripts import run_vetted

    return run_vetted(task, view)


def _run(
    tasks: Mapping[str, Callable[[], Injected]],
    path: Path,
    executor: Executor,
    signal: _Signal,
    progress: Progress,
    options: Recasting,
) -> list[Injected]:
    from bumpscout_tools.scan.injection import Injected

    about = signal.about
    return run_tasks(
        tasks,
        Injected,
        path,
        executor,
        lambda done, total: progress(
            "signal", f"{about.name} at {about.mass_gev:.0f} GeV", done, total
        ),
        2 * (options.workers or usable_cpus()),
    )
