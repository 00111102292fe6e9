"""ANODE: the density inside a signal window over the one interpolated into it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.protocol import Progress, Stop
from bumpscout_tools.detectors.settings_density import AnodeSettings
from bumpscout_tools.detectors.sidebands import fit_outside, inside_window, watched

if TYPE_CHECKING:
    from bumpscout_tools.detectors.density import ConditionalDensity

__all__ = ["MIN_WINDOW_EVENTS", "Anode", "DensityRatio"]

FloatArray = npt.NDArray[np.float64]

MIN_WINDOW_EVENTS = 100


@dataclass(frozen=True)
class DensityRatio:
    """What is trained: densities of anomalous events, and the one of the background.

    Attributes:
        above: densities that are averaged, in the scores of `below`.
        below: the density of the background.
        weights: (len(above),) of the average; equal if None.
    """

    above: tuple[ConditionalDensity, ...]
    below: ConditionalDensity
    weights: FloatArray | None = None

    def score(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Return the logarithm of the ratio (n,), held within +-20; mass (n,) in GeV."""
        from bumpscout_tools.detectors.density import log_ratio

        return log_ratio(self.above, self.below, features, mass, self.weights)


@dataclass(frozen=True)
class Anode:
    """``log p_inside(x | m) - log p_outside(x | m)`` (Nachman, Shih, arXiv:2001.04990).

    The density of the features given the mass is fitted to the events outside the window and
    interpolated into it, and another to those inside. Both are densities of the same scores, with
    the marginals of the one outside, so that only what the networks learned is divided; the one
    inside is an average of `trainings`, each with other held-out events.
    """

    settings: AnodeSettings = field(default_factory=AnodeSettings)
    uses_window: ClassVar[bool] = True

    @property
    def folds(self) -> int:
        """Folds of cross-fitting."""
        return self.settings.folds

    def fit(
        self,
        features: FloatArray,
        mass: FloatArray,
        window_gev: tuple[float, float] | None,
        seed: int,
        *,
        stop: Stop | None = None,
        progress: Progress | None = None,
    ) -> DensityRatio:
        """Fit both densities; see `Detector.fit`.

        Raises:
            DetectorError: if there are too few events inside or outside the window, or a training
                fails.
            TrainingStopped: if `stop` said so.
        """
        inside = inside_window("ANODE", mass, window_gev, MIN_WINDOW_EVENTS)
        chosen = self.settings
        background = fit_outside(
            features,
            mass,
            inside,
            degree=chosen.degree,
            steps=chosen.steps,
            seed=seed,
            stop=stop,
            progress=progress,
        )
        seeds = np.random.SeedSequence((seed, 2)).generate_state(chosen.trainings)
        found = tuple(
            background.refit(
                features[inside],
                mass[inside],
                seed=int(own),
                degree=chosen.inner_degree,
                steps=chosen.inner_steps,
                threads=1,
                progress=watched(stop, progress),
            )
            for own in seeds
        )
        return DensityRatio(found, background)
