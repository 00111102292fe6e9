"""The samples and trainings of `rmm_resonance.py`: simulated chunk by chunk, kept, and scored."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from bumpscout_tools.detectors import AutoencoderDetector, AutoencoderSettings, Fitted
from bumpscout_tools.detectors.folds import set_aside
from bumpscout_tools.features.rmm import rmm_sparse
from bumpscout_tools.features.rmm_config import RmmConfig
from bumpscout_tools.features.rmm_objects import rmm_masses, select_objects
from bumpscout_tools.simulation import ObjectCard, ResonanceCard, simulate_objects

CONFIG = RmmConfig(identified=True, overlap_dr=0.4)
MASSES = ("m_jj", "m_bb")
CHUNK = 5000
INJECTED = 50
CUTS_PB = (100.0, 10.0, 1.0, 0.1)
SEEDS = (1, 2, 3)
SETTINGS = AutoencoderSettings(preset="rmm", loss="mse", train_share=0.1, epochs=10, device="cpu")
LEPTON_GEV = 60.0


@dataclass(frozen=True)
class Sample:
    """One simulated sample: a signal or background, and where its bump is."""

    name: str
    card: ObjectCard
    n_events: int
    label: str = ""
    spectrum: str = "m_jj"
    mass_gev: float = 0.0
    background: str = "data"


def _signal(mass: float, partner: str, quarks: str = "light") -> Sample:
    card = ObjectCard(
        seed=11, signal=ResonanceCard(resonance_mass_gev=mass, partner=partner, quarks=quarks)
    )
    far = f"high-{mass:g}" if mass > 2500 else "data"
    label = "X + W(lepton)" if partner == "lepton" else "X + two tops (6 jets)"
    spectrum = "m_bb" if quarks == "bottom" else "m_jj"
    return Sample(f"{partner}-{quarks}-{mass:g}", card, 3000, label, spectrum, mass, far)


BACKGROUNDS = (
    Sample("data", ObjectCard(seed=1), 100_000),
    Sample("high-3000", ObjectCard(seed=2, m_hat_min_gev=2250.0), 15_000),
    Sample("high-4000", ObjectCard(seed=3, m_hat_min_gev=3000.0), 15_000),
)
SIGNALS = (
    *(
        _signal(mass, partner)
        for partner in ("lepton", "tops")
        for mass in (1500, 2000, 3000, 4000)
    ),
    _signal(2000, "lepton", "bottom"),
)


def window(sample: Sample) -> tuple[float, float]:
    """Return the window of a signal: jets of R = 0.4 lose energy, so it is wider below."""
    return 0.85 * sample.mass_gev, 1.10 * sample.mass_gev


@dataclass(frozen=True)
class Events:
    """Matrices (n, 1287) without zeros, scanned masses (n, 2) and the pT of the leading lepton."""

    matrix: sparse.csr_array
    masses: np.ndarray
    lepton: np.ndarray
    cross_section_pb: float

    def in_window(self, sample: Sample) -> np.ndarray:
        """Return which events (n,) have the mass of a signal."""
        low, high = window(sample)
        mass = self.masses[:, MASSES.index(sample.spectrum)]
        return (mass >= low) & (mass < high)


def simulated(sample: Sample, work: Path) -> Events:
    """Return a sample, from finished chunks or made now."""
    parts, sections = [], []
    for number in range(-(-sample.n_events // CHUNK)):
        n = min(CHUNK, sample.n_events - number * CHUNK)
        path = work / f"{sample.name}-{number:03d}.npz"
        if not path.exists():
            start = time.process_time()
            made = simulate_objects(sample.card, n, number)
            objects = select_objects(made.table, CONFIG)
            matrix = rmm_sparse(objects, CONFIG)
            partial = path.with_suffix(".part.npz")
            np.savez_compressed(
                partial,
                data=matrix.data,
                indices=matrix.indices,
                indptr=matrix.indptr,
                shape=matrix.shape,
                masses=rmm_masses(objects, MASSES),
                lepton=np.maximum(objects.pt("e1"), objects.pt("mu1")),
                cross_section_pb=made.cross_section_pb,
                cpu_s=time.process_time() - start,
            )
            partial.rename(path)
        parts.append(np.load(path))
        sections.append(float(parts[-1]["cross_section_pb"]))
    matrices = [
        sparse.csr_array((p["data"], p["indices"], p["indptr"]), shape=tuple(p["shape"]))
        for p in parts
    ]
    return Events(
        sparse.vstack(matrices, format="csr"),
        np.concatenate([p["masses"] for p in parts]),
        np.concatenate([p["lepton"] for p in parts]),
        float(np.mean(sections)),
    )


@dataclass(frozen=True)
class Trained:
    """One training, and what passes its cuts."""

    seed: int
    epochs: int
    cpu_s: float
    relative_loss: float
    scores: dict[str, np.ndarray]
    scanned: np.ndarray


def injected(samples: dict[str, Events]) -> Events:
    """Return the data: the Standard Model, and the first events of each signal."""
    parts = [samples["data"], *(_part(samples[s.name], slice(0, INJECTED)) for s in SIGNALS)]
    return Events(
        sparse.vstack([part.matrix for part in parts], format="csr"),
        np.concatenate([part.masses for part in parts]),
        np.concatenate([part.lepton for part in parts]),
        samples["data"].cross_section_pb,
    )


def _part(events: Events, rows: slice) -> Events:
    return Events(
        events.matrix[rows], events.masses[rows], events.lepton[rows], events.cross_section_pb
    )


def trained(seed: int, data: Events, others: dict[str, Events], work: Path) -> Trained:
    """Return the scores of one training on a share of the data, kept or made now."""
    path = work / f"training-{seed}.npz"
    event_id = np.arange(len(data.masses), dtype=np.uint64)
    share = set_aside(event_id, SETTINGS.train_share, seed)
    if not path.exists():
        start = time.process_time()
        inputs = data.matrix[np.flatnonzero(share)].toarray().astype(np.float64)
        fitted = AutoencoderDetector(SETTINGS).fit(
            inputs, np.zeros(0), None, seed, progress=lambda done, _: print(seed, done, flush=True)
        )
        cpu_s = time.process_time() - start
        scores = {
            name: _scores(fitted, events) for name, events in ({"all": data} | others).items()
        }
        partial = path.with_suffix(".part.npz")
        np.savez(
            partial, epochs=fitted.epochs, cpu_s=cpu_s, relative_loss=fitted.relative_loss, **scores
        )
        partial.rename(path)
    kept = np.load(path)
    names = ["all", *others]
    return Trained(
        seed,
        int(kept["epochs"]),
        float(kept["cpu_s"]),
        float(kept["relative_loss"]),
        {name: kept[name] for name in names},
        ~share,
    )


def _scores(fitted: Fitted, events: Events) -> np.ndarray:
    blocks = [
        fitted.score(events.matrix[start : start + 8192].toarray().astype(np.float64), np.zeros(0))
        for start in range(0, len(events.masses), 8192)
    ]
    return np.concatenate(blocks)


def threshold(one: Trained, cut_pb: float, sigma_pb: float) -> float:
    """Return the score above which the scanned data have the visible cross section."""
    return float(np.quantile(one.scores["all"][one.scanned], 1 - cut_pb / sigma_pb))
